"""What an arm of the study does against overfitting."""

import torch
from torch import nn

from homoreg.errors import HomoregError


class Regularizer:
    """Weight decay in the optimizer and dropout in the head; a subclass may add a penalty.

    The optimizer's config reads ``weight_decay`` and the network's reads ``dropout``; a new kind of
    regularizer overrides :meth:`penalty` and gets its own file in ``conf/regularizer``.

    Args:
        name: the arm's name in tables and figures.
        weight_decay: λ that the optimizer takes; Adam couples it into the gradient as L2.
        dropout: probability that a hidden unit of the head is dropped while training.
    """

    def __init__(self, name: str, weight_decay: float = 0.0, dropout: float = 0.0) -> None:
        if weight_decay < 0:
            raise HomoregError(f"regularizer.weight_decay={weight_decay}: give 0 or more")
        if not 0 <= dropout < 1:
            raise HomoregError(f"regularizer.dropout={dropout}: give a probability in [0, 1)")
        self.name = name
        self.weight_decay = weight_decay
        self.dropout = dropout

    def penalty(
        self, network: nn.Module, descriptors1: torch.Tensor, descriptors2: torch.Tensor
    ) -> torch.Tensor | float:
        """What the training loss gets on top, a scalar.

        Args:
            network: the network being trained.
            descriptors1: ``(N, D)`` of the first patches of a batch.
            descriptors2: ``(N, D)`` of the second.
        """
        return 0.0
