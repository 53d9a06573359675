"""Networks whose head keeps the spatial layout of the patch."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from homoreg.descriptors.layers import PatchInput
from homoreg.errors import HomoregError


class SpatialDescriptor(nn.Module):
    """3×3 convolutions with batch norm, then one convolution over the whole map.

    The architecture of L2-Net (Tian et al., CVPR 2017) and HardNet (Mishchuk et al., NeurIPS 2017),
    of any depth. Patches are luma with zero mean and unit deviation; batch norms have no affine
    part; initial weights are orthogonal with gain 0.8, as in HardNet. There is a dropout layer in
    ``features``, before the last 3×3 convolution, and one in ``head``, before the convolution over
    the map.

    Args:
        channels: output channels of each 3×3 convolution.
        strides: stride of each.
        descriptor_dim: length of the descriptor.
        patch_size: side of the patches, pixels, a multiple of the product of the strides.

    Shape:
        ``(N, 3, patch_size, patch_size)`` float in [0, 1] → ``(N, descriptor_dim)`` float32 of unit
        length.

    >>> sum(p.numel() for p in SpatialDescriptor().parameters())
    764192
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128, 128),
        strides: Sequence[int] = (2, 1, 2, 1),
        descriptor_dim: int = 64,
        patch_size: int = 32,
    ) -> None:
        super().__init__()
        if len(channels) != len(strides) or min([*channels, *strides, descriptor_dim]) < 1:
            raise HomoregError(
                f"model.channels={list(channels)} and model.strides={list(strides)}: give one "
                "stride of at least 1 for each convolution"
            )
        if patch_size % math.prod(strides):
            raise HomoregError(
                f"model.strides={list(strides)} reduce a patch {math.prod(strides)} times: give a "
                f"patch.size that is a multiple of it, not {patch_size}"
            )
        self.input = PatchInput(in_channels=1, normalization="patch")
        layers: list[nn.Module] = []
        width = 1
        for number, (out, stride) in enumerate(zip(channels, strides, strict=True), start=1):
            if number == len(channels):
                layers.append(nn.Dropout(0.0))
            layers += [
                nn.Conv2d(width, out, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(out, affine=False),
                nn.ReLU(),
            ]
            width = out
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Dropout(0.0),
            nn.Conv2d(width, descriptor_dim, patch_size // math.prod(strides), bias=False),
            nn.BatchNorm2d(descriptor_dim, affine=False),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.orthogonal_(layer.weight, gain=0.8)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        described = self.head(self.features(self.input(patches)))
        return F.normalize(described.flatten(1).float(), dim=1)
