"""Patch-level metrics of a descriptor: FPR95, average precision, 1-NN accuracy, alignment, rank.

Points correspond through the true homography, so the metrics depend neither on a second detection
nor on the matcher or an estimator.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from torchmetrics.functional.classification import (
    binary_average_precision,
    binary_specificity_at_sensitivity,
)

from homoreg.aggregates import finite_mean
from homoreg.descriptors.descriptor import Descriptor, keypoints_for
from homoreg.descriptors.metrics import alignment, effective_rank, uniformity
from homoreg.evaluation.pair import ViewPair
from homoreg.evaluation.table import identity
from homoreg.geometry import in_front, transform_points
from homoreg.geometry.frames import transform_frames
from homoreg.keyed import keyed_rng
from homoreg.matching import Detector, ShiTomasi, detect

# Points for uniformity, which looks at all pairs of them, and for effective rank, which needs their
# SVD; as many as in validation during training.
SAMPLE = 2000


@dataclass(frozen=True)
class PatchMetrics:
    """Patch-level metrics of one descriptor.

    FPR95, average precision and 1-NN accuracy rest on the distance that matching uses: L2 between
    the descriptors as they are, or the number of differing bits. Alignment, uniformity and
    effective rank are defined on the unit sphere: descriptors are brought to unit length, bits to
    ±1/√D, and at most 2000 points are used. NaN stands for what cannot be computed, such as
    ``*_other_photo`` where all pairs are of one photo.

    Attributes:
        descriptor, regularizer, seed: as in the evaluation's table.
        dimension: numbers, or bits, of a descriptor.
        pairs: image pairs.
        photos: different photos among them.
        points: corresponding points described in both views.
        left_out: corresponding points that have no descriptor in at least one view.
        fpr95_same_photo, fpr95_other_photo: share of negatives that pass the threshold at which
            95 % of the positives pass, in [0, 1]; 0 is perfect.
        average_precision_same_photo, average_precision_other_photo: in [0, 1], at one negative for
            each positive; chance is 0.5.
        nearest_neighbor_accuracy: share of points that lie nearer to their own place in view 2 than
            to every other point there that is at least ``radius_px`` away, in [0, 1]; equal
            distances count as wrong. It falls with the number of points in a pair.
        alignment: E‖f − f⁺‖², in [0, 4]; 0 is perfect.
        uniformity: log E exp(−2‖f − f′‖²) ≤ 0 over the points of view 1; 0 when collapsed.
        effective_rank: dimensions in use at the points of view 1, in [1, dimension].
    """

    descriptor: str
    regularizer: str
    seed: int | None
    dimension: int
    pairs: int
    photos: int
    points: int
    left_out: int
    fpr95_same_photo: float
    fpr95_other_photo: float
    average_precision_same_photo: float
    average_precision_other_photo: float
    nearest_neighbor_accuracy: float
    alignment: float
    uniformity: float
    effective_rank: float


def patch_metrics(
    descriptor: Descriptor,
    pairs: Iterable[ViewPair],
    *,
    detector: Detector | None = None,
    points_per_pair: int = 100,
    radius_px: float = 16.0,
    seed: int = 0,
) -> PatchMetrics:
    """Evaluate a descriptor at corresponding points of a benchmark.

    Points are keypoints of view 1, where descriptors are used in practice, and their true places in
    view 2. Each point has one negative in its own photo and one in another. Points and negatives
    depend on images, detector and seed alone, so they are the same for all descriptors.

    Args:
        descriptor: meets :class:`homoreg.descriptors.descriptor.Descriptor`.
        pairs: a benchmark, or some of its pairs.
        detector: Shi-Tomasi corners by default.
        points_per_pair: at most so many of the keypoints that view 2 shows too, drawn at random.
        radius_px: points closer than this in view 2 are not negatives of each other.
        seed: of the draws.
    """
    detector = detector or ShiTomasi()

    photos: list[str] = []
    parts = []
    for pair in pairs:
        photos.append(pair.photo or pair.id)
        rng = keyed_rng("patch metrics", seed, pair.id)
        keypoints = detect(detector, pair.image1)
        points1, points2 = corresponding_points(pair, keypoints, points_per_pair, rng)
        if len(points1):
            parts.append(_describe(descriptor, pair, points1, points2, radius_px, rng))
    parts = parts or [_NO_POINTS]

    first = np.concatenate([part.first for part in parts])
    second = np.concatenate([part.second for part in parts])
    positive = np.concatenate([part.positive for part in parts])
    same_photo = np.concatenate([part.same_photo for part in parts])
    nearest = np.concatenate([part.nearest for part in parts])
    photo_of_point = np.repeat([part.photo for part in parts], [len(p.first) for p in parts])
    negatives = draw_other_photo(photo_of_point, keyed_rng("patch metrics, other photo", seed))
    other_photo = row_distances(first, second[negatives], descriptor.metric)
    other_photo[negatives < 0] = np.nan

    described = np.flatnonzero(np.isfinite(positive))
    sample = keyed_rng("patch metrics, sample", seed).permutation(described)[:SAMPLE]
    units = [unit_length(view[sample], descriptor.metric) for view in (first, second)]
    directed = np.isfinite(units).all(axis=(0, 2))
    unit1, unit2 = (torch.from_numpy(unit[directed]) for unit in units)
    several = len(unit1) > 1
    fpr95_same_photo, precision_same_photo = separation(positive, same_photo)
    fpr95_other_photo, precision_other_photo = separation(positive, other_photo)
    return PatchMetrics(
        **identity(descriptor),
        dimension=first.shape[1],
        pairs=len(photos),
        photos=len(set(photos)),
        points=len(described),
        left_out=len(positive) - len(described),
        fpr95_same_photo=fpr95_same_photo,
        fpr95_other_photo=fpr95_other_photo,
        average_precision_same_photo=precision_same_photo,
        average_precision_other_photo=precision_other_photo,
        nearest_neighbor_accuracy=finite_mean(nearest),
        alignment=alignment(unit1, unit2).item(),
        uniformity=uniformity(unit1).item() if several else float("nan"),
        effective_rank=effective_rank(unit1).item() if several else float("nan"),
    )


def corresponding_points(
    pair: ViewPair, keypoints: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints of view 1 that view 2 shows, and their true places there.

    Args:
        pair: its homography and sizes are used.
        keypoints: ``(N, 2)``, ``(N, 3)`` or ``(N, 4)`` of view 1.
        count: at most so many, drawn without replacement.
        rng: of the draw.

    Returns:
        M ≤ count keypoints of view 1, and what they are in view 2.
    """
    points = keypoints[:, :2]
    places = transform_points(points, pair.homography)
    inside = ((places >= 0) & (places <= np.array(pair.size2) - 1)).all(1)
    shown = np.flatnonzero(inside & in_front(points, pair.homography, pair.size1))
    chosen = rng.permutation(shown)[:count]
    # The sign of a homography has no meaning; here it makes the depths of the view positive.
    _, _, depth = pair.homography
    signs = np.sign(points[chosen] @ depth[:2] + depth[2])
    carried = transform_frames(keypoints[chosen], signs[:, None, None] * pair.homography)
    carried[:, :2] = places[chosen]
    return keypoints[chosen], carried


