"""python -m homoreg.train: photographs to trained descriptors and their homography metrics.

One job trains one network under one regularizer; ``-m`` makes a sweep of them.
"""

import gc
import hashlib
import json
import logging
import os
import platform
import socket
import subprocess
import time
import warnings
from importlib.metadata import version
from math import nan
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from homoreg.cli import command
from homoreg.data.datamodule import PatchPairDataModule
from homoreg.data.pairs import RECORD, manifest_path, prepare_pairs, prepared_differs
from homoreg.descriptors.callbacks import LossBeforeCheckpoint, Throughput, tensorboards
from homoreg.descriptors.checkpoint import build_network, read_checkpoint
from homoreg.descriptors.module import DescriptorModule
from homoreg.errors import HomoregError, one_line
from homoreg.evaluation.callback import HomographyEvaluation
from homoreg.evaluation.table import EvaluationProtocol
from homoreg.files import write_text
from homoreg.machine import limit_threads
from homoreg.runs import RunFolder
from homoreg.study.analysis import Analysis

log = logging.getLogger("homoreg.train")  # __name__ is "__main__" under python -m

# Where and how fast a run is computed, and what it is called, is no part of what it computes.
NOT_HASHED = {
    "": ("paths", "study", "optimized_metric", "ckpt", "source", "warp", "prepare", "logger"),
    "data": ("root", "num_workers", "fill_bank"),
    "benchmark": ("manifest", "root"),
    "trainer": (
        "accelerator",
        "devices",
        "num_nodes",
        "strategy",
        "compile",
        "compile_mode",
        "enable_progress_bar",
        "log_every_n_steps",
        "enable_model_summary",
        "profiler",
    ),
}

# What tells the runs of any two studies apart, beside what a sweep varies.
HYPERPARAMETERS = (
    *("regularizer.name", "regularizer.weight_decay", "regularizer.dropout", "seed"),
    *("optimizer.lr", "data.batch_size", "trainer.max_epochs", "patch.size", "analysis.protocol"),
)


@command("train")
def main(cfg: DictConfig) -> dict[str, float] | float:
    """Train one job; returns its final metrics, or to a search the one that it goes by."""
    metrics = train(cfg)
    if HydraConfig.get().runtime.choices["hydra/sweeper"] == "basic":
        return metrics
    if cfg.optimized_metric not in metrics:
        raise HomoregError(
            f"optimized_metric={cfg.optimized_metric}: a run has {', '.join(sorted(metrics))}"
        )
    return metrics[cfg.optimized_metric]


def train(cfg: DictConfig) -> dict[str, float]:
    """A run from its photographs to its final metrics, or those of a run that is done already."""
    share_the_machine(cfg)
    run = RunFolder(Path(cfg.paths.run))
    if not 0 <= cfg.seed < 2**32:
        raise HomoregError(f"seed={cfg.seed}: give a whole number from 0 to 2³² − 1")
    # The run can be judged from another folder than the one that it was started in.
    cfg.data.root = str(Path(cfg.data.root).absolute())
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    Analysis(**config["analysis"])  # refuse what the report could not read
    if getattr(rank_zero_only, "rank", 0):
        # Lightning started this process to share the run; its first process prepared everything.
        resumed = run.record["resumed_from"]
        return fit(cfg, config, run, instantiate(cfg.data), resumed and Path(resumed), {})
    started = time.perf_counter()
    prepare_missing(cfg)
    seconds = {"prepare": time.perf_counter() - started}

    data = instantiate(cfg.data)
    started = time.perf_counter()
    data.setup()
    seconds["bank"] = time.perf_counter() - started

    identity = {"config_hash": config_hash(config), "manifest_hash": data.manifest.hash}
    checkpoint = resume_point(run, identity, cfg.ckpt)
    log.info("%s %s", run.path, how_it_starts(run, checkpoint))
    if run.status == "done":
        return dict(run.record["metrics"])

    write_text(run.config_file, OmegaConf.to_yaml(OmegaConf.create(config)))
    about = {"seed": cfg.seed, "analysis": config["analysis"], **identity, **surroundings()}
    about["resumed_from"] = checkpoint and str(checkpoint.absolute())
    run.update_record(status="running", error=None, **about)
    try:
        metrics = fit(cfg, config, run, data, checkpoint, seconds)
    except Exception as error:
        run.update_record(status="failed", error=one_line(error))
        log.info("%s failed: %s", run.path, one_line(error))
        raise
    except SystemExit as ended:
        # What Lightning makes of Ctrl-C and of SIGTERM; the run broke off and can be resumed.
        raise KeyboardInterrupt from ended
    finally:
        # The jobs of a sweep share this process and its devices.
        gc.unfreeze()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return metrics


