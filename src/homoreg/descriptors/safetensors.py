"""Safetensors files: named tensors and texts, without code."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from homoreg.errors import HomoregError
from homoreg.files import write_bytes


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
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return tensors, opened.metadata() or {}
    except (SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HomoregError(f"{file} is damaged or not a safetensors file: {reason}") from error
