"""Lightning's trainer, with the memory format beside the precision."""

from typing import Any

import lightning.pytorch as pl

from homoreg.errors import HomoregError


class Trainer(pl.Trainer):
    """A ``lightning.pytorch.Trainer`` that also says how weights and patches lie in memory.

    Args:
        channels_last: the channels of a pixel side by side, which convolutions read faster.
        devices: 1; the samplers of homoreg do not share an epoch among devices yet.
        options: Lightning's own.

    Raises:
        HomoregError: another number of devices, or no epoch to train.
    """

    def __init__(self, *, channels_last: bool = True, devices: int = 1, **options: Any) -> None:
        if devices != 1:
            raise HomoregError(f"trainer.devices={devices}: a run trains on 1 device")
        max_epochs = options.get("max_epochs")
        if max_epochs is None or max_epochs < 1:
            raise HomoregError(f"trainer.max_epochs={max_epochs}: give at least 1 epoch")
        super().__init__(use_distributed_sampler=False, devices=devices, **options)
        self.channels_last = channels_last
