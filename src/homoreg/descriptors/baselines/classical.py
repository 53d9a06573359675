"""SIFT, RootSIFT and ORB, which every OpenCV has."""

import math

import cv2
import numpy as np

from homoreg.descriptors.baselines.common import OpenCvBaseline, check_support

_SIFT_BASE_SIGMA = 1.6
_SIFT_LAYERS = 3
_ORB_PATCH_PX = 31


class Sift(OpenCvBaseline):
    """SIFT (Lowe, IJCV 2004), upright: 4 × 4 histograms of 8 gradient directions.

    Args:
        support: side in pixels of the 4 × 4 cells; the softened bins reach a little beyond.
    """

    name = "sift"
    metric = "l2"
    dimension = 128

    def __init__(self, support: int = 64) -> None:
        check_support(self.name, support)
        # A cell is 3 sigma wide, and OpenCV's keypoint size is 2 sigma.
        sigma = support / 12
        # Gradients are read where a keypoint of this scale would have been found: in the image of
        # the pyramid with its blur. OpenCV packs octave and layer into one number.
        level = max(0, round(_SIFT_LAYERS * math.log2(sigma / _SIFT_BASE_SIGMA)))
        octave, layer = divmod(level, _SIFT_LAYERS)
        super().__init__(cv2.SIFT.create(), support, size=2 * sigma, octave=octave | layer << 8)


class RootSift(Sift):
    """Square roots of SIFT's shares, so that L2 distance is Hellinger's (Arandjelović, CVPR 2012).

    Args:
        support: side in pixels of the 4 × 4 cells; the softened bins reach a little beyond.
    """

    name = "rootsift"

    def _finished(self, descriptors: np.ndarray) -> np.ndarray:
        descriptors = super()._finished(descriptors)
        return np.sqrt(descriptors / descriptors.sum(1, keepdims=True))


class Orb(OpenCvBaseline):
    """ORB's rotated BRIEF (Rublee et al., ICCV 2011), upright: 256 comparisons of two places.

    Args:
        support: side in pixels of the window, 31 or more; the image is reduced until ORB's own
            window of 31 pixels covers it.
    """

    name = "orb"
    metric = "hamming"
    dimension = 256

    def __init__(self, support: int = 64) -> None:
        check_support(self.name, support, smallest=_ORB_PATCH_PX)
        # The pyramid's second level does the reducing. Its border is reflected, so that keypoints
        # there, which ORB by default drops, can be described as the other baselines do.
        extractor = cv2.ORB.create(scaleFactor=support / _ORB_PATCH_PX, nlevels=2, edgeThreshold=0)
        super().__init__(extractor, support, size=_ORB_PATCH_PX, octave=1)