def share_the_machine(cfg: DictConfig) -> None:
    """Take a part of it where a launcher runs several jobs, and no more devices than a job may.

    Raises:
        HomoregError: a job of a sweep asks for several devices.
    """
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN and cfg.trainer.devices > 1:
        raise HomoregError(
            f"trainer.devices={cfg.trainer.devices} in a sweep: the processes of a run would each "
            "start the sweep again; give each job one device and run several jobs at a time "
            "(trainer=auto hydra/launcher=joblib), or start each run by itself, without -m"
        )
    if "n_jobs" in hydra.launcher:
        cores = limit_threads(hydra.launcher.n_jobs)
        if not any(o.startswith("data.num_workers=") for o in hydra.overrides.task):
            # One core less for each process that cuts patches; with a single core, none.
            cfg.data.num_workers = min(cfg.data.num_workers, cores - 1)


def prepare_missing(cfg: DictConfig) -> None:
    """Make the pairs that ``data.root`` lacks; warn where it holds others than are asked for.

    Only what the command line says of photographs and warps counts as asked for.
    """
    source, warp = instantiate(cfg.source), instantiate(cfg.warp)
    root, options = cfg.data.root, dict(cfg.prepare)
    complete = all(manifest_path(root, side).is_file() for side in ("train", "eval"))
    handmade = manifest_path(root, "train").is_file() and not (Path(root) / RECORD).is_file()
    if not complete and not handmade:
        prepare_pairs(source, warp, root, **options)
        return
    overrides = HydraConfig.get().overrides.task
    if any(override.startswith(("source", "warp", "prepare.")) for override in overrides):
        recipe = {key: options[key] for key in ("seed", "jpeg_quality", "store_views")}
        difference = prepared_differs(source, warp, root, **recipe)
        if difference:
            log.warning("%s is used as it is: it %s", root, difference)


def fit(
    cfg: DictConfig,
    config: dict[str, Any],
    run: RunFolder,
    data: PatchPairDataModule,
    checkpoint: Path | None,
    seconds: dict[str, float],
) -> dict[str, float]:
    """Train, evaluate, and complete the run's record; returns its final metrics."""
    # Lightning tells its own options over again; what a run is made of stands in its config.
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's use of torch, not ours
    # Devices that share a run log the same numbers, so there is nothing to average.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    warnings.filterwarnings("ignore", message=".*all_gather is deprecated.*")  # Lightning's as well
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    module = build_module(cfg, config)
    throughput = Throughput()
    callbacks = [throughput, LossBeforeCheckpoint(), *instantiate(cfg.callbacks).values()]
    evaluation = build_evaluation(cfg, run)
    if evaluation:
        callbacks.append(evaluation)
    trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=list(loggers(cfg, checkpoint).values()),
        default_root_dir=str(run.path),
    )
    data.check_devices(trainer.world_size)
    log_start(trainer, cfg, config)
    # What is there by now stays for the whole run. A collector that walked through the manifest's
    # objects would take seconds at 80,000 pairs and copy pages that the loader's process shares.
    gc.freeze()
    try:
        started = time.perf_counter()
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
        evaluation_seconds = evaluation.seconds if evaluation else 0.0
        seconds["fit"] = time.perf_counter() - started - evaluation_seconds
        seconds["evaluation"] = evaluation_seconds
        if not trainer.is_global_zero:
            return {}
        logged = last_logged(trainer, run)
        metrics = logged | (evaluation.final_metrics() if evaluation else {})
        run.update_record(
            status="done",
            error=None,
            seconds={k: round(v, 2) for k, v in seconds.items()},
            patch_pairs_per_second=throughput.patch_pairs_per_second,
            metrics=metrics,
            training=training_row(cfg, trainer, logged),
            best_after_epochs=best_after_epochs(run),
        )
        for board in tensorboards(trainer):
            for name in known_by(cfg):
                board.add_scalar(f"hp/{name}", metrics.get(name, nan), trainer.current_epoch)
    finally:
        for logger in trainer.loggers:
            logger.finalize("done")
    return metrics


