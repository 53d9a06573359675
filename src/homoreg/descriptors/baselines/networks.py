"""TFeat, HardNet, SOSNet and HyNet: kornia's networks with weights from a local file.

Nothing is ever downloaded. The files that the networks' authors publish are read as they are: a
state dict, or a dict that holds one under ``state_dict``.
"""

import pickle
from pathlib import Path
from typing import Any, ClassVar

import torch
from kornia import feature
from torch import nn

from homoreg.descriptors.baselines.common import check_support
from homoreg.descriptors.cnn import LUMA
from homoreg.descriptors.loading import NetworkDescriptor
from homoreg.errors import HomoregError

_PATCH_PX = 32  # what all four networks were made for


class KorniaBaseline(NetworkDescriptor):
    """A network of kornia on gray patches of 32 pixels, 128 numbers a descriptor.

    Args:
        weights: file of the trained weights.
        support: side in pixels of the window that is brought to 32 pixels; the published weights
            were trained on windows of 64.
        device: where the network runs; CUDA where there is one, by default.

    Raises:
        HomoregError: there is no such file, or it does not hold this network's weights.
    """

    baseline: ClassVar[str]
    network_class: ClassVar[type[nn.Module]]

    def __init__(
        self,
        weights: str | Path | None = None,
        support: int = 64,
        device: str | torch.device | None = None,
    ) -> None:
        check_support(self.baseline, support)
        network = self.network_class(pretrained=False)
        _load_weights(network, self.baseline, weights)
        super().__init__(
            nn.Sequential(_Gray(), network),
            support=support,
            size=_PATCH_PX,
            name=self.baseline,
            device=device,
        )


class TFeat(KorniaBaseline):
    """TFeat (Balntas et al., BMVC 2016); its descriptors are not of unit length."""

    baseline = "tfeat"
    network_class = feature.TFeat


class HardNet(KorniaBaseline):
    """HardNet (Mishchuk et al., NeurIPS 2017)."""

    baseline = "hardnet"
    network_class = feature.HardNet


class SosNet(KorniaBaseline):
    """SOSNet (Tian et al., CVPR 2019)."""

    baseline = "sosnet"
    network_class = feature.SOSNet


class HyNet(KorniaBaseline):
    """HyNet (Tian et al., NeurIPS 2020)."""

    baseline = "hynet"
    network_class = feature.HyNet


class _Gray(nn.Module):
    """RGB to gray; the range [0, 1] stays.

    TFeat and SOSNet normalize with a small constant that was trained for this range, HyNet asks
    for intensities that are not negative, and HardNet takes any.
    """

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return torch.einsum("ncij,c->nij", patches, patches.new_tensor(LUMA)).unsqueeze(1)


def _load_weights(network: nn.Module, baseline: str, weights: str | Path | None) -> None:
    option = f"descriptors.{baseline}.weights"
    if weights is None:
        raise HomoregError(f"{option} is not set: give the file of the trained weights")
    if not Path(weights).is_file():
        raise HomoregError(f"{option}={weights}: there is no such file")
    try:
        stored: Any = torch.load(weights, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise HomoregError(f"{option}={weights} is not a file of weights: {reason}") from error
    if isinstance(stored, dict):
        stored = stored.get("state_dict", stored)
    try:
        network.load_state_dict(stored)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise HomoregError(f"{option}={weights} holds other weights: {reason}") from error
