"""Decoded images of a manifest: uint8 pixels in memory-mapped files.

Images are decoded once, workers share the pages, and the operating system decides how much of them
stays in memory.
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
    """Location of an image: its number, its shard, its first byte there, width and height."""

    number: int
    shard: int
    start: int
    width: int
    height: int

    @property
    def bytes(self) -> int:
        return 3 * self.width * self.height


class PixelBank:
    """Decoded images of a manifest: ``bank.view1(i)`` and ``bank.view2(i)`` of pair ``i``.

    The bank is a folder beside the manifest with the manifest's hash in its name, so a changed
    manifest gets a new bank. An image is decoded by :meth:`fill` or when it is first needed, and
    then flagged as done. So a bank can be read while it is built, several processes can build it
    together, and an interrupted build continues.

    Args:
        manifest: the pairs; their sizes determine where each image lies.
        squash: (width, height) that every image is resized to; None keeps the sizes.
        photos_only: leave out view 2.
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
        self.slots: list[Slot] = []
        self._images: list[tuple[int, int]] = []  # pair and view, by an image's number
        numbers: dict[object, int] = {}  # pairs of one photo share its pixels

        def slot(pair: int, view: int, key: object, size: Sequence[int]) -> Slot:
            if key not in numbers:
                numbers[key] = len(self.slots)
                self._images.append((pair, view))
                self.slots.append(self._next_slot(*map(int, size)))
            return self.slots[numbers[key]]

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
        """Decode the images that are missing, in parallel.

        Args:
            workers: threads.

        Raises:
            HomoregError: an image cannot be decoded, or its size differs from the manifest's.
        """
        missing = np.flatnonzero(self._flags() == 0)
        if not len(missing):
            return
        # In random order, so that processes that fill one bank share the work.
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
        """Size of all pixels."""
        return sum(slot.bytes for slot in self.slots)

    def pixels(self) -> np.ndarray:
        """All pixels as one ``(B,)`` uint8 array for a device; call :meth:`fill` first."""
        return np.concatenate([self._shard(number) for number in range(len(self._maps))])

    def places(self, slots: Sequence[Slot]) -> np.ndarray:
        """``(P, 3)`` int64 of each slot: first byte in :meth:`pixels`, width, height."""
        starts = np.cumsum([0, *self._shard_sizes()])
        return np.array([(starts[s.shard] + s.start, s.width, s.height) for s in slots], np.int64)

    def _next_slot(self, width: int, height: int) -> Slot:
        """Behind the last image, or in a new shard if that one would grow too large."""
        number, shard, start = len(self.slots), 0, 0
        if self.slots:
            last = self.slots[-1]
            shard, start = last.shard, last.start + last.bytes
            if start + 3 * width * height > SHARD_BYTES:
                shard, start = shard + 1, 0
        return Slot(number, shard, start, width, height)

    def _shard_sizes(self) -> list[int]:
        ends: dict[int, int] = {}
        for slot in self.slots:
            ends[slot.shard] = slot.start + slot.bytes
        return list(ends.values())

    def _create_files(self) -> None:
        """Create or extend the files; existing content is kept."""
        self.path.mkdir(exist_ok=True)
        sizes = {self._shard_file(n): size for n, size in enumerate(self._shard_sizes())}
        sizes[self.path / "done"] = len(self.slots)
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
        """Write an image to its slot; another process would write the same bytes."""
        pair, view = self._images[number]
        image = read_view1(self.pairs[pair]) if view == 1 else read_view2(self.pairs[pair])
        if self.squash:
            image = cv2.resize(image, self.squash, interpolation=cv2.INTER_AREA)
        slot = self.slots[number]
        # Written, not mapped: a full disk is then an error instead of a crash.
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
            # A plain array, since slicing numpy's memmap costs more than cutting a patch.
            shard = np.memmap(self._shard_file(number), np.uint8, mode="r").view(np.ndarray)
            self._maps[number] = shard
        return shard

    def _flags(self) -> np.ndarray:
        """``(images,)`` uint8, 1 for images that are done, by any process."""
        if self._done is None:
            self._done = np.memmap(self.path / "done", np.uint8, mode="r").view(np.ndarray)
        return self._done

    def __getstate__(self) -> dict:
        # A worker maps the files itself; pickling a map would copy the pixels.
        return self.__dict__ | {"_maps": [None] * len(self._maps), "_done": None}


def bank_path(
    manifest: PairManifest, squash: tuple[int, int] | None = None, photos_only: bool = False
) -> Path:
    """The folder of a manifest's bank: ``pairs_train.<hash>.bank`` beside the manifest."""
    kind = "" if squash is None else f".{squash[0]}x{squash[1]}"
    kind += ".photos" if photos_only else ""
    return manifest.path.with_suffix(f".{manifest.hash[:16]}{kind}.bank")


def remove_other_banks(manifest: PairManifest) -> None:
    """Delete the banks of earlier manifests of the same name."""
    for bank in manifest.path.parent.glob(f"{manifest.path.stem}.*.bank"):
        if manifest.hash[:16] not in bank.name:
            shutil.rmtree(bank, ignore_errors=True)


def photos_of(pairs: Sequence[Pair]) -> np.ndarray:
    """``(P,)`` int, equal for pairs of the same photo."""
    return np.unique([pair.photo for pair in pairs], return_inverse=True)[1]


def _write_at(path: Path, start: int, data: bytes) -> None:
    """Write all of the data or raise; ``os.pwrite`` may silently write a part of it."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)
