"""Time to quality: seconds of training until held-out homographies are good enough."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from hydra.utils import instantiate
from omegaconf import OmegaConf

from benchmarks.measure import Row, Session, now
from benchmarks.training import quiet, training_config
from homoreg.aggregates import corner_error_auc
from homoreg.descriptors.inference import NetworkDescriptor
from homoreg.descriptors.module import DescriptorModule
from homoreg.descriptors.window import PatchWindow
from homoreg.evaluation import EvaluationProtocol, evaluate_manifest
from homoreg.train import build_module

GOAL = 80.0  # AUC of the corner error at 5 px
STEPS = 2  # between two evaluations


def measure(session: Session) -> list[Row]:
    """The curve of the AUC over the seconds of training, and whether it reaches the goal."""
    quiet()
    cfg = training_config(session, ["recipe=strong"])
    cfg.data.pairs_per_epoch = session.pick(40_000, 2 * STEPS * 64)
    cfg.data.batch_size = session.pick(cfg.data.batch_size, 64)
    cfg.data.num_workers = 0  # a worker would cut the next batches while the clock stops
    protocol = EvaluationProtocol.from_config(cfg)
    window = PatchWindow(**cfg.evaluation.patch)
    curve = Curve(protocol, window, session.root / "pairs_eval.json")
    trainer = instantiate(
        cfg.trainer,
        max_epochs=1,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[curve],
        logger=False,
    )
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    trainer.fit(build_module(cfg, config), instantiate(cfg.data))
    setting = f"recipe=strong until AUC at 5 px ({protocol.main_estimator}) is {GOAL:g}"
    _, seconds, reached = curve.points[-1]
    measured = [(f"{pairs} patch pairs: {auc:.1f}", time) for pairs, time, auc in curve.points]
    measured.append(("goal reached" if reached >= GOAL else "goal not reached", seconds))
    return [Row("quality", setting, what, time, time, time, "s", 1) for what, time in measured]


class Curve(pl.Callback):
    """Evaluates the network every few steps; the clock of the training stops meanwhile.

    Attributes:
        points: patch pairs seen, seconds of training, and AUC at 5 px, one for each evaluation.
    """

    def __init__(self, protocol: EvaluationProtocol, window: PatchWindow, pairs: Path) -> None:
        self.protocol = protocol
        self.window = window
        self.pairs = pairs
        self.points: list[tuple[int, float, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds, self.started = 0.0, now()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        if trainer.global_step % STEPS:
            return
        self.seconds += now() - self.started
        assert isinstance(pl_module, DescriptorModule)
        network = deepcopy(pl_module.network)
        descriptor = NetworkDescriptor(network, self.window, "snapshot", device=pl_module.device)
        table = evaluate_manifest(descriptor, self.pairs, self.protocol)
        errors = table.loc[table["estimator"] == self.protocol.main_estimator, "corner_error_px"]
        [auc] = corner_error_auc(errors, [5.0])
        pairs = trainer.global_step * trainer.datamodule.batch_size  # type: ignore[attr-defined]
        self.points.append((pairs, self.seconds, auc))
        trainer.should_stop = auc >= GOAL
        self.started = now()
