"""Hyperparameters and final metrics for any logger of Lightning, and TensorBoard's first page."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from math import nan
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from homoreg.cli.command import given_options
from homoreg.descriptors.regularizers import Regularizer

# Hyperparameters of every run, beside those that its sweep varies and the options of a penalty.
# TensorBoard's table shows five, the first by name, and metrics to the right of them; other loggers
# get more.
FEW = ("regularizer.name", "regularizer.weight_decay", "regularizer.dropout", "seed")
MORE = ("optimizer.lr", "data.batch_size", "trainer.max_epochs", "patch.size", "analysis.protocol")
# Options of every regularizer, whether or not it has a penalty.
COMMON = {f"regularizer.{field.name}" for field in fields(Regularizer)}

# Scalars that TensorBoard shows first, a line per run, under these names.
OVERVIEW = {
    "val/corner_error_px": "Overview/corner error, px",
    "val/loss": "Overview/loss, validation",
    "train/loss_step": "Overview/loss, training steps",
}


class TensorBoard(TensorBoardLogger):
    """Lightning's logger, with a group of charts that comes first.

    TensorBoard sorts groups by name, capitals first, and opens the first two: these charts and the
    pictures of held-out pairs. ``epoch``, which Lightning adds to everything, is left out.
    """

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        own = {name: value for name, value in metrics.items() if name != "epoch"}
        first = {OVERVIEW[name]: own[name] for name in OVERVIEW if name in own}
        super().log_metrics(own | first, step)


def log_start(loggers: Iterable[Logger], cfg: DictConfig, config: Mapping[str, Any]) -> None:
    """Log the hyperparameters, and on TensorBoard the whole config as text."""
    # TensorBoard's table of hyperparameters shows metrics that it is told of at the start.
    to_come = {f"hp/{name}": nan for name in summary_metrics(cfg)}
    own = [f"regularizer.{key}" for key in cfg.regularizer if key != "_target_"]
    penalty = [option for option in own if option not in COMMON]
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(hyperparameters(cfg, (*FEW, *penalty)), to_come)
            logger.experiment.add_text("config", f"```yaml\n{yaml.safe_dump(dict(config))}\n```")
        else:
            logger.log_hyperparams(hyperparameters(cfg, (*FEW, *MORE, *own)))


def log_result(
    loggers: Iterable[Logger], cfg: DictConfig, metrics: Mapping[str, float], step: int
) -> None:
    """Log the few final metrics that are shown with the hyperparameters."""
    shown = {f"hp/{name}": metrics.get(name, nan) for name in summary_metrics(cfg)}
    for logger in loggers:
        logger.log_metrics(shown, step)


def hyperparameters(cfg: DictConfig, names: Iterable[str]) -> dict[str, Any]:
    """The options of these names that are set, and whatever the run's sweep varies."""
    varied: dict[str, str] = {}
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        hydra = HydraConfig.get()
        given = given_options() - set(hydra.job.config.override_dirname.exclude_keys)
        given -= {"regularizer"}  # regularizer.name says it
        varied = {name: hydra.runtime.choices.get(name, "") for name in given}
    values = {name: OmegaConf.select(cfg, name) for name in dict.fromkeys((*names, *varied))}
    return {
        # A choice of a group, such as regularizer=l2, is known by its name.
        key: value if isinstance(value, (bool, int, float, str)) else varied.get(key) or str(value)
        for key, value in values.items()
        if value is not None
    }


def summary_metrics(cfg: DictConfig) -> list[str]:
    """The final metrics shown with the hyperparameters: few, the most important ones first."""
    held_out = ("auc_5px", "corner_error_px", "predicted_corner_error_px", "kappa")
    estimators = cfg.estimators if cfg.evaluation.enabled else ()
    robust_first = sorted(estimators, key=lambda name: name.startswith("dlt"))
    evaluated = [f"{estimator}/{metric}" for estimator in robust_first for metric in held_out]
    return [*evaluated, "val/nn_accuracy", "val/loss", "val/gap"]
