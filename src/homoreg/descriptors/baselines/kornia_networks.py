"""Kornia's patch descriptors (TFeat, HardNet, SOSNet, HyNet) with weights from a local file.

Nothing is downloaded. The files that the networks' authors publish are read as they are: a state
dict, or a dict that holds one under ``state_dict``.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from kornia import feature
from torch import nn

from homoreg.descriptors.baselines.opencv import WindowKind, check_support
from homoreg.descriptors.inference import NetworkDescriptor
from homoreg.descriptors.layers import PatchInput
from homoreg.descriptors.window import PatchWindow
from homoreg.errors import HomoregError, MissingError

_PATCH_PX = 32  # what all four networks were made for


class KorniaDescriptor(NetworkDescriptor):
    """A network of kornia on gray patches of 32 pixels.

    Args:
        name: value of the ``descriptor`` column.
        network_class: class of ``kornia.feature``, such as ``"HardNet"``.
        weights: file of the trained weights.
        support: side of the window in the photo, pixels; the published weights are for 64.
        device: where the network runs; CUDA if available by default.
        window, scale_factor: see :class:`~homoreg.data.patches.Window`.

    Raises:
        MissingError: there is no such file.
        HomoregError: it does not hold this network's weights, or the window is too small.
    """

    def __init__(
        self,
        name: str,
        network_class: str,
        weights: str | Path | None = None,
        support: int = 64,
        device: str | torch.device | None = None,
        window: WindowKind = "fixed",
        scale_factor: float = 12.0,
    ) -> None:
        check_support(name, support)
        built = getattr(feature, network_class)(pretrained=False)
        _load_weights(built, name, weights)
        # Gray in [0, 1]: TFeat and SOSNet normalize with a small constant that was trained for this
        # range, HyNet needs intensities that are not negative, and HardNet takes any.
        network = nn.Sequential(PatchInput(in_channels=1, normalization="none"), built)
        cut = PatchWindow(support=support, size=_PATCH_PX, window=window, scale_factor=scale_factor)
        super().__init__(network, cut, name, device=device)


def _load_weights(network: nn.Module, name: str, weights: str | Path | None) -> None:
    option = f"descriptors.{name}.weights"
    if weights is None:
        raise MissingError(f"{option} is not set: give the file of the trained weights")
    if not Path(weights).is_file():
        raise MissingError(f"{option}={weights}: there is no such file")
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
