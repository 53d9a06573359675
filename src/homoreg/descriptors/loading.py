"""From a finished run, a checkpoint or a name to a descriptor that describes keypoints."""

import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import hydra
import numpy as np
import torch
from torch import nn

from homoreg.data.patches import cut_patches, inside_image
from homoreg.descriptors.cnn import to_network
from homoreg.errors import HomoregError
from homoreg.keyed import keyed_seed
from homoreg.runs import RunFolder

ROUNDINGS = ("none", "truncate")
BORDERS = ("replicate", "drop")

# Patches in one pass of the network. On a CPU few enough for its caches to hold what the layers
# make of them, which saves a third of the time; on a GPU enough to fill it.
PATCHES_PER_PASS_CPU, PATCHES_PER_PASS_GPU = 128, 1024


@runtime_checkable
class Descriptor(Protocol):
    """What can be evaluated.

    Attributes:
        name: in the tables' ``descriptor`` column.
        metric: ``"l2"`` or ``"hamming"``; bits come as 0 and 1, one a column.
    """

    name: str
    metric: str

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """``(H, W, 3)`` uint8 RGB and ``(N, 2)`` x, y → ``(N, D)`` float32, a row a keypoint.

        A row of NaN stands for a keypoint that cannot be described; matching ignores it.
        """
        ...


@dataclass(frozen=True)
class CutPatches:
    """The patches around an image's keypoints.

    Attributes:
        patches: ``(K, S, S, 3)`` uint8, of the keypoints that can be described.
        described: ``(N,)`` bool, which of the N keypoints these are.
    """

    patches: np.ndarray
    described: np.ndarray


@dataclass(frozen=True)
class PatchWindow:
    """How patches are cut around keypoints; equal windows cut the same.

    Args:
        support: side of the window in the photo, pixels.
        size: side of the patch, pixels.
        keypoint_rounding: ``"none"`` centers a window on its keypoint to a fraction of a pixel;
            ``"truncate"`` cuts ``[x − support // 2, x + support // 2)`` of the truncated keypoint,
            as the study sliced it.
        border: ``"replicate"`` repeats the edge in windows that leave the image; ``"drop"`` does
            not describe their keypoints, as the study did.
    """

    support: int
    size: int
    keypoint_rounding: str = "none"
    border: str = "replicate"

    def __post_init__(self) -> None:
        if self.keypoint_rounding not in ROUNDINGS:
            raise HomoregError(
                f"evaluation.patch.keypoint_rounding={self.keypoint_rounding}: "
                "give none or truncate"
            )
        if self.border not in BORDERS:
            raise HomoregError(f"evaluation.patch.border={self.border}: give replicate or drop")

    def cut(self, image: np.ndarray, keypoints: np.ndarray) -> CutPatches:
        """The patches of ``(N, 2)`` keypoints in ``(H, W, 3)`` uint8; none outside the image."""
        keypoints = np.asarray(keypoints, np.float64).reshape(-1, 2)
        inside = inside_image(image, keypoints)
        centers = keypoints
        if self.keypoint_rounding == "truncate":
            # An even window has its center between two pixels.
            centers = np.floor(keypoints) - (0.5 if self.support % 2 == 0 else 0.0)
        if self.border == "drop":
            half = (self.support - 1) / 2
            inside &= inside_image(image, centers - half) & inside_image(image, centers + half)
        patches = cut_patches(image, centers[inside], support=self.support, size=self.size)
        return CutPatches(patches, inside)


class NetworkDescriptor:
    """A network that describes keypoints by the patches around them, in float32.

    Args:
        network: ``(N, 3, S, S)`` float in [0, 1] → ``(N, D)``.
        support, size, keypoint_rounding, border: see :class:`PatchWindow`.
        name: for the tables.
        regularizer: the arm it was trained under; empty for what was not.
        seed: of its training.
        device: where the network runs; CUDA where there is one, by default.
    """

    metric = "l2"

    def __init__(
        self,
        network: nn.Module,
        support: int,
        size: int,
        name: str = "cnn",
        regularizer: str = "",
        seed: int | None = None,
        device: str | torch.device | None = None,
        keypoint_rounding: str = "none",
        border: str = "replicate",
    ) -> None:
        self.window = PatchWindow(support, size, keypoint_rounding, border)
        self.device = pick_device(device)
        network = network.float().eval().to(self.device)
        self.network = network.to(memory_format=torch.channels_last)
        self.name = name
        self.regularizer = regularizer
        self.seed = seed

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """See :class:`Descriptor`; keypoints outside the image get a row of NaN."""
        return self.describe_patches(self.window.cut(image, keypoints))

    @torch.inference_mode()
    def describe_patches(self, cut: CutPatches) -> np.ndarray:
        """``(N, D)`` float32 from what this descriptor's window has cut."""
        on_cpu = self.device.type == "cpu"
        per_pass = PATCHES_PER_PASS_CPU if on_cpu else PATCHES_PER_PASS_GPU
        # Equal parts: a rest of one to three patches takes other kernels, which round otherwise.
        parts = max(1, math.ceil(len(cut.patches) / per_pass))
        passes = [
            self.network(to_network(part.to(self.device))).float().cpu()
            for part in torch.from_numpy(cut.patches).tensor_split(parts)
        ]
        described = torch.cat(passes).numpy()
        descriptors = np.full((len(cut.described), described.shape[1]), np.nan, np.float32)
        descriptors[cut.described] = described
        return descriptors


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or CUDA where there is one; HomoregError for one that is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise HomoregError(f"device={device}: give cpu or cuda") from error
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise HomoregError(f"device={device}: there is no CUDA device, give cpu")
    return picked


