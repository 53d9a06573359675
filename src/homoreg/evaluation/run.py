"""Evaluating a finished training: tables, a summary and figures in the run's folder."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from homoreg.aggregates import clipped_log10, summarize
from homoreg.descriptors.checkpoint import read_checkpoint
from homoreg.descriptors.loading import load_descriptor
from homoreg.evaluation.benchmarks import Benchmark
from homoreg.evaluation.calibration import Calibration
from homoreg.evaluation.curves import MatchingQuality
from homoreg.evaluation.figures import pair_figure
from homoreg.evaluation.journal import Journal
from homoreg.evaluation.pair import Method
from homoreg.evaluation.reruns import Reruns
from homoreg.evaluation.shift import shift_response
from homoreg.evaluation.table import (
    ORACLE,
    EvaluationProtocol,
    Recorder,
    evaluate_benchmark,
    ranked_pairs,
    write_summary,
    write_table,
)
from homoreg.evaluation.validation import calibrate_on_validation_photos
from homoreg.metrics import METRICS
from homoreg.plotting import save_figure
from homoreg.runs import RunFolder

Details = dict[str, list[dict[Any, Any]]]


def evaluate_run(
    run: RunFolder,
    benchmark: Benchmark,
    protocol: EvaluationProtocol,
    *,
    checkpoint: str,
    best_epoch: bool,
    figure_pairs: int,
    shift_pairs: int,
    validation_pairs: int,
    oracle: bool,
    device: str | None,
    packages: Sequence[str],
    journal: Journal,
    show: Callable[[str, Figure], None],
) -> pd.DataFrame:
    """Evaluate a run's checkpoint into the run's own folder, replacing what is there.

    Args:
        run: a finished training.
        benchmark: held-out pairs.
        protocol: detector, matcher and estimators.
        checkpoint: the weights, ``"last"`` or ``"best"``.
        best_epoch: evaluate the weights of the best epoch as well, into ``<benchmark>_best.csv``.
        figure_pairs: pairs that get a figure, see :func:`shown_pairs`.
        shift_pairs: pairs on which the response to shifts is measured; 0 for none.
        validation_pairs: pairs of the run's validation photos that choose ratios and calibrate
            bounds; 0 for neither.
        oracle: add rows of all true matches of the same keypoints.
        device: where the network runs; None for CUDA if available.
        packages: that the run's network may come from, see :func:`load_descriptor`.
        journal: keeps what each pair contributes, and has what was evaluated before.
        show: is called with a name and the figure of each pair that every run shows.

    Returns:
        The rows of ``evaluation/<benchmark>.csv``.
    """
    options: dict[str, Any] = {"device": device, "packages": packages}
    descriptor = load_descriptor(run.path, checkpoint=checkpoint, **options)
    data = run.config["data"]
    calibration = calibrate_on_validation_photos(
        [descriptor], data, validation_pairs, protocol, journal
    )
    table, details = evaluate_into(
        run.path, [descriptor], benchmark, protocol, calibration, oracle=oracle, journal=journal
    )
    own = table[table["descriptor"] == descriptor.name]
    if shift_pairs:
        images = (pair.image1 for pair in islice(benchmark, shift_pairs))
        response = shift_response(descriptor, images, detector=protocol.detector)
        details["shift_response"] = [vars(response)]
        write_summary(table, run.path / "evaluation", benchmark.name, details)
    run.best_evaluation_csv(benchmark.name).unlink(missing_ok=True)
    if best_epoch:
        best = own
        epochs = {read_checkpoint(run.checkpoint(w))["epoch"] for w in ("best", checkpoint)}
        if len(epochs) > 1:
            weights = load_descriptor(run.path, checkpoint="best", **options)
            tuned = calibrate_on_validation_photos(
                [weights], data, validation_pairs, protocol, journal
            )
            best = evaluate_benchmark(
                weights, benchmark, protocol, calibration=tuned, journal=journal
            )
        write_table(best, run.best_evaluation_csv(benchmark.name))
    for file in run.figures.glob("pair_*.png"):
        file.unlink()
    for name, pair_id in shown_pairs(own, protocol.main_estimator, figure_pairs):
        pair = benchmark.pair(pair_id)
        figure = pair_figure(pair, [descriptor], protocol, calibration=calibration)
        save_figure(figure, run.figures / f"{name}_{pair_id.replace('/', '_')}.png")
        if name == "pair":
            show(f"held-out pairs/{pair_id}", figure)
    return table


def evaluate_into(
    folder: Path,
    descriptors: Sequence[Method],
    benchmark: Benchmark,
    protocol: EvaluationProtocol,
    calibration: Calibration,
    *,
    reruns: int = 0,
    oracle: bool = False,
    journal: Journal | None = None,
) -> tuple[pd.DataFrame, Details]:
    """Evaluate descriptors and systems and write ``evaluation/``.

    It holds ``<benchmark>.csv``, ``summary.json`` and, unless it is empty, ``calibration.json``.

    Args:
        folder: gets ``evaluation/``.
        descriptors: all of them on every pair.
        benchmark: the pairs.
        protocol: detector, matcher and estimators.
        calibration: ratios of the estimators and factors of the bounds.
        reruns: estimates of each pair under other seeds, for robust estimators' own spread.
        oracle: add rows of all true matches of the same keypoints.
        journal: keeps what each pair contributes, and has what was evaluated before.

    Returns:
        The rows, and the summary's entries on ``matching`` and ``reruns``.
    """
    matching, spread = MatchingQuality(), Reruns(reruns)
    recorders: list[Recorder] = [matching, spread]
    table = evaluate_benchmark(
        descriptors,
        benchmark,
        protocol,
        recorders,
        oracle=oracle,
        calibration=calibration,
        journal=journal,
    )
    details: Details = {"matching": matching.entries(), "reruns": spread.entries()}
    write_table(table, RunFolder(folder).evaluation_csv(benchmark.name))
    write_summary(table, folder / "evaluation", benchmark.name, details)
    if calibration.entries():
        calibration.write(folder / "evaluation", **vars(protocol))
    else:  # there may be one of an earlier evaluation, by other steps
        (folder / "evaluation" / "calibration.json").unlink(missing_ok=True)
    return table, details


def final_metrics(table: pd.DataFrame) -> Mapping[str, float]:
    """A run's held-out metrics, ``{"dlt/auc_5px": …, "dlt/corner_error_px": …, …}``."""
    metrics: dict[str, float] = {}
    table = table[table["descriptor"] != ORACLE["descriptor"]]
    for entry in summarize(table):
        estimator = entry["estimator"]
        metrics[f"{estimator}/auc_5px"] = entry["auc"]["5px"]
        errors = table.loc[table["estimator"] == estimator, "corner_error_px"]
        metrics[f"{estimator}/log10_corner_error"] = float(clipped_log10(errors).mean())
        metrics[f"{estimator}/failure_rate"] = entry["failure_rate"]
        for column, median in entry["median"].items():
            if METRICS[column].watched:
                metrics[f"{estimator}/{column}"] = median
    return metrics


def shown_pairs(table: pd.DataFrame, estimator: str, count: int) -> list[tuple[str, str]]:
    """Names and ids of the pairs that get a figure.

    The first pair is the same for every run, so that runs can be compared on it. Then come the best
    and the worst by the corner error of one estimator, see :func:`ranked_pairs`, and then further
    pairs that are the same for every run, spread over the benchmark.

    >>> rows = [("a", "dlt", 2.0), ("b", "dlt", 9.0), ("c", "dlt", 1.0), ("d", "dlt", 3.0)]
    >>> table = pd.DataFrame(rows, columns=["pair_id", "estimator", "corner_error_px"])
    >>> shown_pairs(table, "dlt", 4)
    [('pair', 'a'), ('pair_best', 'c'), ('pair_worst', 'b'), ('pair', 'd')]
    """
    ids = table["pair_id"].unique().tolist()
    ranked = ranked_pairs(table, estimator)
    spread = np.linspace(0, len(ids) - 1, max(count - 2, 1)).round().astype(int)
    first, *others = (("pair", ids[place]) for place in dict.fromkeys(spread.tolist()))
    own = [("pair_best", ranked[0]), ("pair_worst", ranked[-1])]
    return [first, *own, *others][:count]
