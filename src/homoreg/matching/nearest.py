"""Nearest neighbors in descriptor space, the ratio test and the mutual check.

The neighbors are exact and the same on every machine. Matrix products in float32 only select
candidates, by a bound on their rounding error; the final distances are computed in float64 from the
descriptors themselves, and ties go to the lower index. Work is done in blocks, so memory grows with
N + M and not with N · M.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
import pydantic
from pydantic import ConfigDict, Field

from homoreg.errors import HomoregError

Metric = Literal["l2", "hamming"]

_BLOCK_ELEMENTS = 2**22
_FLOAT32_ROUNDING = 2.0**-24


@dataclass(frozen=True)
class Matches:
    """Matches in the order of view 1's keypoints.

    Attributes:
        indices: ``(K, 2)`` int64, rows of the descriptors of view 1 and view 2.
        distances: ``(K,)`` float64, L2 distance or number of differing bits.
        ratios: ``(K,)`` float64 in [0, 1], distance over that of the second neighbor; 0 where
            there is no second neighbor, 1 where both distances are 0.
    """

    indices: np.ndarray
    distances: np.ndarray
    ratios: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(title="matcher", extra="forbid"))
class RatioMatcher:
    """:func:`match_descriptors` with its options, built by the ``matcher`` config group.

    Raises:
        ValidationError: an option is out of its range.

    >>> matcher = RatioMatcher(ratio=0.8)
    >>> matcher(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[::-1]).indices.tolist()
    [[0, 2], [1, 1], [2, 0]]
    """

    ratio: Annotated[float, Field(gt=0, le=1)] | None = 0.8
    mutual: bool = False

    def __call__(
        self, descriptors1: np.ndarray, descriptors2: np.ndarray, metric: str = "l2"
    ) -> Matches:
        return match_descriptors(
            descriptors1, descriptors2, ratio=self.ratio, mutual=self.mutual, metric=metric
        )


def match_descriptors(
    descriptors1: np.ndarray,
    descriptors2: np.ndarray,
    *,
    ratio: float | None = 0.8,
    mutual: bool = False,
    metric: str = "l2",
) -> Matches:
    """Match each descriptor of view 1 to its nearest neighbor in view 2.

    A match passes the ratio test (Lowe, IJCV 2004) if its distance is smaller than ``ratio`` times
    the distance of the second neighbor. If view 2 has a single descriptor, the second neighbor is
    infinitely far, as in SciPy's k-d tree, and the match passes.

    Args:
        descriptors1: ``(N, D)`` float32; rows that are not finite are ignored.
        descriptors2: ``(M, D)`` float32; the same.
        ratio: threshold of the ratio test; None keeps every nearest neighbor.
        mutual: keep a match only if both are the nearest neighbor of each other.
        metric: ``"l2"`` or ``"hamming"``, the latter for bits unpacked to 0 and 1.

    Raises:
        HomoregError: lengths D that differ, an unknown metric, or Hamming on other than 0 and 1.

    >>> view1 = np.array([[0.0, 0.0], [5.0, 5.0]])
    >>> view2 = np.array([[5.0, 4.0], [0.0, 1.0], [6.0, 5.0]])
    >>> match_descriptors(view1, view2).indices.tolist()
    [[0, 1]]
    """
    _check(descriptors1, descriptors2, metric)
    rows1 = np.flatnonzero(np.isfinite(descriptors1).all(1))
    rows2 = np.flatnonzero(np.isfinite(descriptors2).all(1))
    finite1, finite2 = descriptors1[rows1], descriptors2[rows2]

    nearest, first, second = _two_nearest(finite1, finite2, metric)
    keep = np.isfinite(first)
    # Between two distances of 0 nothing can be told apart: as bad as a ratio can be.
    ratios = np.divide(first, second, out=np.ones_like(first), where=keep & (second > 0))
    if ratio is not None:
        keep &= first < ratio * second
    if mutual:
        # Only the neighbors that were found need their own.
        chosen, position = np.unique(nearest[keep], return_inverse=True)
        back, _, _ = _two_nearest(finite2[chosen], finite1, metric)
        keep[keep] = back[position] == np.flatnonzero(keep)
    indices = np.column_stack([rows1[keep], rows2[nearest[keep]]])
    return Matches(indices.astype(np.int64), first[keep], ratios[keep])


def _check(descriptors1: np.ndarray, descriptors2: np.ndarray, metric: str) -> None:
    if metric not in get_args(Metric):
        raise HomoregError(f"metric {metric!r}: a descriptor's metric is 'l2' or 'hamming'")
    if descriptors1.shape[1] != descriptors2.shape[1]:
        raise HomoregError(
            f"descriptors of {descriptors1.shape[1]} and {descriptors2.shape[1]} numbers cannot be "
            "matched: describe both views with the same descriptor"
        )
    if metric == "hamming":
        for descriptors in (descriptors1, descriptors2):
            if not np.all((descriptors == 0) | (descriptors == 1) | ~np.isfinite(descriptors)):
                raise HomoregError(
                    "metric 'hamming' needs bits as 0 and 1: unpack bytes with numpy.unpackbits"
                )


def _two_nearest(
    queries: np.ndarray, base: np.ndarray, metric: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index of the nearest row of ``base``, and the distances of the two nearest (inf: none)."""
    nearest = np.zeros(len(queries), np.int64)
    first, second = np.full((2, len(queries)), np.inf)
    if len(base) == 0:
        return nearest, first, second
    search = _hamming_blocks if metric == "hamming" else _l2_blocks
    for rows, block_nearest, block_first, block_second in search(queries, base):
        nearest[rows], first[rows], second[rows] = block_nearest, block_first, block_second
    return nearest, first, second


