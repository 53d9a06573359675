"""Stores of photographs by name: a tree of files, or a zip archive that is read in place."""

import logging
import os
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

from homoreg.data.images import OTHER_SUFFIXES, SUFFIXES, PhotoError, check_file_size, read_file
from homoreg.errors import HomoregError

log = logging.getLogger(__name__)

T = TypeVar("T")


class PhotoStore(ABC):
    """Where a source reads its photographs from.

    A subclass sets ``place``, its location as text, and, where reading is bound by waiting,
    ``threads``, the number of threads to read with (None for one per core).
    """

    place: str
    threads: int | None = None

    @abstractmethod
    def names(self) -> list[str] | None:
        """Names of all photos, or None if they cannot be listed."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of a photo's file; PhotoError if it is not available. Thread-safe."""


class Folder(PhotoStore):
    """The images of a tree of files, through links, without hidden files and folders.

    Args:
        root: the folder; None raises when photos are asked for.
        suffixes: suffixes of image files, lower case.
        flat: name a photo by its file name instead of its path under ``root``.
    """

    def __init__(
        self, root: str | Path | None, suffixes: tuple[str, ...] = SUFFIXES, flat: bool = False
    ) -> None:
        self.root = None if root is None else Path(root).absolute()
        self.place = str(self.root or "")
        self.suffixes = suffixes
        self.flat = flat

    def names(self) -> list[str]:
        return list(self._files)

    def read(self, name: str) -> bytes:
        return read_file(self._files[name], name)

    @cached_property
    def _files(self) -> dict[str, Path]:
        if self.root is None:
            raise HomoregError("source.root is not set: give the folder that holds the photographs")
        if not self.root.is_dir():
            raise HomoregError(f"source.root={self.root}: there is no such folder")
        files: list[Path] = []
        seen = {os.path.realpath(self.root)}
        for folder, subfolders, names in os.walk(self.root, followlinks=True):
            visible = [name for name in subfolders if not name.startswith(".")]
            # A link may lead to a folder above, or to one that is reached by another way as well.
            real = {name: os.path.realpath(Path(folder, name)) for name in visible}
            subfolders[:] = [name for name in visible if real[name] not in seen]
            seen |= set(real.values())
            files += [Path(folder, name) for name in names]
        named = ((p.name if self.flat else p.relative_to(self.root).as_posix(), p) for p in files)
        return _photos(named, self.suffixes, self.place)


class ZipArchive(PhotoStore):
    """The images of a zip archive by file name, whatever their folders.

    Reads are serialized by a lock. Members of a photo archive are stored without compression, so
    that a read is short.
    """

    def __init__(self, path: str | Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
        self.place = str(Path(path).absolute())
        self.suffixes = suffixes
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        return list(self._members)

    def read(self, name: str) -> bytes:
        try:
            check_file_size(self._members[name].file_size, name)
            with self._lock:
                return self._archive.read(self._members[name])
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            # zipfile raises RuntimeError for an encrypted member.
            raise PhotoError(f"{name}: damaged in the archive ({error})") from error

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.place)
        except (OSError, zipfile.BadZipFile) as error:
            raise HomoregError(f"source.root={self.place}: not a whole zip archive") from error

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        files = (info for info in self._archive.infolist() if not info.is_dir())
        named = ((PurePosixPath(info.filename).name, info) for info in files)
        return _photos(named, self.suffixes, self.place)


def _photos(files: Iterable[tuple[str, T]], suffixes: tuple[str, ...], place: str) -> dict[str, T]:
    """The photographs among the files of a store, by name; says which images are left out.

    Args:
        files: name of each and what it is read from.
        suffixes: of photographs.
        place: the store's, for messages.

    Raises:
        HomoregError: two photographs have one name.
    """
    photos: dict[str, T] = {}
    others = Counter[str]()
    for name, file in files:
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            continue
        if suffix not in suffixes:
            others[suffix] += suffix in (*SUFFIXES, *OTHER_SUFFIXES)
        elif not name.isprintable():  # lists of names are text files with one name a line
            log.warning("skipped %r: its name has control characters", name)
        elif name in photos:
            raise HomoregError(
                f"source.root={place}: two photographs are called {name}; "
                "give a folder or an archive with unique file names"
            )
        else:
            photos[name] = file
    if kinds := ", ".join(f"{count} {suffix}" for suffix, count in others.most_common() if count):
        log.warning("%s: left out images of other formats: %s", place, kinds)
    return photos
