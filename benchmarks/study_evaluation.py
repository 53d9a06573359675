"""The original study's evaluation of a pair, written plainly: the reference for evaluation speed.

For each network: decode both images, detect corners, cut a patch around each truncated corner
whose window fits, run the network on one patch at a time, find neighbors with a k-d tree, solve by
an SVD of the whole 2N×9 matrix, and warp.
"""

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.spatial import cKDTree
from torch import nn
from torchvision import transforms

from homoreg.data.manifest import Pair

RATIO = 0.8


def study_row(network: nn.Module, pair: Pair, support: int, size: int, corners: int = 500) -> dict:
    """Match count, κ, homography and RMSE of one network on one pair, by the original definitions.

    Args:
        network: ``(1, 3, size, size)`` float in [0, 1] → ``(1, D)``, in evaluation mode.
        pair: paths of the views.
        support: side of the window around a corner, pixels.
        size: side of the patch, pixels.
        corners: largest number in each view.
    """
    image1, image2 = (np.array(Image.open(path).convert("RGB")) for path in (pair.img1, pair.img2))
    points1, descriptors1 = described(network, image1, support, size, corners)
    points2, descriptors2 = described(network, image2, support, size, corners)
    distances, neighbors = cKDTree(descriptors2).query(descriptors1, k=2)
    kept = [i for i, (first, second) in enumerate(distances) if first < RATIO * second]
    matched1 = np.array([points1[i] for i in kept])
    matched2 = np.array([points2[neighbors[i, 0]] for i in kept])
    matrix = []
    for (x, y), (u, v) in zip(matched1, matched2, strict=True):
        matrix.append([-x, -y, -1, 0, 0, 0, u * x, u * y, u])
        matrix.append([0, 0, 0, -x, -y, -1, v * x, v * y, v])
    _, values, vectors = np.linalg.svd(np.array(matrix))
    homography = vectors[-1].reshape(3, 3)
    homography = homography / homography[2, 2]
    warped = cv2.warpPerspective(image2, homography, (image1.shape[1], image1.shape[0]))
    difference = image1.astype("float32") - warped.astype("float32")
    return {
        "match_count": len(kept),
        "kappa_notebook": values[0] / values[-1],
        "homography": homography,
        "rmse_notebook_gray": np.sqrt(np.mean(difference**2)),
    }


def described(
    network: nn.Module, image: np.ndarray, support: int, size: int, most: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Corners whose window fits, and their descriptors."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    corners = cv2.goodFeaturesToTrack(gray, most, qualityLevel=0.01, minDistance=8)
    half = support // 2
    height, width = image.shape[:2]
    device = next(network.parameters()).device
    points, descriptors = [], []
    for corner in corners.squeeze(axis=1):
        x, y = int(corner[0]), int(corner[1])
        if x - half < 0 or y - half < 0 or x + half > width or y + half > height:
            continue
        patch = image[y - half : y + half, x - half : x + half]
        if size != support:
            patch = cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA)
        with torch.no_grad():
            descriptor = network(transforms.ToTensor()(patch).unsqueeze(0).to(device))
        points.append(corner)
        descriptors.append(descriptor.squeeze(0).cpu().numpy())
    return points, np.array(descriptors)
