"""python -m homoreg.train: from photographs to trained descriptors and homography metrics.

One job trains one network under one regularizer and evaluates it; ``-m`` makes a sweep of jobs.
"""

import gc
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from homoreg.cli import command, given_options
from homoreg.cli.loggers import log_result, log_start
from homoreg.cli.machine import limit_threads
from homoreg.cli.provenance import use_pairs
from homoreg.cli.results import print_results
from homoreg.cli.resume import Plan, one_at_a_time, plan_run, take_weights
from homoreg.data.datamodule import PatchPairDataModule
from homoreg.data.images import image_size
from homoreg.descriptors.callbacks import Throughput, log_figure
from homoreg.descriptors.checkpoint import build_network, read_checkpoint
from homoreg.descriptors.inference import check_precision, pick_device
from homoreg.descriptors.losses import takes_batch
from homoreg.descriptors.module import DescriptorModule
from homoreg.descriptors.window import PatchWindow
from homoreg.errors import HomoregError, one_line
from homoreg.evaluation.benchmarks import Benchmark, ManifestBenchmark
from homoreg.evaluation.callback import HomographyEvaluation
from homoreg.evaluation.journal import Journal
from homoreg.evaluation.run import evaluate_run, final_metrics
from homoreg.evaluation.seen import record_photos
from homoreg.evaluation.table import EvaluationProtocol
from homoreg.files import remove_temporary, write_text
from homoreg.runs import RunFolder
from homoreg.runs.environment import environment_info
from homoreg.runs.identity import hash_options, reading_options, training_options
from homoreg.runs.targets import packages_of
from homoreg.study.analysis import Analysis

log = logging.getLogger("homoreg.train")  # __name__ is "__main__" under python -m