def load_descriptor(source: str | Path, *, checkpoint: str = "", device: str | None = None) -> Any:
    """A descriptor from a run's folder, a checkpoint file, or the name of a baseline.

    Args:
        source: ``"multirun/…/regularizer-l2+seed-0"``, ``"….ckpt"``, or ``"sift"``, ``"rootsift"``,
            ``"orb"``, … as in ``conf/descriptors``.
        checkpoint: ``"last"`` or ``"best"`` of a run; by default the one that its evaluation used.
        device: where a network runs; CUDA where there is one, by default.

    Returns:
        An object that meets :class:`Descriptor`.

    Raises:
        HomoregError: there is no such run, file or baseline; or a checkpoint cannot be used.
    """
    path = Path(source)
    if path.is_dir():
        run = RunFolder(path)
        which = checkpoint or run.config["evaluation"]["checkpoint"]
        # The window of the evaluation may differ from that of the training.
        config = run.config | {"patch": run.config["evaluation"]["patch"]}
        return _from_checkpoint(run.checkpoint(which), config, device)
    if path.is_file():
        return _from_checkpoint(path, None, device)
    if path.suffix == ".ckpt" or len(path.parts) > 1:
        raise HomoregError(f"{source}: there is no such run or checkpoint")

    from homoreg.descriptors.baselines import baseline_descriptor

    return baseline_descriptor(str(source))


def _from_checkpoint(
    file: Path, config: Mapping[str, Any] | None, device: str | None
) -> NetworkDescriptor:
    """The network of a checkpoint, built as its run's config says, or as it says itself."""
    stored = read_checkpoint(file)
    if config is None:
        config = stored["homoreg"]
    # The weights are about to be replaced, so any seed will do.
    network = build_network(config["model"], seed=0)
    weights = {
        key.removeprefix("network."): value
        for key, value in stored["state_dict"].items()
        if key.startswith("network.")
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise HomoregError(
            f"{file} holds another network than its config describes: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    return NetworkDescriptor(
        network,
        **config["patch"],
        regularizer=config["regularizer"]["name"],
        seed=config["seed"],
        device=device,
    )


def read_checkpoint(file: Path) -> dict[str, Any]:
    """The content of a checkpoint, of which only tensors and plain values are accepted.

    Raises:
        HomoregError: the file is damaged, holds pickled code, or was not written by homoreg.
    """
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise HomoregError(
            f"{file} holds more than tensors and plain values (pickled code?) and is not loaded"
        ) from error
    except Exception as error:  # damaged bytes make the reader stumble in any way
        raise HomoregError(f"{file} is damaged or not a checkpoint: {error}") from error
    if not isinstance(stored, dict) or not {"homoreg", "state_dict"} <= stored.keys():
        raise HomoregError(f"{file} is not a checkpoint of homoreg")
    return stored


def build_network(model: Mapping[str, Any], seed: int) -> nn.Module:
    """The network that a ``model`` config describes, with the initial weights of a seed.

    Arms share their initial weights: the seed alone decides them, and torch's own random stream is
    left as it was.

    Raises:
        HomoregError: ``_target_`` is not a network. A checkpoint names it, so nothing else is run.
    """
    target = str(model["_target_"])
    try:
        kind = hydra.utils.get_class(target)
    except Exception as error:  # Hydra raises what the import raised, of any type
        raise HomoregError(f"model._target_={target} cannot be imported: {error}") from error
    if not issubclass(kind, nn.Module):
        raise HomoregError(f"model._target_={target} is not a torch module")
    with torch.random.fork_rng():
        torch.manual_seed(keyed_seed(seed, "weights"))
        return hydra.utils.instantiate(model)


def untrained_descriptor(
    model: Mapping[str, Any], patch: Mapping[str, Any], seed: int, device: str | None = None
) -> NetworkDescriptor:
    """The control that every table needs: the network as a run of this seed starts with it."""
    return NetworkDescriptor(build_network(model, seed), **patch, name="untrained", device=device)
