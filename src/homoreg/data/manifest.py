"""Manifests: lists of image pairs with their homographies."""

import gc
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NotRequired

import numpy as np
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from homoreg.data.images import image_size
from homoreg.errors import HomoregError
from homoreg.files import reading, write_text

VERSION = 1


@dataclass(frozen=True, eq=False)
class Pair:
    """Two views of a photograph.

    Sizes are ``(width, height)`` in pixels, paths are absolute, and ``homography`` is ``(3, 3)``
    float64 from view 1 to view 2, or None if the manifest has none. ``img2`` is None if view 2 is
    not stored but rendered from view 1 with ``parameters`` and ``border``. ``pixels`` is a digest
    of the photograph's decoded pixels, equal for copies under other names; empty where unknown.
    """

    id: str
    photo: str
    img1: Path
    img2: Path | None
    size1: tuple[int, int]
    size2: tuple[int, int]
    homography: np.ndarray | None
    parameters: dict[str, Any]
    border: str = "reflect"
    pixels: str = ""


@dataclass(frozen=True, eq=False)
class PairManifest:
    """The pairs for training or for evaluation.

    ``hash`` is the SHA-256 of the manifest's bytes. Paths in a manifest are relative and every pair
    has a digest of its images, so the hash identifies the content wherever the folder lies.
    """

    path: Path
    pairs: list[Pair]
    hash: str
    seed: int | None = None
    warp: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)

    @classmethod
    def load(cls, path: str | Path) -> "PairManifest":
        """Read and validate a manifest, or the bare list of the study's notebook.

        Raises:
            HomoregError: the file is missing or malformed, an id occurs twice, an image is missing
                or outside the manifest's folder, or a homography is singular.
        """
        path = Path(path).absolute()
        with reading(path, "a manifest of pairs"):
            data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        enabled = gc.isenabled()
        gc.disable()  # it would traverse the growing list again and again
        try:
            if data.lstrip()[:1] == b"[":
                entries = _validated(_NOTEBOOK_LIST, data, path)
                return cls(path, _notebook_pairs(path, entries), digest)
            content = _validated(_MANIFEST, data, path)
            warp = content["warp"]
            pairs = _pairs(path, content["pairs"], warp.get("border", "reflect"))
            return cls(path, pairs, digest, content["seed"], warp)
        finally:
            if enabled:
                gc.enable()

    def require_homographies(self) -> "PairManifest":
        """Return the manifest itself.

        Raises:
            HomoregError: a pair has no homography.
        """
        for pair in self.pairs:
            if pair.homography is None:
                raise HomoregError(
                    f"{self.path}: pair {pair.id} has no homography; "
                    "prepare the pairs again with `python -m homoreg.prepare`"
                )
        return self


def write_manifest(
    path: Path, seed: int, warp: Mapping[str, Any], pairs: Iterable[Mapping[str, Any]]
) -> None:
    """Write a manifest atomically, one pair a line.

    Args:
        path: of the manifest; the pairs' image paths are relative to its folder.
        seed: of the preparation.
        warp: options of the warp.
        pairs: the pairs' fields, homographies as nested lists.
    """
    head = json.dumps({"version": VERSION, "seed": seed, "warp": warp})
    lines = ",\n".join(json.dumps(pair, allow_nan=False) for pair in pairs)
    write_text(path, f'{head[:-1]}, "pairs": [\n{lines}\n]}}\n')


# The schema. Typed dictionaries are validated faster than models: about 80,000 pairs a second.
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Row = tuple[_Number, _Number, _Number]
_Side = Annotated[int, Field(strict=True, gt=0)]
_Text = Annotated[str, Field(strict=True, min_length=1)]


class _PairFields(TypedDict):
    id: _Text
    photo: _Text
    img1: _Text
    img2: _Text | None
    size1: tuple[_Side, _Side]
    size2: tuple[_Side, _Side]
    homography: NotRequired[tuple[_Row, _Row, _Row] | None]
    parameters: NotRequired[dict[str, Any]]
    pixels: NotRequired[str]


class _NotebookFields(TypedDict):
    id: _Text
    img1: _Text
    img2: _Text


def _distinct(entries: list[Any]) -> list[Any]:
    for identity, count in Counter(entry["id"] for entry in entries).most_common(1):
        if count > 1:
            raise ValueError(f"two pairs have the id {identity}; give each its own")
    return entries


