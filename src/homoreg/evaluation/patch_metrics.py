"""How well a descriptor tells places apart, before any matching and any homography.

Points correspond through the true homography, so nothing here depends on a second detection, on
the ratio test or on an estimator.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from torchmetrics.functional.classification import binary_average_precision

from homoreg.descriptors.loading import Descriptor
from homoreg.descriptors.metrics import alignment, effective_rank, fpr_at_recall, uniformity
from homoreg.errors import HomoregError
from homoreg.evaluation.pair import Detector, ViewPair
from homoreg.geometry import transform_points
from homoreg.keyed import keyed_rng
from homoreg.matching import ShiTomasi
from homoreg.progress import progress

# Uniformity looks at all pairs of rows and effective rank at their SVD; validation during training
# uses about as many.
SPREAD_ROWS = 2000


@dataclass(frozen=True)
class PatchMetrics:
    """Patch-level metrics of one descriptor.

    FPR95, average precision and 1-NN accuracy rest on the distance that matching uses: L2 between
    the descriptors as they are, or the number of differing bits. Alignment, uniformity and
    effective rank are defined on the unit sphere, so there descriptors have unit length, bits as
    ±1/√D. NaN stands for what cannot be computed, such as ``*_other_photo`` where all pairs show
    one photo.

    Attributes:
        descriptor, regularizer, seed: who, as in the evaluation's table.
        dimension: numbers, or bits, of a descriptor.
        pairs: image pairs looked at.
        photos: different photos among them; pairs with the same view 1 show the same photo.
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
    """Judge a descriptor at corresponding points of a benchmark.

    Points are keypoints of view 1, since that is where descriptors are used (uniform points would
    lie in skies and on walls), and their true places in view 2. Each point has one negative in its
    own photo and one in another. Points and negatives depend on images, detector and seed alone:
    all descriptors are asked the same questions.

    Args:
        descriptor: meets :class:`homoreg.descriptors.loading.Descriptor`.
        pairs: a benchmark, or some of its pairs.
        detector: Shi-Tomasi corners by default.
        points_per_pair: at most so many of the keypoints that view 2 shows too, drawn at random.
        radius_px: what is closer than this in view 2 is too alike to be called a negative.
        seed: of the draws.

    Raises:
        HomoregError: no pairs, ``points_per_pair`` below 1, or a negative radius.
    """
    if points_per_pair < 1:
        raise HomoregError(f"points_per_pair={points_per_pair}: give at least 1 point")
    if not radius_px >= 0:
        raise HomoregError(f"radius_px={radius_px}: give 0 or more pixels")
    detector = detector or ShiTomasi()

    answers = []
    for pair in progress(pairs, f"patch metrics of {descriptor.name}"):
        rng = keyed_rng("patch metrics", seed, pair.id)
        points1, points2 = corresponding_points(pair, detector(pair.image1), points_per_pair, rng)
        rivals = cdist(points2, points2) >= radius_px
        np.fill_diagonal(rivals, False)
        answers.append(_ask(descriptor, pair, points1, points2, rivals, rng))
    if not answers:
        raise HomoregError("patch metrics need at least one pair of images")

    def together(field: str) -> np.ndarray:
        return np.concatenate([getattr(answer, field) for answer in answers])

    first, second, positive = together("first"), together("second"), together("positive")
    other_photo = np.concatenate(
        [
            _other_photo(descriptor, answer, [a for a in answers if a.photo != answer.photo], seed)
            for answer in answers
        ]
    )
    return PatchMetrics(
        **who(descriptor),
        dimension=first.shape[1],
        pairs=len(answers),
        photos=len({answer.photo for answer in answers}),
        points=int(np.isfinite(positive).sum()),
        left_out=int(np.isnan(positive).sum()),
    )
