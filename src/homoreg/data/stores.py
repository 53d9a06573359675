"""Places that hold photographs by name: a tree of files, and a zip archive read in place."""

import logging
import os
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

from homoreg.data.images import SUFFIXES, PhotoError
from homoreg.errors import HomoregError

log = logging.getLogger(__name__)

T = TypeVar("T")


class PhotoStore(ABC):
    """What a source reads from.

    A subclass sets ``place``, where the photos are as text, and, where readers wait and do not
    compute, ``threads``: how many of them keep the store busy (None is one a core).
    """

    place: str
    threads: int | None = None

    @abstractmethod
    def names(self) -> list[str] | None:
        """The photos' names, or None where only asking for one shows whether it is there."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A photo's file; a PhotoError where this one cannot be had. Many threads call this."""


class Folder(PhotoStore):
    """The images of a tree of files; hidden files and folders are left alone.

    Args:
        root: the folder; None is an error only once its photos are asked for.
        suffixes: ends of the file names of images, lower case.
        flat: name a photo by its file name alone and not by its path under ``root``.
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
        try:
            return self._files[name].read_bytes()
        except OSError as error:
            raise PhotoError(f"{name}: cannot be read ({error.strerror})") from error

    @cached_property
    def _files(self) -> dict[str, Path]:
        if self.root is None:
            raise HomoregError("source.root is not set: give the folder that holds the photographs")
        if not self.root.is_dir():
            raise HomoregError(f"source.root={self.root}: there is no such folder")
        paths = []
        for folder, subfolders, files in os.walk(self.root):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            paths += [Path(folder, name) for name in files if _is_photo(name, self.suffixes)]
        named = [(p.name if self.flat else p.relative_to(self.root).as_posix(), p) for p in paths]
        return _by_name(named, self.place)


class ZipArchive(PhotoStore):
    """The images of a zip archive, by file name, whatever folders they are in.

    The archive is opened once. Reading takes turns (the members of a photo archive are stored as
    they are, so this costs little); decoding, which takes long, does not wait.
    """

    def __init__(self, path: str | Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
        self.place = str(Path(path).absolute())
        self.suffixes = suffixes
        self._turn = threading.Lock()

    def names(self) -> list[str]:
        return list(self._members)

    def read(self, name: str) -> bytes:
        try:
            with self._turn:
                return self._archive.read(self._members[name])
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            # RuntimeError is how zipfile says that a member is encrypted.
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
        photos = [
            (name, info)
            for name, info in infos
            if not info.is_dir() and _is_photo(name, self.suffixes)
        ]
        return _by_name(photos, self.place)


def _is_photo(file_name: str, suffixes: tuple[str, ...]) -> bool:
    return file_name.lower().endswith(suffixes) and not file_name.startswith(".")


def _by_name(named: list[tuple[str, T]], place: str) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, photo in named:
        # The lists of names are text, a name a line.
        if not name.isprintable():
            log.warning("left out %r: its name does not fit a list of names", name)
        elif name in found:
            raise HomoregError(
                f"source.root={place}: two photographs are called {name}; "
                "give the folder or the archive that holds one set of them"
            )
        else:
            found[name] = photo
    return found
