"""Sampling of patch pairs: points that correspond through the homography, and points that do not.

Sample ``i`` of an epoch is a function of ``(seed, epoch, i)`` alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pydantic
from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveInt

from homoreg.data.keypoints import ViewKeypoints
from homoreg.errors import HomoregError
from homoreg.geometry.frames import transform_frames
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
        photos: ``(P,)`` int; pairs of one photo have one number.
        keypoints: of view 1; None for points anywhere.
    """

    homographies: np.ndarray
    sizes1: np.ndarray
    sizes2: np.ndarray
    photos: np.ndarray
    keypoints: ViewKeypoints | None = None


@dataclass(frozen=True)
class PatchPairs:
    """Where to cut the patches of N samples.

    Attributes:
        pair1: ``(N,)`` the pair in whose view 1 the first patch lies.
        frames1: ``(N, 2)`` points or ``(N, 4)`` frames of the first patch in that view.
        pair2: ``(N,)`` the pair in whose view 2 the second patch lies.
        frames2: ``(N, 2)`` points or ``(N, 4)`` frames of the second patch in that view.
        places2: ``(N, 2)`` what corresponds to the first patch's center, in view 2 of ``pair1``.
        kind: ``(N,)`` POSITIVE, SAME_PHOTO or OTHER_PHOTO.
    """

    pair1: np.ndarray
    frames1: np.ndarray
    pair2: np.ndarray
    frames2: np.ndarray
    places2: np.ndarray
    kind: np.ndarray

    @property
    def label(self) -> np.ndarray:
        """``(N,)`` float32: +1 for patches that correspond, −1 for the others."""
        return np.where(self.kind == POSITIVE, 1, -1).astype(np.float32)


Share = Annotated[float, Field(ge=0, le=1)]


@pydantic.dataclasses.dataclass(
    frozen=True, config=ConfigDict(title="data.sampling", extra="forbid")
)
class PairSampling:
    """How patch pairs are sampled.

    Args:
        positive_share: share of samples that correspond.
        same_photo_share: share of the negatives that come from the same photo.
        negative_radius_px: smallest distance of such a negative from the true correspondence.
        photos_per_batch: photos that a batch is drawn from, evenly, with one pair of views each;
            None draws every sample from all pairs. With fewer photos, all are used. A last batch
            that is shorter shows the first of its photos only.
        jitter_px: largest offset of the second patch's center, in x and in y, pixels.
        jitter_scale: largest change of its keypoint's scale, in either direction, octaves.
        jitter_deg: largest rotation of its keypoint, in either direction, degrees.
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
    photos_per_batch: PositiveInt | None = None
    jitter_px: NonNegativeFloat = 1.0
    jitter_scale: NonNegativeFloat = 0.0
    jitter_deg: NonNegativeFloat = 0.0
    correspondence: Literal["homography", "same_coordinates"] = "homography"


@dataclass(frozen=True)
class PatchPairSampler:
    """Draws patch pairs at points anywhere in the views; subclasses choose other points.

    Args:
        views: the geometry of all pairs of views.
        members: ``(M,)`` indices of the pairs to draw from.
        sampling: options.
        seed: of the run.
        support: side of the window, pixels; used by ``"same_coordinates"`` alone.
        batch_size: samples in a batch, all devices together; used with ``photos_per_batch`` alone.
    """

    views: Views
    members: np.ndarray
    sampling: PairSampling
    seed: int
    support: int = 1
    batch_size: int = 1

    def sample(self, epoch: int, indices: np.ndarray) -> PatchPairs:
        """Draw the samples of an epoch with these indices, ``(N,)`` integers ≥ 0.

        Raises:
            HomoregError: negatives from other photos where there is one photo, two views that
                hardly overlap, or a negative radius that leaves no point in a view.
        """
        views, sampling, photos = self.views, self.sampling, self.views.photos
        rows = np.arange(len(indices))

        def draw(purpose: str, attempt: int, rows: np.ndarray, draws: int) -> np.ndarray:
            key = keyed_seed(self.seed, epoch, purpose, attempt)
            return keyed_uniforms(key, indices[rows], draws)

        u = draw("what", 0, rows, 5)
        # The pairs that each sample and its negatives are drawn from.
        choices = np.broadcast_to(self.members, (len(rows), len(self.members)))
        pair1 = _pick(choices, rows, u[:, 0])
        if sampling.photos_per_batch:
            choices = self._pairs_of_batches(epoch, indices, sampling.photos_per_batch)
            pair1 = choices[rows, indices % self.batch_size * choices.shape[1] // self.batch_size]
        negative_kind = np.where(u[:, 2] < sampling.same_photo_share, SAME_PHOTO, OTHER_PHOTO)
        kind = np.where(u[:, 1] < sampling.positive_share, POSITIVE, negative_kind)

        frames1 = self.first(pair1, np.zeros((len(rows), 2)))
        mapped = frames1.copy()

        def outside(attempt: int, rows: np.ndarray) -> np.ndarray:
            pair = pair1[rows]
            frames1[rows] = self.first(pair, draw("point 1", attempt, rows, 2))
            mapped[rows] = self.map_to_view2(pair, frames1[rows])
            # NaN, a point at infinity, counts as outside.
            place2 = mapped[rows, :2]
            return ~((place2 >= 0) & (place2 <= views.sizes2[pair] - 1)).all(1)

        _redraw(rows, outside, "two views hardly overlap, so that no point lies in both: warp less")

        pair2 = pair1.copy()
        frames2 = self.jitter(pair1, mapped, u[:, 3:5], draw("frame", 0, rows, 2))

        def same_photo_again(attempt: int, rows: np.ndarray) -> np.ndarray:
            v = draw("other photo", attempt, rows, 3)
            pair2[rows] = _pick(choices, rows, v[:, 0])
            frames2[rows] = self.second(pair2[rows], v[:, 1:])
            return photos[pair2[rows]] == photos[pair1[rows]]

        _redraw(
            rows[kind == OTHER_PHOTO],
            same_photo_again,
            "data.sampling.same_photo_share: negatives from other photos need more photos, "
            "at least two",
        )

        def too_close(attempt: int, rows: np.ndarray) -> np.ndarray:
            frames2[rows] = self.second(pair2[rows], draw("same photo", attempt, rows, 2))
            distances = np.linalg.norm(frames2[rows, :2] - mapped[rows, :2], axis=1)
            return distances < sampling.negative_radius_px

        _redraw(
            rows[kind == SAME_PHOTO],
            too_close,
            f"data.sampling.negative_radius_px={sampling.negative_radius_px} leaves no point in a "
            "view",
        )
        return PatchPairs(pair1, frames1, pair2, frames2, mapped[:, :2], kind)

    def first(self, pair: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """A point in view 1 of each pair, by two numbers in [0, 1)."""
        return uniforms * (self.views.sizes1[pair] - 1)

    def second(self, pair: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """A point in view 2 of each pair, by two numbers in [0, 1)."""
        return uniforms * (self.views.sizes2[pair] - 1)

    def map_to_view2(self, pair: np.ndarray, frames1: np.ndarray) -> np.ndarray:
        """The points of view 2 that correspond to points of view 1."""
        return transform_frames(frames1, self.views.homographies[pair])

    def jitter(
        self, pair: np.ndarray, frames2: np.ndarray, place: np.ndarray, frame: np.ndarray
    ) -> np.ndarray:
        """Frames of view 2 with jitter, by ``(N, 2)`` numbers in [0, 1) each."""
        sampling, jittered = self.sampling, frames2.copy()
        jittered[:, :2] += (2 * place - 1) * sampling.jitter_px
        if frames2.shape[1] > 2:
            jittered[:, 2] *= 2 ** ((2 * frame[:, 0] - 1) * sampling.jitter_scale)
        if frames2.shape[1] > 3:
            jittered[:, 3] += (2 * frame[:, 1] - 1) * sampling.jitter_deg
        return jittered

    def _pairs_of_batches(self, epoch: int, indices: np.ndarray, width: int) -> np.ndarray:
        """``(N, width)`` the pairs that each sample's batch is drawn from, one for each photo."""
        order = self.members[np.argsort(self.views.photos[self.members], kind="stable")]
        photos, starts, counts = np.unique(
            self.views.photos[order], return_index=True, return_counts=True
        )
        width = min(width, len(photos))
        choices = np.empty((len(indices), width), int)
        batches = indices // self.batch_size
        for batch in np.unique(batches).tolist():
            u = keyed_uniforms(keyed_seed(self.seed, epoch, "photos of a batch", batch), photos, 2)
            chosen = np.argsort(u[:, 0])[:width]
            which = starts[chosen] + (u[chosen, 1] * counts[chosen]).astype(int)
            choices[batches == batch] = order[which]
        return choices


