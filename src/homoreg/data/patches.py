"""Cutting of patches around keypoints, for training, evaluation and export alike."""

from collections.abc import Sequence
from typing import Annotated, Literal

import cv2
import numpy as np
import pydantic
from pydantic import ConfigDict, Field, PositiveFloat

from homoreg.errors import HomoregError

# Further reductions change nothing at the sizes of photographs.
MAX_LEVEL = 6


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(title="patch", extra="forbid"))
class Window:
    """The square that a patch shows, in the photo.

    Args:
        support: side of a fixed window, pixels.
        size: side of the patch, pixels.
        window: ``"fixed"`` windows are upright squares of ``support`` pixels. ``"scaled"`` ones
            grow with the keypoint, to ``scale_factor`` times its scale. ``"oriented"`` ones are
            turned as well, so that the keypoint's orientation points to the right of the patch.
        scale_factor: side of a window over the keypoint's scale.

    Raises:
        ValidationError: an option is out of its range.
    """

    support: Annotated[int, Field(ge=2, le=1024)] = 64
    size: Annotated[int, Field(ge=8)] = 32
    window: Literal["fixed", "scaled", "oriented"] = "fixed"
    scale_factor: PositiveFloat = 12.0

    def patches(self, image: np.ndarray | Sequence[np.ndarray], frames: np.ndarray) -> np.ndarray:
        """Cut a window around each keypoint and resize it to the patch.

        Windows are sampled bilinearly, replicate the image's edge outside it, and are averaged over
        areas where they are larger than the patch, so that nothing aliases.

        Args:
            image: ``(H, W, 3)`` uint8, or one such image per keypoint.
            frames: ``(N, 2)``, ``(N, 3)`` or ``(N, 4)``, see :mod:`homoreg.geometry.frames`.

        Returns:
            ``(N, size, size, 3)`` uint8.

        Raises:
            HomoregError: the windows need a scale or an orientation that the keypoints lack.
        """
        if self.window == "fixed":
            return cut_patches(image, frames, support=self.support, size=self.size)
        return _cut_along(image, frames[:, :2], self.sides(frames), self.angles(frames), self.size)

    def sides(self, frames: np.ndarray) -> np.ndarray:
        """``(N,)`` side of each keypoint's window, pixels of the photo."""
        if self.window == "fixed":
            return np.full(len(frames), float(self.support))
        needed = 3 if self.window == "scaled" else 4
        if frames.shape[1] < needed:
            lacking = "scale" if frames.shape[1] < 3 else "orientation"
            raise HomoregError(
                f"patch.window={self.window}: the keypoints have no {lacking}; choose a detector "
                f"that gives one, {detectors_for(self.window)}"
            )
        return self.scale_factor * frames[:, 2]

    def angles(self, frames: np.ndarray) -> np.ndarray:
        """``(N,)`` rotation of each keypoint's window, radians, clockwise as seen."""
        return np.deg2rad(frames[:, 3]) if self.window == "oriented" else np.zeros(len(frames))

    def reach(self, frames: np.ndarray) -> np.ndarray:
        """``(N,)`` largest distance in x or y of a window's pixels from the keypoint, pixels."""
        angles = self.angles(frames)
        return self.sides(frames) / 2 * (np.abs(np.cos(angles)) + np.abs(np.sin(angles)))


def detectors_for(window: str) -> str:
    """For messages: options that choose detectors whose keypoints such windows can follow."""
    frame = "scale" if window == "scaled" else "orientation"
    return (
        f"such as detector=sift detector.frame={frame}, for training also "
        f"detector@data.keypoints=sift data.keypoints.frame={frame}"
    )


