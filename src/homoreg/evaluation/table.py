"""A benchmark → a table: a row for each pair, descriptor and estimator, and their summary."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pandas as pd
from hydra.utils import instantiate

from homoreg.aggregates import AUC_THRESHOLDS_PX, corner_error_auc, quartiles
from homoreg.data.manifest import PairManifest
from homoreg.descriptors.descriptor import Descriptor
from homoreg.errors import HomoregError
from homoreg.evaluation.benchmarks import Benchmark, ManifestBenchmark
from homoreg.evaluation.pair import (
    Cuts,
    Detector,
    Matcher,
    Observation,
    PairDescriptors,
    PairMatches,
    ViewPair,
    describe_pair,
    judge,
    match_described,
    observe,
    pair_group,
)
from homoreg.files import atomic_path, write_json
from homoreg.geometry import Estimator, folds
from homoreg.matching import RatioMatcher, ShiTomasi
from homoreg.progress import progress

log = logging.getLogger(__name__)

# The table's columns and their order; docs/design.md says what each one is.
COLUMNS = (
    *("descriptor", "regularizer", "seed", "benchmark", "pair_id", "estimator", "status"),
    *("keypoints_1", "keypoints_2", "repeatable", "match_count", "correct_3px"),
    *("precision_1px", "precision_3px", "precision_5px", "recall_3px"),
    *("corner_error_px", "corner_error_rms_px", "inliers"),
    *("kappa", "fit_gap", "kappa_raw", "kappa_notebook"),
    *("dop", "predicted_corner_error_px", "hull_fraction"),
    *("rmse_gray", "ssim", "overlap_fraction", "rmse_identity_gray", "rmse_oracle_gray"),
    "rmse_notebook_gray",
    *("describe_ms", "match_ms", "estimate_ms"),
)
WHO = ["descriptor", "regularizer", "seed", "estimator"]
SUMMARIZED = COLUMNS[COLUMNS.index("match_count") : COLUMNS.index("describe_ms")]
# What a pair without a value counts as in medians and quartiles: the worst that there is, so that
# failing on the hard pairs cannot look good. Infinity, but for what is better when larger.
WORST = {"fit_gap": 0.0, "hull_fraction": 0.0, "ssim": -1.0, "overlap_fraction": 0.0}
# Undefined for the pair and not for the estimate: without repeatable keypoints nobody has a recall.
OF_THE_PAIR = ("recall_3px", "rmse_identity_gray", "rmse_oracle_gray")


@dataclass(frozen=True)
class EvaluationProtocol:
    """How pairs are judged, the same for every descriptor.

    Attributes:
        detector: keypoints of an image.
        matcher: matches of two sets of descriptors.
        estimators: homographies from the same matches, by name.
    """

    detector: Detector
    matcher: Matcher
    estimators: Mapping[str, Estimator]

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
class Judged:
    """A pair and a descriptor as they were judged, for what the table has no column for.

    Attributes:
        who: ``descriptor``, ``regularizer`` and ``seed`` of its rows.
        pair: the views and the truth.
        observation: the keypoints.
        descriptors: of these keypoints.
        matches: those that the rows are about.
        protocol: how they were judged.
    """

    who: Mapping[str, Any]
    pair: ViewPair
    observation: Observation
    descriptors: PairDescriptors
    matches: PairMatches
    protocol: "EvaluationProtocol"

    def match(self, matcher: Matcher) -> PairMatches:
        """Matches of the same descriptors by another matcher."""
        return match_described(self.descriptors, self.pair, self.observation, matcher)


class Recorder(Protocol):
    """Sees everything that is judged, in the order of the rows."""

    def record(self, judged: Judged) -> None: ...


def evaluate_manifest(
    descriptors: Descriptor | Sequence[Descriptor],
    manifest: PairManifest | str | Path,
    protocol: EvaluationProtocol | None = None,
) -> pd.DataFrame:
    """Judge descriptors on every pair of a manifest.

    Args:
        descriptors: one or several.
        manifest: the pairs, or the path to them.
        protocol: detector, matcher and estimators; :meth:`EvaluationProtocol.default` by default.

    Returns:
        The table of :data:`COLUMNS`.
    """
    return evaluate_benchmark(descriptors, ManifestBenchmark(manifest), protocol)


def evaluate_benchmark(
    descriptors: Descriptor | Sequence[Descriptor],
    benchmark: Benchmark,
    protocol: EvaluationProtocol | None = None,
    recorders: Sequence[Recorder] = (),
) -> pd.DataFrame:
    """Judge descriptors on every pair of a benchmark; each pair is read and detected in once.

    Networks of one window share their patches too.

    Args:
        descriptors: one or several.
        benchmark: the pairs.
        protocol: detector, matcher and estimators; :meth:`EvaluationProtocol.default` by default.
        recorders: see what the table has no column for; nothing is described again for them.

    Returns:
        The table of :data:`COLUMNS`, the same rows for a descriptor whoever else is judged.

    Raises:
        HomoregError: two descriptors that the table could not tell apart.
    """
    chosen = descriptors if isinstance(descriptors, Sequence) else [descriptors]
    identities = [identity(descriptor) for descriptor in chosen]
    for who in identities:
        if identities.count(who) > 1:
            raise HomoregError(f"two descriptors are called {label(who)}: give each its own name")
    protocol = protocol or EvaluationProtocol.default()
    rows: list[dict[str, Any]] = []
    for pair in progress(benchmark, f"judging on {benchmark.name}", total=len(benchmark)):
        if folds(pair.homography, pair.size1):
            log.warning(
                "pair %s: the truth sends a part of view 1 to infinity, so that every estimate's "
                "corner error counts as infinite",
                pair.id,
            )
        observation = observe(pair, protocol.detector)
        cuts: Cuts = {}
        for descriptor, who in zip(chosen, identities, strict=True):
            described = describe_pair(descriptor, pair, observation, cuts)
            matches = match_described(described, pair, observation, protocol.matcher)
            head = who | {"benchmark": benchmark.name}
            rows += [head | row for row in judge(pair, observation, matches, protocol.estimators)]
            for recorder in recorders:
                recorder.record(Judged(who, pair, observation, described, matches, protocol))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"seed": "Int64"})


def identity(descriptor: Descriptor) -> dict[str, Any]:
    """How a table calls a descriptor: only what was trained under an arm has a regularizer."""
    return {
        "descriptor": descriptor.name,
        "regularizer": getattr(descriptor, "regularizer", ""),
        "seed": getattr(descriptor, "seed", None),
    }


def label(who: Mapping[str, Any]) -> str:
    """``cnn l2 0`` for a trained arm and its seed, the name alone for a baseline."""
    seed = "" if who["seed"] is None else str(who["seed"])
    return " ".join(part for part in (who["descriptor"], who["regularizer"], seed) if part)


def summarize(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry for each descriptor and estimator of a table.

    Returns:
        Plain values: ``pairs``, ``failure_rate`` and ``failures`` by status, ``folded`` (estimates
        of status ok that tear view 1 apart: their corner error is infinite), ``auc`` (0–100) of the
        corner error by threshold in px, and ``median``, ``quartile_1`` and ``quartile_3`` of each
        metric. Failures stay in, each value that they lack as the worst there is. ``groups`` has
        the same of the pairs of each group, for a benchmark that has groups.
    """
    entries = []
    for key, rows in table.groupby(WHO, dropna=False, sort=False):
        who = dict(zip(WHO, cast(tuple[Any, ...], key), strict=True))
        groups = rows.groupby(rows["pair_id"].map(pair_group))
        entries.append(
            {name: None if pd.isna(value) else value for name, value in who.items()}
            | _summary(rows)
            | {"groups": {str(name): _summary(part) for name, part in groups if name}}
        )
    return entries


