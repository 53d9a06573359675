"""Second views of photographs: a random homography, then occlusion and blur."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import pydantic
from pydantic import AfterValidator, ConfigDict, Field, PositiveInt

from homoreg.errors import HomoregError
from homoreg.geometry import (
    corners_of,
    dlt_homography,
    folds,
    inverse,
    overlap_fraction,
    transform_points,
)
from homoreg.keyed import keyed_rng

Size = tuple[int, int]

ATTEMPTS = 200
BORDERS = {
    "reflect": cv2.BORDER_REFLECT,
    "replicate": cv2.BORDER_REPLICATE,
    "black": cv2.BORDER_CONSTANT,
}


def similarity_about_center(
    size: Size, rotation_deg: float, scale: float, shift_px: Sequence[float]
) -> np.ndarray:
    """Rotation and scaling about the center of a view, then a shift: ``(3, 3)`` float64.

    Positive angles turn the x axis toward the y axis, clockwise on the screen.

    >>> similarity_about_center((5, 3), 90, 1, (10, 0)).round(9).tolist()
    [[0.0, -1.0, 13.0], [1.0, 0.0, -1.0], [0.0, 0.0, 1.0]]
    """
    center = (np.array(size) - 1) / 2
    angle = np.deg2rad(rotation_deg)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    offset = center + shift_px - linear @ center
    return np.vstack([np.column_stack([linear, offset]), [0.0, 0.0, 1.0]])


def move_corners(homography: np.ndarray, size: Size, offsets_px: np.ndarray) -> np.ndarray:
    """The homography that maps each corner of view 1 to where ``homography`` does, plus an offset.

    Args:
        homography: ``(3, 3)``.
        size: (width, height) of view 1.
        offsets_px: ``(4, 2)`` pixels of view 2, clockwise from the top left.
    """
    if not offsets_px.any():
        return homography
    corners = corners_of(size)
    return dlt_homography(corners, transform_points(corners, homography) + offsets_px).homography


def mutual_overlap(homography: np.ndarray, size: Size) -> float:
    """The smaller of two shares in [0, 1]: of view 1 visible in view 2, and of view 2 in view 1.

    Both views have ``size``. 0 where the homography folds view 1 or mirrors it.
    """
    # h33 is the depth at the first corner; without a fold, its sign is that of the whole view.
    if folds(homography, size) or np.linalg.det(homography) * homography[2, 2] <= 0:
        return 0.0
    return min(
        overlap_fraction(homography, size, size),
        overlap_fraction(inverse(homography), size, size),
    )


def render(
    image: np.ndarray,
    homography: np.ndarray,
    parameters: Mapping[str, Any] | None = None,
    *,
    border: str = "reflect",
    window: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """Render view 2 of an image: pixel x2 shows the image at ``H⁻¹ x2``, bilinearly interpolated.

    Args:
        image: ``(H, W, 3)`` uint8.
        homography: ``(3, 3)``, view 1 to view 2.
        parameters: of a :class:`WarpDraw`, for its ``occlusion_box``, a black rectangle, and its
            ``blur_kernel``, the width of a Gaussian kernel; None for neither.
        border: how view 2 is filled where view 1 ends: ``reflect``, ``replicate`` or ``black``.
        window: x, y, width, height of the part of view 2 to render, pixels; None for all of it.
            The blur equals that of the whole view but for half a kernel along the window's edges.

    Returns:
        ``(H, W, 3)`` uint8, of the image's size or the window's.
    """
    left, top, width, height = window or (0, 0, image.shape[1], image.shape[0])
    into_window = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]])
    view = cv2.warpPerspective(
        image,
        into_window @ homography,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=BORDERS[border],
    )
    drawn = parameters or {}
    if box := drawn.get("occlusion_box"):
        x, y, w, h = box
        view[max(y - top, 0) : max(y + h - top, 0), max(x - left, 0) : max(x + w - left, 0)] = 0
    if kernel := drawn.get("blur_kernel"):
        view = cv2.GaussianBlur(view, (kernel, kernel), 0)
    return view


@dataclass(frozen=True)
class WarpDraw:
    """A drawn warp: ``homography`` is ``(3, 3)`` float64, from view 1 to view 2.

    ``parameters`` are what it was made from, as the manifest stores them: ``rotation_deg, scale,
    shift_px`` (x, y), ``corner_jitter_px`` (four times x, y), ``occlusion_box`` (x, y, width,
    height in pixels, or None), ``blur_kernel`` (pixels, or None), ``overlap_fraction``, ``repeat``.
    """

    homography: np.ndarray
    parameters: dict[str, Any]


def _ordered(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("give the smaller number first")
    return ends


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError("give odd widths in pixels")
    return kernel


Share = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(ge=0.01, le=100)]
Kernel = Annotated[int, Field(gt=0), AfterValidator(_odd)]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(title="warp", extra="forbid"))
class Warp:
    """The distribution of second views; the defaults are those of ``conf/warp/default.yaml``.

    Args:
        rotation_deg: largest rotation about the center, in either direction, degrees.
        scale: smallest and largest scaling about the center.
        shift: largest shift, in either direction, as a share of width and of height.
        corner_jitter: largest move of each corner, in either direction, as a share of width and of
            height. This is the perspective part.
        occlusion_probability: probability that a black rectangle covers a part of view 2.
        occlusion_size: smallest and largest sides of it, as shares of width and of height.
        blur_probability: probability that view 2 is blurred.
        blur_kernel: widths of the Gaussian kernel to choose from, odd, pixels.
        border: how view 2 is filled where view 1 ends.
        repeats: second views per photo; None leaves it to the source.
        min_overlap: smallest share of either view that the other one must show. A homography with
            less, or one that folds the image, is drawn again.

    Raises:
        ValidationError: an option is out of its range.
    """

    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 30.0
    scale: Annotated[tuple[Scale, Scale], AfterValidator(_ordered)] = (0.8, 1.2)
    shift: Share = 0.15
    corner_jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    occlusion_probability: Share = 0.3
    occlusion_size: Annotated[tuple[Share, Share], AfterValidator(_ordered)] = (0.1, 0.2)
    blur_probability: Share = 0.3
    blur_kernel: Annotated[tuple[Kernel, ...], Field(min_length=1)] = (3, 5)
    border: Literal["reflect", "replicate", "black"] = "reflect"
    repeats: PositiveInt | None = None
    min_overlap: Annotated[float, Field(ge=0, lt=1)] = 0.3

    def draw(self, seed: int, photo: str, repeat: int, size: Size) -> WarpDraw:
        """Draw the warp of ``(seed, photo, repeat)``, a function of this key and the size.

        Args:
            seed: of the preparation.
            photo: name of the photo.
            repeat: index of the second view, from 0.
            size: (width, height) of view 1 in pixels.

        Raises:
            HomoregError: none of 200 homographies had enough overlap.
        """
        for attempt in range(ATTEMPTS):
            rng = keyed_rng(seed, photo, repeat, "homography", attempt)
            rotation_deg = float(rng.uniform(-self.rotation_deg, self.rotation_deg))
            scale = float(rng.uniform(self.scale[0], self.scale[1]))
            shift_px = rng.uniform(-self.shift, self.shift, 2) * size
            jitter_px = rng.uniform(-self.corner_jitter, self.corner_jitter, (4, 2)) * size
            homography = similarity_about_center(size, rotation_deg, scale, shift_px.tolist())
            homography = move_corners(homography, size, jitter_px)
            overlap = mutual_overlap(homography, size)
            if overlap > 0 and overlap >= self.min_overlap:
                break
        else:
            raise HomoregError(
                f"warp.min_overlap={self.min_overlap}: none of {ATTEMPTS} homographies for {photo} "
                "overlaps that much; lower it or the ranges of the warp"
            )
        rng = keyed_rng(seed, photo, repeat, "photometric")
        parameters = {
            "rotation_deg": rotation_deg,
            "scale": scale,
            "shift_px": shift_px.tolist(),
            "corner_jitter_px": jitter_px.tolist(),
            "occlusion_box": self._draw_occlusion(rng, size),
            "blur_kernel": self._draw_blur(rng),
            "overlap_fraction": overlap,
            "repeat": repeat,
        }
        return WarpDraw(homography, parameters)

    def _draw_occlusion(self, rng: np.random.Generator, size: Size) -> list[int] | None:
        if rng.uniform() >= self.occlusion_probability:
            return None
        smallest, largest = self.occlusion_size
        box = np.maximum(np.rint(rng.uniform(smallest, largest, 2) * size).astype(int), 1)
        corner = rng.integers(0, np.array(size) - box, endpoint=True)
        return [*corner.tolist(), *box.tolist()]

    def _draw_blur(self, rng: np.random.Generator) -> int | None:
        return int(rng.choice(self.blur_kernel)) if rng.uniform() < self.blur_probability else None

    def apply(self, image: np.ndarray, draw: WarpDraw) -> np.ndarray:
        """View 2, ``(H, W, 3)`` uint8, of an image under a warp drawn for its size."""
        return render(image, draw.homography, draw.parameters, border=self.border)
