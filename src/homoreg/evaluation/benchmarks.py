"""Benchmarks: pairs of views with a known homography."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from homoreg.data.manifest import Pair, PairManifest
from homoreg.data.views import read_view1, read_view2
from homoreg.errors import HomoregError
from homoreg.evaluation.pair import ViewPair
from homoreg.keyed import keyed_seed


class Benchmark(Protocol):
    """A sized iterable of pairs.

    Attributes:
        name: of the table that an evaluation writes.
    """

    name: str

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[ViewPair]: ...

    def pair(self, pair_id: str) -> ViewPair:
        """One pair; HomoregError where there is none of that id."""
        ...


class ManifestBenchmark:
    """The pairs of a manifest; images are decoded on access.

    Args:
        manifest: a path to it or the manifest itself.
        name: of the table.
        limit: at most so many pairs, from the first; all by default.
    """

    def __init__(
        self, manifest: str | Path | PairManifest, name: str = "eval", limit: int | None = None
    ) -> None:
        if not isinstance(manifest, PairManifest):
            manifest = PairManifest.load(manifest)
        check_limit(limit)
        self.manifest = manifest.require_homographies()
        self.pairs = self.manifest.pairs[:limit]
        self.name = name

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[ViewPair]:
        return (self._read(index) for index in range(len(self.pairs)))

    def pair(self, pair_id: str) -> ViewPair:
        ids = [pair.id for pair in self.pairs]
        return self._read(index_of(pair_id, ids, str(self.manifest.path)))

    def _read(self, index: int) -> ViewPair:
        pair = self.pairs[index]
        assert pair.homography is not None  # required when the benchmark was opened
        return ViewPair(
            pair.id, read_view1(pair), read_view2(pair), pair.homography, photo=pair.photo
        )


def spread_over_photos(pairs: Iterable[Pair], count: int, purpose: str) -> list[Pair]:
    """Choose ``count`` pairs from as many photos as possible, in an order keyed by the purpose."""
    ordered = sorted(pairs, key=lambda pair: keyed_seed(purpose, pair.id))
    earlier = Counter[str]()
    turns = []
    for pair in ordered:
        turns.append(earlier[pair.photo])
        earlier[pair.photo] += 1
    return [ordered[i] for i in np.argsort(turns, kind="stable")[:count]]


def check_limit(limit: int | None) -> None:
    """HomoregError for a limit below 1."""
    if limit is not None and limit < 1:
        raise HomoregError(f"benchmark.limit={limit}: give at least 1 pair, or null for all")


def index_of(pair_id: str, ids: Sequence[str], where: str) -> int:
    """The index of a pair; a HomoregError that names the first and the last where it is missing."""
    if pair_id not in ids:
        raise HomoregError(f"pair={pair_id}: {where} has pairs from {ids[0]} to {ids[-1]}")
    return ids.index(pair_id)
