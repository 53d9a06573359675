from math import hypot, radians, sin, sqrt

import pytest
import torch
from torch.nn import functional as F

from homoreg.descriptors.module import DescriptorModule
from homoreg.descriptors.regularizers import (
    Decorrelation,
    Regularizer,
    SecondOrderSimilarity,
    SpreadOut,
)

NETWORK = torch.nn.Identity()


def places(count: int) -> dict[str, torch.Tensor]:
    """A batch of so many places of as many photos."""
    numbers, zeros = torch.arange(count), torch.zeros(count, 2)
    return {
        "label": torch.ones(count),
        "photo": numbers,
        "pair": numbers,
        "points1": zeros,
        "points2": zeros,
    }


def at(*angles_deg: float) -> torch.Tensor:
    """Descriptors of two numbers at these angles."""
    angles = torch.tensor(angles_deg).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def chord(angle_deg: float) -> float:
    """Distance of two such descriptors."""
    return 2 * sin(radians(angle_deg) / 2)


def test_a_plain_regularizer_adds_nothing() -> None:
    described = F.normalize(torch.randn(6, 4), dim=1)
    plain = Regularizer(name="l2", weight_decay=1.0)
    assert plain.penalty(NETWORK, described, described, places(6)) == 0


def test_spread_out_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # Products of other places: a₁·p₂ = 0.6 and a₂·p₁ = 0; mean 0.3, mean square 0.18 < 1/2.
    spread = SpreadOut(name="gor", weight=2.0)
    assert spread.penalty(NETWORK, first, second, places(2)).item() == pytest.approx(2 * 0.09)
    # All alike: mean 1 and mean square 1, which exceeds 1/2 by a half.
    same = first[:1].expand(3, 2)
    assert spread.penalty(NETWORK, same, same, places(3)).item() == pytest.approx(2 * 1.5)
    # One place seen three times has no other place.
    once = places(3) | {"photo": torch.zeros(3), "pair": torch.zeros(3)}
    assert spread.penalty(NETWORK, same, same, once) == 0


def test_second_order_similarity_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    second = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    # Distances in view 1: √2, 2, √2; in view 2: √2, √2, 2 for the pairs 12, 13, 23.
    gap = 2 - sqrt(2)
    expected = (gap + gap + sqrt(2) * gap) / 3
    all_places = SecondOrderSimilarity(name="sosr", neighbors=8)
    value = all_places.penalty(NETWORK, first, second, places(3)).item()
    assert value == pytest.approx(expected, rel=1e-5)
    # The nearest place alone: at 0, 40, 100 degrees it is 1→2, 2→1, 3→2, at 0, 50, 90 degrees 1→2,
    # 2→3, 3→2. So 1 and 3 are not compared, although their distance differs.
    nearest = SecondOrderSimilarity(name="sosr", neighbors=1)
    gap12 = chord(50) - chord(40)
    gap23 = chord(60) - chord(40)
    expected = (gap12 + hypot(gap12, gap23) + gap23) / 3
    value = nearest.penalty(NETWORK, at(0, 40, 100), at(0, 50, 90), places(3)).item()
    assert value == pytest.approx(expected, rel=1e-5)
    described = first.clone().requires_grad_()
    all_places.penalty(NETWORK, described, described, places(3)).backward()
    assert torch.isfinite(described.grad).all()


def test_decorrelation_by_hand() -> None:
    # Columns: x, x and −x are fully correlated: six off-diagonal ones of 3 entries.
    x = torch.tensor([1.0, -1.0, 2.0, 0.0])
    alike = torch.stack([x, x + 5, -x], 1)
    penalty = Decorrelation(name="decorrelation", weight=0.5)
    value = penalty.penalty(NETWORK, alike, alike, places(4)).item()
    assert value == pytest.approx(0.5 * 6 / 3, rel=1e-4)
    # Correlations ½ in view 1 only: ½ · (2 · ¼ + 0) / 2.
    alike, opposite = [[1.0, 1.0], [-1.0, -1.0]], [[1.0, -1.0], [-1.0, 1.0]]
    first = torch.tensor(alike * 3 + opposite)
    second = torch.tensor((alike + opposite) * 2)
    value = Decorrelation(name="d", weight=1.0).penalty(NETWORK, first, second, places(8)).item()
    assert value == pytest.approx(0.125, rel=1e-4)


@pytest.mark.parametrize("kind", [SpreadOut, Decorrelation])
def test_a_penalty_is_computed_in_float32_under_autocast(kind: type[Regularizer]) -> None:
    torch.manual_seed(0)
    module = DescriptorModule(
        network=NETWORK,
        loss=torch.nn.CosineEmbeddingLoss(),
        regularizer=kind(name="mine"),
        optimizer=torch.optim.Adam,
        scheduler=torch.optim.lr_scheduler.ConstantLR,
        augmentation=torch.nn.Identity(),
        seed=0,
        identity={},
    )
    first, second = F.normalize(torch.randn(2, 40, 16), dim=2)
    described = {"first": first, "second": second, **places(40)}
    expected = module.regularizer.penalty(NETWORK, first, second, described)
    with torch.autocast("cpu", torch.bfloat16):
        assert module.penalty_of(described) == expected
        assert module.regularizer.penalty(NETWORK, first, second, described) != expected
