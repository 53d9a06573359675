"""What several tests evaluate: baselines, stand-ins for others, a system, pairs and a protocol."""

from functools import partial

import cv2
import numpy as np

from homoreg.descriptors.baselines import RawPatches, baseline_descriptor
from homoreg.evaluation import EvaluationProtocol, ViewPair
from homoreg.geometry import Estimator
from homoreg.matching import RatioMatcher, ShiTomasi

RootSift = partial(baseline_descriptor, "rootsift")
Orb = partial(baseline_descriptor, "orb")
PROTOCOL = EvaluationProtocol(
    ShiTomasi(), RatioMatcher(), {"dlt": Estimator(), "magsac": Estimator("magsac")}
)


class Constant:
    """Sees no difference between keypoints."""

    name = "constant"
    metric = "l2"

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        return np.ones((len(keypoints), 4), np.float32)


class Silent(Constant):
    """Can describe nothing."""

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        return np.full((len(keypoints), 4), np.nan, np.float32)


class Pairs(list[ViewPair]):
    """A benchmark of given pairs."""

    name = "made"

    def pair(self, pair_id: str) -> ViewPair:
        return self[0]


class SiftSystem:
    """SIFT's keypoints and descriptors in both images, matched by OpenCV with cross-checking."""

    def __init__(self, max_keypoints: int = 200) -> None:
        self._sift = cv2.SIFT.create(max_keypoints, enable_precise_upscale=True)

    def __call__(self, image1: np.ndarray, image2: np.ndarray) -> list[list]:
        (found1, values1), (found2, values2) = (
            self._sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
            for image in (image1, image2)
        )
        if values1 is None or values2 is None:
            return [[], []]
        matches = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(values1, values2)
        points1 = [found1[match.queryIdx].pt for match in matches]
        return [points1, [found2[match.trainIdx].pt for match in matches]]


__all__ = ["PROTOCOL", "Constant", "Orb", "Pairs", "RawPatches", "RootSift", "SiftSystem", "Silent"]
