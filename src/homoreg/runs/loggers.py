"""Hyperparameters and final metrics for any of Lightning's loggers."""

from collections.abc import Iterable, Mapping
from math import nan
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from homoreg.cli import given_options

# Hyperparameters logged for every run, beside the options of its regularizer.
HYPERPARAMETERS = (
    *("regularizer.name", "seed", "optimizer.lr", "data.batch_size", "trainer.max_epochs"),
    *("patch.size", "analysis.protocol"),
)


def log_start(loggers: Iterable[Logger], cfg: DictConfig, config: Mapping[str, Any]) -> None:
    """Log the hyperparameters, and on TensorBoard the whole config as text."""
    # TensorBoard's table of hyperparameters shows metrics that it is told of at the start.
    to_come = {f"hp/{name}": nan for name in summary_metrics(cfg)}
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(hyperparameters(cfg), to_come)
            logger.experiment.add_text("config", f"```yaml\n{yaml.safe_dump(dict(config))}\n```")
        else:
            logger.log_hyperparams(hyperparameters(cfg))


def log_result(
    loggers: Iterable[Logger], cfg: DictConfig, metrics: Mapping[str, float], step: int
) -> None:
    """Log the few final metrics that stand beside the hyperparameters."""
    shown = {f"hp/{name}": metrics.get(name, nan) for name in summary_metrics(cfg)}
    for logger in loggers:
        logger.log_metrics(shown, step)


def hyperparameters(cfg: DictConfig) -> dict[str, Any]:
    """The run's hyperparameters: regularizer, a fixed few, and whatever its sweep varies."""
    regularizer = [f"regularizer.{key}" for key in cfg.regularizer if key != "_target_"]
    varied: dict[str, str] = {}
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        hydra = HydraConfig.get()
        names = given_options() - set(hydra.job.config.override_dirname.exclude_keys)
        varied = {name: hydra.runtime.choices.get(name, "") for name in names}
    chosen = dict.fromkeys((*HYPERPARAMETERS, *regularizer, *varied))
    values = {name: OmegaConf.select(cfg, name) for name in chosen}
    return {
        # A choice of a group, such as regularizer=l2, is known by its name.
        key: value if isinstance(value, (bool, int, float, str)) else varied.get(key) or str(value)
        for key, value in values.items()
    }


def summary_metrics(cfg: DictConfig) -> list[str]:
    """The final metrics beside the hyperparameters: few enough to be looked at together."""
    held_out = ("auc_5px", "corner_error_px", "predicted_corner_error_px", "kappa")
    estimators = cfg.estimators if cfg.evaluation.enabled else ()
    evaluated = [f"{estimator}/{metric}" for estimator in estimators for metric in held_out]
    return ["val/nn_accuracy", "val/loss", "val/gap", *evaluated]
