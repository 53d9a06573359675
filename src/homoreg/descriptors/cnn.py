"""The study's descriptor network, with its choices made options."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from homoreg.errors import HomoregError

# ITU-R BT.601, as OpenCV's COLOR_RGB2GRAY.
LUMA = (0.299, 0.587, 0.114)

# Of photographs, rounded from ImageNet's channels (0.485, 0.456, 0.406; 0.229, 0.224, 0.225). One
# number for all channels, so that gray stays gray.
MEAN_GRAY, DEVIATION_GRAY = 0.45, 0.225


class CnnDescriptor(nn.Module):
    """Convolutions with ReLU, max-pooled between, a global average, then a small head.

    With the defaults this is the study's network: 3→32→64→128 channels, 128→64→32 in the head,
    103,584 parameters.

    Args:
        channels: output channels of each convolution.
        kernel_sizes: side of each convolution's kernel, odd, pixels.
        head_widths: widths of the hidden layers between the pooled features and the descriptor.
        descriptor_dim: length of the descriptor.
        in_channels: 3 sees color, 1 sees luma.
        normalization: ``"none"`` feeds [0, 1] as it is, as the study did; ``"standard"`` centers
            it on the mean gray of photographs; ``"patch"`` gives every patch zero mean and unit
            deviation.
        dropout: probability that a hidden unit of the head is dropped while training.

    Shape:
        ``(N, 3, S, S)`` float in [0, 1] → ``(N, descriptor_dim)`` float32 of unit length.

    >>> sum(p.numel() for p in CnnDescriptor().parameters())
    103584
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128),
        kernel_sizes: Sequence[int] = (3, 3, 3),
        head_widths: Sequence[int] = (64,),
        descriptor_dim: int = 32,
        in_channels: int = 3,
        normalization: Literal["none", "standard", "patch"] = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(channels) != len(kernel_sizes) or not channels:
            raise HomoregError(
                f"model.channels={list(channels)} and model.kernel_sizes={list(kernel_sizes)}: "
                "give one kernel size for each convolution"
            )
        if any(k < 1 or k % 2 == 0 for k in kernel_sizes):
            raise HomoregError(f"model.kernel_sizes={list(kernel_sizes)}: kernels have odd sides")
        if in_channels not in (1, 3):
            raise HomoregError(f"model.in_channels={in_channels}: give 3 (color) or 1 (luma)")
        if normalization not in ("none", "standard", "patch"):
            raise HomoregError(f"model.normalization={normalization}: give none, standard or patch")
        if min([*channels, *head_widths, descriptor_dim]) < 1:
            raise HomoregError("model: channels, head_widths and descriptor_dim must be at least 1")
        if not 0 <= dropout < 1:
            raise HomoregError(f"regularizer.dropout={dropout}: give a probability in [0, 1)")
        self.in_channels = in_channels
        self.normalization = normalization

        layers: list[nn.Module] = []
        width = in_channels
        for number, (out, kernel) in enumerate(zip(channels, kernel_sizes, strict=True), start=1):
            # The largest of four is the same before ReLU, which then has a quarter of the work.
            pool = [nn.MaxPool2d(2)] if number < len(channels) else []
            layers += [nn.Conv2d(width, out, kernel, padding=kernel // 2), *pool, nn.ReLU()]
            width = out
        self.features = nn.Sequential(*layers)

        head: list[nn.Module] = []
        for out in head_widths:
            head += [nn.Linear(width, out), nn.ReLU(), nn.Dropout(dropout)]
            width = out
        self.head = nn.Sequential(*head, nn.Linear(width, descriptor_dim))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        if self.in_channels == 1:
            patches = (patches * patches.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
        if self.normalization == "patch":
            deviation, mean = torch.std_mean(patches, dim=(1, 2, 3), keepdim=True)
            # A flat patch has no contrast to normalize: a gray level's 1/255 keeps it near zero.
            patches = (patches - mean) / (deviation + 1 / 255)
        elif self.normalization == "standard":
            patches = (patches - MEAN_GRAY) / DEVIATION_GRAY
        # Averaged with channels last, so that the gradient lies as the convolutions read it.
        features = self.features(patches).permute(0, 2, 3, 1).flatten(1, 2).mean(1)
        return F.normalize(self.head(features).float(), dim=1)


def to_network(patches: torch.Tensor) -> torch.Tensor:
    """Stored patches as a network takes them.

    Args:
        patches: ``(N, S, S, 3)`` uint8 on any device.

    Returns:
        ``(N, 3, S, S)`` float32 in [0, 1]; channels stay last in memory, as they are stored.
    """
    return patches.permute(0, 3, 1, 2) / 255
