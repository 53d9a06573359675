"""Preparation: select photographs, make pairs of views, and list them in manifests."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypedDict, TypeVar

import numpy as np
from filelock import FileLock
from pydantic import ConfigDict, Field, PositiveInt, validate_call

from homoreg.data.download import DownloadError
from homoreg.data.images import PhotoError, decode_image, encode_jpeg, first_view, image_size
from homoreg.data.manifest import PairManifest, write_manifest
from homoreg.data.sheets import write_pair_sheet
from homoreg.data.sources import Selection, Source
from homoreg.data.stores import Folder
from homoreg.data.warp import Warp
from homoreg.errors import HomoregError
from homoreg.files import atomic_path, remove_temporary, write_json, write_text
from homoreg.progress import progress

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

SIDES = ("train", "eval")
RECORD = "prepare.json"
SKIPPED = "skipped.json"
SHEET = "pairs.png"


def manifest_path(root: str | Path, side: str) -> Path:
    """``pairs_train.json`` or ``pairs_eval.json`` under ``data.root``."""
    return Path(root) / f"pairs_{side}.json"


@validate_call(config=ConfigDict(title="prepare", arbitrary_types_allowed=True))
def prepare_pairs(
    source: Source,
    warp: Warp,
    root: str | Path,
    seed: int,
    *,
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95,
    workers: PositiveInt | None = None,
    overwrite: bool = False,
    store_views: bool = True,
) -> None:
    """Make the pairs under ``root``, or those that are missing.

    Files are written atomically, so an interrupted run continues where it stopped, and a second run
    changes nothing but files that were damaged. Copies of a photo under other names are left out,
    so that none is on both sides; lists that are given are obeyed. A photo that cannot be used is
    skipped and listed in ``skipped.json``; no other one replaces it, so that damage does not change
    the selection. Failed downloads are tried again by the next run. A lock keeps two processes from
    preparing one folder at the same time.

    Args:
        source: the photographs and their selection.
        warp: distribution of the second views.
        root: folder for the lists, ``processed/``, the manifests and a sheet of pairs.
        seed: of the selection and of the warps.
        jpeg_quality: of views that have to be encoded.
        workers: threads; None for one per core, or more for downloads.
        overwrite: replace pairs that were made with other options or from other photos.
        store_views: write view 2 of the training pairs; otherwise it is rendered when needed.

    Raises:
        HomoregError: ``root`` holds other pairs, no photo of a side can be used, or a file cannot
            be written.
        ValidationError: an option is out of its range.
    """
    recipe = PairRecipe(source, warp, seed, jpeg_quality, store_views)
    root = Path(root).absolute()
    _check_outside_source(root, source)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".prepare.lock"):
            difference = _record_difference(root, recipe)
            _refuse(root, difference, overwrite)
            threads = workers or source.store.threads or os.cpu_count() or 1
            selection, pixels = _select_without_copies(source, seed, threads)
            difference = (
                difference or _list_difference(root, selection) or _pixel_difference(root, pixels)
            )
            _refuse(root, difference, overwrite)
            if difference:
                _remove_prepared(root)
            elif not _remove_damaged(root) and _is_finished(root):
                log.info("%s is up to date", root)
                return
            if warp.repeats is None:
                log.info("second views per photo: %d (source.repeats)", recipe.repeats)
            remove_temporary(root)
            write_json(root / RECORD, recipe.record())
            _make_sides(recipe, selection, root, threads, pixels)
    except OSError as error:
        raise HomoregError(f"{error.filename or root}: {error.strerror or error}") from error


@dataclass(frozen=True)
class PairRecipe:
    """Everything that the pairs of a folder depend on."""

    source: Source
    warp: Warp
    seed: int
    jpeg_quality: int
    store_views: bool = True

    @property
    def repeats(self) -> int:
        """Second views per photo."""
        return self.warp.repeats or self.source.repeats

    def record(self) -> dict[str, Any]:
        """The recipe as JSON."""
        return {
            "seed": self.seed,
            "jpeg_quality": self.jpeg_quality,
            "store_views": self.store_views,
            "warp": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in (asdict(self.warp) | {"repeats": self.repeats}).items()
            },
            "source": self.source.record(),
        }

    def make(self, name: str, first: int, folder: Path) -> list[dict[str, Any]]:
        """Write the views of a photo and return its manifest entries.

        Existing files are kept: they are complete, and their warps follow from seed and name.

        Args:
            name: of the photo.
            first: number of the photo's first pair; all its pairs share one view 1.
            folder: ``processed/train`` or ``processed/eval`` beside the manifests.

        Raises:
            PhotoError: the photo cannot be used.
        """
        path1 = folder / f"img_{first:06d}.jpg"
        image = None
        if not path1.exists():
            data, image = self._first_view(name)
            _write_bytes(path1, data)
        # View 2 is warped from the decoded view 1, with the losses of its JPEG.
        view1 = path1.read_bytes()
        size = image_size(path1)
        stored = self.store_views or folder.name == "eval"
        pairs = []
        for repeat in range(self.repeats):
            draw = self.warp.draw(self.seed, name, repeat, size)
            path2 = folder / f"img_{first + repeat:06d}_warped.jpg"
            if stored and not path2.exists():
                image = decode_image(view1, name) if image is None else image
                _write_bytes(path2, encode_jpeg(self.warp.apply(image, draw), self.jpeg_quality))
            view2 = path2.read_bytes() if stored else repr(draw.parameters).encode()
            pairs.append(
                {
                    "id": f"{first + repeat:06d}",
                    "photo": name,
                    "img1": f"processed/{folder.name}/{path1.name}",
                    "img2": f"processed/{folder.name}/{path2.name}" if stored else None,
                    "size1": size,
                    "size2": size,
                    "homography": draw.homography.tolist(),
                    "parameters": draw.parameters,
                    # The hash of the manifest covers the pixels.
                    "digest": _digest(view1 + view2),
                }
            )
        return pairs

    def _first_view(self, name: str) -> tuple[bytes, np.ndarray | None]:
        return first_view(
            self.source.read(name),
            name,
            max_side=self.source.max_side,
            min_side=self.source.min_side,
            quality=self.jpeg_quality,
        )


class _Skipped(TypedDict):
    """A photo without pairs; with ``retry`` the next run requests it again."""

    side: str
    photo: str
    reason: str
    retry: bool


def _make_sides(
    recipe: PairRecipe, selection: Selection, root: Path, threads: int, pixels: Mapping[str, str]
) -> None:
    skipped: list[_Skipped] = []
    for side, names in zip(SIDES, selection, strict=True):
        write_text(_list_path(root, side), "".join(f"{name}\n" for name in names))
    for side, names in zip(SIDES, selection, strict=True):
        pairs, failed = _make_side(recipe, side, names, root, threads, pixels)
        skipped += failed
        write_json(root / SKIPPED, skipped)
        if names and not pairs:
            raise HomoregError(
                f"none of the {len(names)} photos for {side} can be used, for example: "
                f"{failed[0]['reason']} (all reasons are in {root / SKIPPED})"
            )
        write_manifest(manifest_path(root, side), recipe.seed, recipe.record()["warp"], pairs)
        log.info("%s: %d pairs of %d photos", side, len(pairs), len(names) - len(failed))
    if skipped:
        log.warning("skipped %d photos, listed in %s", len(skipped), root / SKIPPED)
    manifests = [PairManifest.load(manifest_path(root, side)) for side in SIDES]
    write_pair_sheet(root / SHEET, max(manifests, key=len), recipe.seed)


def _select_without_copies(
    source: Source, seed: int, threads: int
) -> tuple[Selection, dict[str, str]]:
    """Select photos of which none is a copy of another; digests of their pixels by name.

    Of several copies the first by name is kept. Lists that are given are obeyed, with a warning.
    """
    pixels: dict[str, str] = {}
    copies: dict[str, str] = {}
    given = source.names or source.train_list
    while True:
        selection = source.select(seed, without=() if given else copies)
        names = sorted([*selection.train, *selection.eval])
        pixels |= _pixels(source, [name for name in names if name not in pixels], threads)
        first: dict[str, str] = {}
        earlier = {n: first.setdefault(pixels[n], n) for n in names if n in pixels}
        found = {name: other for name, other in earlier.items() if name != other}
        copies |= found
        if found:
            log.warning(
                "%d photos are copies of another, such as %s of %s; they are %s",
                len(found),
                *next(iter(found.items())),
                "used, since a list names them" if given else "left out",
            )
        if given or not found:
            return selection, {name: pixels[name] for name in names if name in pixels}


def _pixels(source: Source, names: list[str], threads: int) -> dict[str, str]:
    """A digest of each photo's decoded pixels, without the photos that cannot be read."""

    def digest(name: str) -> str | None:
        try:
            image = decode_image(source.read(name), name)
        except PhotoError:
            return None
        return _digest(repr(image.shape).encode() + image.tobytes())

    digests = _in_threads(digest, names, threads, "comparing photos")
    return {name: found for name, found in zip(names, digests, strict=True) if found}


