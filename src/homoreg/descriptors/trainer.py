"""Lightning's trainer, its options checked."""

import ctypes
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, validate_call

from homoreg.descriptors.checkpoint_io import AtomicCheckpointIO
from homoreg.errors import HomoregError

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
Batches = PositiveInt | Annotated[float, Field(gt=0, le=1)]

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@validate_call(config=ConfigDict(title="trainer"))
def build_trainer(
    *,
    max_epochs: PositiveInt,
    devices: PositiveInt = 1,
    strategy: Literal["auto", "ddp"] = "auto",
    fast_dev_run: bool = False,
    limit_train_batches: Batches = 1.0,
    limit_val_batches: Literal[0] | Batches = 1.0,
    check_val_every_n_epoch: PositiveInt = 1,
    log_every_n_steps: PositiveInt = 10,
    num_sanity_val_steps: NonNegativeInt = 0,
    gradient_clip_val: PositiveFloat | None = None,
    profiler: Literal["simple", "advanced", "pytorch"] | None = None,
    default_root_dir: str = ".",
    channels_last: bool = True,
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = "default",
    **options: Any,
) -> pl.Trainer:
    """A ``lightning.pytorch.Trainer``.

    Args:
        max_epochs: epochs.
        devices: more than one share each batch and need the strategy ``"ddp"``.
        strategy: Lightning's; ``"auto"`` for one device.
        fast_dev_run: one epoch of one batch, with everything that follows a training; Lightning's
            own leaves out checkpoints and loggers.
        limit_train_batches: share or number of an epoch's batches.
        limit_val_batches: share or number of each validation set's batches.
        check_val_every_n_epoch: epochs between two validations.
        log_every_n_steps: steps between two points of what is logged by step.
        num_sanity_val_steps: validation batches before training.
        gradient_clip_val: largest norm of the gradient; None for any.
        profiler: writes its table into ``default_root_dir``.
        default_root_dir: the run's folder.
        channels_last: for the module, as the two below; only checked here.
        compile: whether ``torch.compile`` generates the network's kernels.
        compile_mode: its mode; ``"reduce-overhead"`` makes CUDA graphs.
        options: Lightning's own.

    Raises:
        pydantic.ValidationError: a value outside its range.
        HomoregError: devices and strategy do not fit, or Lightning refuses an option.
    """
    if devices > 1 and strategy == "auto":
        raise HomoregError(f"trainer.devices={devices}: more than one needs trainer=ddp")
    if fast_dev_run:
        max_epochs, limit_train_batches, limit_val_batches = 1, 1, 1
    try:
        trainer = pl.Trainer(
            max_epochs=max_epochs,
            devices=devices,
            strategy=strategy,
            use_distributed_sampler=False,
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            check_val_every_n_epoch=check_val_every_n_epoch,
            log_every_n_steps=log_every_n_steps,
            num_sanity_val_steps=num_sanity_val_steps,
            gradient_clip_val=gradient_clip_val,
            profiler=_profiler(profiler, Path(default_root_dir)),
            default_root_dir=default_root_dir,
            plugins=[AtomicCheckpointIO()],
            **options,
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise HomoregError(f"trainer: {error}") from error
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    return trainer


def _profiler(name: str | None, folder: Path) -> Profiler | None:
    # With a file's name the table goes there and not to Lightning's log.
    return PROFILERS[name](dirpath=folder, filename="profile") if name else None


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one; without glibc nothing changes.

    By default it maps each large tensor anew, and the system fills its pages with zeros at every
    step: an eighth of a step's time at the default patches.
    """
    malloc_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if malloc_option:
        malloc_option(M_MMAP_MAX, 0)
        malloc_option(M_TRIM_THRESHOLD, 2**31 - 1)
