"""Phases 1 and 2: choose photographs, make two views of each, and list them in manifests."""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np

from homoreg.data.download import DownloadError
from homoreg.data.images import PhotoError, decode_image, encode_jpeg, first_view, image_size
from homoreg.data.manifest import PairManifest, write_manifest
from homoreg.data.sheet import write_sheet
from homoreg.data.sources import Selection, Source
from homoreg.data.stores import Folder
from homoreg.data.warp import Warp
from homoreg.errors import HomoregError
from homoreg.files import atomic_path, write_json, write_text
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


def prepare_pairs(
    source: Source,
    warp: Warp,
    root: str | Path,
    seed: int,
    *,
    jpeg_quality: int = 95,
    workers: int | None = None,
    overwrite: bool = False,
    store_views: bool = True,
) -> None:
    """Make all that belongs under ``root``, or what is missing of it.

    Every file is whole or absent, so an interrupted run goes on where it stopped, and a run over
    finished data changes nothing. A photo that cannot be used is skipped and listed in
    ``skipped.json``; no other takes its place, so the choice of photos does not depend on damage.
    Photos that only a failed download left out are asked for again by the next run. Two runs on
    one folder take turns.

    Args:
        source: the photographs and the choice among them.
        warp: what the second views look like.
        root: folder for the lists, ``processed/``, the manifests and a sheet of pairs.
        seed: of the choice of photos and of the warps.
        jpeg_quality: of the views that have to be encoded, 1 to 100.
        workers: threads; None for one a core, and more where photos are downloaded.
        overwrite: replace pairs that were made with other options or of other photos.
        store_views: write view 2 of the training pairs; without it, it is rendered when needed.

    Raises:
        HomoregError: ``root`` holds other pairs, an option is out of its range, no photo of a side
            can be used, or a file cannot be written.
    """
    recipe = PairRecipe(source, warp, seed, jpeg_quality, store_views)
    root = Path(root).absolute()
    if workers is not None and workers < 1:
        raise HomoregError(f"prepare.workers={workers}: give a number from 1, or null")
    _check_apart(root, source)
    try:
        with _alone_in(root):
            selection = source.select(seed)
            difference = _record_difference(root, recipe) or _list_difference(root, selection)
            if difference and not overwrite:
                raise HomoregError(
                    f"{root} {difference}; choose another data.root, or replace what is there "
                    "with prepare.overwrite=true"
                )
            if difference:
                _remove_prepared(root)
            elif _is_finished(root):
                log.info("%s is prepared already, nothing to do", root)
                return
            write_json(root / RECORD, recipe.record())
            _make_sides(recipe, selection, root, workers or source.store.threads)
    except OSError as error:
        raise HomoregError(f"{error.filename or root}: {error.strerror or error}") from error


def prepared_differs(
    source: Source,
    warp: Warp,
    root: str | Path,
    seed: int,
    *,
    jpeg_quality: int = 95,
    store_views: bool = True,
) -> str | None:
    """How the pairs under ``root`` differ from those asked for, or None.

    Only options are compared; the photographs need not be there any more.

    Returns:
        What comes after the folder's name in a sentence, such as ``was prepared with
        warp.shift=0.3 and not 0.15``.
    """
    recipe = PairRecipe(source, warp, seed, jpeg_quality, store_views)
    return _record_difference(Path(root), recipe)


@dataclass(frozen=True)
class PairRecipe:
    """All that the pairs of a folder depend on.

    Raises:
        HomoregError: the quality is out of its range.
    """

    source: Source
    warp: Warp
    seed: int
    jpeg_quality: int
    store_views: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.jpeg_quality <= 100:
            raise HomoregError(f"prepare.jpeg_quality={self.jpeg_quality}: give 1 to 100")

    def record(self) -> dict[str, Any]:
        """The same in plain numbers, text, lists and dictionaries."""
        return {
            "seed": self.seed,
            "jpeg_quality": self.jpeg_quality,
            "store_views": self.store_views,
            "warp": {
                key: value if isinstance(value, (int, float, str)) else list(value)
                for key, value in asdict(self.warp).items()
            },
            "source": self.source.record(),
        }

    def make(self, name: str, first: int, folder: Path) -> list[dict[str, Any]]:
        """One photo's views, as files, and its entries of the manifest.

        Files that are there are taken as they are: whole, and with warps that follow from the seed
        and the name.

        Args:
            name: of the photo.
            first: number of the photo's first pair; its view 1 serves all its pairs.
            folder: ``processed/train`` or ``processed/eval`` beside the manifests.

        Raises:
            PhotoError: the photo cannot be used.
        """
        path1 = folder / f"img_{first:06d}.jpg"
        image = None
        if not path1.exists():
            data, image = self._first_view(name)
            _write_bytes(path1, data)
        # View 2 is made of what a reader of view 1 sees, the losses of its JPEG included.
        view1 = path1.read_bytes()
        size = image_size(path1)
        stored = self.store_views or folder.name == "eval"
        pairs = []
        for repeat in range(self.warp.repeats):
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
                    # So that the manifest's hash speaks for the pixels as well.
                    "digest": hashlib.sha256(view1 + view2).hexdigest()[:16],
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
    """A photo without pairs; ``retry``: the next run asks for it again."""

    side: str
    photo: str
    reason: str
    retry: bool


