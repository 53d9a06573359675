from copy import deepcopy

import kornia
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from homoreg.cli import compose
from homoreg.descriptors.checkpoint import build_network
from homoreg.descriptors.cnn import CnnDescriptor
from homoreg.descriptors.layers import PatchInput, PatchNetwork, set_dropout, to_network
from homoreg.descriptors.spatial import SpatialDescriptor
from homoreg.errors import HomoregError

MODELS = ("cnn", "spatial", "l2net", "kornia_hardnet", "torchvision_mobilenet")


@pytest.mark.parametrize("name", MODELS)
def test_every_model_describes_learns_and_depends_on_its_seed_alone(name: str) -> None:
    model = compose("train", ["paths.run=x", f"model={name}"]).model
    network, again, other = (build_network(model, seed) for seed in (0, 0, 1))
    states = [tuple(n.state_dict().values()) for n in (network, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(states[0], states[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(states[0], states[2], strict=True))
    patches = torch.rand(16, 3, 32, 32)
    described = network(patches)
    assert described.dtype == torch.float32
    assert described.norm(dim=1).tolist() == pytest.approx([1] * 16, abs=1e-5)
    (described[:8] - described[8:]).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_the_cnn_is_the_study_s_layer_by_layer() -> None:
    torch.manual_seed(0)
    network = CnnDescriptor().eval()
    c1, c2, c3 = (m for m in network.features if isinstance(m, nn.Conv2d))
    l1, l2 = (m for m in network.head if isinstance(m, nn.Linear))
    x = torch.rand(4, 3, 32, 32)
    y = F.max_pool2d(F.relu(F.conv2d(x, c1.weight, c1.bias, padding=1)), 2)
    y = F.max_pool2d(F.relu(F.conv2d(y, c2.weight, c2.bias, padding=1)), 2)
    y = F.adaptive_avg_pool2d(F.relu(F.conv2d(y, c3.weight, c3.bias, padding=1)), 1).flatten(1)
    y = F.normalize(F.linear(F.relu(F.linear(y, l1.weight, l1.bias)), l2.weight, l2.bias), dim=1)
    torch.testing.assert_close(network(x), y)
    for size in (8, 128):
        assert network(torch.rand(1, 3, size, size)).shape == (1, 32)


def test_l2net_is_hardnet_with_its_weights() -> None:
    hardnet = kornia.feature.HardNet(pretrained=False).eval()
    ours = SpatialDescriptor((32, 32, 64, 64, 128, 128), (1, 1, 2, 1, 2, 1), 128).eval()
    theirs = [m for m in hardnet.features if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    mine = [m for m in ours.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    for mine_layer, layer in zip(mine, theirs, strict=True):
        mine_layer.load_state_dict(layer.state_dict())
    gray = torch.rand(5, 1, 32, 32)
    # They differ in what keeps flat patches from being divided by nothing.
    agreement = F.cosine_similarity(ours(gray.expand(-1, 3, -1, -1)), hardnet(gray))
    assert agreement.min().item() > 0.9999


def test_initial_weights_of_the_spatial_network_are_orthogonal() -> None:
    network = SpatialDescriptor()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 5
    for layer in convolutions:
        rows = layer.weight.flatten(1)
        products = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
        torch.testing.assert_close(products, 0.64 * torch.eye(len(products)), atol=1e-4, rtol=0)


def test_a_spatial_head_tells_shifted_patches_apart_and_an_average_does_not() -> None:
    torch.manual_seed(0)
    tile = torch.rand(64, 3, 4, 4).repeat(1, 1, 9, 9)
    patch, shifted = tile[..., :32, :32], tile[..., 2:34, 2:34]
    agreements = {}
    for network in (CnnDescriptor().eval(), SpatialDescriptor().train()):
        similarity = F.cosine_similarity(network(patch), network(shifted)).mean().item()
        agreements[type(network).__name__] = similarity
    assert agreements["CnnDescriptor"] > 0.99
    assert agreements["SpatialDescriptor"] < 0.5


def test_patch_normalization_forgets_brightness_and_contrast() -> None:
    normalize = PatchInput(1, "patch")
    patches = torch.rand(5, 3, 32, 32)
    changed = normalize(patches * 0.5 + 0.2)
    torch.testing.assert_close(changed, normalize(patches), rtol=0.02, atol=0.02)
    assert normalize(torch.full((1, 3, 8, 8), 0.7)).abs().max() < 1e-4


def test_standard_normalization_centers_and_one_channel_is_luma() -> None:
    color = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(PatchInput(3, "standard")(color), (color - 0.45) / 0.225)
    luma = 0.299 * color[:, 0] + 0.587 * color[:, 1] + 0.114 * color[:, 2]
    torch.testing.assert_close(PatchInput(1, "none")(color), luma[:, None])


def test_stored_patches_reach_the_network_as_fractions_with_channels_last() -> None:
    stored = torch.from_numpy(np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3))
    ready = to_network(stored)
    assert ready.shape == (2, 3, 8, 8)
    assert ready.is_contiguous(memory_format=torch.channels_last)
    assert ready[1, 2, 3, 4].item() == pytest.approx(stored[1, 3, 4, 2].item() / 255)


def dropouts(network: nn.Module) -> list[float]:
    return [m.p for m in network.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]


@pytest.mark.parametrize("name", MODELS)
def test_dropout_reaches_the_last_dropout_layer_of_any_network(name: str) -> None:
    network = build_network(compose("train", ["paths.run=x", f"model={name}"]).model, seed=0)
    without = deepcopy(network)
    set_dropout(without, 0.0)
    assert set(dropouts(without)) == {0.0}
    set_dropout(network, 0.3)
    assert dropouts(network) == [*dropouts(without)[:-1], 0.3]
    patches = torch.rand(64, 3, 32, 32)
    torch.testing.assert_close(network.eval()(patches), without.eval()(patches))
    network.train()
    assert F.cosine_similarity(network(patches), network(patches)).mean().item() < 0.999


def test_the_place_of_dropout_is_a_choice() -> None:
    network = SpatialDescriptor()
    set_dropout(network, 0.4, "features")
    assert dropouts(network) == [0.4, 0.0]
    set_dropout(network, 0.2, "all")
    assert dropouts(network) == [0.2, 0.2]
    set_dropout(network, 0.5, "features", spatial=True)
    assert dropouts(network) == [0.5, 0.0]
    spatial = network.features[-4]
    dropped = (spatial(torch.ones(4, 32, 8, 8)) == 0).flatten(2)
    assert (dropped.all(2) | ~dropped.any(2)).all()
    assert dropped.any()
    with pytest.raises(HomoregError, match=r"dropout_at=tail.*features\.9, head\.0"):
        set_dropout(network, 0.1, "tail")
    with pytest.raises(HomoregError, match="no place"):
        set_dropout(PatchNetwork(nn.Flatten()), 0.1)


@pytest.mark.parametrize(
    ("build", "option"),
    [
        (lambda: CnnDescriptor(channels=[8, 8]), "model.channels"),
        (lambda: CnnDescriptor(kernel_sizes=[3, 4, 3]), "model.kernel_sizes"),
        (lambda: CnnDescriptor(in_channels=2), "model.in_channels=2"),
        (lambda: CnnDescriptor(normalization="batch"), "model.normalization=batch"),
        (lambda: CnnDescriptor(descriptor_dim=0), "descriptor_dim"),
        (lambda: SpatialDescriptor(channels=[8, 8]), "model.strides"),
        (lambda: SpatialDescriptor(patch_size=30), "patch.size.*not 30"),
    ],
)
def test_impossible_options_are_named(build, option: str) -> None:
    with pytest.raises(HomoregError, match=option):
        build()
