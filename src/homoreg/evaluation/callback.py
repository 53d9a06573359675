"""Judging by homographies from inside a training run."""

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from homoreg.aggregates import summarize
from homoreg.data.datamodule import PatchPairDataModule
from homoreg.data.manifest import PairManifest
from homoreg.descriptors.callbacks import tensorboards
from homoreg.descriptors.checkpoint import read_checkpoint
from homoreg.descriptors.descriptor import Descriptor
from homoreg.descriptors.inference import NetworkDescriptor
from homoreg.descriptors.loading import load_descriptor
from homoreg.descriptors.module import DescriptorModule
from homoreg.descriptors.window import PatchWindow
from homoreg.errors import HomoregError
from homoreg.evaluation.benchmarks import Benchmark, ManifestBenchmark
from homoreg.evaluation.curves import MatchingQuality
from homoreg.evaluation.figures import pair_figure
from homoreg.evaluation.shift import shift_response
from homoreg.evaluation.table import (
    EvaluationProtocol,
    evaluate_benchmark,
    write_evaluation,
    write_table,
)
from homoreg.keyed import keyed_seed
from homoreg.runs import RunFolder
from homoreg.targets import packages_of

WATCHED = (
    *("corner_error_px", "predicted_corner_error_px", "kappa"),
    *("precision_3px", "recall_3px", "match_count"),
)