Config = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A run that is asked for.

    Attributes:
        cfg: the config of the command.
        config: the same, resolved, as plain values.
        run: its folder.
        data: the patch pairs.
        benchmark: the held-out pairs; None without an evaluation.
        seconds: wall-clock time by phase, filled as the run goes on.
        turn: is entered in a sweep, and closed as soon as there are weights: until then, other jobs
            that would train the same network wait for them.
    """

    cfg: DictConfig
    config: Config
    run: RunFolder
    data: PatchPairDataModule
    benchmark: Benchmark | None
    seconds: dict[str, float]
    turn: ExitStack = field(default_factory=ExitStack)


@command("train")
def main(cfg: DictConfig) -> dict[str, float] | float:
    """Train one job; returns its final metrics, or the one that a search optimizes."""
    metrics = train(cfg)
    if metrics and HydraConfig.get().mode == RunMode.RUN:
        run = RunFolder(Path(cfg.paths.run))
        print_results([run], run.path)
    if HydraConfig.get().runtime.choices["hydra/sweeper"] in ("basic", "arms"):
        return metrics
    if cfg.optimized_metric not in metrics:
        raise HomoregError(
            f"optimized_metric={cfg.optimized_metric}: a run has {', '.join(sorted(metrics))}"
        )
    return metrics[cfg.optimized_metric]


def train(cfg: DictConfig) -> dict[str, float]:
    """One run: pairs, training, evaluation. What its folder holds already is not done again."""
    limit_resources(cfg)
    check_options(cfg)
    run = RunFolder(Path(cfg.paths.run))
    seconds: dict[str, float] = {}
    with timed(seconds, "prepare"):
        # Absolute, so that the run can be evaluated from any folder.
        cfg.data.root = str(Path(cfg.data.root).absolute())
        pairs = use_pairs(cfg)
    config = cast(Config, OmegaConf.to_container(cfg, resolve=True))
    data = instantiate(cfg.data)
    if getattr(rank_zero_only, "rank", 0):
        # A process that Lightning started to share the training; the first one does all the rest.
        resumed = run.record["resumed_from"]
        fit(Job(cfg, config, run, data, None, seconds), [], resumed and Path(resumed))
        return {}

    job = Job(cfg, config, run, data, open_benchmark(cfg), seconds)
    with run.locked(), job.turn:
        remove_temporary(run.path, deep=True)
        return go_on(job, pairs.hash)


def go_on(job: Job, manifest_hash: str) -> dict[str, float]:
    """Do what is left of a run, and record how it goes; returns its final metrics."""
    run, config, benchmark = job.run, job.config, job.benchmark
    training_hash = hash_options(training_options(config), manifest_hash)
    identity = {
        "training_hash": training_hash,
        "manifest_hash": manifest_hash,
        "reading_hash": reading_hash(config, benchmark) if benchmark else None,
    }
    table = run.evaluation_csv(benchmark.name) if benchmark else None
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if in_sweep:
        job.turn.enter_context(one_at_a_time(run, training_hash))
    plan = plan_run(run, config, identity, table=table, in_sweep=in_sweep)
    log.info("%s %s", run.path, plan.message)
    if plan.done:
        if run.record["analysis"] != config["analysis"]:
            save_config(run, config)
        if run.status != "done":  # a start with other options failed here
            run.update_record(status="done", error=None)
        return dict(run.record["metrics"])

    save_config(
        run,
        config,
        status="running",
        error=None,
        metrics=None,
        seed=job.cfg.seed,
        resumed_from=plan.checkpoint and str(plan.checkpoint.absolute()),
        **identity | {"reading_hash": None},  # what is on disk until then is another evaluation
        **environment_info(),
    )
    try:
        metrics = carry_out(plan, job)
        run.update_record(status="done", reading_hash=identity["reading_hash"])
        log.info("%s is done: %s", run.path, headline(metrics))
    except Exception as error:
        run.update_record(status="failed", error=one_line(error))
        log.info("%s failed: %s", run.path, one_line(error))
        raise
    except SystemExit as ended:
        # Lightning's reaction to Ctrl-C and SIGTERM; the run can be resumed.
        raise KeyboardInterrupt from ended
    finally:
        # The jobs of a sweep share this process and its devices.
        gc.unfreeze()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return metrics


def carry_out(plan: Plan, job: Job) -> dict[str, float]:
    """Train and evaluate as planned; records and returns the run's final metrics."""
    run, seconds = job.run, job.seconds
    loggers, status = build_loggers(job.cfg, plan.checkpoint), "failed"
    try:
        log_start(loggers, job.cfg, job.config)
        if plan.donor:
            take_weights(run, plan.donor)
        if plan.train:
            run.update_record(training=None, weights_from=None)
            with timed(seconds, "bank"):
                job.data.setup()
            record_photos(run, job.data.manifest.pairs)
            with timed(seconds, "fit"):
                fit(job, loggers, plan.checkpoint)
        job.turn.close()
        metrics = run.training_metrics()
        if job.benchmark and plan.evaluate:
            with timed(seconds, "evaluation"):
                metrics |= evaluate(job.cfg, run, job.benchmark, loggers)
        log_result(loggers, job.cfg, metrics, run.record["training"]["epochs"])
        status = "success"
    finally:
        for logger in loggers:
            logger.finalize(status)
    rounded = {phase: round(value, 2) for phase, value in seconds.items()}
    run.update_record(seconds=run.record.get("seconds", {}) | rounded, metrics=metrics)
    return metrics


def headline(metrics: dict[str, float]) -> str:
    """The few final metrics that a run's last line names.

    >>> headline({"val/nn_accuracy": 0.9123, "magsac/auc_5px": 61.25, "magsac/kappa": 3.0})
    '1-NN accuracy 0.912 on validation patches, magsac AUC at 5 px 61.2'
    """
    texts = {"val/nn_accuracy": "1-NN accuracy {:.3f} on validation patches"}
    for key in metrics:
        if key.endswith("/auc_5px"):
            texts[key] = f"{key.removesuffix('/auc_5px')} AUC at 5 px {{:.1f}}"
    return ", ".join(text.format(metrics[key]) for key, text in texts.items() if key in metrics)