def draw_allowed(allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random allowed column for each row of ``(N, M)`` bool; −1 where none is allowed."""
    if not allowed.size:
        return np.full(len(allowed), -1)
    drawn = np.where(allowed, rng.random(allowed.shape), -1.0).argmax(1)
    return np.where(allowed.any(1), drawn, -1)


def draw_other_photo(photos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each of N rows a random row of another photo; −1 where all show the same.

    Args:
        photos: ``(N,)`` labels, equal for rows of one photo.
    """
    drawn = np.full(len(photos), -1)
    for photo in dict.fromkeys(photos.tolist()):
        own = photos == photo
        others = np.flatnonzero(~own)
        if len(others):
            drawn[own] = rng.choice(others, own.sum())
    return drawn


def nearest_is_right(distances: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Whether each point is nearer to its own place than to any other candidate.

    Args:
        distances: ``(N, N)``, row of view 1 to column of view 2, the truth on the diagonal; NaN
            where either has no descriptor.
        candidates: ``(N, N)`` bool, the columns that a row's own place is compared with.

    Returns:
        ``(N,)`` of 1 and 0, NaN where the point has no descriptor or no candidate. A tie is 0.

    >>> nearest_is_right(np.array([[1.0, 2.0], [3.0, 3.0]]), ~np.eye(2, dtype=bool))
    array([1., 0.])
    """
    own = distances.diagonal()
    closest = np.where(candidates & np.isfinite(distances), distances, np.inf).min(
        1, initial=np.inf
    )
    return np.where(np.isfinite(own) & np.isfinite(closest), own < closest, np.nan)


def row_distances(first: np.ndarray, second: np.ndarray, metric: str) -> np.ndarray:
    """``(N,)`` distances of the rows of ``(N, D)`` from those of another: L2, or differing bits."""
    difference = np.abs(first - second)
    if metric == "hamming":
        return difference.sum(1, dtype=np.float64)
    return np.sqrt(np.einsum("nd,nd->n", difference, difference, dtype=np.float64))


def separation(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """FPR95 and average precision of ``(P,)`` and ``(N,)`` distances; NaN where either has none.

    A distance that is not finite does not count.

    >>> separation(np.arange(20.0), np.array([0.5, 17.5, 18.5, 30.0]))[0]
    0.5
    """
    positive, negative = positive[np.isfinite(positive)], negative[np.isfinite(negative)]
    if not len(positive) or not len(negative):
        return float("nan"), float("nan")
    # torchmetrics takes scores in [0, 1] as they are; ranks keep the order and the ties.
    ranks = rankdata(-np.concatenate([positive, negative]), method="dense")
    scores = torch.from_numpy(ranks / len(ranks))
    labels = torch.from_numpy(np.repeat([1, 0], [len(positive), len(negative)]))
    specificity, _ = binary_specificity_at_sensitivity(scores, labels, 0.95)
    return 1 - specificity.item(), binary_average_precision(scores, labels).item()


def unit_length(descriptors: np.ndarray, metric: str) -> np.ndarray:
    """``(..., D)`` float64 of unit length, bits as ±1/√D; a row of zeros has no direction: NaN.

    The cosine of two rows of bits is then 1 − 2 · (share of bits that differ).

    >>> unit_length(np.array([0.0, 1.0, 1.0, 1.0]), "hamming")
    array([-0.5,  0.5,  0.5,  0.5])
    """
    values = np.asarray(descriptors, np.float64)
    if metric == "hamming":
        values = 2 * values - 1
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(lengths > 0, lengths, np.nan)


def describe_finite(descriptor: Descriptor, image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``(N, D)`` float32; a row with a number that is not finite becomes NaN throughout."""
    described = np.array(descriptor.describe(image, keypoints_for(descriptor, points)), np.float32)
    described[~np.isfinite(described).all(1)] = np.nan
    return described


@dataclass(frozen=True)
class _PointDescriptors:
    """The descriptors of the N points of a pair and their distances; NaN without a descriptor."""

    photo: str
    first: np.ndarray  # (N, D) descriptors in view 1
    second: np.ndarray  # (N, D) descriptors of the true places in view 2
    positive: np.ndarray  # (N,) distances between the two
    same_photo: np.ndarray  # (N,) distances from a negative of the same photo
    nearest: np.ndarray  # (N,) see nearest_is_right


_NO_POINTS = _PointDescriptors(
    "", np.empty((0, 0)), np.empty((0, 0)), *(np.empty(0) for _ in range(3))
)


def _describe(
    descriptor: Descriptor,
    pair: ViewPair,
    points1: np.ndarray,
    points2: np.ndarray,
    radius_px: float,
    rng: np.random.Generator,
) -> _PointDescriptors:
    candidates = cdist(points2[:, :2], points2[:, :2]) >= radius_px
    np.fill_diagonal(candidates, False)  # at radius 0 as well
    negatives = draw_allowed(candidates, rng)
    first = describe_finite(descriptor, pair.image1, points1)
    second = describe_finite(descriptor, pair.image2, points2)
    # On bits the city-block distance counts those that differ, and keeps NaN.
    distances = cdist(first, second, "cityblock" if descriptor.metric == "hamming" else "euclidean")
    drawn = distances[np.arange(len(points1)), negatives]
    return _PointDescriptors(
        photo=pair.photo or pair.id,
        first=first,
        second=second,
        positive=distances.diagonal(),
        same_photo=np.where(negatives >= 0, drawn, np.nan),
        nearest=nearest_is_right(distances, candidates),
    )
