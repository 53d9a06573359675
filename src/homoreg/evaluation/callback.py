"""Homographies of a few validation pairs while a network trains."""

from copy import deepcopy
from dataclasses import replace

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from homoreg.aggregates import quartiles, with_failures
from homoreg.data.datamodule import PatchPairDataModule
from homoreg.data.manifest import PairManifest
from homoreg.descriptors.inference import NetworkDescriptor
from homoreg.descriptors.module import DescriptorModule
from homoreg.descriptors.window import PatchWindow
from homoreg.errors import HomoregError
from homoreg.evaluation.benchmarks import Benchmark, ManifestBenchmark, spread_over_photos
from homoreg.evaluation.table import EvaluationProtocol, evaluate_benchmark
from homoreg.metrics import watched_metrics


class HomographyEvaluation(pl.Callback):
    """Logs the medians of the watched metrics over a few validation pairs, as ``val/<metric>``.

    The pairs are of photos held out for validation, never of the benchmark, so that nothing is
    chosen on the pairs of the final evaluation, which
    :func:`~homoreg.evaluation.run.evaluate_run` does after training.

    Args:
        protocol: how pairs are evaluated; its first estimator counts.
        window: how the network's patches are cut.
        every_n_epochs: epochs between two evaluations.
        subset: validation pairs.
        needs_best: the final evaluation needs ``best.ckpt``.

    Raises:
        HomoregError: ``every_n_epochs`` is below 1; at the start, no callback keeps the best
            weights though they are needed.
    """

    def __init__(
        self,
        protocol: EvaluationProtocol,
        window: PatchWindow,
        every_n_epochs: int,
        subset: int,
        needs_best: bool,
    ) -> None:
        if every_n_epochs < 1:
            raise HomoregError(f"evaluation.every_n_epochs={every_n_epochs}: give at least 1")
        self.protocol = protocol
        self.window = window
        self.every_n_epochs = every_n_epochs
        self.subset = subset
        self.needs_best = needs_best

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        kept = {c.filename for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)}
        if self.needs_best and "best" not in kept:
            raise HomoregError(
                "evaluation.best_epoch and evaluation.checkpoint=best need the weights that "
                "callbacks.best_checkpoint keeps"
            )

    # On every device that shares the training: each selects the best weights by these numbers.
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        assert isinstance(pl_module, DescriptorModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        name = next(iter(self.protocol.estimators))
        watched = replace(self.protocol, estimators={name: self.protocol.estimators[name]})
        # A copy in float32, as after training; the network in training is left alone.
        snapshot = NetworkDescriptor(
            deepcopy(pl_module.network), self.window, "validation", device=pl_module.device
        )
        table = evaluate_benchmark(snapshot, self._watched_pairs(data), watched)
        for column in watched_metrics():
            pl_module.log(f"val/{column}", quartiles(with_failures(table[column]))[1])

    def _watched_pairs(self, data: PatchPairDataModule) -> Benchmark:
        """A fixed subset of the validation photos' pairs, from as many photos as possible."""
        pairs = [data.manifest.pairs[i] for i in data.validation_members]
        chosen = spread_over_photos(pairs, self.subset, "watched")
        manifest = PairManifest(data.manifest.path, chosen, data.manifest.hash)
        return ManifestBenchmark(manifest, name="validation")
