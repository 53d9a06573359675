"""Networks from configs, and from the checkpoints that training writes."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import torch
from pydantic import ValidationError
from torch import nn

from homoreg.descriptors.inference import NetworkDescriptor, Origin
from homoreg.descriptors.window import PatchWindow
from homoreg.errors import HomoregError, one_line
from homoreg.keyed import keyed_seed
from homoreg.runs.targets import instantiate_untrusted


def build_network(model: Mapping[str, Any], seed: int) -> nn.Module:
    """The network of a ``model`` config that the user chose, with the initial weights of a seed.

    The weights depend on the seed alone, so all arms of a seed start from the same ones. The global
    random state is left as it was.

    Raises:
        HomoregError: ``_target_`` cannot be imported or does not give a network.
    """
    target = model["_target_"]
    try:
        with torch.random.fork_rng():
            torch.manual_seed(keyed_seed(seed, "weights"))
            network = hydra.utils.instantiate(model)
    except Exception as error:
        cause = _innermost(error)
        if isinstance(cause, HomoregError):
            raise cause from error
        reason = f"{type(cause).__name__}: {' '.join(str(cause).split())}"
        raise HomoregError(f"model._target_={target} cannot be built: {reason}") from error
    if not isinstance(network, nn.Module):
        raise HomoregError(f"model._target_={target} is not a torch.nn.Module")
    return network


def _innermost(error: BaseException) -> BaseException:
    """The original cause of an error that Hydra wrapped."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def untrained_descriptor(
    model: Mapping[str, Any],
    patch: Mapping[str, Any],
    seed: int,
    device: str | None = None,
    precision: str = "32-true",
) -> NetworkDescriptor:
    """The network with the initial weights of a run with this seed, as a baseline."""
    network = build_network(model, seed)
    window = PatchWindow(**patch)
    return NetworkDescriptor(network, window, "untrained", device=device, precision=precision)


def trained_descriptor(
    file: Path,
    config: Mapping[str, Any] | None = None,
    device: str | None = None,
    packages: Sequence[str] = (),
) -> NetworkDescriptor:
    """The network of a checkpoint as a descriptor.

    Args:
        file: the checkpoint.
        config: the ``network``, ``model``, ``patch``, ``regularizer`` and ``seed`` of its run; by
            default those that the checkpoint holds.
        device: where the network runs.
        packages: packages that the user trusts besides those in :mod:`homoreg.runs.targets`.

    Raises:
        HomoregError: the file is no checkpoint of homoreg, or describes something other than
            a network of a known package.
    """
    stored = read_checkpoint(file)
    weights = {
        key.removeprefix("network."): value
        for key, value in stored["state_dict"].items()
        if key.startswith("network.")
    }
    config = stored["homoreg"] if config is None else config
    return network_descriptor(file, config, weights, device, packages)


def network_descriptor(
    file: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    device: str | None,
    packages: Sequence[str],
) -> NetworkDescriptor:
    """The network that a file describes, with the weights that it holds, as a descriptor.

    The other arguments are those of :func:`trained_descriptor`.

    Raises:
        HomoregError: the config describes something other than a network of a known package, or
            one with other weights.
    """
    try:
        model, patch = config["model"], config["patch"]
        name, seed = config["network"], config["seed"]
        arm = config["regularizer"]["name"]
        window = PatchWindow(**patch)
    except (KeyError, TypeError, ValidationError) as error:
        raise HomoregError(
            f"{file}: its config is incomplete or of another version of homoreg: {one_line(error)}"
        ) from error
    # The initial weights are replaced below; building them must not disturb the random state.
    with torch.random.fork_rng():
        network = instantiate_untrusted(model, nn.Module, f"{file}: model", packages)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise HomoregError(
            f"{file} holds another network than its config describes: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    origin = Origin(file, config, packages)
    return NetworkDescriptor(network, window, str(name), arm, seed, device, origin)


def read_checkpoint(file: Path) -> dict[str, Any]:
    """The content of a checkpoint, which may hold tensors and plain values only.

    Raises:
        HomoregError: the file is damaged, holds pickled code, or was not written by homoreg.
    """
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise HomoregError(
            f"{file} holds more than tensors and plain values (pickled code?) and is not loaded"
        ) from error
    except Exception as error:  # damaged bytes make the reader fail in any way
        raise HomoregError(f"{file} is damaged or not a checkpoint: {error}") from error
    if not isinstance(stored, dict) or not {"homoreg", "state_dict"} <= stored.keys():
        raise HomoregError(f"{file} is not a checkpoint of homoreg")
    return stored
