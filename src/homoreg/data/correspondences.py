"""Where patch pairs are cut: corresponding points through H, and points that do not correspond.

Sample ``i`` of an epoch is a function of ``(seed, epoch, i)`` alone. The study's own way, which
takes the same coordinates in both views for the same place, is here too, to be repeated.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from homoreg.errors import HomoregError
from homoreg.keyed import keyed_seed, keyed_uniforms

# Each attempt at a point fails with the share of the view that the other does not see; at the
# smallest overlap that the default warp allows, 0.3, this many fail once in 10¹⁰ samples.
MAX_ATTEMPTS = 64

POSITIVE, SAME_PHOTO, OTHER_PHOTO = 0, 1, 2
CORRESPONDENCES = ("homography", "same_coordinates")


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
    """Which patches to cut, for N samples.

    Attributes:
        pair1: ``(N,)`` the pair whose view 1 gives the first patch.
        points1: ``(N, 2)`` its center, pixels of that view.
        pair2: ``(N,)`` the pair whose view 2 gives the second patch.
        points2: ``(N, 2)`` its center, pixels of that view.
        kind: ``(N,)`` POSITIVE, SAME_PHOTO or OTHER_PHOTO.
    """

    pair1: np.ndarray
    points1: np.ndarray
    pair2: np.ndarray
    points2: np.ndarray
    kind: np.ndarray

    @property
    def label(self) -> np.ndarray:
        """``(N,)`` float32: +1 where the patches show the same place, else −1."""
        return np.where(self.kind == POSITIVE, 1, -1).astype(np.float32)


@dataclass(frozen=True)
class PairSampling:
    """How patch pairs are drawn.

    Args:
        positive_share: share of samples that correspond, in (0, 1].
        same_photo_share: share of the negatives that come from the same photo, in [0, 1].
        negative_radius_px: a negative of the same photo is at least this far from the true place.
        jitter_px: the second patch's center is off by up to this much, in x and in y.
        correspondence: ``"homography"`` finds a point's place in view 2 through H;
            ``"same_coordinates"`` is the study's: whole windows inside the views, on whole pixels,
            and the second where the first is, give or take the jitter. Its positives do not
            correspond.
    """

    positive_share: float = 0.5
    same_photo_share: float = 0.0
    negative_radius_px: float = 16.0
    jitter_px: float = 1.0
    correspondence: str = "homography"

    def __post_init__(self) -> None:
        if self.correspondence not in CORRESPONDENCES:
            raise HomoregError(
                f"data.sampling.correspondence={self.correspondence}: give "
                f"{' or '.join(CORRESPONDENCES)}"
            )
        if not 0 < self.positive_share <= 1:
            raise HomoregError(
                f"data.sampling.positive_share={self.positive_share}: give a share in (0, 1]"
            )
        if not 0 <= self.same_photo_share <= 1:
            raise HomoregError(
                f"data.sampling.same_photo_share={self.same_photo_share}: give a share in [0, 1]"
            )
        if self.negative_radius_px < 0:
            raise HomoregError(
                f"data.sampling.negative_radius_px={self.negative_radius_px}: give 0 or more pixels"
            )


def sample_patch_pairs(
    views: Views,
    sampling: PairSampling,
    seed: int,
    epoch: int,
    indices: np.ndarray,
    support: int = 1,
) -> PatchPairs:
    """Draw the samples of an epoch that have these indices.

    Args:
        views: the pairs to draw from.
        sampling: what to draw.
        seed: of the run.
        epoch: the samples of two epochs differ.
        indices: ``(N,)`` integers ≥ 0.
        support: side of the windows that are cut, pixels; only same coordinates ask for it.

    Raises:
        HomoregError: a negative from another photo is asked of a single photo, or two views have
            next to nothing in common.
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
    place2 = np.empty((len(rows), 2))  # where points1 lies in view 2, or is taken to lie
    through_h = sampling.correspondence == "homography"
    half = (support - 1) / 2

    def anywhere(uniforms: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Points of views of these sizes; the study's are centers of whole windows."""
        if through_h:
            return uniforms * (sizes - 1)
        return np.floor(uniforms * (np.maximum(sizes - support, 0) + 1)) + half

    def outside(attempt: int, rows: np.ndarray) -> np.ndarray:
        pair = pair1[rows]
        points1[rows] = anywhere(draw("point 1", attempt, rows, 2), views.sizes1[pair])
        place2[rows] = points1[rows]
        if through_h:
            place2[rows] = _transform(views.homographies[pair], points1[rows])
        # Written so that a point at infinity (NaN) counts as outside.
        return ~((place2[rows] >= 0) & (place2[rows] <= views.sizes2[pair] - 1)).all(1)

    _redraw(rows, outside, "two views share too little to draw points in both: warp less")

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
        raise HomoregError("negatives from other photos need at least two photos: add some")
    _redraw(others, same_photo_again, "negatives from other photos need more photos: add some")

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
    """Let ``rejected(attempt, rows)`` draw for these rows until it rejects none of them."""
    for attempt in range(MAX_ATTEMPTS):
        if not len(rows):
            return
        rows = rows[rejected(attempt, rows)]
    if len(rows):
        raise HomoregError(otherwise)


def _transform(homographies: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Each of ``(N, 2)`` points through its own of ``(N, 3, 3)``; NaN behind the view."""
    x, y, w = np.einsum("nij,nj->in", homographies[:, :, :2], points) + homographies[:, :, 2].T
    w = np.where(w > 0, w, np.nan)
    return np.stack([x / w, y / w], axis=1)
