"""Lightning's trainer, with the memory format beside the precision."""

import ctypes
import os
from typing import Any

import lightning.pytorch as pl

from homoreg.errors import HomoregError

STRATEGIES = ("auto", "ddp")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


class Trainer(pl.Trainer):
    """A ``lightning.pytorch.Trainer`` that also says how weights and patches lie in memory.

    Args:
        channels_last: the channels of a pixel side by side, which convolutions read faster.
        devices: a number; more than one share each batch and need the strategy ``"ddp"``.
        strategy: Lightning's; ``"auto"`` for one device.
        compile: let ``torch.compile`` write the network's kernels.
        compile_mode: its mode; ``"reduce-overhead"`` makes CUDA graphs.
        options: Lightning's own.

    Raises:
        HomoregError: a number of devices that the strategy does not fit, an unknown mode, or no
            epoch to train.
    """

    def __init__(
        self,
        *,
        channels_last: bool = True,
        devices: int = 1,
        strategy: str = "auto",
        compile: bool = False,
        compile_mode: str = "default",
        **options: Any,
    ) -> None:
        if devices < 1:
            raise HomoregError(f"trainer.devices={devices}: give at least 1 device")
        if strategy not in STRATEGIES:
            raise HomoregError(f"trainer.strategy={strategy}: give {' or '.join(STRATEGIES)}")
        if devices > 1 and strategy == "auto":
            raise HomoregError(f"trainer.devices={devices}: more than one needs trainer=ddp")
        if compile_mode not in COMPILE_MODES:
            raise HomoregError(
                f"trainer.compile_mode={compile_mode}: give one of {', '.join(COMPILE_MODES)}"
            )
        max_epochs = options.get("max_epochs")
        if max_epochs is None or max_epochs < 1:
            raise HomoregError(f"trainer.max_epochs={max_epochs}: give at least 1 epoch")
        super().__init__(
            use_distributed_sampler=False, devices=devices, strategy=strategy, **options
        )
        self.channels_last = channels_last
        self.compile_mode = compile_mode if compile else None
        if self.strategy.root_device.type == "cpu":
            keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one; without glibc nothing changes.

    By default it maps each large tensor anew, and the system fills its pages with zeros at every
    step: an eighth of a step's time at the default patches.
    """
    malloc_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if malloc_option:
        malloc_option(M_MMAP_MAX, 0)
        malloc_option(M_TRIM_THRESHOLD, 2**31 - 1)
