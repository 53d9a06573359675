"""Sampling of patch pairs: points that correspond through H, and points that do not.

Sample ``i`` of an epoch is a function of ``(seed, epoch, i)`` alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pydantic
from pydantic import ConfigDict, Field, NonNegativeFloat

from homoreg.errors import HomoregError
from homoreg.keyed import keyed_seed, keyed_uniforms

# An attempt fails where the other view does not show the point. At the smallest overlap that the
# default warp allows, 0.3, this many attempts in a row fail once in 10¹⁰ samples.
MAX_ATTEMPTS = 64

POSITIVE, SAME_PHOTO, OTHER_PHOTO = 0, 1, 2


@dataclass(frozen=True)
class Views:
    """The geometry of a set of pairs.

    Attributes:
        homographies: ``(P, 3, 3)`` float64, view 1 to view 2.
        sizes1: ``(P, 2)`` widths and heights of view 1.
        sizes2: ``(P, 2)`` of view 2.
        photos: ``(P,)`` int; pairs of one photo carry one number.
    """

    homographies: np.ndarray
    sizes1: np.ndarray
    sizes2: np.ndarray
    photos: np.ndarray


@dataclass(frozen=True)
class PatchPairs:
    """Where to cut the patches of N samples.

    Attributes:
        pair1: ``(N,)`` the pair in whose view 1 the first patch lies.
        points1: ``(N, 2)`` center of the first patch in that view, pixels.
        pair2: ``(N,)`` the pair in whose view 2 the second patch lies.
        points2: ``(N, 2)`` center of the second patch in that view, pixels.
        kind: ``(N,)`` POSITIVE, SAME_PHOTO or OTHER_PHOTO.
    """

    pair1: np.ndarray
    points1: np.ndarray
    pair2: np.ndarray
    points2: np.ndarray
    kind: np.ndarray

    @property
    def label(self) -> np.ndarray:
        """``(N,)`` float32: +1 for patches that correspond, −1 for the others."""
        return np.where(self.kind == POSITIVE, 1, -1).astype(np.float32)


Share = Annotated[float, Field(ge=0, le=1)]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(title="data.sampling"))
class PairSampling:
    """How patch pairs are sampled.

    Args:
        positive_share: share of samples that correspond.
        same_photo_share: share of the negatives that come from the same photo.
        negative_radius_px: smallest distance of such a negative from the true correspondence.
        jitter_px: largest offset of the second patch's center, in x and in y.
        correspondence: ``"homography"`` maps a point to view 2 through H. ``"same_coordinates"``
            is the study's flaw: whole windows inside the views, centered on whole pixels, the
            second one at the coordinates of the first plus the jitter. Its positives do not
            correspond.

    Raises:
        ValidationError: an option is out of its range.
    """

    positive_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    same_photo_share: Share = 0.0
    negative_radius_px: NonNegativeFloat = 16.0
    jitter_px: NonNegativeFloat = 1.0
    correspondence: Literal["homography", "same_coordinates"] = "homography"


def sample_patch_pairs(
    views: Views,
    sampling: PairSampling,
    seed: int,
    epoch: int,
    indices: np.ndarray,
    support: int = 1,
) -> PatchPairs:
    """Draw the samples of an epoch with these indices.

    Args:
        views: the pairs to draw from.
        sampling: options.
        seed: of the run.
        epoch: part of each sample's key.
        indices: ``(N,)`` integers ≥ 0.
        support: side of the window, pixels; used by ``"same_coordinates"`` alone.

    Raises:
        HomoregError: negatives from other photos where there is one photo, two views that hardly
            overlap, or a negative radius that leaves no place in a view.
    """
    rows = np.arange(len(indices))
    pairs, photos = len(views.photos), views.photos

    def draw(purpose: str, attempt: int, rows: np.ndarray, draws: int) -> np.ndarray:
        return keyed_uniforms(keyed_seed(seed, epoch, purpose, attempt), indices[rows], draws)

    u = draw("what", 0, rows, 5)
    pair1 = (u[:, 0] * pairs).astype(int)
    negative_kind = np.where(u[:, 2] < sampling.same_photo_share, SAME_PHOTO, OTHER_PHOTO)
    kind = np.where(u[:, 1] < sampling.positive_share, POSITIVE, negative_kind)

    points1 = np.empty((len(rows), 2))
    place2 = np.empty((len(rows), 2))  # of points1 in view 2, or what stands for it
    through_h = sampling.correspondence == "homography"
    half = (support - 1) / 2

    def anywhere(uniforms: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Points in views of these sizes; for the study, centers of windows inside them."""
        if through_h:
            return uniforms * (sizes - 1)
        return np.floor(uniforms * (np.maximum(sizes - support, 0) + 1)) + half

    def outside(attempt: int, rows: np.ndarray) -> np.ndarray:
        pair = pair1[rows]
        points1[rows] = anywhere(draw("point 1", attempt, rows, 2), views.sizes1[pair])
        place2[rows] = points1[rows]
        if through_h:
            place2[rows] = _transform(views.homographies[pair], points1[rows])
        # NaN, a point at infinity, counts as outside.
        return ~((place2[rows] >= 0) & (place2[rows] <= views.sizes2[pair] - 1)).all(1)

    _redraw(rows, outside, "two views hardly overlap, so that no point lies in both: warp less")

    pair2 = pair1.copy()
    if through_h:
        points2 = place2 + (2 * u[:, 3:5] - 1) * sampling.jitter_px
    else:
        reach = int(sampling.jitter_px)
        steps = np.floor(u[:, 3:5] * (2 * reach + 1)) - reach
        farthest = np.maximum(views.sizes2[pair1] - 1 - half, half)
        points2 = np.clip(place2 + steps, half, farthest)

    def same_photo_again(attempt: int, rows: np.ndarray) -> np.ndarray:
        v = draw("other photo", attempt, rows, 3)
        pair2[rows] = (v[:, 0] * pairs).astype(int)
        points2[rows] = anywhere(v[:, 1:], views.sizes2[pair2[rows]])
        return photos[pair2[rows]] == photos[pair1[rows]]

    others = rows[kind == OTHER_PHOTO]
    if len(others) and (photos == photos[0]).all():
        raise HomoregError(
            "data.sampling.same_photo_share: negatives from other photos need at least two photos"
        )
    _redraw(
        others,
        same_photo_again,
        "data.sampling.same_photo_share: negatives from other photos need more photos",
    )

    def too_close(attempt: int, rows: np.ndarray) -> np.ndarray:
        points2[rows] = anywhere(draw("same photo", attempt, rows, 2), views.sizes2[pair2[rows]])
        return np.linalg.norm(points2[rows] - place2[rows], axis=1) < sampling.negative_radius_px

    _redraw(
        rows[kind == SAME_PHOTO],
        too_close,
        f"data.sampling.negative_radius_px={sampling.negative_radius_px} leaves no place in a view",
    )
    return PatchPairs(pair1, points1, pair2, points2, kind)


def _redraw(
    rows: np.ndarray, rejected: Callable[[int, np.ndarray], np.ndarray], otherwise: str
) -> None:
    """Call ``rejected(attempt, rows)``, which draws for the rows, until it rejects none of them."""
    for attempt in range(MAX_ATTEMPTS):
        if not len(rows):
            return
        rows = rows[rejected(attempt, rows)]
    if len(rows):
        raise HomoregError(otherwise)


def _transform(homographies: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map each of ``(N, 2)`` points by its own of ``(N, 3, 3)``; NaN behind the horizon."""
    x, y, w = np.einsum("nij,nj->in", homographies[:, :, :2], points) + homographies[:, :, 2].T
    w = np.where(w > 0, w, np.nan)
    return np.stack([x / w, y / w], axis=1)