def limit_resources(cfg: DictConfig) -> None:
    """Take a share of the machine where a launcher runs several jobs, and one device in a sweep.

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
        if "data.num_workers" not in given_options():
            # One core less for each process that cuts patches; with a single core, none.
            cfg.data.num_workers = min(cfg.data.num_workers, cores - 1)


def check_options(cfg: DictConfig) -> None:
    """HomoregError for what would be noticed only when keypoints are cut, or after the training."""
    Analysis(**cast(Config, OmegaConf.to_container(cfg.analysis)))
    if not 0 <= cfg.seed < 2**32:
        raise HomoregError(f"seed={cfg.seed}: give a whole number from 0 to 2³² − 1")
    if not cfg.trainer.limit_val_batches:
        raise HomoregError("trainer.limit_val_batches=0: a run needs its validation")
    if cfg.evaluation.checkpoint not in ("last", "best"):
        raise HomoregError(f"evaluation.checkpoint={cfg.evaluation.checkpoint}: give last or best")
    check_precision(cfg.evaluation.precision)
    windows = {"data.keypoints": cfg.patch.window, "detector": cfg.evaluation.patch.window}
    lacking = [
        f"{detector}.frame=orientation"
        for detector, window in windows.items()
        if window == "oriented" and OmegaConf.select(cfg, f"{detector}.frame") in ("place", "scale")
    ]
    if lacking:
        raise HomoregError(
            f"patch.window=oriented: the keypoints have no orientation; give {' '.join(lacking)}"
        )


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add the wall-clock time of a phase to ``seconds``."""
    started = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - started


def open_benchmark(cfg: DictConfig) -> Benchmark | None:
    """The held-out pairs; None under ``evaluation=none``.

    Raises:
        HomoregError: there are no pairs, or an image of one cannot be read.
    """
    if not cfg.evaluation.enabled:
        return None
    benchmark = instantiate(cfg.benchmark)
    if not len(benchmark):
        raise HomoregError(
            f"the benchmark {benchmark.name} has no pairs to evaluate on: prepare some "
            "(source.eval), or leave the evaluation out with evaluation=none"
        )
    if isinstance(benchmark, ManifestBenchmark):
        for file in {f for pair in benchmark.pairs for f in (pair.img1, pair.img2) if f}:
            image_size(file)
    return benchmark


def reading_hash(config: Config, benchmark: Benchmark) -> str:
    """Hash of all that determines an evaluation besides the weights."""
    manifest = getattr(benchmark, "manifest", None)
    return hash_options(reading_options(config), manifest and manifest.hash)


def save_config(run: RunFolder, config: Config, **record: Any) -> None:
    """Write ``config.yaml``, and to ``run.json`` these fields and those that the report reads."""
    write_text(run.config_file, OmegaConf.to_yaml(OmegaConf.create(config)))
    about = {key: config[key] for key in ("analysis", "source", "warp", "prepare")}
    run.update_record(**record, **about)


def build_loggers(cfg: DictConfig, checkpoint: Path | None) -> list[Logger]:
    """The loggers of the group ``logger``; TensorBoard forgets what came after the checkpoint."""
    if checkpoint is None or "tensorboard" not in cfg.logger:
        return list(instantiate(cfg.logger).values())
    step = read_checkpoint(checkpoint)["global_step"]
    return list(instantiate(cfg.logger, tensorboard={"purge_step": step}).values())


