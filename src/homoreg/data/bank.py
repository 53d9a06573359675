"""The images of a manifest decoded once: uint8 pixels in memory-mapped files.

Reading a patch costs no decoding, workers share the pages, and memory stays what the operating
system can spare, however many photographs there are.
"""

import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from homoreg.data.manifest import Pair, PairManifest
from homoreg.data.views import read_view1, read_view2
from homoreg.errors import HomoregError
from homoreg.progress import progress

log = logging.getLogger(__name__)

SHARD_BYTES = 2**30


class Slot(NamedTuple):
    """Where an image lies: its number, its shard, the first byte in it, width and height."""

    number: int
    shard: int
    start: int
    width: int
    height: int

    @property
    def bytes(self) -> int:
        return 3 * self.width * self.height


class PixelBank:
    """The images of a manifest's pairs: ``bank.view1(i)`` and ``bank.view2(i)`` for pair ``i``.

    The bank is a folder beside the manifest, with the manifest's hash in its name, so a changed
    manifest gets a new one. An image is decoded when it is first asked for, or by :meth:`fill`, and
    noted as done; so a bank can be read while it is being built, several processes can build it
    together, and one that was killed goes on where it stopped.

    Args:
        manifest: the pairs; their sizes say where each image lies.
        squash: (width, height) that every image is brought to; None leaves them as they are.
        photos_only: leave view 2 out.
    """

    def __init__(
        self,
        manifest: PairManifest,
        squash: tuple[int, int] | None = None,
        photos_only: bool = False,
    ) -> None:
        self.path = bank_path(manifest, squash, photos_only)
        self.squash = squash
        self.pairs = manifest.pairs
        self.sizes1 = np.array([squash or pair.size1 for pair in self.pairs])
        self.sizes2 = np.array([squash or pair.size2 for pair in self.pairs])
        self._slots: list[Slot] = []
        self._images: list[tuple[int, int]] = []  # pair and view, by an image's number
        numbers: dict[object, int] = {}  # pairs that share a photo share its pixels

        def slot(pair: int, view: int, key: object, size: Sequence[int]) -> Slot:
            if key not in numbers:
                numbers[key] = len(self._slots)
                self._images.append((pair, view))
                self._slots.append(self._next_slot(*map(int, size)))
            return self._slots[numbers[key]]

        self.slots1 = [slot(i, 1, p.img1, self.sizes1[i]) for i, p in enumerate(self.pairs)]
        self.slots2: list[Slot] = []
        if not photos_only:
            self.slots2 = [
                slot(i, 2, p.img2 or (p.img1, p.id), self.sizes2[i])
                for i, p in enumerate(self.pairs)
            ]
        self._create_files()
        remove_other_banks(manifest)
        self._maps: list[np.ndarray | None] = [None] * len(self._shard_sizes())
        self._done: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def view1(self, pair: int) -> np.ndarray:
        """``(H, W, 3)`` uint8 RGB, a read-only view of the file."""
        return self._image(self.slots1[pair])

    def view2(self, pair: int) -> np.ndarray:
        """``(H, W, 3)`` uint8 RGB, a read-only view of the file."""
        return self._image(self.slots2[pair])

    def fill(self, workers: int = 4) -> None:
        """Decode what is not yet there, in parallel.

        Args:
            workers: threads.

        Raises:
            HomoregError: an image cannot be decoded, or has another size than its manifest says.
        """
        missing = np.flatnonzero(self._flags() == 0)
        if not len(missing):
            return
        # Processes that fill one bank share the work, each in an order of its own.
        order = np.random.default_rng().permutation(missing).tolist()
        pool = ThreadPoolExecutor(workers)
        try:
            decoded = pool.map(self._decode_missing, order)
            for _ in progress(decoded, "decoding images", total=len(missing)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
        log.info("decoded %d images into %s (%.0f MB)", len(missing), self.path, self.bytes / 1e6)

    @property
    def bytes(self) -> int:
        """Of all pixels together."""
        return sum(slot.bytes for slot in self._slots)

    def pixels(self) -> np.ndarray:
        """All pixels as one ``(B,)`` uint8 array, for a device to hold; call :meth:`fill` first."""
        return np.concatenate([self._shard(number) for number in range(len(self._maps))])

    def places(self, slots: Sequence[Slot]) -> np.ndarray:
        """``(P, 3)`` int64 of each slot: first byte in :meth:`pixels`, width, height."""
        starts = np.cumsum([0, *self._shard_sizes()])
        return np.array([(starts[s.shard] + s.start, s.width, s.height) for s in slots], np.int64)

    def _next_slot(self, width: int, height: int) -> Slot:
        """Behind the image before, or in a new shard where that one would grow too large."""
        number, shard, start = len(self._slots), 0, 0
        if self._slots:
            last = self._slots[-1]
            shard, start = last.shard, last.start + last.bytes
            if start + 3 * width * height > SHARD_BYTES:
                shard, start = shard + 1, 0
        return Slot(number, shard, start, width, height)

    def _shard_sizes(self) -> list[int]:
        ends: dict[int, int] = {}
        for slot in self._slots:
            ends[slot.shard] = slot.start + slot.bytes
        return list(ends.values())

    def _create_files(self) -> None:
        """Files of the right size; what is in them already stays."""
        if self.path.is_file():  # the bank of an earlier homoreg
            self.path.unlink(missing_ok=True)
        self.path.mkdir(exist_ok=True)
        sizes = {self._shard_file(n): size for n, size in enumerate(self._shard_sizes())}
        sizes[self.path / "done"] = len(self._slots)
        for file, size in sizes.items():
            with file.open("ab") as handle:
                if handle.tell() < size:
                    handle.truncate(size)

    def _image(self, slot: Slot) -> np.ndarray:
        self._decode_missing(slot.number)
        pixels = self._shard(slot.shard)[slot.start : slot.start + slot.bytes]
        return pixels.reshape(slot.height, slot.width, 3)

    def _decode_missing(self, number: int) -> None:
        if not self._flags()[number]:
            self._decode(number)

    def _decode(self, number: int) -> None:
        """Put an image into its slot; whoever else does so at the same time writes the same."""
        pair, view = self._images[number]
        image = read_view1(self.pairs[pair]) if view == 1 else read_view2(self.pairs[pair])
        if self.squash:
            image = cv2.resize(image, self.squash, interpolation=cv2.INTER_AREA)
        slot = self._slots[number]
        # Written and not mapped: a full disk is then an error and not a crash.
        try:
            _write_at(self._shard_file(slot.shard), slot.start, image.tobytes())
            _write_at(self.path / "done", number, b"\x01")
        except OSError as error:
            raise HomoregError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _shard_file(self, number: int) -> Path:
        return self.path / f"{number:03d}"

    def _shard(self, number: int) -> np.ndarray:
        shard = self._maps[number]
        if shard is None:
            # As a plain array: slicing numpy's memmap costs more than cutting a patch.
            shard = np.memmap(self._shard_file(number), np.uint8, mode="r").view(np.ndarray)
            self._maps[number] = shard
        return shard

    def _flags(self) -> np.ndarray:
        """``(images,)`` uint8, 1 where an image is in its place; follows what others write."""
        if self._done is None:
            self._done = np.memmap(self.path / "done", np.uint8, mode="r").view(np.ndarray)
        return self._done

    def __getstate__(self) -> dict:
        # A worker maps the files itself; sending a map would send the pixels.
        return self.__dict__ | {"_maps": [None] * len(self._maps), "_done": None}


def bank_path(
    manifest: PairManifest, squash: tuple[int, int] | None = None, photos_only: bool = False
) -> Path:
    """The folder of a manifest's pixels: ``pairs_train.<hash>.bank`` beside the manifest."""
    kind = "" if squash is None else f".{squash[0]}x{squash[1]}"
    kind += ".photos" if photos_only else ""
    return manifest.path.with_suffix(f".{manifest.hash[:16]}{kind}.bank")


def remove_other_banks(manifest: PairManifest) -> None:
    """Delete the banks of earlier manifests of the same name; nothing can use them again."""
    for bank in manifest.path.parent.glob(f"{manifest.path.stem}.*.bank"):
        if manifest.hash[:16] not in bank.name:
            if bank.is_file():  # of an earlier homoreg
                bank.unlink(missing_ok=True)
            else:
                shutil.rmtree(bank, ignore_errors=True)


def photos_of(pairs: Sequence[Pair]) -> np.ndarray:
    """``(P,)`` int: pairs with the same number show the same photo."""
    return np.unique([pair.photo for pair in pairs], return_inverse=True)[1]


def _write_at(path: Path, start: int, data: bytes) -> None:
    """All of the data or an error; ``os.pwrite`` may write a part of it and say nothing."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)