def _make_side(
    recipe: PairRecipe,
    side: str,
    names: list[str],
    root: Path,
    threads: int,
    pixels: Mapping[str, str],
) -> tuple[list[dict[str, Any]], list[_Skipped]]:
    """Manifest entries of one side, in the order of the names, and the photos skipped."""
    folder = root / "processed" / side
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporary(folder)

    def make(job: tuple[int, str]) -> list[dict[str, Any]] | _Skipped:
        index, name = job
        try:
            # Numbers follow the list, so a skipped photo leaves a gap.
            made = recipe.make(name, index * recipe.repeats + 1, folder)
            return [entry | {"pixels": pixels.get(name, "")} for entry in made]
        except PhotoError as error:
            retry = isinstance(error, DownloadError)
            return _Skipped(side=side, photo=name, reason=str(error), retry=retry)

    pairs: list[dict[str, Any]] = []
    skipped: list[_Skipped] = []
    for made in _in_threads(make, list(enumerate(names)), threads, f"making {side} pairs"):
        if isinstance(made, list):
            pairs += made
        else:
            skipped.append(made)
    return pairs, skipped


def _in_threads(work: Callable[[T], R], jobs: list[T], threads: int, title: str) -> Iterator[R]:
    """Yield results in the order of the jobs, with a progress bar; an error stops the rest."""
    # Threads suffice: decoding, warping and encoding release the interpreter's lock.
    pool = ThreadPoolExecutor(threads)
    try:
        yield from progress(pool.map(work, jobs), title, total=len(jobs))
    finally:
        pool.shutdown(cancel_futures=True)


