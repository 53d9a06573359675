"""Preparation: select photographs, make pairs of views, and list them in manifests."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock
from pydantic import ConfigDict, Field, PositiveInt, TypeAdapter, validate_call

from homoreg.data.download import DownloadError
from homoreg.data.images import PhotoError, decode_image, encode_jpeg, first_view, image_size
from homoreg.data.manifest import PairManifest, write_manifest
from homoreg.data.prepared import (
    RECORD,
    SHEET,
    SIDES,
    SKIPPED,
    Skipped,
    digest,
    is_finished,
    list_difference,
    list_path,
    manifest_path,
    pixel_difference,
    record_difference,
    remove_damaged,
    remove_prepared,
)
from homoreg.data.sheets import write_pair_sheet
from homoreg.data.sources import Selection, Source
from homoreg.data.stores import Folder
from homoreg.data.warp import Warp
from homoreg.errors import HomoregError
from homoreg.files import remove_temporary, write_bytes, write_json, write_text
from homoreg.progress import in_threads, progress

log = logging.getLogger(__name__)


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
            difference = record_difference(root, recipe.record())
            _refuse(root, difference, overwrite)
            threads = workers or source.store.threads or os.cpu_count() or 1
            selection, pixels = _select_without_copies(source, seed, threads)
            difference = (
                difference or list_difference(root, selection) or pixel_difference(root, pixels)
            )
            _refuse(root, difference, overwrite)
            if difference:
                remove_prepared(root)
            elif not remove_damaged(root) and is_finished(root):
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
            "warp": TypeAdapter(Warp).dump_python(self.warp, mode="json")
            | {"repeats": self.repeats},
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
            data, image = first_view(
                self.source.read(name),
                name,
                max_side=self.source.max_side,
                min_side=self.source.min_side,
                quality=self.jpeg_quality,
            )
            write_bytes(path1, data)
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
                write_bytes(path2, encode_jpeg(self.warp.apply(image, draw), self.jpeg_quality))
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
                    "digest": digest(view1 + view2),
                }
            )
        return pairs


def _make_sides(
    recipe: PairRecipe, selection: Selection, root: Path, threads: int, pixels: Mapping[str, str]
) -> None:
    skipped: list[Skipped] = []
    for side, names in zip(SIDES, selection, strict=True):
        write_text(list_path(root, side), "".join(f"{name}\n" for name in names))
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

    def pixel_digest(name: str) -> str | None:
        try:
            image = decode_image(source.read(name), name)
        except PhotoError:
            return None
        return digest(repr(image.shape).encode() + image.tobytes())

    digests = in_threads(pixel_digest, names, threads)
    shown = progress(digests, "comparing photos", total=len(names))
    return {name: found for name, found in zip(names, shown, strict=True) if found}


def _make_side(
    recipe: PairRecipe,
    side: str,
    names: list[str],
    root: Path,
    threads: int,
    pixels: Mapping[str, str],
) -> tuple[list[dict[str, Any]], list[Skipped]]:
    """Manifest entries of one side, in the order of the names, and the photos skipped."""
    folder = root / "processed" / side
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporary(folder)

    def make(job: tuple[int, str]) -> list[dict[str, Any]] | Skipped:
        index, name = job
        try:
            # Numbers follow the list, so a skipped photo leaves a gap.
            made = recipe.make(name, index * recipe.repeats + 1, folder)
            return [entry | {"pixels": pixels.get(name, "")} for entry in made]
        except PhotoError as error:
            retry = isinstance(error, DownloadError)
            return Skipped(side=side, photo=name, reason=str(error), retry=retry)

    pairs: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    results = in_threads(make, enumerate(names), threads)
    for made in progress(results, f"making {side} pairs", total=len(names)):
        if isinstance(made, list):
            pairs += made
        else:
            skipped.append(made)
    return pairs, skipped


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
