"""Judging by homographies from inside a training run."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pandas as pd
from lightning.pytorch.utilities import rank_zero_only

from homoreg.data.datamodule import PatchPairDataModule
from homoreg.data.manifest import PairManifest
from homoreg.descriptors.callbacks import tensorboards
from homoreg.descriptors.loading import NetworkDescriptor, load_descriptor
from homoreg.descriptors.module import DescriptorModule
from homoreg.errors import HomoregError
from homoreg.evaluation.benchmarks import Benchmark, ManifestBenchmark
from homoreg.evaluation.curves import MatchingQuality
from homoreg.evaluation.figures import pair_figure
from homoreg.evaluation.table import (
    EvaluationProtocol,
    evaluate_benchmark,
    summarise,
    write_evaluation,
)
from homoreg.keyed import keyed_seed

WATCHED = ("corner_error_px", "precision_3px", "recall_3px", "match_count")
KNOWN_BY = (*WATCHED, "kappa")


class HomographyEvaluation(pl.Callback):
    """Looks at a few validation pairs while training, and judges the held-out pairs after it.

    While training, the pairs are of photos held out for validation, never of the benchmark, so that
    nothing is ever chosen on what the run is judged by.

    Args:
        run: the run's folder, which gets ``evaluation/`` and ``figures/``.
        benchmark: opens the held-out pairs.
        protocol: how pairs are judged.
        checkpoint: which weights are judged after training, ``"last"`` or ``"best"``.
        every_n_epochs: epochs between two looks.
        subset: validation pairs in a look.
        figure_pairs: held-out pairs that get a figure.
    """

    def __init__(
        self,
        run: str | Path,
        benchmark: Callable[[], Benchmark],
        protocol: EvaluationProtocol,
        checkpoint: str = "last",
        every_n_epochs: int = 2,
        subset: int = 8,
        figure_pairs: int = 3,
    ) -> None:
        if checkpoint not in ("last", "best"):
            raise HomoregError(f"evaluation.checkpoint={checkpoint}: give last or best")
        if every_n_epochs < 1:
            raise HomoregError(f"evaluation.every_n_epochs={every_n_epochs}: give at least 1")
        self.run = Path(run)
        self.benchmark = benchmark
        self.protocol = protocol
        self.checkpoint = checkpoint
        self.every_n_epochs = every_n_epochs
        self.subset = subset
        self.figure_pairs = figure_pairs
        self.seconds = 0.0
        self.table: pd.DataFrame | None = None

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        assert isinstance(pl_module, DescriptorModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        name = next(iter(self.protocol.estimators))
        watched = replace(self.protocol, estimators={name: self.protocol.estimators[name]})
        # Judged on a copy in float32, as after training; the network in training is left alone.
        table = evaluate_benchmark(_snapshot(pl_module, data), self._watched_pairs(data), watched)
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
        descriptor = load_descriptor(
            self.run, checkpoint=self.checkpoint, device=str(pl_module.device)
        )
        matching = MatchingQuality()
        self.table = evaluate_benchmark(descriptor, benchmark, self.protocol, [matching])
        details = {"matching": matching.entries()}
        write_evaluation(self.table, self.run / "evaluation", benchmark.name, details)
        ids = self.table["pair_id"].unique()[: self.figure_pairs]
        (self.run / "figures").mkdir(parents=True, exist_ok=True)
        for pair_id in ids:
            figure = pair_figure(benchmark.pair(pair_id), [descriptor], self.protocol)
            figure.savefig(self.run / "figures" / f"pair_{pair_id.replace('/', '_')}.png")
            for board in tensorboards(trainer):
                board.add_figure(f"held-out pair {pair_id}", figure, trainer.current_epoch)
        self.seconds = time.perf_counter() - started

    def final_metrics(self) -> dict[str, float]:
        """The held-out numbers that a run is known by: ``{"dlt/auc_5px": …, …}``."""
        if self.table is None:
            return {}
        metrics: dict[str, float] = {}
        for entry in summarise(self.table):
            estimator = entry["estimator"]
            metrics[f"{estimator}/auc_5px"] = entry["auc"]["5px"]
            metrics[f"{estimator}/failure_rate"] = entry["failure_rate"]
            for column in KNOWN_BY:
                metrics[f"{estimator}/{column}"] = entry["median"][column]
        return metrics


def _snapshot(module: DescriptorModule, data: PatchPairDataModule) -> NetworkDescriptor:
    return NetworkDescriptor(
        deepcopy(module.network), support=data.support, size=data.size, device=module.device
    )
