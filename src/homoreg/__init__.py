"""What does regularizing a learned patch descriptor do to the homographies it supports?"""

from typing import TYPE_CHECKING, Any

from homoreg.errors import HomoregError

if TYPE_CHECKING:
    from homoreg.alignment import align_images
    from homoreg.descriptors.loading import load_descriptor

__version__ = "0.2.0.dev0"
__all__ = ["HomoregError", "__version__", "align_images", "load_descriptor"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: a descriptor needs torch, and reading a table does not.
    if name == "load_descriptor":
        from homoreg.descriptors.loading import load_descriptor

        return load_descriptor
    if name == "align_images":
        from homoreg.alignment import align_images

        return align_images
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
