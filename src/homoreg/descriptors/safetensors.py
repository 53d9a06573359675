"""The safetensors format: named tensors and text, and nothing that could be run.

A file is the length of its header (8 bytes, little-endian), the header (JSON), and the values of
the tensors one after another, row by row. See https://huggingface.co/docs/safetensors.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt, TypeAdapter
from typing_extensions import TypedDict

from homoreg.errors import HomoregError
from homoreg.files import atomic_path

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"


class _Entry(TypedDict):
    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    shape: list[PositiveInt]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


def write_safetensors(
    file: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors on the CPU and text atomically; the same input gives the same bytes."""
    # The widest values first: every tensor then starts at a multiple of its value's width.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    values, end = [], 0
    for name in names:
        tensor = tensors[name].contiguous()
        start, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        values.append(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(file) as temporary:
        temporary.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *values]))


def read_safetensors(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the text of a file; tensors without values are not supported.

    Raises:
        HomoregError: the file is damaged or of another format.
    """
    content = bytearray(file.read_bytes())
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        if not 8 < start <= len(content):
            raise ValueError("the length of its header is wrong")
        header = TypeAdapter(dict[str, Any]).validate_json(content[8:start])
        metadata = TypeAdapter(dict[str, str]).validate_python(header.pop(_METADATA, {}))
        entries = TypeAdapter(dict[str, _Entry]).validate_python(header)
        _check_offsets(entries, len(content) - start)
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise HomoregError(f"{file} is damaged or not a safetensors file: {reason}") from error
    tensors = {}
    for name, entry in entries.items():
        tensors[name] = torch.frombuffer(
            content,
            dtype=_DTYPES[entry["dtype"]],
            count=math.prod(entry["shape"]),
            offset=start + entry["data_offsets"][0],
        ).reshape(entry["shape"])
    return tensors, metadata


def _check_offsets(entries: Mapping[str, _Entry], size: int) -> None:
    """ValueError unless the tensors fill ``size`` bytes without a gap or an overlap."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        width = _DTYPES[entry["dtype"]].itemsize
        if start != end or stop - start != math.prod(entry["shape"]) * width:
            raise ValueError(f"the values of {name} are not where its header says")
        end = stop
    if end != size:
        raise ValueError(f"it holds {size} bytes of values, and its header describes {end}")
