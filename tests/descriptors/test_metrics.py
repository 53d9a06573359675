import numpy as np
import pytest
import torch
from torch.nn import functional as F

from homoreg.descriptors.metrics import (
    alignment,
    effective_rank,
    nearest_accuracy,
    uniformity,
    weight_norm,
)


def test_alignment_of_opposite_descriptors_is_four() -> None:
    descriptors = F.normalize(torch.randn(10, 8), dim=1)
    assert alignment(descriptors, -descriptors).item() == pytest.approx(4)
    assert alignment(descriptors, descriptors).item() == 0


def test_uniformity_of_collapsed_and_of_spread_descriptors() -> None:
    collapsed = F.normalize(torch.ones(50, 32), dim=1)
    assert uniformity(collapsed).item() == pytest.approx(0, abs=1e-5)
    torch.manual_seed(0)
    spread = F.normalize(torch.randn(3000, 32), dim=1)
    # The optimum in 32 dimensions, from the integral over the sphere.
    assert uniformity(spread).item() == pytest.approx(-3.75, abs=0.02)


def test_effective_rank_counts_the_dimensions_in_use() -> None:
    torch.manual_seed(0)
    assert effective_rank(
        torch.randn(5000, 4) @ torch.linalg.qr(torch.randn(32, 4)).Q.T
    ).item() == (pytest.approx(4, abs=0.02))


def test_weight_norm_is_over_all_parameters() -> None:
    layer = torch.nn.Linear(3, 2)
    torch.nn.init.constant_(layer.weight, 2.0)
    torch.nn.init.constant_(layer.bias, 1.0)
    assert weight_norm(layer).item() == pytest.approx((6 * 4 + 2) ** 0.5)


def test_nearest_accuracy_agrees_with_a_loop_over_groups() -> None:
    torch.manual_seed(0)
    first = F.normalize(torch.randn(200, 4), dim=1)
    second = F.normalize(first + 0.4 * torch.randn(200, 4), dim=1)
    groups = torch.randint(0, 9, (200,))
    right = [
        i == min(np.flatnonzero(groups == groups[i]), key=lambda j: torch.dist(first[i], second[j]))
        for i in range(200)
    ]
    assert 0.2 < np.mean(right) < 0.95
    assert nearest_accuracy(first, second, groups).item() == pytest.approx(np.mean(right))


def test_a_collapsed_network_finds_nothing() -> None:
    same = torch.ones(10, 4) / 2
    assert nearest_accuracy(same, same, torch.zeros(10)).item() == 0
    assert nearest_accuracy(same[:0], same[:0], torch.zeros(0)).isnan()
