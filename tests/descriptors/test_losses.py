import logging
from contextlib import suppress
from copy import deepcopy

import pytest
import torch
from pytorch_metric_learning import losses as library
from pytorch_metric_learning.miners import TripletMarginMiner
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices
from torch.nn import functional as F

from homoreg.descriptors.losses import (
    HardestInBatch,
    InfoNce,
    MetricLearning,
    compute_loss,
    negatives,
)
from homoreg.errors import HomoregError


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Nine samples, seven of them positives; places 2 and 3 are near, 5 and 6 as well."""
    torch.manual_seed(0)
    points1, points2 = torch.zeros(9, 2), torch.zeros(9, 2)
    points1[:, 0] = torch.tensor([0, 0, 0, 9, 0, 200, 300, 0, 0])
    points2[:, 0] = torch.tensor([0, 0, 0, 9, 0, 200, 201, 0, 0])
    return {
        "first": unit(9, 8),
        "second": unit(9, 8),
        "label": torch.tensor([1.0, -1, 1, 1, -1, 1, 1, 1, 1]),
        # 5 and 6 show one pair of views; 7 shows another pair of the photo of 2 and 3.
        "photo": torch.tensor([0, 0, 1, 1, 2, 3, 3, 1, 4]),
        "pair": torch.tensor([0, 0, 1, 1, 2, 3, 3, 9, 4]),
        "points1": points1,
        "points2": points2,
    }


POSITIVES = [0, 2, 3, 5, 6, 7, 8]
NO_NEGATIVES = {(2, 3), (5, 6), (2, 7), (3, 7)}


def far(i: int, j: int) -> bool:
    return i != j and (min(i, j), max(i, j)) not in NO_NEGATIVES


def test_near_places_are_no_negatives(batch: dict[str, torch.Tensor]) -> None:
    samples = {key: value[POSITIVES] for key, value in batch.items()}
    expected = [[far(i, j) for j in POSITIVES] for i in POSITIVES]
    assert negatives(samples, 16.0).tolist() == expected
    # Within 0 px, place 7 of another pair is still the very place 2.
    assert negatives(samples, 1e-3).logical_not().sum() == len(POSITIVES) + 2


def test_hardest_in_batch_is_the_mean_over_hardest_triplets(batch: dict[str, torch.Tensor]) -> None:
    first, second = batch["first"], batch["second"]
    expected = []
    for i in POSITIVES:
        others = [j for j in POSITIVES if far(i, j)]
        hardest = min(
            min((first[i] - second[j]).norm() for j in others),
            min((first[j] - second[i]).norm() for j in others),
        )
        expected.append(F.relu(1 + (first[i] - second[i]).norm() - hardest))
    loss = compute_loss(HardestInBatch(), first, second, batch)
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_info_nce_is_the_cross_entropy_both_ways(batch: dict[str, torch.Tensor]) -> None:
    first, second = batch["first"].double(), batch["second"].double()
    terms = []
    for one, other in ((first, second), (second, first)):
        for i in POSITIVES:
            scores = [(one[i] @ other[j] / 0.1).exp() for j in POSITIVES if j == i or far(i, j)]
            terms.append(-torch.log((one[i] @ other[i] / 0.1).exp() / sum(scores)))
    loss = compute_loss(InfoNce(temperature=0.1), batch["first"], batch["second"], batch)
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)


def test_metric_learning_is_the_library_s_loss_without_near_negatives(
    batch: dict[str, torch.Tensor],
) -> None:
    first, second = batch["first"], batch["second"]
    # All places apart: what the library itself computes from labels.
    apart = batch | {"photo": torch.arange(9), "pair": torch.arange(9)}
    embeddings = torch.cat([first[POSITIVES], second[POSITIVES]])
    labels = torch.arange(len(POSITIVES)).repeat(2)
    contrastive = library.ContrastiveLoss(neg_margin=1.5)
    miner = TripletMarginMiner(margin=0.5, type_of_triplets="all")
    triplets = library.TripletMarginLoss(margin=0.5)
    for loss, indices in ((contrastive, None), (triplets, miner(embeddings, labels))):
        ours = MetricLearning(loss, miner if indices else None)
        expected = loss(embeddings, labels, indices).item()
        assert compute_loss(ours, first, second, apart).item() == pytest.approx(expected, rel=1e-5)
    # Near places: the contrastive loss by hand, the mean over negative pairs of (1.5 − d)₊.
    both = [*(first[i] for i in POSITIVES), *(second[i] for i in POSITIVES)]
    names = POSITIVES * 2
    pulls, pushes = [], []
    for a, i in enumerate(names):
        for b, j in enumerate(names):
            distance = (both[a] - both[b]).norm()
            if a != b and i == j:
                pulls.append(distance)
            if far(i, j):
                pushes.append(F.relu(1.5 - distance))
    expected = sum(
        torch.stack(terms)[torch.stack(terms) > 0].mean().item() for terms in (pulls, pushes)
    )
    ours = compute_loss(MetricLearning(contrastive), first, second, batch)
    assert ours.item() == pytest.approx(expected, rel=1e-4)


def losses_of_the_library() -> dict[str, torch.nn.Module]:
    """One of each that takes no arguments, or classes and a size alone."""
    found = {}
    for name, kind in vars(library).items():
        if not isinstance(kind, type) or not issubclass(kind, library.BaseMetricLossFunction):
            continue
        for options in ({}, {"num_classes": 7, "embedding_size": 8}):
            with suppress(TypeError, KeyError):
                found[name] = kind(**options)
                break
    del found["BaseMetricLossFunction"]
    return found


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")  # in the library's HistogramLoss
def test_a_loss_that_would_compare_near_places_or_has_weights_is_refused() -> None:
    """The value of such a loss is the same with and without the near places, which look alike."""
    torch.manual_seed(0)
    looks = unit(3, 8).repeat_interleave(2, 0).repeat(2, 1)
    embeddings, labels = F.normalize(looks + 0.1 * unit(12, 8)), torch.arange(6).repeat(2)
    anchors1, matches, anchors2, others = get_all_pairs_indices(labels)
    far = labels[anchors2] // 2 != labels[others] // 2
    some = anchors1, matches, anchors2[far], others[far]
    refused = []
    for name, loss in losses_of_the_library().items():
        try:
            everything, apart = (
                deepcopy(loss)(embeddings, labels, indices).item()
                for indices in ((anchors1, matches, anchors2, others), some)
            )
        except ValueError:
            everything = apart = 0.0
        if everything != apart and not list(loss.parameters()):
            MetricLearning(loss)
            continue
        refused.append(name)
        with pytest.raises(HomoregError, match=rf"^loss\.loss={name} .*MultiSimilarityLoss$"):
            MetricLearning(loss)
    assert {"AngularLoss", "NCALoss", "VICRegLoss", "ArcFaceLoss", "ProxyAnchorLoss"} < {*refused}
    with pytest.raises(HomoregError, match="CrossBatchMemory cannot leave out near negatives"):
        MetricLearning(library.CrossBatchMemory(library.ContrastiveLoss(), embedding_size=8))


def test_torch_s_own_losses_get_the_labels(batch: dict[str, torch.Tensor]) -> None:
    loss = torch.nn.CosineEmbeddingLoss(margin=0.5)
    expected = loss(batch["first"], batch["second"], batch["label"])
    assert compute_loss(loss, batch["first"], batch["second"], batch) == expected


def test_a_loss_is_computed_in_float32_under_autocast(batch: dict[str, torch.Tensor]) -> None:
    loss = InfoNce()
    expected = compute_loss(loss, batch["first"], batch["second"], batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert compute_loss(loss, batch["first"], batch["second"], batch) == expected


LOSSES = [HardestInBatch, InfoNce, lambda: MetricLearning(library.MultiSimilarityLoss())]


@pytest.mark.parametrize("make", LOSSES)
def test_without_negatives_there_is_nothing_to_learn_and_still_a_gradient(
    make, batch: dict[str, torch.Tensor]
) -> None:
    lone = batch | {"label": -torch.ones(9).index_fill(0, torch.tensor([4]), -1)}
    near = batch | {key: torch.zeros_like(batch[key]) for key in ("photo", "pair", "points1")}
    for samples in (lone, near):
        first = batch["first"].clone().requires_grad_()
        compute_loss(make(), first, batch["second"], samples).backward()
        assert first.grad is not None
        assert torch.isfinite(first.grad).all()


@pytest.mark.parametrize("make", LOSSES)
def test_unused_samples_are_told_once(
    make, batch: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        loss = make().eval()
        compute_loss(loss, batch["first"], batch["second"], batch)
        assert not caplog.records
        for _ in range(2):
            compute_loss(loss.train(), batch["first"], batch["second"], batch)
    (record,) = caplog.records
    assert "7 of the batch's 9 samples: set data.sampling.positive_share=1" in record.getMessage()