class _ManifestFields(TypedDict):
    version: Annotated[int, Field(strict=True, ge=VERSION, le=VERSION)]
    seed: int
    warp: dict[str, Any]
    pairs: Annotated[list[_PairFields], AfterValidator(_distinct)]


_MANIFEST = TypeAdapter(_ManifestFields)
_NOTEBOOK_LIST = TypeAdapter(Annotated[list[_NotebookFields], AfterValidator(_distinct)])


def _validated(kind: TypeAdapter[Any], data: bytes, path: Path) -> Any:
    """The file's content, or one line about the first thing that is wrong with it."""
    try:
        return kind.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
        raise HomoregError(
            f"{path}: not a manifest of pairs{where and f', at {where.lstrip(chr(46))}'}: "
            f"{first['msg']}"
        ) from error


def _pairs(path: Path, entries: list[_PairFields], border: str) -> list[Pair]:
    homographies = _homographies(path, entries)
    images = _Images(path)
    pairs = []
    for entry in entries:
        parameters, img2 = entry.get("parameters", {}), entry["img2"]
        if img2 is None and not {"occlusion_box", "blur_kernel"} <= parameters.keys():
            raise HomoregError(
                f"{path}: pair {entry['id']} has neither img2 nor the parameters to render it"
            )
        pairs.append(
            Pair(
                id=entry["id"],
                photo=entry["photo"],
                img1=images.locate(entry["img1"], entry["id"]),
                img2=images.locate(img2, entry["id"]) if img2 else None,
                size1=entry["size1"],
                size2=entry["size2"],
                homography=homographies.get(entry["id"]),
                parameters=parameters,
                border=border,
                pixels=entry.get("pixels", ""),
            )
        )
    return pairs


def _notebook_pairs(path: Path, entries: list[_NotebookFields]) -> list[Pair]:
    """The pairs of the notebook's bare list, whose paths start at its working directory."""
    images = _Images(path)
    pairs = []
    for entry in entries:
        img1, img2 = (images.locate_end(entry[view], entry["id"]) for view in ("img1", "img2"))
        photo, sizes = PurePosixPath(entry["img1"]).name, (image_size(img1), image_size(img2))
        pairs.append(Pair(entry["id"], photo, img1, img2, *sizes, homography=None, parameters={}))
    return pairs


def _homographies(path: Path, entries: list[_PairFields]) -> dict[str, np.ndarray]:
    """``(3, 3)`` float64 by the pair's id, checked."""
    given = {entry["id"]: h for entry in entries if (h := entry.get("homography")) is not None}
    stack = np.array(list(given.values()), np.float64).reshape(-1, 3, 3)
    for pair_id, rank in zip(given, np.linalg.matrix_rank(stack), strict=True):
        if rank < 3:
            raise HomoregError(f"{path}: the homography of pair {pair_id} is singular")
    return dict(zip(given, stack, strict=True))


class _Images:
    """The image files under a manifest's folder; each directory is listed once."""

    def __init__(self, manifest: Path) -> None:
        self.manifest = manifest
        self.folders: dict[str, tuple[Path, frozenset[str]] | None] = {}

    def locate(self, name: str, pair_id: str) -> Path:
        """The absolute path of an image that a pair names, relative to the manifest."""
        folder, slash, file = name.rpartition("/")
        found = self._listing(folder + slash)
        if found is None or file == "..":
            raise HomoregError(
                f"{self.manifest}: pair {pair_id} names {name}, which is outside the manifest's "
                "folder; image paths are relative to it"
            )
        path, files = found
        if file not in files:
            raise HomoregError(f"{self.manifest}: pair {pair_id} names {name}, which is missing")
        return path / file

    def locate_end(self, name: str, pair_id: str) -> Path:
        """The existing image with the longest suffix of the path ``name``."""
        parts = PurePosixPath(name).parts
        for start in range(len(parts)):
            found = self._listing("/".join(parts[start:-1]))
            if found is not None and parts[-1] in found[1]:
                return found[0] / parts[-1]
        return self.locate(name, pair_id)

    def _listing(self, folder: str) -> tuple[Path, frozenset[str]] | None:
        """A directory and its files, or None if it is outside the manifest's folder."""
        if folder not in self.folders:
            # Without resolving links: a folder of images may be a link to another disk.
            path = Path(os.path.normpath(self.manifest.parent / folder))
            files = os.listdir(path) if path.is_dir() else ()  # noqa: PTH208 - names are enough
            inside = path.is_relative_to(self.manifest.parent)
            self.folders[folder] = (path, frozenset(files)) if inside else None
        return self.folders[folder]