def cut_patches(
    image: np.ndarray | Sequence[np.ndarray], points: np.ndarray, *, support: int, size: int
) -> np.ndarray:
    """Cut a fixed, upright window around each point.

    Args:
        image: ``(H, W, 3)`` uint8, or one such image for each point.
        points: ``(N, 2)`` x, y in pixels, finite; scale and orientation of frames are not used.
        support: side of the window in pixels of the photo.
        size: side of the patch in pixels.

    Returns:
        ``(N, size, size, 3)`` uint8.

    >>> image = np.arange(100, dtype=np.uint8).repeat(3).reshape(10, 10, 3)
    >>> cut_patches(image, np.array([[4.0, 5.0]]), support=3, size=3)[0, :, :, 0]
    array([[43, 44, 45], [53, 54, 55], [63, 64, 65]], dtype=uint8)
    """
    # OpenCV writes into this array; at 32 pixels a copy would cost as much as the reduction.
    patches = np.empty((len(points), size, size, 3), np.uint8)
    images = [image] * len(points) if isinstance(image, np.ndarray) else image
    sizes = np.array([source.shape[1::-1] for source in images]).reshape(-1, 2)
    # Farther out nothing changes, and OpenCV's integers do not overflow.
    centers = np.clip(points[:, :2], -support, sizes + support).astype(np.float32)
    corners = np.floor(centers - (support - 1) / 2).astype(int)
    corners = np.clip(corners, 0, np.maximum(sizes - 2, 0))
    window_size, patch_size = (support, support), (size, size)
    window = np.empty((*window_size, 3), np.uint8)
    shrink = cv2.INTER_AREA if support >= size else cv2.INTER_LINEAR
    for source, (x, y), center, patch in zip(
        images, corners.tolist(), (centers - corners).tolist(), patches, strict=True
    ):
        # A contiguous copy is faster than OpenCV's access to distant rows.
        area = source[y : y + support + 1, x : x + support + 1].copy()
        # OpenCV's interpolation needs two pixels in each direction.
        if 1 in area.shape:
            area = cv2.copyMakeBorder(area, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
        if support == size:
            cv2.getRectSubPix(area, window_size, center, patch)
        else:
            cv2.getRectSubPix(area, window_size, center, window)
            cv2.resize(window, patch_size, patch, interpolation=shrink)
    return patches


def sampling_levels(sides: np.ndarray, size: int) -> np.ndarray:
    """``(N,)`` int: windows are sampled from the image reduced by 2 to this power.

    There, a pixel of the patch is 2 to 4 pixels wide, or less at level 0, so that 4 × 4 samples of
    it or fewer miss nothing.
    """
    levels = np.ceil(np.log2(np.maximum(sides, 1e-6) / size)) - 2
    return np.clip(levels, 0, MAX_LEVEL).astype(int)


def _cut_along(
    image: np.ndarray | Sequence[np.ndarray],
    points: np.ndarray,
    sides: np.ndarray,
    angles: np.ndarray,
    size: int,
) -> np.ndarray:
    """Cut windows of given sides (pixels) and rotations (radians) around points."""
    patches = np.empty((len(points), size, size, 3), np.uint8)
    images = [image] * len(points) if isinstance(image, np.ndarray) else image
    sizes = np.array([source.shape[1::-1] for source in images]).reshape(-1, 2)
    centers = np.clip(points, -sides[:, None], sizes + sides[:, None])
    factors = 2 ** sampling_levels(sides, size)
    # Samples per pixel of the patch, along one side: at most a (reduced) pixel apart.
    samples = np.clip(np.ceil(sides / size / factors), 2, 4).astype(int)
    reach = sides / 2 * (np.abs(np.cos(angles)) + np.abs(np.sin(angles))) + factors + 1
    # Bounds of the area that is reduced; blocks of pixels are those of the whole image.
    block = factors[:, None]
    low = np.floor((centers - reach[:, None]) / block).astype(int) * block
    low = np.clip(low, 0, (sizes - 1) // block * block)
    high = np.ceil((centers + reach[:, None]) / block).astype(int) * block
    high = np.clip(high, low + 1, sizes)
    # A sample (u, v) of the window lies at center + A (u, v) of the reduced area.
    places = (centers - low + 0.5) / block - 0.5
    counts = samples * size
    steps = sides / counts / factors
    maps = np.empty((len(points), 2, 3))
    maps[:, 0, 0] = maps[:, 1, 1] = steps * np.cos(angles)
    maps[:, 1, 0] = steps * np.sin(angles)
    maps[:, 0, 1] = -maps[:, 1, 0]
    maps[:, :, 2] = places - maps[:, :, :2].sum(2) * ((counts - 1) / 2)[:, None]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for row, source in enumerate(images):
        (x0, y0), (x1, y1) = low[row], high[row]
        factor, count = int(factors[row]), int(counts[row])
        area = source[y0:y1, x0:x1]
        if factor > 1:
            area = reduce_by(area, factor)
        window = cv2.warpAffine(
            area, maps[row], (count, count), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        cv2.resize(window, (size, size), patches[row], interpolation=cv2.INTER_AREA)
    return patches


def reduce_by(image: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks of ``factor × factor`` pixels; incomplete blocks replicate the edge."""
    height, width = image.shape[:2]
    bottom, right = -height % factor, -width % factor
    if bottom or right:
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    size = image.shape[1] // factor, image.shape[0] // factor
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def inside_image(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``(N,)`` bool, whether points or frames lie on the image; False for NaN and infinity."""
    height, width = image.shape[:2]
    places = points[:, :2]
    return np.all((places >= 0) & (places <= (width - 1, height - 1)), axis=1)
