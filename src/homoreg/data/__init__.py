"""From photographs to patch pairs."""

from typing import TYPE_CHECKING, Any

from homoreg.data.images import read_image
from homoreg.data.manifest import Pair, PairManifest
from homoreg.data.patches import cut_patches

if TYPE_CHECKING:
    from homoreg.data.datamodule import PatchPairDataModule

__all__ = ["Pair", "PairManifest", "PatchPairDataModule", "cut_patches", "read_image"]


def __getattr__(name: str) -> Any:
    # Lazy: preparing pairs needs no torch.
    if name == "PatchPairDataModule":
        from homoreg.data.datamodule import PatchPairDataModule

        return PatchPairDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
