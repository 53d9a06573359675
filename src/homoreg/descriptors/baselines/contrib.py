"""VGG, BEBLID, DAISY and AKAZE: the baselines that need opencv-contrib-python."""

import math
from collections.abc import Callable
from typing import Any

import cv2

from homoreg.descriptors.baselines.common import OpenCvBaseline, check_support
from homoreg.errors import HomoregError

_AKAZE_UPRIGHT = 4  # DESCRIPTOR_MLDB_UPRIGHT, whose name moved between OpenCV 4 and 5
_AKAZE_BASE_SIGMA = 1.6
_AKAZE_LEVELS = 4


class Vgg120(OpenCvBaseline):
    """VGG-120 (Simonyan, Vedaldi and Zisserman, PAMI 2014): learned pooling regions, 120 numbers.

    Args:
        support: side in pixels of the window.
    """

    name = "vgg"
    metric = "l2"
    dimension = 120

    def __init__(self, support: int = 64) -> None:
        check_support(self.name, support)
        extractor = _creator(self.name, "VGG_create")(scale_factor=1.0)
        super().__init__(extractor, support, size=support)


class Beblid(OpenCvBaseline):
    """BEBLID-512 (Suárez et al., PRL 2020): boosted comparisons of box averages.

    Args:
        support: side in pixels of the window.
    """

    name = "beblid"
    metric = "hamming"
    dimension = 512

    def __init__(self, support: int = 64) -> None:
        check_support(self.name, support)
        extractor = _creator(self.name, "BEBLID_create")(scale_factor=1.0)
        super().__init__(extractor, support, size=support)


class Daisy(OpenCvBaseline):
    """DAISY (Tola, Lepetit and Fua, PAMI 2010): gradient histograms on three rings, 200 numbers.

    Args:
        support: side in pixels of the window; the outer ring's centers lie on its inscribed circle.
    """

    name = "daisy"
    metric = "l2"
    dimension = 200

    def __init__(self, support: int = 64) -> None:
        check_support(self.name, support)
        extractor = _creator(self.name, "DAISY_create")(radius=support / 2)
        super().__init__(extractor, support, size=support)


class Akaze(OpenCvBaseline):
    """AKAZE's M-LDB (Alcantarilla, Nuevo and Bartoli, BMVC 2013), upright: 486 comparisons.

    Args:
        support: side in pixels of the window, to the next multiple of 20.
    """

    name = "akaze"
    metric = "hamming"
    dimension = 486

    def __init__(self, support: int = 64) -> None:
        check_support(self.name, support)
        extractor = _creator(self.name, "AKAZE_create")(descriptor_type=_AKAZE_UPRIGHT)
        # The window is 10 keypoint sizes, and a size 3 sigma. Only the first octave is used: it
        # alone exists in an image of any size.
        size = support / 10
        level = round(_AKAZE_LEVELS * math.log2(size / 3 / _AKAZE_BASE_SIGMA))
        level = min(max(level, 0), _AKAZE_LEVELS - 1)
        super().__init__(extractor, support, size=size, class_id=level)


def _creator(name: str, function: str) -> Callable[..., Any]:
    # OpenCV 4 has AKAZE in its main part, OpenCV 5 beside the others in xfeatures2d.
    for module in (cv2, getattr(cv2, "xfeatures2d", None)):
        if hasattr(module, function):
            return getattr(module, function)
    raise HomoregError(
        f"descriptor {name}: OpenCV {cv2.__version__} here lacks {function}; install "
        "opencv-contrib-python in place of opencv-python"
    )
