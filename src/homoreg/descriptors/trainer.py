"""Lightning's trainer, with the memory format beside the precision."""

from typing import Any

import lightning.pytorch as pl


class Trainer(pl.Trainer):
    """A ``lightning.pytorch.Trainer`` that also says how weights and patches lie in memory.

    Args:
        channels_last: the channels of a pixel side by side, which convolutions read faster.
        options: Lightning's own.
    """

    def __init__(self, *, channels_last: bool = True, **options: Any) -> None:
        # The samplers of homoreg deal an epoch's samples themselves.
        super().__init__(use_distributed_sampler=False, **options)
        self.channels_last = channels_last
