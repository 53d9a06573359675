"""Common parts of the networks: their input, and the probability of their dropout layers."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd

from homoreg.errors import HomoregError

# ITU-R BT.601, as OpenCV's COLOR_RGB2GRAY.
LUMA = (0.299, 0.587, 0.114)

# Of photographs, rounded from ImageNet's channels (0.485, 0.456, 0.406; 0.229, 0.224, 0.225). One
# value for all channels, so that gray stays gray.
MEAN_GRAY, DEVIATION_GRAY = 0.45, 0.225

Normalization = Literal["none", "standard", "patch"]


def to_network(patches: Tensor) -> Tensor:
    """Stored patches as networks take them.

    Args:
        patches: ``(N, S, S, 3)`` uint8 on any device.

    Returns:
        ``(N, 3, S, S)`` float32 in [0, 1], channels last in memory as they are stored.
    """
    return patches.permute(0, 3, 1, 2) / 255


class PatchInput(nn.Module):
    """The first layer of a network: color or luma, normalized.

    Args:
        in_channels: 3 keeps color, 1 converts to luma.
        normalization: ``"none"`` leaves [0, 1] as it is; ``"standard"`` centers it on the mean gray
            of photographs; ``"patch"`` gives every patch zero mean and unit deviation.

    Shape:
        ``(N, 3, S, S)`` in [0, 1] → ``(N, in_channels, S, S)``.
    """

    def __init__(self, in_channels: int, normalization: Normalization) -> None:
        super().__init__()
        if in_channels not in (1, 3):
            raise HomoregError(f"model.in_channels={in_channels}: give 3 (color) or 1 (luma)")
        if normalization not in ("none", "standard", "patch"):
            raise HomoregError(f"model.normalization={normalization}: give none, standard or patch")
        self.in_channels = in_channels
        self.normalization = normalization

    def forward(self, patches: Tensor) -> Tensor:
        if self.in_channels == 1:
            patches = (patches * patches.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
        if self.normalization == "patch":
            deviation, mean = torch.std_mean(patches, dim=(1, 2, 3), keepdim=True)
            # A flat patch has no contrast to normalize: one gray level keeps it near zero.
            patches = (patches - mean) / (deviation + 1 / 255)
        elif self.normalization == "standard":
            patches = (patches - MEAN_GRAY) / DEVIATION_GRAY
        return patches


class PatchNetwork(nn.Module):
    """Any network on images as a patch descriptor, such as kornia's and torchvision's.

    Args:
        network: ``(N, in_channels, S, S)`` float → ``(N, D)``.
        in_channels: 3 for color, 1 for luma.
        normalization: of its input, see :class:`PatchInput`.

    Shape:
        ``(N, 3, S, S)`` float in [0, 1] → ``(N, D)`` float32 of unit length.
    """

    def __init__(
        self, network: nn.Module, in_channels: int = 3, normalization: Normalization = "standard"
    ) -> None:
        super().__init__()
        self.input = PatchInput(in_channels, normalization)
        self.network = network

    def forward(self, patches: Tensor) -> Tensor:
        return F.normalize(self.network(self.input(patches)).float(), dim=1)


def set_dropout(
    network: nn.Module, probability: float, place: str = "last", spatial: bool = False
) -> None:
    """Set the probability of a network's dropout layers, in place; those not chosen get 0.

    Args:
        network: any; its ``nn.Dropout`` layers and the like are found.
        probability: that a value is dropped while training, in [0, 1).
        place: ``"last"`` for the last dropout layer, ``"all"``, or a name on the way to the layers,
            such as ``"features"`` or ``"head"`` in the networks of homoreg.
        spatial: drop whole channels of a map instead of single values (Tompson et al., CVPR 2015);
            for layers on maps, such as those at ``"features"``.

    Raises:
        HomoregError: the network has no dropout layer there.
    """
    layers = {n: layer for n, layer in network.named_modules() if isinstance(layer, _DropoutNd)}
    for layer in layers.values():
        layer.p = 0.0
    if not probability:
        return
    chosen = list(layers) if place == "all" else list(layers)[-1:]
    if place not in ("all", "last"):
        chosen = [name for name in layers if place in name.split(".")]
    if not chosen:
        raise HomoregError(
            f"regularizer.dropout={probability} at regularizer.dropout_at={place}: the model has "
            f"dropout layers at {', '.join(layers) or 'no place'}"
        )
    for name in chosen:
        if spatial:
            network.set_submodule(name, nn.Dropout2d(probability))
        else:
            layers[name].p = probability
