import pytest
import torch
from torch.nn import functional as F

from homoreg.descriptors.losses import HardestInBatch
from homoreg.errors import HomoregError


def test_the_loss_is_the_mean_over_positives_of_their_hardest_triplet() -> None:
    torch.manual_seed(0)
    first, second = (F.normalize(torch.randn(7, 8), dim=1) for _ in range(2))
    label = torch.tensor([1.0, -1, 1, 1, -1, 1, 1])
    keep = [i for i in range(7) if label[i] > 0]
    expected = []
    for i in keep:
        others = [j for j in keep if j != i]
        hardest = min(
            min((first[i] - second[j]).norm() for j in others),
            min((first[j] - second[i]).norm() for j in others),
        )
        expected.append(F.relu(1 + (first[i] - second[i]).norm() - hardest))
    loss = HardestInBatch()(first, second, label)
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_a_lone_positive_costs_nothing_and_still_has_a_gradient() -> None:
    first = torch.randn(3, 4, requires_grad=True)
    loss = HardestInBatch()(first, torch.randn(3, 4), torch.tensor([1.0, -1, -1]))
    loss.backward()
    assert loss.item() == 0
    assert first.grad is not None


def test_a_margin_of_nothing_is_refused() -> None:
    with pytest.raises(HomoregError, match="loss.margin=0"):
        HardestInBatch(0)
