"""Losses, and which samples of a batch are each other's negatives.

A loss is a module called with ``(N, D)`` descriptors of the first patches, those of the second, and
the batch: ``label`` (N,) of ±1, ``photo`` and ``pair`` (N,) int64, ``points1`` and ``points2``
(N, 2) in pixels. One whose third argument is not called ``batch``, such as torch's own, gets the
labels alone.
"""

import inspect
import logging
from copy import deepcopy
from typing import Any

import torch
from pydantic import ConfigDict, NonNegativeFloat, PositiveFloat, validate_call
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices
from torch import Tensor, nn
from torch.nn import functional as F

from homoreg.errors import HomoregError

log = logging.getLogger(__name__)

Batch = dict[str, Tensor]

checked = validate_call(config=ConfigDict(title="loss"))


def compute_loss(
    loss: nn.Module, descriptors1: Tensor, descriptors2: Tensor, batch: Batch
) -> Tensor:
    """The loss of a batch in float32, whatever its third argument is."""
    with torch.autocast(descriptors1.device.type, enabled=False):
        third: Any = batch if takes_batch(loss) else batch["label"]
        return loss(descriptors1.float(), descriptors2.float(), third)


def takes_batch(loss: nn.Module) -> bool:
    """Whether a loss is called with the batch; others compare positives with negatives."""
    return "batch" in inspect.signature(loss.forward).parameters


def positives(
    descriptors1: Tensor, descriptors2: Tensor, batch: Batch
) -> tuple[Tensor, Tensor, Batch]:
    """The samples that show one place: their descriptors and their part of the batch."""
    positive = batch["label"] > 0
    keys = ("label", "photo", "pair", "points1", "points2")
    samples = {key: batch[key][positive] for key in keys}
    return descriptors1[positive], descriptors2[positive], samples


def negatives(samples: Batch, radius_px: float) -> Tensor:
    """Which positives are negatives for each other.

    Two places of one photo that are nearer than ``radius_px`` in view 1 are not negatives, nor are
    two places of one pair of views that are nearer than that in view 2.

    Args:
        samples: N positives of a batch.
        radius_px: pixels.

    Returns:
        ``(N, N)`` bool, symmetric, false on the diagonal.

    >>> points = torch.tensor([[0.0, 0], [10, 0], [100, 0]])
    >>> same = torch.zeros(3)
    >>> negatives({"photo": same, "pair": same, "points1": points, "points2": points}, 16.0)[0]
    tensor([False, False,  True])
    """

    def near(points: Tensor) -> Tensor:
        exact = "donot_use_mm_for_euclid_dist"
        return torch.cdist(points.float(), points.float(), compute_mode=exact) < radius_px

    def same(values: Tensor) -> Tensor:
        return values[:, None] == values

    near1 = same(samples["photo"]) & near(samples["points1"])
    near2 = same(samples["pair"]) & near(samples["points2"])
    itself = torch.eye(len(near1), dtype=torch.bool, device=near1.device)
    return ~(near1 | near2 | itself)


class PositivesLoss(nn.Module):
    """Base of losses that take positives only and find the negatives among them.

    Args:
        negative_radius_px: places of one photo nearer than this are not negatives, pixels.
    """

    @checked
    def __init__(self, negative_radius_px: NonNegativeFloat = 16.0) -> None:
        super().__init__()
        self.negative_radius_px = negative_radius_px
        self._warned = False

    def forward(self, descriptors1: Tensor, descriptors2: Tensor, batch: Batch) -> Tensor:
        """``(N, D)``, ``(N, D)`` and their batch → a scalar."""
        first, second, samples = positives(descriptors1, descriptors2, batch)
        if self.training and not self._warned and len(first) < len(descriptors1):
            self._warned = True
            log.warning(
                "loss %s uses the positives alone, %d of the batch's %d samples: set "
                "data.sampling.positive_share=1",
                type(self).__name__,
                len(first),
                len(descriptors1),
            )
        if len(first) < 2:
            # No negatives; the graph stays connected for the backward pass.
            return (descriptors1.sum() + descriptors2.sum()) * 0.0
        return self.compare(first, second, negatives(samples, self.negative_radius_px))

    def compare(self, first: Tensor, second: Tensor, negative: Tensor) -> Tensor:
        """The loss of P ≥ 2 positives, a scalar.

        Args:
            first: ``(P, D)``.
            second: ``(P, D)``, row by row the same places.
            negative: ``(P, P)`` bool, which rows are negatives for which.
        """
        raise NotImplementedError


