"""A network as a descriptor."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from homoreg.descriptors.descriptor import check_input
from homoreg.descriptors.layers import to_network
from homoreg.descriptors.window import CutPatches, PatchWindow
from homoreg.errors import HomoregError
from homoreg.runs.targets import instantiate_untrusted

# Patches per forward pass. On a CPU the activations of 128 patches stay in its caches, which saves
# a third of the time; a GPU needs more to be busy.
PATCHES_PER_PASS_CPU, PATCHES_PER_PASS_GPU = 128, 1024


@dataclass(frozen=True)
class Origin:
    """Where a network that homoreg trained comes from.

    Attributes:
        file: the file that holds its weights.
        config: the ``network``, ``model``, ``patch``, ``regularizer`` and ``seed`` of its training
            and, where they are known, ``detector``, ``matcher`` and ``source``.
        packages: packages that the user trusts besides those in :mod:`homoreg.runs.targets`.
    """

    file: Path
    config: Mapping[str, Any]
    packages: Sequence[str] = ()


class NetworkDescriptor:
    """A network that describes keypoints by the patches around them.

    Args:
        network: ``(N, 3, S, S)`` float in [0, 1] → ``(N, D)``.
        window: how the patches are cut.
        name: value of the ``descriptor`` column.
        regularizer: the arm it was trained under; empty for a network that was not trained here.
        seed: of its training.
        device: where the network runs; CUDA if available by default.
        origin: of a network that homoreg trained.
        precision: ``"32-true"``, or ``"bf16-mixed"``: layers that gain by it compute in bfloat16,
            which is about twice as fast where the hardware multiplies it. Descriptors are float32.
    """

    metric = "l2"
    wants_frames = True

    def __init__(
        self,
        network: nn.Module,
        window: PatchWindow,
        name: str,
        regularizer: str = "",
        seed: int | None = None,
        device: str | torch.device | None = None,
        origin: Origin | None = None,
        precision: str = "32-true",
    ) -> None:
        self.window = window
        self.device = pick_device(device)
        network = network.float().eval().to(self.device)
        self.network = network.to(memory_format=torch.channels_last)
        self.name = name
        self.regularizer = regularizer
        self.seed = seed
        self.origin = origin
        self.precision = check_precision(precision)

    @cached_property
    def detector(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """The detector that it was trained for, see :mod:`homoreg.matching`; None if unknown.

        Raises:
            HomoregError: its file names something other than a detector of homoreg.
        """
        return self._trained_for("detector")

    @cached_property
    def matcher(self) -> Any:
        """The matcher that it was trained for, as :attr:`detector`."""
        return self._trained_for("matcher")

    def _trained_for(self, part: str) -> Any:
        # Built when asked for: describing given keypoints needs none, whatever the file names.
        if self.origin is None or self.origin.config.get(part) is None:
            return None
        return instantiate_untrusted(
            self.origin.config[part],
            object,
            f"{self.origin.file}: {part}",
            self.origin.packages,
            known=("homoreg.matching",),
        )

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """See :class:`Descriptor`; keypoints outside the image get a row of NaN."""
        check_input(image, keypoints)
        return self.describe_patches(self.window.cut(image, keypoints))

    @torch.inference_mode()
    def describe_patches(self, cut: CutPatches) -> np.ndarray:
        """``(N, D)`` float32 from patches that this descriptor's window has cut."""
        on_cpu = self.device.type == "cpu"
        per_pass = PATCHES_PER_PASS_CPU if on_cpu else PATCHES_PER_PASS_GPU
        # Passes of equal size: for one to three patches other kernels run, which round differently.
        parts = max(1, math.ceil(len(cut.patches) / per_pass))
        mixed = self.precision == "bf16-mixed"
        # By default a GPU rounds float32 to TF32 in convolutions: 1e-4 of a descriptor.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with exact, torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            passes = [
                self.network(to_network(part.to(self.device))).float().cpu()
                for part in torch.from_numpy(cut.patches).tensor_split(parts)
            ]
        described = torch.cat(passes).numpy()
        descriptors = np.full((len(cut.described), described.shape[1]), np.nan, np.float32)
        descriptors[cut.described] = described
        return descriptors


def check_precision(precision: str) -> str:
    """The precision of a network that describes; HomoregError for an unknown one."""
    if precision not in ("32-true", "bf16-mixed"):
        raise HomoregError(f"precision={precision}: give 32-true or bf16-mixed")
    return precision


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, by default CUDA if available; HomoregError if it is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise HomoregError(f"device={device}: give cpu or cuda") from error
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise HomoregError(f"device={device}: there is no CUDA device, give cpu")
    return picked