def loggers(cfg: DictConfig, checkpoint: Path | None) -> dict[str, Logger]:
    """The run's loggers; what TensorBoard was told after the checkpoint is void."""
    if checkpoint is None or "tensorboard" not in cfg.logger:
        return instantiate(cfg.logger)
    step = read_checkpoint(checkpoint)["global_step"]
    return instantiate(cfg.logger, tensorboard={"purge_step": step})


def build_module(cfg: DictConfig, config: dict[str, Any]) -> DescriptorModule:
    """The network and everything that trains it; arms of one seed start with equal weights."""
    return DescriptorModule(
        network=build_network(cfg.model, cfg.seed),
        loss=instantiate(cfg.loss),
        regularizer=instantiate(cfg.regularizer),
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        augmentation=instantiate(cfg.augmentation),
        seed=cfg.seed,
        identity={key: config[key] for key in ("model", "regularizer", "seed")}
        | {"patch": config["evaluation"]["patch"]},
    )


def build_evaluation(cfg: DictConfig, run: RunFolder) -> HomographyEvaluation | None:
    """The callback that judges the run; None under ``evaluation=none``."""
    options = dict(cfg.evaluation)
    if not options.pop("enabled"):
        return None
    protocol = EvaluationProtocol.from_config(cfg)
    return HomographyEvaluation(run.path, lambda: instantiate(cfg.benchmark), protocol, **options)


def best_after_epochs(run: RunFolder) -> int | None:
    """How many epochs lie behind the best weights; None where none are kept."""
    best = run.checkpoints / "best.ckpt"
    return read_checkpoint(best)["epoch"] + 1 if best.is_file() else None


def resume_point(run: RunFolder, identity: dict[str, str], ckpt: str | None) -> Path | None:
    """The checkpoint to go on from: the one asked for, or a broken run's own.

    Raises:
        HomoregError: the folder holds another run, or one that another process is writing.
    """
    record = run.record
    own = run.checkpoints / "last.ckpt"
    for key, value in identity.items():
        # What broke off before its first checkpoint holds nothing that could be lost.
        if own.is_file() and record.get(key, value) != value:
            what = "config" if key == "config_hash" else "pairs"
            raise HomoregError(
                f"{run.path} holds a run with another {what}: choose another study or hydra.run.dir"
            )
    if run.status == "running" and _alive(record):
        raise HomoregError(f"{run.path} is being written by process {record['process']}")
    if ckpt is not None:
        if not Path(ckpt).is_file():
            raise HomoregError(f"ckpt={ckpt}: there is no such file")
        read_checkpoint(Path(ckpt))
        return Path(ckpt)
    if run.status in ("running", "failed") and own.is_file():
        return own
    return None


def how_it_starts(run: RunFolder, checkpoint: Path | None) -> str:
    """What a run does with what its folder holds, as the end of a line that names the folder."""
    if run.status == "done":
        return "is done already"
    begins = {
        "absent": "is new",
        "running": "broke off and is resumed",
        "failed": f"failed ({run.record.get('error')}) and is retried",
    }[run.status]
    if checkpoint is None:
        return begins
    epochs = read_checkpoint(checkpoint)["epoch"] + 1
    return f"{begins}, going on from {checkpoint} after {epochs} epochs"


