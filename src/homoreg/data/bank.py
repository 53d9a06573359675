"""Every image of a manifest decoded once: uint8 pixels in one memory-mapped file.

Reading a patch costs no decoding, workers share the pages, and memory stays what the operating
system can spare, however many photographs there are.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from homoreg.data.images import read_image
from homoreg.data.manifest import Pair, PairManifest
from homoreg.errors import HomoregError
from homoreg.files import atomic_path
from homoreg.progress import progress

log = logging.getLogger(__name__)


class PixelBank:
    """The images of a manifest's pairs: ``bank.view1(i)`` and ``bank.view2(i)`` for pair ``i``.

    The file lies beside the manifest and carries the manifest's hash in its name, so a changed
    manifest gets a new bank. Opening builds it where it is missing, in parallel.

    Args:
        manifest: the pairs; their sizes say where each image lies in the file.
        workers: threads that decode.
        squash: (width, height) that every image is brought to; None leaves them as they are.
    """

    def __init__(
        self, manifest: PairManifest, workers: int = 4, squash: tuple[int, int] | None = None
    ) -> None:
        pairs = manifest.pairs
        # Pairs that share a photo share its pixels.
        sizes: dict[Path, tuple[int, int]] = {}
        for pair in pairs:
            sizes[pair.img1] = squash or pair.size1
            sizes[pair.img2] = squash or pair.size2
        ends = np.cumsum([3 * w * h for w, h in sizes.values()], dtype=np.int64)
        starts = dict(zip(sizes, [0, *ends[:-1].tolist()], strict=True))
        self.path = bank_path(manifest, squash)
        if not self._complete(int(ends[-1])):
            build_bank(self.path, starts, sizes, int(ends[-1]), workers, squash)
            remove_other_banks(manifest)
        self._starts1 = np.array([starts[pair.img1] for pair in pairs])
        self._starts2 = np.array([starts[pair.img2] for pair in pairs])
        self.sizes1 = np.array([squash or pair.size1 for pair in pairs])
        self.sizes2 = np.array([squash or pair.size2 for pair in pairs])
        self._pixels: np.memmap | None = None

    def __len__(self) -> int:
        return len(self.sizes1)

    def view1(self, index: int) -> np.ndarray:
        """``(H, W, 3)`` uint8 RGB, a read-only view of the file."""
        return self._image(self._starts1[index], self.sizes1[index])

    def view2(self, index: int) -> np.ndarray:
        """``(H, W, 3)`` uint8 RGB, a read-only view of the file."""
        return self._image(self._starts2[index], self.sizes2[index])

    def _image(self, start: int, size: np.ndarray) -> np.ndarray:
        width, height = size
        if self._pixels is None:
            self._pixels = np.memmap(self.path, np.uint8, mode="r")
        return self._pixels[start : start + 3 * width * height].reshape(height, width, 3)

    def _complete(self, size: int) -> bool:
        return self.path.is_file() and self.path.stat().st_size == size

    def __getstate__(self) -> dict:
        # A worker maps the file itself; sending the map would send the pixels.
        return self.__dict__ | {"_pixels": None}


def bank_path(manifest: PairManifest, squash: tuple[int, int] | None = None) -> Path:
    """Where a manifest's pixels lie: ``pairs_train.<hash>.bank`` beside ``pairs_train.json``."""
    size = "" if squash is None else f".{squash[0]}x{squash[1]}"
    return manifest.path.with_suffix(f".{manifest.hash[:16]}{size}.bank")


def build_bank(
    path: Path,
    starts: dict[Path, int],
    sizes: dict[Path, tuple[int, int]],
    total: int,
    workers: int,
    squash: tuple[int, int] | None,
) -> None:
    """Decode every image into its place; the file appears when it is whole."""

    def decode(image_path: Path) -> None:
        image = read_image(image_path)
        if squash:
            image = cv2.resize(image, squash, interpolation=cv2.INTER_AREA)
        width, height = sizes[image_path]
        if image.shape != (height, width, 3):
            found = f"{image.shape[1]}×{image.shape[0]}"
            raise HomoregError(
                f"{image_path} has {found} pixels, its manifest says {width}×{height}: "
                "prepare the pairs again"
            )
        start = starts[image_path]
        pixels[start : start + image.size] = image.reshape(-1)

    with atomic_path(path) as temporary, ThreadPoolExecutor(workers) as pool:
        pixels = np.memmap(temporary, np.uint8, mode="w+", shape=(total,))
        for _ in progress(pool.map(decode, starts), "decoding images", total=len(starts)):
            pass
        pixels.flush()
    log.info("decoded %d images into %s (%.0f MB)", len(starts), path, total / 1e6)


def remove_other_banks(manifest: PairManifest) -> None:
    """Delete the banks of earlier manifests of the same name; nothing can use them again."""
    for bank in manifest.path.parent.glob(f"{manifest.path.stem}.*.bank"):
        if manifest.hash[:16] not in bank.name:
            bank.unlink(missing_ok=True)


def photos_of(pairs: Sequence[Pair]) -> np.ndarray:
    """``(P,)`` int: pairs with the same number show the same photo."""
    return np.unique([pair.photo for pair in pairs], return_inverse=True)[1]