def _refuse(root: Path, difference: str | None, overwrite: bool) -> None:
    if difference and not overwrite:
        raise HomoregError(
            f"{root} {difference}; choose another data.root, or replace the pairs with "
            "prepare.overwrite=true"
        )


def _check_outside_source(root: Path, source: Source) -> None:
    """Refuse to write inside the source's folder, where views would count as photographs."""
    photos = source.store.root if isinstance(source.store, Folder) else None
    if photos is not None and root.resolve().is_relative_to(photos.resolve()):
        raise HomoregError(
            f"data.root={root} lies inside source.root={photos}, where views would count as "
            "photographs; choose a data.root outside"
        )


def _record_difference(root: Path, recipe: PairRecipe) -> str | None:
    """How ``prepare.json`` differs from this recipe."""
    path = root / RECORD
    if not path.exists():
        holds_pairs = any(
            manifest_path(root, side).exists() or any((root / "processed" / side).glob("img_*"))
            for side in SIDES
        )
        return f"holds pairs without {RECORD}, of unknown origin" if holds_pairs else None
    try:
        made = dict(_flat(json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, AttributeError):
        return f"has a damaged {RECORD}"
    for key, wanted in _flat(recipe.record()):
        if made.get(key) != wanted:
            return f"was prepared with {key}={made.get(key)}, not {wanted}"
    return None


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _list_difference(root: Path, selection: Selection) -> str | None:
    """How the lists of photos differ from this selection."""
    for side, names in zip(SIDES, selection, strict=True):
        path = _list_path(root, side)
        prepared = path.read_text(encoding="utf-8").splitlines() if path.exists() else names
        if prepared != names:
            new, gone = len(set(names) - set(prepared)), len(set(prepared) - set(names))
            return f"was prepared from another list of photos ({side}: {new} new, {gone} gone)"
    return None


def _pixel_difference(root: Path, pixels: Mapping[str, str]) -> str | None:
    """How the photos differ from those of the same names that the pairs were made from."""
    made = {entry["photo"]: entry.get("pixels") for _, entry in _entries(root)}
    changed = [name for name, found in pixels.items() if made.get(name, found) not in (found, None)]
    if not changed:
        return None
    return f"was prepared from other photos of the same names ({len(changed)}, {changed[0]} first)"


def _remove_damaged(root: Path) -> int:
    """Delete the files of pairs that are no longer what was made, and count these pairs."""
    damaged = []
    for folder, entry in _entries(root):
        names = [PurePosixPath(entry[view]).name for view in ("img1", "img2") if entry[view]]
        files = [folder / name for name in names]
        content = b"".join(file.read_bytes() if file.is_file() else b"" for file in files)
        if entry["img2"] is None:
            content += repr(entry["parameters"]).encode()
        if _digest(content) != entry.get("digest"):
            damaged.append(entry["id"])
            for file in files:
                file.unlink(missing_ok=True)
    if damaged:
        log.warning("%d pairs lack a file or have a damaged one: made again", len(damaged))
    return len(damaged)


def _entries(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder of the views and entry of each pair; none of a manifest that is damaged."""
    keys = ("id", "photo", "img1", "img2", "parameters")
    for side in SIDES:
        try:
            manifest = json.loads(manifest_path(root, side).read_text(encoding="utf-8"))
            entries = [dict(pair) | {key: pair[key] for key in keys} for pair in manifest["pairs"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        yield from ((root / "processed" / side, entry) for entry in entries)


def _is_finished(root: Path) -> bool:
    """Whether all pairs exist with their files, and no download is to be tried again."""
    try:
        for side in SIDES:
            PairManifest.load(manifest_path(root, side))
        skipped: list[_Skipped] = json.loads((root / SKIPPED).read_text(encoding="utf-8"))
    except (HomoregError, OSError, ValueError):
        return False
    return (root / SHEET).exists() and not any(photo["retry"] for photo in skipped)


def _remove_prepared(root: Path) -> None:
    """Delete the pairs of an earlier run, and its record last."""
    for side in SIDES:
        for image in (root / "processed" / side).glob("img_*.jpg"):
            image.unlink()
        manifest_path(root, side).unlink(missing_ok=True)
        _list_path(root, side).unlink(missing_ok=True)
    for name in (SHEET, SKIPPED, RECORD):
        (root / name).unlink(missing_ok=True)


def _list_path(root: Path, side: str) -> Path:
    return root / f"{side}_list.txt"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _write_bytes(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