def fit(job: Job, loggers: list[Logger], checkpoint: Path | None) -> None:
    """Train, and record what the training table shows of the run."""
    cfg, run = job.cfg, job.run
    silence_lightning()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    module = build_module(cfg, job.config)
    callbacks = list(instantiate(cfg.callbacks).values())
    if cfg.evaluation.enabled:
        callbacks.append(build_watch(cfg))
    trainer = instantiate(
        cfg.trainer, callbacks=callbacks, logger=loggers, default_root_dir=str(run.path)
    )
    job.data.check_devices(trainer.world_size)
    # Keep the garbage collector from the manifest's objects, which live as long as the run: at
    # 80,000 pairs it would take seconds and copy pages that the loader's processes share.
    gc.freeze()
    trainer.fit(module, job.data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    if not trainer.is_global_zero:
        return
    for profile in run.path.glob("*profile*.txt"):
        log.info("%s\n%s", profile, profile.read_text(encoding="utf-8"))
    speeds = [c.patch_pairs_per_second for c in callbacks if isinstance(c, Throughput)]
    best = run.checkpoints / "best.ckpt"
    run.update_record(
        training=training_row(cfg, trainer, run.training_metrics()),
        patch_pairs_per_second=speeds[0] if speeds else None,
        best_after_epochs=read_checkpoint(best)["epoch"] + 1 if best.is_file() else None,
    )


def silence_lightning() -> None:
    """Lightning's banner and its warnings about its own code; config.yaml has all options."""
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for message in ("LeafSpec", "all_gather is deprecated", "is smaller than the logging interval"):
        warnings.filterwarnings("ignore", message=f".*{message}.*")
    # Devices that share a run log equal numbers: there is nothing to average.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")


def build_module(cfg: DictConfig, config: Config) -> DescriptorModule:
    """The network and everything that trains it; arms of one seed start with equal weights.

    Raises:
        HomoregError: the loss needs negatives and there are none.
    """
    loss = instantiate(cfg.loss)
    if cfg.data.sampling.positive_share == 1 and not takes_batch(loss):
        raise HomoregError(
            f"loss._target_={cfg.loss._target_} compares positives with negatives, of which "
            "data.sampling.positive_share=1 leaves none: give data=patch_pairs"
        )
    return DescriptorModule(
        network=build_network(cfg.model, cfg.seed),
        loss=loss,
        regularizer=instantiate(cfg.regularizer),
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        augmentation=instantiate(cfg.augmentation),
        seed=cfg.seed,
        identity={key: config[key] for key in ("network", "model", "regularizer", "seed")}
        | {"patch": config["evaluation"]["patch"]},
        channels_last=cfg.trainer.channels_last,
        compile_mode=cfg.trainer.compile_mode if cfg.trainer.compile else None,
    )


def build_watch(cfg: DictConfig) -> HomographyEvaluation:
    """The callback that evaluates a few validation pairs during training."""
    return HomographyEvaluation(
        EvaluationProtocol.from_config(cfg),
        PatchWindow(**cfg.evaluation.patch),
        every_n_epochs=cfg.evaluation.every_n_epochs,
        subset=cfg.evaluation.subset,
        needs_best=cfg.evaluation.best_epoch or cfg.evaluation.checkpoint == "best",
    )


def training_row(cfg: DictConfig, trainer: pl.Trainer, metrics: dict[str, float]) -> dict[str, Any]:
    """The run's row of the training table; both losses in evaluation mode."""
    regularizer = {k: v for k, v in cfg.regularizer.items() if k not in ("_target_", "name")}
    window = f"{cfg.patch.support}x{cfg.patch.support}"
    if cfg.patch.window != "fixed":
        window = f"{cfg.patch.scale_factor:g} x the keypoint's scale, {cfg.patch.window}"
    return {
        "regularizer": cfg.regularizer.name,
        "final_train_loss": metrics["train/loss_eval"],
        "final_val_loss": metrics["val/loss"],
        "epochs": trainer.current_epoch,
        "patch": f"{cfg.patch.size}x{cfg.patch.size} of {window}",
        "offset_px": cfg.patch.jitter_px,
        "batch": cfg.data.batch_size,
        "optimizer": str(cfg.optimizer._target_).rpartition(".")[2],
        **cast(Config, OmegaConf.to_container(OmegaConf.create(regularizer))),
        "device": str(trainer.strategy.root_device),
        "precision": str(cfg.trainer.precision),
    }


def evaluate(
    cfg: DictConfig, run: RunFolder, benchmark: Benchmark, loggers: list[Logger]
) -> dict[str, float]:
    """Evaluate the trained network into the run's folder; returns its held-out metrics."""
    options = cfg.evaluation
    step = run.record["training"]["epochs"]
    with Journal(run.journal, reading_options(run.config)) as journal:
        table = evaluate_run(
            run,
            benchmark,
            EvaluationProtocol.from_config(cfg),
            checkpoint=options.checkpoint,
            best_epoch=options.best_epoch,
            figure_pairs=options.figure_pairs,
            shift_pairs=options.shift_pairs,
            validation_pairs=options.validation_pairs,
            oracle=options.oracle,
            device=str(pick_device("cpu" if cfg.trainer.accelerator == "cpu" else None)),
            packages=packages_of(run.config["model"]),  # the user chose this model
            journal=journal,
            show=lambda name, figure: log_figure(loggers, name, figure, step),
        )
    return dict(final_metrics(table))


if __name__ == "__main__":
    main()