class KeypointSampler(PatchPairSampler):
    """Draws from the keypoints of view 1 that view 2 shows, and where they lie there."""

    def first(self, pair: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        assert self.views.keypoints is not None
        return self.views.keypoints.pick(pair, uniforms[:, 0])

    def second(self, pair: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        return self.map_to_view2(pair, self.first(pair, uniforms))


class SameCoordinatesSampler(PatchPairSampler):
    """The study's flaw: windows at the same coordinates of both views, on whole pixels."""

    def first(self, pair: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        return self._inside(self.views.sizes1[pair], uniforms)

    def second(self, pair: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        return self._inside(self.views.sizes2[pair], uniforms)

    def map_to_view2(self, pair: np.ndarray, frames1: np.ndarray) -> np.ndarray:
        return frames1

    def jitter(
        self, pair: np.ndarray, frames2: np.ndarray, place: np.ndarray, frame: np.ndarray
    ) -> np.ndarray:
        reach, half = int(self.sampling.jitter_px), (self.support - 1) / 2
        steps = np.floor(place * (2 * reach + 1)) - reach
        farthest = np.maximum(self.views.sizes2[pair] - 1 - half, half)
        return np.clip(frames2 + steps, half, farthest)

    def _inside(self, sizes: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """Centers of windows that lie inside views of these sizes."""
        free = np.maximum(sizes - self.support, 0) + 1
        return np.floor(uniforms * free) + (self.support - 1) / 2


def patch_pair_sampler(
    views: Views,
    members: np.ndarray,
    sampling: PairSampling,
    seed: int,
    support: int = 1,
    batch_size: int = 1,
) -> PatchPairSampler:
    """The sampler that the options ask for; see :class:`PatchPairSampler`.

    Raises:
        HomoregError: the views of no pair share enough keypoints.
    """
    kind = PatchPairSampler
    if sampling.correspondence == "same_coordinates":
        kind = SameCoordinatesSampler
    elif views.keypoints is not None:
        kind, members = KeypointSampler, views.keypoints.usable(members)
    return kind(views, members, sampling, seed, support, batch_size)


def _pick(choices: np.ndarray, rows: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """One of each row's choices, by a number in [0, 1)."""
    return choices[rows, (uniforms * choices.shape[1]).astype(int)]


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