class HardestInBatch(PositivesLoss):
    """Triplet margin loss with the hardest negative of the batch (HardNet, NeurIPS 2017).

    mean(max(0, margin + d(aᵢ, pᵢ) − min(minⱼ d(aᵢ, pⱼ), minⱼ d(aⱼ, pᵢ)))) over negatives j.

    Args:
        margin: by how much the hardest negative must be farther than the positive, L2 distance.
        negative_radius_px: see :class:`PositivesLoss`.
    """

    @checked
    def __init__(self, margin: PositiveFloat = 1.0, negative_radius_px: float = 16.0) -> None:
        super().__init__(negative_radius_px=negative_radius_px)
        self.margin = margin

    def compare(self, first: Tensor, second: Tensor, negative: Tensor) -> Tensor:
        distances = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
        apart = distances.masked_fill(~negative, torch.inf)
        hardest = torch.minimum(apart.amin(0), apart.amin(1))
        return torch.relu(self.margin + distances.diagonal() - hardest).mean()


class InfoNce(PositivesLoss):
    """Cross-entropy of finding the counterpart among the negatives, both ways.

    CPC (van den Oord et al., 2018) in the symmetric form of CLIP (Radford et al., ICML 2021).

    Args:
        temperature: τ in exp(cos / τ).
        negative_radius_px: see :class:`PositivesLoss`.
    """

    @checked
    def __init__(self, temperature: PositiveFloat = 0.07, negative_radius_px: float = 16.0) -> None:
        super().__init__(negative_radius_px=negative_radius_px)
        self.temperature = temperature

    def compare(self, first: Tensor, second: Tensor, negative: Tensor) -> Tensor:
        own = torch.arange(len(first), device=first.device)
        logits = first @ second.T / self.temperature
        neither = ~negative
        neither[own, own] = False
        logits = logits.masked_fill(neither, -torch.inf)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


class MetricLearning(PositivesLoss):
    """A loss of pytorch-metric-learning on pairs or triplets, with the places as labels.

    Args:
        loss: one that takes ``indices_tuple``, such as ``MultiSimilarityLoss``.
        miner: chooses pairs or triplets; by default all pairs.
        negative_radius_px: see :class:`PositivesLoss`; nearer negatives are taken out of what the
            miner chose.

    Raises:
        HomoregError: the loss compares samples that ``indices_tuple`` leaves out, or has weights of
            its own, which the optimizer does not get.
    """

    def __init__(
        self, loss: nn.Module, miner: nn.Module | None = None, negative_radius_px: float = 16.0
    ) -> None:
        super().__init__(negative_radius_px=negative_radius_px)
        problem = ""
        if next(loss.parameters(), None) is not None:
            problem = "has weights of its own, which are not trained"
        elif not leaves_out_pairs(loss):
            problem = "cannot leave out near negatives"
        if problem:
            raise HomoregError(
                f"loss.loss={type(loss).__name__} {problem}: give a loss of pairs or triplets, "
                "such as MultiSimilarityLoss"
            )
        self.loss = loss
        self.miner = miner

    def compare(self, first: Tensor, second: Tensor, negative: Tensor) -> Tensor:
        count = len(first)
        embeddings = torch.cat([first, second])
        labels = torch.arange(count, device=first.device).repeat(2)
        if self.miner is None:
            indices = get_all_pairs_indices(labels)
        else:
            indices = self.miner(embeddings, labels)
        if len(indices) == 4:  # pairs: anchors and positives, anchors and negatives
            anchors1, matches, anchors2, others = indices
            far = negative[anchors2 % count, others % count]
            indices = anchors1, matches, anchors2[far], others[far]
        else:  # triplets: anchors, positives and negatives
            anchors, _, others = indices
            far = negative[anchors % count, others % count]
            indices = tuple(part[far] for part in indices)
        return self.loss(embeddings, labels, indices)


def leaves_out_pairs(loss: nn.Module) -> bool:
    """Whether a loss of pytorch-metric-learning compares only the pairs of ``indices_tuple``.

    Tried on four places, near each other in twos, with all pairs and without the near negatives.
    Samples occur equally often in both, so that a loss that only weights samples by how often they
    occur gives the same value.
    """
    angles = torch.tensor([0.0, 1, 90, 91, 2, 3, 92, 93]).deg2rad()
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.arange(4).repeat(2)
    anchors1, matches, anchors2, others = get_all_pairs_indices(labels)
    far = labels[anchors2] // 2 != labels[others] // 2
    try:
        with torch.no_grad():
            # Copies, since some losses keep statistics.
            everything = deepcopy(loss)(embeddings, labels, (anchors1, matches, anchors2, others))
            apart = deepcopy(loss)(
                embeddings, labels, (anchors1, matches, anchors2[far], others[far])
            )
    except (ValueError, RuntimeError):  # it takes no pairs
        return False
    return bool(everything != apart)
