"""A benchmark → a table: a row for each pair, descriptor and estimator."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from hydra.utils import instantiate

from homoreg.aggregates import summarize
from homoreg.data.manifest import PairManifest
from homoreg.descriptors.descriptor import Descriptor
from homoreg.errors import HomoregError
from homoreg.evaluation.benchmarks import Benchmark, ManifestBenchmark
from homoreg.evaluation.pair import (
    Cuts,
    Matcher,
    Observation,
    PairDescriptors,
    PairMatches,
    ViewPair,
    describe_pair,
    evaluate_matches,
    match_described,
    observe,
)
from homoreg.files import atomic_path, write_json
from homoreg.geometry import Estimator, folds
from homoreg.matching import CachedDetector, Detector, RatioMatcher, ShiTomasi
from homoreg.metrics import COLUMNS, METRICS
from homoreg.progress import progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationProtocol:
    """How pairs are evaluated, the same for every descriptor.

    Attributes:
        detector: keypoints of an image; detects once in each, whoever asks.
        matcher: matches of two sets of descriptors.
        estimators: homographies from the same matches, by name.
    """

    detector: Detector
    matcher: Matcher
    estimators: Mapping[str, Estimator]

    def __post_init__(self) -> None:
        if not isinstance(self.detector, CachedDetector):
            object.__setattr__(self, "detector", CachedDetector(self.detector))

    @classmethod
    def default(cls) -> "EvaluationProtocol":
        """Shi-Tomasi corners, ratio 0.8, plain DLT."""
        return cls(ShiTomasi(), RatioMatcher(), {"dlt": Estimator()})

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> "EvaluationProtocol":
        """From the groups ``detector``, ``matcher`` and ``estimators`` of a command's config."""
        chosen = cfg.get("estimators") or {}
        estimators = {name: instantiate(options) for name, options in chosen.items()}
        if not estimators:
            raise HomoregError("estimators=[]: choose at least one, as in estimators=[dlt]")
        return cls(instantiate(cfg["detector"]), instantiate(cfg["matcher"]), estimators)


@dataclass(frozen=True)
class PairEvaluation:
    """What a descriptor's rows on one pair were computed from.

    Attributes:
        model: ``descriptor``, ``regularizer`` and ``seed`` of its rows.
        pair: the views and the truth.
        observation: the keypoints.
        descriptors: of these keypoints.
        matches: those that the rows are about.
        protocol: detector, matcher and estimators.
    """

    model: Mapping[str, Any]
    pair: ViewPair
    observation: Observation
    descriptors: PairDescriptors
    matches: PairMatches
    protocol: EvaluationProtocol

    def match(self, matcher: Matcher) -> PairMatches:
        """Matches of the same descriptors by another matcher."""
        return match_described(self.descriptors, self.pair, self.observation, matcher)


class Recorder(Protocol):
    """Collects what the table has no column for."""

    def record(self, evaluation: PairEvaluation) -> None:
        """Called for each pair and descriptor, in the order of the rows."""
        ...


def evaluate_manifest(
    descriptors: Descriptor | Sequence[Descriptor],
    manifest: PairManifest | str | Path,
    protocol: EvaluationProtocol | None = None,
) -> pd.DataFrame:
    """:func:`evaluate_benchmark` on every pair of a manifest, given as such or as a path."""
    return evaluate_benchmark(descriptors, ManifestBenchmark(manifest), protocol)


