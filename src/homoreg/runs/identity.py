"""A run's identity: the options that determine its weights, and those that only read them.

Every option of ``train`` stands in one of the tables below, by itself or with its whole group; the
longest entry that covers an option decides. ``tests/test_identity.py`` fails for an option that is
in none, so that a new one has to be placed.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from homoreg.metrics import METRICS
from homoreg.options import flatten

# Determine the weights. The pairs count by the hash of their manifest.
TRAINING = (
    *("model", "network", "regularizer", "loss", "optimizer", "scheduler", "augmentation"),
    *("patch", "seed", "ckpt", "callbacks.early_stopping", "callbacks.best_checkpoint"),
    "callbacks.last_checkpoint",
    *("data._target_", "data.window", "data.seed", "data.sampling", "data.keypoints"),
    *("data.train_photos", "data.pairs_per_epoch", "data.pairs_per_view", "data.batch_size"),
    *("data.resample", "data.validation_share", "data.validation_pairs", "data.validation_split"),
    *("data.validation_resample", "data.squash", "data.views", "data.device_bank"),
    *("trainer._target_", "trainer.max_epochs", "trainer.precision", "trainer.channels_last"),
    *("trainer.deterministic", "trainer.gradient_clip_val", "trainer.limit_train_batches"),
    *("trainer.limit_val_batches", "trainer.check_val_every_n_epoch", "trainer.devices"),
    *("trainer.fast_dev_run", "trainer.num_sanity_val_steps"),
    # Options that a user adds to these groups.
    *("data", "trainer", "callbacks"),
)
# Say how a trained network is evaluated: with another value it is evaluated again.
READING = (
    *("detector", "matcher", "estimators", "benchmark", "extensions", "evaluation.enabled"),
    *("evaluation.checkpoint", "evaluation.best_epoch", "evaluation.figure_pairs"),
    *("evaluation.shift_pairs", "evaluation.patch", "evaluation.validation_pairs"),
    *("evaluation.oracle", "evaluation.precision", "evaluation"),
)
# Say how the report and a search read the results.
ANALYSIS = ("analysis", "optimized_metric")
# Determine neither: where and how fast a run is computed, what is watched meanwhile, what it is
# called, and what its pairs were made of.
OTHER = (
    *("paths", "study", "logger", "source", "warp", "prepare"),
    *("data.root", "data.num_workers", "data.fill_bank", "benchmark.manifest"),
    *("callbacks.pictures", "callbacks.throughput", "callbacks.epoch_table"),
    *("callbacks.best_checkpoint.dirpath", "callbacks.last_checkpoint.dirpath"),
    *("evaluation.every_n_epochs", "evaluation.subset"),
    *("trainer.accelerator", "trainer.strategy", "trainer.log_every_n_steps"),
    *("trainer.enable_progress_bar", "trainer.profiler", "trainer.enable_model_summary"),
    *("trainer.compile", "trainer.compile_mode"),
)
# Determine the weights where a callback monitors a metric of the validation photos' pairs.
WATCHING = (
    *("detector", "matcher", "estimators", "evaluation.enabled", "evaluation.patch"),
    *("evaluation.every_n_epochs", "evaluation.subset"),
)

# Determine the weights where the network is compiled: other kernels add in another order.
COMPILED = ("trainer.compile", "trainer.compile_mode")


def training_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that determine a run's weights, flat, with dotted names.

    Args:
        config: the resolved config of a training.
    """
    more: tuple[str, ...] = WATCHING if _watches_pairs(config) else ()
    more += COMPILED if config["trainer"].get("compile") is True else ()
    return {
        option: value
        for option, value in flatten(config)
        if placed(option) == "training" or any(_covers(entry, option) for entry in more)
    }


def reading_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that determine how the trained network is evaluated, flat."""
    return {o: value for o, value in flatten(config) if placed(o) == "reading"}


def placed(option: str) -> str | None:
    """The table that an option stands in; None where it stands in none.

    >>> placed("trainer.precision"), placed("trainer.profiler"), placed("detector.max_keypoints")
    ('training', 'other', 'reading')
    """
    tables = {"training": TRAINING, "reading": READING, "analysis": ANALYSIS, "other": OTHER}
    entries = {entry: name for name, table in tables.items() for entry in table}
    covering = [entry for entry in entries if _covers(entry, option)]
    return entries[max(covering, key=len)] if covering else None


def hash_options(options: Mapping[str, Any], *more: str | None) -> str:
    """SHA-256 of options and whatever else counts, such as the hash of a manifest."""
    return hashlib.sha256(json.dumps([dict(options), *more], sort_keys=True).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The options that differ, old and new value, as a part of a sentence.

    >>> differences({"seed": 0, "patch.size": 32}, {"seed": 1, "patch.size": 32})
    'seed (0, now 1)'
    """
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return ", ".join(f"{key} ({old.get(key)}, now {new.get(key)})" for key in differing)


def _covers(entry: str, option: str) -> bool:
    return option == entry or option.startswith(f"{entry}.")


def _watches_pairs(config: Mapping[str, Any]) -> bool:
    monitored = {str(callback.get("monitor")) for callback in config["callbacks"].values()}
    return any(name.removeprefix("val/") in METRICS for name in monitored)
