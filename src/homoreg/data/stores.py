"""Stores of photographs by name: a tree of files, or a zip archive that is read in place."""

import logging
import os
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

from homoreg.data.images import (
    OTHER_SUFFIXES,
    SUFFIXES,
    PhotoError,
    check_file_size,
    read_file,
)
from homoreg.errors import HomoregError

log = logging.getLogger(__name__)

T = TypeVar("T")


class PhotoStore(ABC):
    """What a source reads from.

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
        files, seen = [], {os.path.realpath(self.root)}
        for folder, subfolders, names in os.walk(self.root, followlinks=True):
            visible = [name for name in subfolders if not name.startswith(".")]
            # A link may lead to a folder above, or to one that is reached by another way as well.
            real = {name: os.path.realpath(Path(folder, name)) for name in visible}
            subfolders[:] = [name for name in visible if real[name] not in seen]
            seen |= set(real.values())
            files += [Path(folder, name) for name in names]
        _warn_of_other_formats([file.name for file in files], self.suffixes, self.place)
        paths = [file for file in files if _is_photo(file.name, self.suffixes)]
        named = [(p.name if self.flat else p.relative_to(self.root).as_posix(), p) for p in paths]
        return _by_name(named, self.place)


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
        infos = [(PurePosixPath(info.filename).name, info) for info in self._archive.infolist()]
        _warn_of_other_formats([name for name, _ in infos], self.suffixes, self.place)
        photos = [
            (name, info)
            for name, info in infos
            if not info.is_dir() and _is_photo(name, self.suffixes)
        ]
        return _by_name(photos, self.place)


def _is_photo(file_name: str, suffixes: tuple[str, ...]) -> bool:
    return file_name.lower().endswith(suffixes) and not file_name.startswith(".")


def _warn_of_other_formats(names: list[str], suffixes: tuple[str, ...], place: str) -> None:
    """Say how many images are left out."""
    others = Counter(
        suffix
        for name in names
        if (suffix := PurePosixPath(name).suffix.lower()) in (*SUFFIXES, *OTHER_SUFFIXES)
        and suffix not in suffixes
        and not name.startswith(".")
    )
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
        log.warning("%s: left out images of other formats: %s", place, kinds)


def _by_name(named: list[tuple[str, T]], place: str) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, photo in named:
        # Lists of names are text files with one name a line.
        if not name.isprintable():
            log.warning("skipped %r: its name has control characters", name)
        elif name in found:
            raise HomoregError(
                f"source.root={place}: two photographs are called {name}; "
                "give a folder or an archive with unique file names"
            )
        else:
            found[name] = photo
    return found