def evaluate_benchmark(
    descriptors: Descriptor | Sequence[Descriptor],
    benchmark: Benchmark,
    protocol: EvaluationProtocol | None = None,
    recorders: Sequence[Recorder] = (),
) -> pd.DataFrame:
    """Evaluate descriptors on every pair of a benchmark.

    Each pair is read and detected in once, and networks of one window share their patches.

    Args:
        descriptors: one or several.
        benchmark: the pairs.
        protocol: detector, matcher and estimators; :meth:`EvaluationProtocol.default` by default.
        recorders: collect what the table has no column for; nothing is described again for them.

    Returns:
        A table of :data:`homoreg.metrics.COLUMNS`. A descriptor's rows do not depend on which
        others are evaluated.

    Raises:
        HomoregError: two descriptors that the table could not tell apart.
    """
    chosen = descriptors if isinstance(descriptors, Sequence) else [descriptors]
    models = [identity(descriptor) for descriptor in chosen]
    for model in models:
        if models.count(model) > 1:
            raise HomoregError(f"two descriptors are called {label(model)}: give each its own name")
    protocol = protocol or EvaluationProtocol.default()
    rows: list[dict[str, Any]] = []
    for pair in progress(benchmark, f"evaluating on {benchmark.name}", total=len(benchmark)):
        if folds(pair.homography, pair.size1):
            log.warning(
                "pair %s: the true homography sends a part of view 1 to infinity, so every "
                "estimate's corner error is infinite",
                pair.id,
            )
        observation = observe(pair, protocol.detector)
        cuts: Cuts = {}
        for descriptor, model in zip(chosen, models, strict=True):
            described = describe_pair(descriptor, pair, observation, cuts)
            matches = match_described(described, pair, observation, protocol.matcher)
            head = model | {"benchmark": benchmark.name}
            rows += [
                head | row
                for row in evaluate_matches(pair, observation, matches, protocol.estimators)
            ]
            evaluation = PairEvaluation(model, pair, observation, described, matches, protocol)
            for recorder in recorders:
                recorder.record(evaluation)
    return make_table(rows)


def make_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table of :data:`homoreg.metrics.COLUMNS`.

    Raises:
        HomoregError: a row lacks a registered column or has one that is not registered.
    """
    for row in rows:
        check_columns("a row", row)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"seed": "Int64"})


def check_columns(what: str, columns: Any) -> None:
    """HomoregError unless exactly the registered columns are there."""
    missing = [name for name in COLUMNS if name not in columns]
    unknown = [str(name) for name in columns if name not in COLUMNS]
    if missing:
        raise HomoregError(f"{what} lacks {', '.join(missing)} of the registry homoreg/metrics.py")
    if unknown:
        raise HomoregError(f"{what} has {', '.join(unknown)}: register it in homoreg/metrics.py")


def identity(descriptor: Descriptor) -> dict[str, Any]:
    """The id columns of a descriptor: only a trained network has a regularizer and a seed."""
    return {
        "descriptor": descriptor.name,
        "regularizer": getattr(descriptor, "regularizer", ""),
        "seed": getattr(descriptor, "seed", None),
    }


def arm(model: Mapping[str, Any]) -> str:
    """What styles a descriptor in figures: its regularizer, or the name of a baseline."""
    return str(model["regularizer"] or model["descriptor"])


def label(model: Mapping[str, Any]) -> str:
    """A descriptor's name in figures and tables, such as ``cnn l2 0``.

    >>> label({"descriptor": "rootsift", "regularizer": "", "seed": None})
    'rootsift'
    """
    seed = "" if model["seed"] is None else str(model["seed"])
    return " ".join(part for part in (model["descriptor"], model["regularizer"], seed) if part)


def write_evaluation(
    table: pd.DataFrame,
    folder: Path,
    benchmark: str,
    details: Mapping[str, Sequence[dict[Any, Any]]] | None = None,
) -> Path:
    """Write ``<benchmark>.csv`` and ``summary.json`` into a folder; returns the table's path."""
    path = folder / f"{benchmark}.csv"
    write_table(table, path)
    write_summary(table, folder, benchmark, details or {})
    return path


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write the rows of an evaluation as CSV, atomically."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def write_summary(
    table: pd.DataFrame,
    folder: Path,
    benchmark: str,
    details: Mapping[str, Sequence[dict[Any, Any]]],
) -> None:
    """Write ``summary.json``: the entries of ``summarize``, and ``details`` by key."""
    summary = {"benchmark": benchmark, "entries": summarize(table), **details}
    write_json(folder / "summary.json", summary)


def read_evaluation(path: str | Path) -> pd.DataFrame:
    """A table as it was written: ids stay text, empty names stay empty, seeds whole numbers.

    Raises:
        HomoregError: the table lacks a registered column or has another one.
    """
    numbers = {"seed", *METRICS}
    table = pd.read_csv(
        path,
        dtype={name: str for name in COLUMNS if name not in numbers} | {"seed": "Int64"},
        keep_default_na=False,
        na_values={name: ["", "nan"] for name in numbers},
    )
    check_columns(f"{path} was written by another version of homoreg: it", table.columns)
    return table
