"""Decoded images of a manifest: uint8 pixels in memory-mapped files.

Images are decoded once and workers share the pages, of which the operating system keeps in memory
as many as fit.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from homoreg.data.manifest import Pair, PairManifest
from homoreg.data.views import read_view1, read_view2
from homoreg.errors import HomoregError
from homoreg.progress import in_threads, progress

log = logging.getLogger(__name__)

SHARD_BYTES = 2**30
SYNC_EVERY = 1024  # images between two waits for the disk
# Flags of an image. A power cut may lose pixels that were written and not synced, so that a later
# process trusts only those that were on disk before their flag.
MISSING, WRITTEN, ON_DISK = 0, 1, 2


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
    then flagged. So several processes can build and read a bank at the same time, and an
    interrupted build continues. A complete bank is not written to.

    Args:
        manifest: the pairs; their sizes determine where each image lies.
        squash: (width, height) that every image is resized to; None keeps the sizes.
        photos_only: leave out view 2.

    Raises:
        HomoregError: the bank is not complete and cannot be written.
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
        self._shard_sizes: list[int] = []
        self._images: list[tuple[int, int]] = []  # pair and view, by an image's number
        slots: dict[object, Slot] = {}  # pairs of one photo share its pixels

        def slot(pair: int, view: int, key: object, size: Sequence[int]) -> Slot:
            if key not in slots:
                slots[key] = self._append_slot(*map(int, size))
                self._images.append((pair, view))
            return slots[key]

        self.slots1 = [slot(i, 1, p.img1, self.sizes1[i]) for i, p in enumerate(self.pairs)]
        self.slots2: list[Slot] = []
        if not photos_only:
            self.slots2 = [
                slot(i, 2, p.img2 or (p.img1, p.id), self.sizes2[i])
                for i, p in enumerate(self.pairs)
            ]
        self._maps: list[np.ndarray | None] = [None] * len(self._shard_sizes)
        self._done: np.ndarray | None = None
        self._create_files()
        remove_other_banks(manifest)

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
        missing = np.flatnonzero(self._flags() != ON_DISK)
        if not len(missing):
            return
        # In random order, so that processes that fill one bank share the work.
        order = np.random.default_rng().permutation(missing)

        def decode_groups() -> Iterator[None]:
            for start in range(0, len(order), SYNC_EVERY):
                group = order[start : start + SYNC_EVERY].tolist()
                yield from in_threads(self._decode_missing, group, workers)
                self.sync()

        try:
            for _ in progress(decode_groups(), "decoding images", total=len(order)):
                pass
        finally:
            self.sync()
        size = sum(self._shard_sizes)
        log.info("decoded %d images into %s (%.0f MB)", len(missing), self.path, size / 1e6)

    def sync(self) -> None:
        """Wait until all images that were written are on disk, and flag them so."""
        numbers = np.flatnonzero(self._flags() == WRITTEN)
        with self.writing():
            for shard in {self.slots[number].shard for number in numbers}:
                with self._shard_file(shard).open("rb") as file:
                    os.fsync(file.fileno())
            self._flag(numbers, ON_DISK)

    def pixels(self) -> np.ndarray:
        """All pixels as one ``(B,)`` uint8 array for a device; call :meth:`fill` first."""
        return np.concatenate([self._shard(number) for number in range(len(self._maps))])

    def places(self, slots: Sequence[Slot]) -> np.ndarray:
        """``(P, 3)`` int64 of each slot: first byte in :meth:`pixels`, width, height."""
        starts = np.cumsum([0, *self._shard_sizes])
        return np.array([(starts[s.shard] + s.start, s.width, s.height) for s in slots], np.int64)

    def _append_slot(self, width: int, height: int) -> Slot:
        """A slot behind the last image, or in a new shard if that one would grow too large."""
        sizes = self._shard_sizes
        if not sizes or sizes[-1] + 3 * width * height > SHARD_BYTES:
            sizes.append(0)
        self.slots.append(Slot(len(self.slots), len(sizes) - 1, sizes[-1], width, height))
        sizes[-1] += 3 * width * height
        return self.slots[-1]

    def _create_files(self) -> None:
        """Create the files that are missing; nothing is written if none is."""
        files = [(self._shard_file(n), size) for n, size in enumerate(self._shard_sizes)]
        with self.writing():
            self.path.mkdir(exist_ok=True)
            extended = [_extend(file, size) for file, size in files]
            if _extend(self._flag_file, len(self.slots)) or any(extended):
                self._flag(np.arange(len(self.slots)), MISSING)
            self._flag(np.flatnonzero(self._flags() == WRITTEN), MISSING)

    def _image(self, slot: Slot) -> np.ndarray:
        self._decode_missing(slot.number)
        pixels = self._shard(slot.shard)[slot.start : slot.start + slot.bytes]
        return pixels.reshape(slot.height, slot.width, 3)

    def _decode_missing(self, number: int) -> None:
        """Write an image to its slot if it is missing; another process would write the same."""
        if self._flags()[number] != MISSING:
            return
        pair, view = self._images[number]
        image = read_view1(self.pairs[pair]) if view == 1 else read_view2(self.pairs[pair])
        if self.squash:
            image = cv2.resize(image, self.squash, interpolation=cv2.INTER_AREA)
        slot = self.slots[number]
        # Written, not mapped: a full disk is then an error instead of a crash.
        with self.writing():
            with self._shard_file(slot.shard).open("r+b") as file:
                file.seek(slot.start)
                file.write(image.tobytes())
            self._flag(np.array([number]), WRITTEN)

    def _flag(self, numbers: np.ndarray, flag: int) -> None:
        if len(numbers):
            with self._flag_file.open("r+b") as file:
                for number in numbers.tolist():
                    file.seek(number)
                    file.write(bytes([flag]))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Report an error of the file system as a HomoregError that names the bank."""
        try:
            yield
        except OSError as error:
            raise HomoregError(f"{self.path}: cannot be written ({error.strerror})") from error

    @property
    def _flag_file(self) -> Path:
        return self.path / "done"

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
        """``(images,)`` uint8, each image's flag, as set by any process."""
        if self._done is None:
            self._done = np.memmap(self._flag_file, np.uint8, mode="r").view(np.ndarray)
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


def _extend(file: Path, size: int) -> bool:
    """Create or extend a file that is smaller than ``size``; returns whether it was."""
    if file.is_file() and file.stat().st_size >= size:
        return False
    with file.open("ab") as handle:
        handle.truncate(size)
    return True