class HomographyEvaluation(pl.Callback):
    """Looks at a few validation pairs while training, and judges the held-out pairs after it.

    While training, the pairs are of photos held out for validation, never of the benchmark, so that
    nothing is ever chosen on what the run is judged by.

    Args:
        run: the run's folder, which gets ``evaluation/`` and ``figures/``.
        benchmark: opens the held-out pairs.
        protocol: how pairs are judged.
        patch: how the network's patches are cut, as :class:`NetworkDescriptor` takes it.
        checkpoint: which weights are judged after training, ``"last"`` or ``"best"``.
        best_epoch: judge the weights of the best epoch as well, into ``<benchmark>_best.csv``.
        every_n_epochs: epochs between two looks.
        subset: validation pairs in a look.
        figure_pairs: held-out pairs that get a figure: the best, the worst, then those between.
        shift_pairs: held-out pairs on which the response to shifts is measured; 0 for none.
    """

    def __init__(
        self,
        run: str | Path,
        benchmark: Callable[[], Benchmark],
        protocol: EvaluationProtocol,
        patch: Mapping[str, Any],
        checkpoint: str = "last",
        best_epoch: bool = False,
        every_n_epochs: int = 2,
        subset: int = 8,
        figure_pairs: int = 3,
        shift_pairs: int = 10,
    ) -> None:
        if checkpoint not in ("last", "best"):
            raise HomoregError(f"evaluation.checkpoint={checkpoint}: give last or best")
        if every_n_epochs < 1:
            raise HomoregError(f"evaluation.every_n_epochs={every_n_epochs}: give at least 1")
        self.run = Path(run)
        self.benchmark = benchmark
        self.protocol = protocol
        self.patch = dict(patch)
        self.checkpoint = checkpoint
        self.best_epoch = best_epoch
        self.every_n_epochs = every_n_epochs
        self.subset = subset
        self.figure_pairs = figure_pairs
        self.shift_pairs = shift_pairs
        self.seconds = 0.0
        self.table: pd.DataFrame | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        kept = {c.filename for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)}
        if (self.best_epoch or self.checkpoint == "best") and "best" not in kept:
            raise HomoregError(
                "evaluation.best_epoch and evaluation.checkpoint=best need the weights that "
                "callbacks.best_checkpoint keeps"
            )

    # On every device that shares the training, since each follows what is best by these numbers.
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        assert isinstance(pl_module, DescriptorModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        name = next(iter(self.protocol.estimators))
        watched = replace(self.protocol, estimators={name: self.protocol.estimators[name]})
        # Judged on a copy in float32, as after training; the network in training is left alone.
        snapshot = NetworkDescriptor(
            deepcopy(pl_module.network),
            PatchWindow(**self.patch),
            "validation",
            device=pl_module.device,
        )
        table = evaluate_benchmark(snapshot, self._watched_pairs(data), watched)
        for column in WATCHED:
            pl_module.log(f"val/{column}", float(np.median(table[column])))

    def _watched_pairs(self, data: PatchPairDataModule) -> Benchmark:
        """A fixed few of the validation photos' pairs, one a photo as far as they go."""
        pairs = [data.manifest.pairs[i] for i in data.validation_members]
        pairs.sort(key=lambda pair: keyed_seed("watched", pair.id))
        seen: dict[str, int] = {}
        turns = []
        for pair in pairs:
            seen[pair.photo] = seen.get(pair.photo, 0) + 1
            turns.append(seen[pair.photo])
        chosen = [pairs[i] for i in np.argsort(turns, kind="stable")[: self.subset]]
        manifest = PairManifest(data.manifest.path, chosen, data.manifest.hash)
        return ManifestBenchmark(manifest, name="validation")

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        started = time.perf_counter()
        benchmark = self.benchmark()
        descriptor = self._own_descriptor(self.checkpoint, str(pl_module.device))
        matching = MatchingQuality()
        self.table = evaluate_benchmark(descriptor, benchmark, self.protocol, [matching])
        details = {"matching": matching.entries()}
        if self.shift_pairs:
            images = (pair.image1 for pair in islice(benchmark, self.shift_pairs))
            response = shift_response(descriptor, images, detector=self.protocol.detector)
            details["shift_response"] = [vars(response)]
        write_evaluation(self.table, self.run / "evaluation", benchmark.name, details)
        if self.best_epoch:
            best = self._best_epoch_table(self.table, benchmark, str(pl_module.device))
            write_table(best, RunFolder(self.run).best_evaluation_csv(benchmark.name))
        (self.run / "figures").mkdir(parents=True, exist_ok=True)
        for name, pair_id in shown_pairs(self.table, self.figure_pairs):
            figure = pair_figure(benchmark.pair(pair_id), [descriptor], self.protocol)
            figure.savefig(self.run / "figures" / f"{name}_{pair_id.replace('/', '_')}.png")
            for board in tensorboards(trainer):
                board.add_figure(f"held-out {name} {pair_id}", figure, trainer.current_epoch)
        self.seconds = time.perf_counter() - started

    def _own_descriptor(self, which: str, device: str) -> Descriptor:
        # The user chose this run's model, so the packages that it names are trusted.
        packages = packages_of(RunFolder(self.run).config["model"])
        return load_descriptor(self.run, checkpoint=which, device=device, packages=packages)

    def _best_epoch_table(
        self, judged: pd.DataFrame, benchmark: Benchmark, device: str
    ) -> pd.DataFrame:
        run = RunFolder(self.run)
        epochs = {read_checkpoint(run.checkpoint(w))["epoch"] for w in ("best", self.checkpoint)}
        if len(epochs) == 1:
            return judged  # by the same weights
        best = self._own_descriptor("best", device)
        return evaluate_benchmark(best, benchmark, self.protocol)

    def final_metrics(self) -> dict[str, float]:
        """The held-out numbers that a run is known by: ``{"dlt/auc_5px": …, …}``."""
        if self.table is None:
            return {}
        metrics: dict[str, float] = {}
        for entry in summarize(self.table):
            estimator = entry["estimator"]
            metrics[f"{estimator}/auc_5px"] = entry["auc"]["5px"]
            metrics[f"{estimator}/failure_rate"] = entry["failure_rate"]
            for column in WATCHED:
                metrics[f"{estimator}/{column}"] = entry["median"][column]
        return metrics


def shown_pairs(table: pd.DataFrame, count: int) -> list[tuple[str, str]]:
    """What to call them and the ids of so many pairs: the best, the worst, then evenly between.

    Pairs go by the corner error of the last estimator, the robust one where there is one.

    >>> rows = [("a", "dlt", 2.0), ("b", "dlt", 9.0), ("c", "dlt", 1.0)]
    >>> table = pd.DataFrame(rows, columns=["pair_id", "estimator", "corner_error_px"])
    >>> shown_pairs(table, 2)
    [('pair_best', 'c'), ('pair_worst', 'b')]
    """
    rows = table[table["estimator"] == table["estimator"].iloc[-1]]
    ids = rows.sort_values("corner_error_px", kind="stable")["pair_id"].tolist()
    between = np.linspace(0, len(ids) - 1, max(count, 2)).round().astype(int)[1:-1]
    places = [("pair_best", 0), ("pair_worst", len(ids) - 1), *(("pair", i) for i in between)]
    chosen: dict[str, str] = {}
    for name, place in places[:count]:
        chosen.setdefault(ids[place], name)
    return [(name, pair_id) for pair_id, name in chosen.items()]