def _make_sides(recipe: PairRecipe, selection: Selection, root: Path, threads: int | None) -> None:
    skipped: list[_Skipped] = []
    for side, names in zip(SIDES, selection, strict=True):
        write_text(_list_path(root, side), "".join(f"{name}\n" for name in names))
        pairs, failed = _make_side(recipe, side, names, root, threads or os.cpu_count() or 1)
        skipped += failed
        write_json(root / SKIPPED, skipped)
        if names and not pairs:
            raise HomoregError(
                f"none of the {len(names)} photos for {side} can be used, the first for this: "
                f"{failed[0]['reason']} (all reasons are in {root / SKIPPED})"
            )
        write_manifest(manifest_path(root, side), recipe.seed, recipe.record()["warp"], pairs)
        log.info("%s: %d pairs of %d photos", side, len(pairs), len(names) - len(failed))
    if skipped:
        log.warning("skipped %d photos, listed in %s", len(skipped), root / SKIPPED)
    manifests = [PairManifest.load(manifest_path(root, side)) for side in SIDES]
    write_sheet(root / SHEET, max(manifests, key=len), recipe.seed)


def _make_side(
    recipe: PairRecipe, side: str, names: list[str], root: Path, threads: int
) -> tuple[list[dict[str, Any]], list[_Skipped]]:
    """The manifest's entries of one side, in the order of the names, and the photos left out."""
    folder = root / "processed" / side
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.jpg"):  # half a file of a run that was killed
        leftover.unlink()

    def make(job: tuple[int, str]) -> list[dict[str, Any]] | _Skipped:
        index, name = job
        try:
            # A number belongs to a place in the list, so a skipped photo leaves a gap.
            return recipe.make(name, index * recipe.warp.repeats + 1, folder)
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
    """Results in the order of the jobs, under a progress bar; an error stops the rest."""
    # Threads will do: decoding, warping and encoding leave the interpreter's lock to others.
    pool = ThreadPoolExecutor(threads)
    try:
        yield from progress(pool.map(work, jobs), title, total=len(jobs))
    finally:
        pool.shutdown(cancel_futures=True)


def _check_apart(root: Path, source: Source) -> None:
    """Refuse to write where the source reads: the views would be taken for photographs."""
    photos = source.store.root if isinstance(source.store, Folder) else None
    if photos is not None and root.resolve().is_relative_to(photos.resolve()):
        raise HomoregError(
            f"data.root={root} lies inside source.root={photos}, so the views would count as "
            "photographs; choose a data.root outside"
        )


@contextmanager
def _alone_in(root: Path) -> Iterator[None]:
    """Wait for any other process that prepares the folder, and keep others waiting."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".prepare.lock").open("w") as lock:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _record_difference(root: Path, recipe: PairRecipe) -> str | None:
    """What in ``prepare.json`` speaks against this recipe."""
    path = root / RECORD
    if not path.exists():
        holds_pairs = any(
            manifest_path(root, side).exists() or any((root / "processed" / side).glob("img_*"))
            for side in SIDES
        )
        return f"holds pairs but no {RECORD} to say how they were made" if holds_pairs else None
    try:
        made = dict(_flat(json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, AttributeError):
        return f"has a damaged {RECORD}"
    for key, wanted in _flat(recipe.record()):
        if made.get(key) != wanted:
            return f"was prepared with {key}={made.get(key)} and not {wanted}"
    return None


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _list_difference(root: Path, selection: Selection) -> str | None:
    """What in the lists of photos speaks against this selection."""
    for side, names in zip(SIDES, selection, strict=True):
        path = _list_path(root, side)
        prepared = path.read_text(encoding="utf-8").splitlines() if path.exists() else names
        if prepared != names:
            new, gone = len(set(names) - set(prepared)), len(set(prepared) - set(names))
            return f"was prepared from another list of photos ({side}: {new} new, {gone} gone)"
    return None


def _is_finished(root: Path) -> bool:
    """Whether every pair is there with its files, and no download is left to try again."""
    try:
        for side in SIDES:
            PairManifest.load(manifest_path(root, side))
        skipped: list[_Skipped] = json.loads((root / SKIPPED).read_text(encoding="utf-8"))
    except (HomoregError, OSError, ValueError):
        return False
    return (root / SHEET).exists() and not any(photo["retry"] for photo in skipped)


def _remove_prepared(root: Path) -> None:
    """Delete what an earlier run made; its record goes last, so that no half passes for a whole."""
    for side in SIDES:
        for image in (root / "processed" / side).glob("img_*.jpg"):
            image.unlink()
        manifest_path(root, side).unlink(missing_ok=True)
        _list_path(root, side).unlink(missing_ok=True)
    for name in (SHEET, SKIPPED, RECORD):
        (root / name).unlink(missing_ok=True)


def _list_path(root: Path, side: str) -> Path:
    return root / f"{side}_list.txt"


def _write_bytes(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
