"""The study's descriptor network, with its choices made options."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from homoreg.descriptors.layers import Normalization, PatchInput
from homoreg.errors import HomoregError


class CnnDescriptor(nn.Module):
    """Convolutions with ReLU and max-pooling, a global average, then a small head.

    With the defaults this is the study's network: 3→32→64→128 channels, 128→64→32 in the head,
    103,584 parameters. The average discards the spatial layout of the patch. There is a dropout
    layer in ``features``, before the last convolution, and one after each hidden layer of ``head``.

    Args:
        channels: output channels of each convolution.
        kernel_sizes: side of each convolution's kernel, odd, pixels.
        head_widths: widths of the hidden layers between the pooled features and the descriptor.
        descriptor_dim: length of the descriptor.
        in_channels: 3 sees color, 1 sees luma.
        normalization: of the input, see :class:`~homoreg.descriptors.layers.PatchInput`; the study
            had ``"none"``.

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
        normalization: Normalization = "none",
    ) -> None:
        super().__init__()
        if len(channels) != len(kernel_sizes) or not channels:
            raise HomoregError(
                f"model.channels={list(channels)} and model.kernel_sizes={list(kernel_sizes)}: "
                "give one kernel size for each convolution"
            )
        if any(k < 1 or k % 2 == 0 for k in kernel_sizes):
            raise HomoregError(f"model.kernel_sizes={list(kernel_sizes)}: kernels have odd sides")
        if min([*channels, *head_widths, descriptor_dim]) < 1:
            raise HomoregError("model: channels, head_widths and descriptor_dim must be at least 1")
        self.input = PatchInput(in_channels, normalization)

        layers: list[nn.Module] = []
        width = in_channels
        for number, (out, kernel) in enumerate(zip(channels, kernel_sizes, strict=True), start=1):
            # Pooling before ReLU gives the same values, and ReLU a quarter of the work.
            last = number == len(channels)
            pool = [] if last else [nn.MaxPool2d(2)]
            layers += [nn.Dropout(0.0)] if last else []
            layers += [nn.Conv2d(width, out, kernel, padding=kernel // 2), *pool, nn.ReLU()]
            width = out
        self.features = nn.Sequential(*layers)

        head: list[nn.Module] = []
        for out in head_widths:
            head += [nn.Linear(width, out), nn.ReLU(), nn.Dropout(0.0)]
            width = out
        self.head = nn.Sequential(*head, nn.Linear(width, descriptor_dim))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        # Averaged with channels last, so that the gradient lies as the convolutions read it.
        features = self.features(self.input(patches)).permute(0, 2, 3, 1).flatten(1, 2).mean(1)
        return F.normalize(self.head(features).float(), dim=1)
