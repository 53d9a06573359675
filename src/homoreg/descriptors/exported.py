"""Export of trained descriptors to safetensors, which can be loaded again, and to ONNX.

Both hold the same metadata: everything that describing an image needs, as text.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from homoreg import __version__
from homoreg.descriptors.checkpoint import network_descriptor
from homoreg.descriptors.inference import NetworkDescriptor
from homoreg.descriptors.layers import PatchInput
from homoreg.errors import HomoregError
from homoreg.files import atomic_path, write_bytes

FORMAT = "homoreg descriptor 1"
INCLUDED = Path(__file__).with_name("weights") / "homoreg.safetensors"


def included_descriptor(device: str | None = None) -> NetworkDescriptor:
    """The trained descriptor that comes with the package; ``weights/homoreg.md`` describes it."""
    descriptor = exported_descriptor(INCLUDED, device)
    # In tables it stands among the baselines and is no arm of the user's study.
    descriptor.name, descriptor.regularizer, descriptor.seed = "homoreg", "", None
    return descriptor


def exported_descriptor(
    file: Path, device: str | None = None, packages: Sequence[str] = ()
) -> NetworkDescriptor:
    """The descriptor in a safetensors file that :func:`export_safetensors` wrote.

    The arguments are those of :func:`homoreg.load_descriptor`.

    Raises:
        HomoregError: the file is damaged, not of homoreg, or describes something other than a
            network of a known package.
    """
    weights, metadata = read_safetensors(file)
    if metadata.get("format") != FORMAT:
        raise HomoregError(f"{file} is not a descriptor that homoreg.export wrote ({FORMAT})")
    try:
        config = {key: json.loads(metadata[key]) for key in ("model", "patch", "seed", "source")}
        config |= {"network": metadata["name"], "regularizer": {"name": metadata["regularizer"]}}
        for key in {"detector", "matcher"} & metadata.keys():
            config[key] = json.loads(metadata[key])
    except (KeyError, ValueError, RecursionError) as error:
        raise HomoregError(f"{file}: its metadata are incomplete or damaged: {error}") from error
    return network_descriptor(file, config, weights, device, packages)


def export_safetensors(descriptor: NetworkDescriptor, file: Path, *, half: bool = False) -> None:
    """Write a trained descriptor's weights and metadata.

    Args:
        descriptor: from :func:`homoreg.load_descriptor`.
        file: the safetensors file.
        half: store float16 instead of float32.

    Raises:
        HomoregError: the descriptor was not trained by homoreg, or a weight is too large for
            float16.
    """
    dtype = torch.float16 if half else torch.float32
    weights = {
        name: value.cpu().to(dtype) if value.is_floating_point() else value.cpu()
        for name, value in descriptor.network.state_dict().items()
    }
    if half and not all(value.isfinite().all() for value in weights.values()):
        raise HomoregError(f"{file}: float16 cannot hold these weights; give dtype=float32")
    metadata = describing_metadata(descriptor) | {"dtype": str(dtype).removeprefix("torch.")}
    write_safetensors(file, weights, metadata)


def write_safetensors(
    file: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors on the CPU and texts atomically."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    content = save(contiguous, dict(metadata))  # save_file raises no OSError on a full disk
    write_bytes(file, content)


def read_safetensors(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the texts of a file.

    Raises:
        HomoregError: the file is damaged or of another format.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            # An open file has keys and is no mapping.
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return tensors, opened.metadata() or {}
    except (SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HomoregError(f"{file} is damaged or not a safetensors file: {reason}") from error


def export_onnx(descriptor: NetworkDescriptor, file: Path) -> None:
    """Write a trained descriptor's network, its normalization included, in float32.

    The input ``patches`` is ``(N, 3, S, S)`` float32, RGB in [0, 1], for any N; the output
    ``descriptors`` is ``(N, D)`` float32. The metadata are the file's ``metadata_props``.

    Raises:
        HomoregError: the descriptor was not trained by homoreg, its network uses an operation that
            ONNX lacks, or the package ``onnx`` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise HomoregError(
            f'{file}: ONNX files need the package onnx: pip install "homoreg[export]"'
        ) from error
    metadata = describing_metadata(descriptor) | {"dtype": "float32"}
    network = deepcopy(descriptor.network).cpu().to(memory_format=torch.contiguous_format)
    size = descriptor.window.size
    with atomic_path(file) as temporary:
        try:
            with warnings.catch_warnings():
                # The exporter by tracing is announced to go. The one by torch.export needs
                # onnxscript as well and takes 12 s instead of 0.5 for the same graph.
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    network,
                    (torch.rand(2, 3, size, size),),
                    temporary,
                    input_names=["patches"],
                    output_names=["descriptors"],
                    dynamic_axes={"patches": {0: "N"}, "descriptors": {0: "N"}},
                    dynamo=False,
                )
        except Exception as error:  # whatever tracing a network raises
            reason = " ".join(str(error).split())[:200]
            raise HomoregError(
                f"{file}: the network cannot be written as ONNX: {reason}"
            ) from error
        model = onnx.load(temporary)
        onnx.helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        onnx.save(model, temporary)


def describing_metadata(descriptor: NetworkDescriptor) -> dict[str, str]:
    """What describing an image with the network needs, as text; nested values are JSON.

    Raises:
        HomoregError: the descriptor was not trained by homoreg.
    """
    origin = descriptor.origin
    if origin is None:
        raise HomoregError(f"{descriptor.name} is not a network that homoreg trained")
    size, device = descriptor.window.size, descriptor.device
    with torch.inference_mode():
        dimension = descriptor.network(torch.rand(2, 3, size, size, device=device)).shape[1]
    inputs = [m for m in descriptor.network.modules() if isinstance(m, PatchInput)]
    nested: dict[str, Any] = {"model": origin.config["model"], "patch": asdict(descriptor.window)}
    nested |= {key: origin.config[key] for key in ("detector", "matcher") if key in origin.config}
    nested["source"] = origin.config.get("source") or {"file": origin.file.name}
    return {
        "format": FORMAT,
        "homoreg": __version__,
        "name": str(origin.config["network"]),
        "input": f"RGB in [0, 1], float32, (N, 3, {size}, {size})",
        "normalization": inputs[0].normalization if inputs else "none",  # done by the network
        "descriptor_size": str(dimension),
        "distance": descriptor.metric,
        "regularizer": str(origin.config["regularizer"]["name"]),
        "seed": json.dumps(origin.config["seed"]),
        **{key: json.dumps(value) for key, value in nested.items()},
    }