def _alive(record: dict[str, Any]) -> bool:
    """Whether the process that claims a run still lives on this machine."""
    process = record.get("process")
    if record.get("host") != socket.gethostname() or process in (None, os.getpid()):
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def config_hash(config: dict[str, Any]) -> str:
    """SHA-256 of what a run computes: its config without paths, workers and device."""
    kept = {k: v for k, v in config.items() if k not in NOT_HASHED[""]}
    for group, keys in NOT_HASHED.items():
        if group:
            kept[group] = {k: v for k, v in kept[group].items() if k not in keys}
    kept["callbacks"] = {
        name: {k: v for k, v in options.items() if k not in ("dirpath", "folder")}
        for name, options in kept["callbacks"].items()
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def surroundings() -> dict[str, Any]:
    """Where a run is computed and with what."""
    packages = ("homoreg", "torch", "lightning", "hydra-core", "opencv-python", "numpy", "kornia")
    cuda = torch.cuda.is_available()
    return {
        "git_revision": git_revision(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "host": socket.gethostname(),
        "process": os.getpid(),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if cuda else None,
        },
    }


def git_revision() -> str | None:
    """The commit that the code is at, ``+`` behind it where files differ; None outside git."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def log_start(trainer: pl.Trainer, cfg: DictConfig, config: dict[str, Any]) -> None:
    """Put the resolved config and the hyperparameters on TensorBoard, their metrics to come."""
    nothing_yet = {f"hp/{name}": nan for name in known_by(cfg)}
    for logger in trainer.loggers:
        if hasattr(logger, "experiment"):
            logger.log_hyperparams(hyperparameters(cfg), nothing_yet)
    for board in tensorboards(trainer):
        board.add_text("config", f"```yaml\n{OmegaConf.to_yaml(OmegaConf.create(config))}\n```")


def hyperparameters(cfg: DictConfig) -> dict[str, Any]:
    """The run's columns among TensorBoard's hparams: who it is, and whatever its sweep varies."""
    varied: dict[str, str] = {}
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        hydra = HydraConfig.get()
        constant = hydra.job.config.override_dirname.exclude_keys
        told = dict(override.lstrip("+").partition("=")[::2] for override in hydra.overrides.task)
        varied = {key: text for key, text in told.items() if key not in constant}
    values = {key: OmegaConf.select(cfg, key) for key in (*HYPERPARAMETERS, *varied)}
    return {
        # A choice of a group, such as regularizer=l2, is known by its name.
        key: value if isinstance(value, (bool, int, float, str)) else varied.get(key, str(value))
        for key, value in values.items()
    }


def known_by(cfg: DictConfig) -> list[str]:
    """The final metrics beside the hyperparameters: few enough to be looked at together."""
    held_out = ("auc_5px", "corner_error_px", "predicted_corner_error_px", "kappa")
    estimators = cfg.estimators if cfg.evaluation.enabled else ()
    judged = [f"{estimator}/{metric}" for estimator in estimators for metric in held_out]
    return ["val/nn_accuracy", "val/loss", "val/gap", *judged]


def last_logged(trainer: pl.Trainer, run: RunFolder) -> dict[str, float]:
    """The training's metrics as they were logged last; plain floats.

    A run that broke off in its evaluation trains no more when it goes on: its table has them.
    """
    if trainer.callback_metrics:
        return {k: float(v) for k, v in trainer.callback_metrics.items()}
    epochs = pd.read_csv(run.metrics_csv).drop(columns=["epoch", "step"]).ffill()
    return {str(k): float(v) for k, v in epochs.iloc[-1].items()}


def training_row(cfg: DictConfig, trainer: pl.Trainer, logged: dict[str, float]) -> dict[str, Any]:
    """The run's row in the study's training table; both losses in evaluation mode."""
    return {
        "regularizer": cfg.regularizer.name,
        "final_train_loss": logged["train/loss_eval"],
        "final_val_loss": logged["val/loss"],
        "epochs": trainer.current_epoch,
        "patch": f"{cfg.patch.size}x{cfg.patch.size} of {cfg.patch.support}x{cfg.patch.support}",
        "offset_px": cfg.patch.jitter_px,
        "batch": cfg.data.batch_size,
        "optimizer": str(cfg.optimizer._target_).rpartition(".")[2],
        "weight_decay": cfg.regularizer.weight_decay,
        "dropout": cfg.regularizer.dropout,
        "device": str(trainer.strategy.root_device),
        "precision": str(cfg.trainer.precision),
    }


if __name__ == "__main__":
    main()
