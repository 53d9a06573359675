"""A folder of prepared pairs: its files, what they were made from, and what is damaged."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

from homoreg.data.manifest import PairManifest
from homoreg.data.sources import Selection
from homoreg.errors import HomoregError
from homoreg.options import flatten

log = logging.getLogger(__name__)

SIDES = ("train", "eval")
RECORD = "prepare.json"
SKIPPED = "skipped.json"
SHEET = "pairs.png"


class Skipped(TypedDict):
    """A photo without pairs; with ``retry`` the next run requests it again."""

    side: str
    photo: str
    reason: str
    retry: bool


def manifest_path(root: str | Path, side: str) -> Path:
    """``pairs_train.json`` or ``pairs_eval.json`` under ``data.root``."""
    return Path(root) / f"pairs_{side}.json"


def list_path(root: Path, side: str) -> Path:
    """``train_list.txt`` or ``eval_list.txt``."""
    return root / f"{side}_list.txt"


def digest(content: bytes) -> str:
    """16 hexadecimal digits of the content's SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def record_difference(root: Path, record: Mapping[str, Any]) -> str | None:
    """How ``prepare.json`` differs from this record of a recipe; None if it does not."""
    path = root / RECORD
    if not path.exists():
        holds_pairs = any(
            manifest_path(root, side).exists() or any((root / "processed" / side).glob("img_*"))
            for side in SIDES
        )
        return f"holds pairs without {RECORD}, of unknown origin" if holds_pairs else None
    try:
        made = dict(flatten(json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, AttributeError):
        return f"has a damaged {RECORD}"
    for key, wanted in flatten(record):
        if made.get(key) != wanted:
            return f"was prepared with {key}={made.get(key)}, not {wanted}"
    return None


def list_difference(root: Path, selection: Selection) -> str | None:
    """How the lists of photos differ from this selection."""
    for side, names in zip(SIDES, selection, strict=True):
        path = list_path(root, side)
        prepared = path.read_text(encoding="utf-8").splitlines() if path.exists() else names
        if prepared != names:
            new, gone = len(set(names) - set(prepared)), len(set(prepared) - set(names))
            return f"was prepared from another list of photos ({side}: {new} new, {gone} gone)"
    return None


def pixel_difference(root: Path, pixels: Mapping[str, str]) -> str | None:
    """How the photos differ from those of the same names that the pairs were made from."""
    made = {entry["photo"]: entry.get("pixels") for _, entry in _entries(root)}
    changed = [name for name, found in pixels.items() if made.get(name, found) not in (found, None)]
    if not changed:
        return None
    return f"was prepared from other photos of the same names ({len(changed)}, {changed[0]} first)"


def remove_damaged(root: Path) -> int:
    """Delete the files of pairs that are no longer what was made, and count these pairs."""
    damaged = []
    for folder, entry in _entries(root):
        names = [PurePosixPath(entry[view]).name for view in ("img1", "img2") if entry[view]]
        files = [folder / name for name in names]
        content = b"".join(file.read_bytes() if file.is_file() else b"" for file in files)
        if entry["img2"] is None:
            content += repr(entry["parameters"]).encode()
        if digest(content) != entry.get("digest"):
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


def is_finished(root: Path) -> bool:
    """Whether all pairs exist with their files, and no download is to be tried again."""
    try:
        for side in SIDES:
            PairManifest.load(manifest_path(root, side))
        skipped: list[Skipped] = json.loads((root / SKIPPED).read_text(encoding="utf-8"))
    except (HomoregError, OSError, ValueError):
        return False
    return (root / SHEET).exists() and not any(photo["retry"] for photo in skipped)


def remove_prepared(root: Path) -> None:
    """Delete the pairs of an earlier run, and its record last."""
    for side in SIDES:
        for image in (root / "processed" / side).glob("img_*.jpg"):
            image.unlink()
        manifest_path(root, side).unlink(missing_ok=True)
        list_path(root, side).unlink(missing_ok=True)
    for name in (SHEET, SKIPPED, RECORD):
        (root / name).unlink(missing_ok=True)