Block = tuple[slice, np.ndarray, np.ndarray, np.ndarray]


def _blocks(queries: int, base: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // base)
    return (slice(start, start + step) for start in range(0, queries, step))


def _hamming_blocks(queries: np.ndarray, base: np.ndarray) -> Iterator[Block]:
    # |a − b| = |a| + |b| − 2 a·b on bits: whole numbers, which float32 holds exactly.
    a, b = queries.astype(np.float32), base.astype(np.float32)
    for rows in _blocks(len(a), len(b)):
        distances = a[rows].sum(1)[:, None] + b.sum(1) - 2 * (a[rows] @ b.T)
        nearest, first, second = _row_minima(distances)
        yield rows, nearest, first.astype(np.float64), second.astype(np.float64)


def _l2_blocks(queries: np.ndarray, base: np.ndarray) -> Iterator[Block]:
    # Distances do not depend on the origin. Centered, the numbers are small enough for float32 to
    # separate even the descriptors of a collapsed network.
    center = base.mean(0, dtype=np.float64)
    spread = max(np.abs(queries - center).max(initial=0), np.abs(base - center).max()) or 1.0
    a = ((queries - center) / spread).astype(np.float32)
    b = ((base - center) / spread).astype(np.float32)
    a_norms = np.sqrt(np.einsum("nd,nd->n", a, a, dtype=np.float64))
    b_squared = np.einsum("nd,nd->n", b, b, dtype=np.float64)
    b_norm = np.sqrt(b_squared.max())
    # The error of |b|² and a·b: the rounding of a and b, at most D more roundings in a·b (Higham,
    # Accuracy and Stability of Numerical Algorithms, section 3.1), and a few afterwards.
    dimension = queries.shape[1]
    errors = 1.1 * _FLOAT32_ROUNDING * (6 * b_norm**2 + (2 * dimension + 12) * a_norms * b_norm)

    for rows in _blocks(len(a), len(b)):
        # |a|² is constant along a row and left out.
        squared = b_squared.astype(np.float32) - 2 * (a[rows] @ b.T)
        _, smallest, next_smallest = _row_minima(squared)
        limit = next_smallest if len(b) > 1 else smallest
        limit = (limit + 2 * errors[rows]).astype(np.float32)
        query, candidate = np.nonzero(squared <= limit[:, None])
        distances = _exact_distances(queries[rows], base, query, candidate)
        # Candidates are in order of their index, and the sort is stable.
        order = np.lexsort((distances, query))
        candidate, distances = candidate[order], distances[order]
        best = np.searchsorted(query, np.arange(len(squared)))
        second = distances[best + 1] if len(b) > 1 else np.full(len(squared), np.inf)
        yield rows, candidate[best], distances[best], second


def _row_minima(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column of each row's smallest value, that value and the next (inf in a single column)."""
    rows = np.arange(len(values))
    smallest = values.argmin(1)
    first = values[rows, smallest]
    values[rows, smallest] = np.inf
    second = values.min(1)
    values[rows, smallest] = first
    return smallest, first, second


def _exact_distances(
    queries: np.ndarray, base: np.ndarray, query: np.ndarray, candidate: np.ndarray
) -> np.ndarray:
    distances = np.empty(len(query))
    step = max(1, _BLOCK_ELEMENTS // base.shape[1])
    for start in range(0, len(query), step):
        pairs = slice(start, start + step)
        difference = queries[query[pairs]].astype(np.float64) - base[candidate[pairs]]
        distances[pairs] = np.sqrt(np.einsum("nd,nd->n", difference, difference))
    return distances
