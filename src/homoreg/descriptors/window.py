"""The patches that a network describes at an image's keypoints."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pydantic
from pydantic import ConfigDict

from homoreg.data.patches import Window, inside_image


@dataclass(frozen=True)
class CutPatches:
    """The patches around an image's keypoints.

    Attributes:
        patches: ``(K, S, S, 3)`` uint8, of the keypoints that can be described.
        described: ``(N,)`` bool, which of the N keypoints these are.
    """

    patches: np.ndarray
    described: np.ndarray


@pydantic.dataclasses.dataclass(
    frozen=True, config=ConfigDict(title="evaluation.patch", extra="forbid")
)
class PatchWindow(Window):
    """How patches are cut around keypoints. Equal windows cut equal patches.

    Args:
        support, size, window, scale_factor: see :class:`~homoreg.data.patches.Window`.
        keypoint_rounding: ``"none"`` centers the window on the keypoint with subpixel accuracy;
            ``"truncate"`` cuts ``[x − support // 2, x + support // 2)`` around the truncated
            keypoint, as the study did.
        border: ``"replicate"`` repeats the edge where a window leaves the image; ``"drop"`` does
            not describe such keypoints, as the study did.
    """

    keypoint_rounding: Literal["none", "truncate"] = "none"
    border: Literal["replicate", "drop"] = "replicate"

    def cut(self, image: np.ndarray, keypoints: np.ndarray) -> CutPatches:
        """Patches of keypoints in ``(H, W, 3)`` uint8; none for those outside it.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            keypoints: ``(N, 2)``, ``(N, 3)`` or ``(N, 4)``, see :mod:`homoreg.geometry.frames`.
        """
        frames = np.array(keypoints, np.float64)
        if not len(frames):
            return CutPatches(np.empty((0, self.size, self.size, 3), np.uint8), np.empty(0, bool))
        inside = inside_image(image, frames[:, :2])
        if self.keypoint_rounding == "truncate":
            # The center of an even window lies between two pixels.
            frames[:, :2] = np.floor(frames[:, :2]) - (0.5 if self.support % 2 == 0 else 0.0)
        if self.border == "drop":
            half = self.reach(frames)[:, None] - 0.5
            inside &= inside_image(image, frames[:, :2] - half)
            inside &= inside_image(image, frames[:, :2] + half)
        return CutPatches(self.patches(image, frames[inside]), inside)