def _summary(rows: pd.DataFrame) -> dict[str, Any]:
    failures = rows["status"][rows["status"] != "ok"].value_counts()
    auc = corner_error_auc(rows["corner_error_px"].to_numpy(), AUC_THRESHOLDS_PX)
    spreads = {column: quartiles(_with_worst(rows[column])) for column in SUMMARIZED}
    return {
        "pairs": len(rows),
        "failure_rate": float((rows["status"] != "ok").mean()),
        "failures": {str(k): int(v) for k, v in failures.items()},
        "folded": int((np.isinf(rows["corner_error_px"]) & (rows["status"] == "ok")).sum()),
        "auc": {f"{t}px": a for t, a in zip(AUC_THRESHOLDS_PX, auc, strict=True)},
        "median": {column: spread[1] for column, spread in spreads.items()},
        "quartile_1": {column: spread[0] for column, spread in spreads.items()},
        "quartile_3": {column: spread[2] for column, spread in spreads.items()},
    }


def _with_worst(values: pd.Series) -> pd.Series:
    if values.name in OF_THE_PAIR:
        return values.dropna()
    return values.astype(float).fillna(WORST.get(str(values.name), float("inf")))


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
    """Write an evaluation's rows as CSV, whole or not at all."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def write_summary(
    table: pd.DataFrame,
    folder: Path,
    benchmark: str,
    details: Mapping[str, Sequence[dict[Any, Any]]],
) -> None:
    """Write ``summary.json``; ``details`` are further entries, by the key that they get in it."""
    summary = {"benchmark": benchmark, "entries": summarize(table), **details}
    write_json(folder / "summary.json", summary)


def read_evaluation(path: str | Path) -> pd.DataFrame:
    """A table as it was written: ids stay text, empty names stay empty, seeds whole numbers."""
    text = {"pair_id": str, "descriptor": str, "regularizer": str, "estimator": str, "status": str}
    table = pd.read_csv(
        path,
        dtype=text | {"seed": "Int64"},
        keep_default_na=False,
        na_values={column: ["", "nan"] for column in COLUMNS if column not in text},
    )
    return table
