"""Checkpoints on disk: whole or absent, and the last good one kept."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from homoreg.files import atomic_path

PREVIOUS = "previous.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it; Lightning overwrites it in place.

    The ``last.ckpt`` that is replaced stays as ``previous.ckpt``.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        with atomic_path(path) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)
            if path.name == "last.ckpt" and path.is_file():
                path.replace(path.with_name(PREVIOUS))
