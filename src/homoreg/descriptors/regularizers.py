"""Regularizers, the arms of the study.

An arm has weight decay, dropout or a penalty on the descriptors, each with options of its own. The
optimizer's config reads ``weight_decay`` and ``decoupled``; the training calls the methods.
"""

from typing import Annotated

import torch
from pydantic import ConfigDict, Field, NonNegativeFloat
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from homoreg.descriptors.layers import set_dropout
from homoreg.descriptors.losses import Batch, negatives, positives


@dataclass(kw_only=True, config=ConfigDict(extra="forbid"))
class Regularizer:
    """Weight decay and dropout; a subclass adds a penalty.

    Args:
        name: the arm's name in tables and figures.
        weight_decay: λ of the optimizer.
        decoupled: subtract ``lr · weight_decay`` times the weights at each step (AdamW, Loshchilov
            and Hutter, ICLR 2019) instead of adding the decay to the gradient.
        dropout: probability that a value is dropped while training, in [0, 1).
        dropout_at: which dropout layers of the network, see
            :func:`~homoreg.descriptors.layers.set_dropout`.
        spatial_dropout: drop whole channels, at layers on maps.
    """

    name: str
    weight_decay: NonNegativeFloat = 0.0
    decoupled: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dropout_at: str = "last"
    spatial_dropout: bool = False

    def set_up(self, network: nn.Module) -> None:
        """Give a network's dropout layers their probability, before training."""
        set_dropout(network, self.dropout, self.dropout_at, self.spatial_dropout)

    def penalty(
        self, network: nn.Module, descriptors1: Tensor, descriptors2: Tensor, batch: Batch
    ) -> Tensor | float:
        """A scalar that is added to the training loss.

        Args:
            network: the network in training.
            descriptors1: ``(N, D)`` of the first patches of a batch, of unit length.
            descriptors2: ``(N, D)`` of the second.
            batch: see :mod:`homoreg.descriptors.losses`.
        """
        return 0.0


@dataclass(kw_only=True, config=ConfigDict(extra="forbid"))
class SpreadOut(Regularizer):
    """Global orthogonal regularization (GOR, Zhang et al., ICCV 2017).

    Inner products of non-matching descriptors get the mean and the second moment that points spread
    over the sphere have: weight · (mean² + max(0, mean square − 1/D)).

    Args:
        weight: of the penalty.
        negative_radius_px: two places of a photo nearer than this are not compared, pixels.
    """

    weight: NonNegativeFloat = 1.0
    negative_radius_px: NonNegativeFloat = 16.0

    def penalty(
        self, network: nn.Module, descriptors1: Tensor, descriptors2: Tensor, batch: Batch
    ) -> Tensor | float:
        first, second, samples = positives(descriptors1, descriptors2, batch)
        products = (first @ second.T)[negatives(samples, self.negative_radius_px)]
        if not len(products):
            return 0.0
        excess = products.pow(2).mean() - 1 / first.shape[1]
        return self.weight * (products.mean().pow(2) + torch.relu(excess))


@dataclass(kw_only=True, config=ConfigDict(extra="forbid"))
class SecondOrderSimilarity(Regularizer):
    """Second-order similarity (SOSR, Tian et al., CVPR 2019).

    A place's distances to its nearest places are to be the same in both views:
    weight · meanᵢ √Σⱼ (d(aᵢ, aⱼ) − d(pᵢ, pⱼ))², j among the nearest of aᵢ or of pᵢ.

    Args:
        weight: of the penalty.
        neighbors: how many nearest places, in each view.
    """

    weight: NonNegativeFloat = 1.0
    neighbors: Annotated[int, Field(ge=1)] = 8

    def penalty(
        self, network: nn.Module, descriptors1: Tensor, descriptors2: Tensor, batch: Batch
    ) -> Tensor | float:
        first, second, _ = positives(descriptors1, descriptors2, batch)
        count = min(self.neighbors, len(first) - 1)
        if count < 1:
            return 0.0
        near = torch.zeros(len(first), len(first), dtype=torch.bool, device=first.device)
        distances = []
        for view in (first, second):
            distances.append(torch.cdist(view, view, compute_mode="donot_use_mm_for_euclid_dist"))
            apart = distances[-1].detach().clone().fill_diagonal_(torch.inf)
            near.scatter_(1, apart.topk(count, largest=False).indices, True)
        squares = (distances[0] - distances[1]).pow(2) * near
        # The square root has no gradient at 0.
        return self.weight * (squares.sum(1) + 1e-12).sqrt().mean()


@dataclass(kw_only=True, config=ConfigDict(extra="forbid"))
class Decorrelation(Regularizer):
    """Off-diagonal of the descriptors' correlation matrix (L2-Net, Tian et al., CVPR 2017).

    weight · ½ Σᵢ≠ⱼ (r₁ᵢⱼ² + r₂ᵢⱼ²) / D, where rᵢⱼ is the correlation of entries i and j over the
    batch, in view 1 and in view 2. Divided by the length D as in VICReg (Bardes et al., ICLR 2022).

    Args:
        weight: of the penalty.
    """

    weight: NonNegativeFloat = 0.1

    def penalty(
        self, network: nn.Module, descriptors1: Tensor, descriptors2: Tensor, batch: Batch
    ) -> Tensor | float:
        total = descriptors1.new_zeros(())
        for view in (descriptors1, descriptors2):
            centered = view - view.mean(0)
            columns = centered / (torch.linalg.vector_norm(centered, dim=0) + 1e-6)
            squares = (columns.T @ columns).pow(2)
            total = total + squares.sum() - squares.diagonal().sum()
        return self.weight * total / 2 / descriptors1.shape[1]
