"""Losses beside torch's own: a module called with two batches of descriptors and their labels."""

import torch
from torch import nn

from homoreg.errors import HomoregError


class HardestInBatch(nn.Module):
    """Triplet margin loss with the hardest negative of the batch (HardNet, NeurIPS 2017).

    Only samples labeled +1 take part; every other sample of the batch is a candidate negative, so
    train it with ``data.sampling.positive_share=1``.

    Args:
        margin: by how much the hardest negative must be farther than the positive, in L2 distance.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        if margin <= 0:
            raise HomoregError(f"loss.margin={margin}: give a distance above 0")
        self.margin = margin

    def forward(
        self, descriptors1: torch.Tensor, descriptors2: torch.Tensor, label: torch.Tensor
    ) -> torch.Tensor:
        """Mean over the positives, a scalar; ``(N, D)``, ``(N, D)`` and ``(N,)`` of ±1."""
        positive = label > 0
        first, second = descriptors1[positive], descriptors2[positive]
        if len(first) < 2:
            # A lone pair has no negative; the graph stays connected for the backward pass.
            return (descriptors1.sum() + descriptors2.sum()) * 0.0
        distances = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
        apart = distances + torch.eye(len(first), device=first.device) * 4.0
        hardest = torch.minimum(apart.min(0).values, apart.min(1).values)
        return torch.relu(self.margin + distances.diagonal() - hardest).mean()
