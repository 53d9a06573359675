import numpy as np
import pytest
import torch
from torch.nn import functional as F

from homoreg.descriptors.cnn import CnnDescriptor, to_network
from homoreg.errors import HomoregError


def test_descriptors_have_unit_length_for_any_patch_size() -> None:
    network = CnnDescriptor()
    for size in (8, 32, 128):
        assert network(torch.rand(3, 3, size, size)).norm(dim=1).tolist() == pytest.approx(
            [1, 1, 1]
        )


def test_the_network_is_the_study_s_layer_by_layer() -> None:
    torch.manual_seed(0)
    network = CnnDescriptor().eval()
    c1, c2, c3 = (m for m in network.features if isinstance(m, torch.nn.Conv2d))
    l1, l2 = (m for m in network.head if isinstance(m, torch.nn.Linear))
    x = torch.rand(4, 3, 32, 32)
    y = F.max_pool2d(F.relu(F.conv2d(x, c1.weight, c1.bias, padding=1)), 2)
    y = F.max_pool2d(F.relu(F.conv2d(y, c2.weight, c2.bias, padding=1)), 2)
    y = F.adaptive_avg_pool2d(F.relu(F.conv2d(y, c3.weight, c3.bias, padding=1)), 1).flatten(1)
    y = F.normalize(F.linear(F.relu(F.linear(y, l1.weight, l1.bias)), l2.weight, l2.bias), dim=1)
    torch.testing.assert_close(network(x), y)


def test_patch_normalization_forgets_brightness_and_contrast() -> None:
    network = CnnDescriptor(normalization="patch").eval()
    patches = torch.rand(5, 3, 32, 32)
    changed = network(patches * 0.5 + 0.2)
    assert (changed * network(patches)).sum(1).min().item() > 0.999
    assert torch.isfinite(network(torch.zeros(1, 3, 32, 32))).all()


def test_standard_normalization_centers_the_input() -> None:
    torch.manual_seed(0)
    plain = CnnDescriptor().eval()
    centered = CnnDescriptor(normalization="standard").eval()
    centered.load_state_dict(plain.state_dict())
    patches = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(centered(patches), plain((patches - 0.45) / 0.225))


def test_one_channel_sees_luma() -> None:
    network = CnnDescriptor(in_channels=1).eval()
    color = torch.rand(2, 3, 16, 16)
    luma = 0.299 * color[:, 0] + 0.587 * color[:, 1] + 0.114 * color[:, 2]
    gray = luma[:, None].expand(-1, 3, -1, -1)
    torch.testing.assert_close(network(color), network(gray), atol=1e-5, rtol=0)


def test_dropout_changes_nothing_but_training() -> None:
    torch.manual_seed(0)
    without = CnnDescriptor()
    torch.manual_seed(0)
    with_dropout = CnnDescriptor(dropout=0.3)
    patches = torch.rand(64, 3, 32, 32)
    torch.testing.assert_close(with_dropout.eval()(patches), without.eval()(patches))
    with_dropout.train()
    cosine = F.cosine_similarity(with_dropout(patches), with_dropout(patches)).mean().item()
    assert cosine < 0.999


def test_stored_patches_reach_the_network_as_fractions_with_channels_last() -> None:
    stored = torch.from_numpy(np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3))
    ready = to_network(stored)
    assert ready.shape == (2, 3, 8, 8)
    assert ready.is_contiguous(memory_format=torch.channels_last)
    assert ready[1, 2, 3, 4].item() == pytest.approx(stored[1, 3, 4, 2].item() / 255)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"channels": [8, 8]}, "model.channels"),
        ({"kernel_sizes": [3, 4, 3]}, "model.kernel_sizes"),
        ({"in_channels": 2}, "model.in_channels=2"),
        ({"normalization": "batch"}, "model.normalization=batch"),
        ({"descriptor_dim": 0}, "descriptor_dim"),
        ({"dropout": 1.0}, "regularizer.dropout=1.0"),
    ],
)
def test_impossible_options_are_named(options: dict, option: str) -> None:
    with pytest.raises(HomoregError, match=option):
        CnnDescriptor(**options)
