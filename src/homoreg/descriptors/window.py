"""Which patches a network sees at an image's keypoints."""

from dataclasses import dataclass

import numpy as np

from homoreg.data.patches import cut_patches, inside_image
from homoreg.errors import HomoregError

ROUNDINGS = ("none", "truncate")
BORDERS = ("replicate", "drop")


@dataclass(frozen=True)
class CutPatches:
    """The patches around an image's keypoints.

    Attributes:
        patches: ``(K, S, S, 3)`` uint8, of the keypoints that can be described.
        described: ``(N,)`` bool, which of the N keypoints these are.
    """

    patches: np.ndarray
    described: np.ndarray


@dataclass(frozen=True)
class PatchWindow:
    """How patches are cut around keypoints. Equal windows cut equal patches.

    Args:
        support: side of the window in the photo, pixels.
        size: side of the patch, pixels.
        keypoint_rounding: ``"none"`` centers the window on the keypoint with subpixel accuracy;
            ``"truncate"`` cuts ``[x − support // 2, x + support // 2)`` around the truncated
            keypoint, as the study did.
        border: ``"replicate"`` repeats the edge where a window leaves the image; ``"drop"`` does
            not describe such keypoints, as the study did.
    """

    support: int
    size: int
    keypoint_rounding: str = "none"
    border: str = "replicate"

    def __post_init__(self) -> None:
        if self.keypoint_rounding not in ROUNDINGS:
            raise HomoregError(
                f"evaluation.patch.keypoint_rounding={self.keypoint_rounding}: "
                "give none or truncate"
            )
        if self.border not in BORDERS:
            raise HomoregError(f"evaluation.patch.border={self.border}: give replicate or drop")

    def cut(self, image: np.ndarray, keypoints: np.ndarray) -> CutPatches:
        """Patches of ``(N, 2)`` keypoints in ``(H, W, 3)`` uint8; none for those outside it."""
        keypoints = np.asarray(keypoints, np.float64).reshape(-1, 2)
        inside = inside_image(image, keypoints)
        centers = keypoints
        if self.keypoint_rounding == "truncate":
            # The center of an even window lies between two pixels.
            centers = np.floor(keypoints) - (0.5 if self.support % 2 == 0 else 0.0)
        if self.border == "drop":
            half = (self.support - 1) / 2
            inside &= inside_image(image, centers - half) & inside_image(image, centers + half)
        patches = cut_patches(image, centers[inside], support=self.support, size=self.size)
        return CutPatches(patches, inside)
