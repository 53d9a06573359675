"""Checkpoints on disk: whole or absent, and the last good one kept."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from homoreg.files import atomic_path

PREVIOUS = "previous.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in its folder and renames it.

    Lightning would overwrite it in place, by way of the system's folder of temporary files.
    The ``last.ckpt`` that is replaced stays as ``previous.ckpt``.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        content = io.BytesIO()  # torch reports a full disk without the system's error
        torch.save(checkpoint, content)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content.getbuffer())
            if path.name == "last.ckpt" and path.is_file():
                path.replace(path.with_name(PREVIOUS))
