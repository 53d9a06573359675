"""Each photograph of a folder aligned to one of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from homoreg.alignment.aligner import Aligner
from homoreg.alignment.result import Alignment
from homoreg.data.images import PhotoError, read_image
from homoreg.errors import HomoregError
from homoreg.evaluation.hpatches import IMAGE_SUFFIXES
from homoreg.progress import progress

COLUMNS = ("status", "matches", "inliers", "turn_deg", "predicted_corner_error_px", "bound_90_px")


@dataclass(frozen=True)
class FolderRow:
    """A photograph of a folder and its alignment to the reference.

    Attributes:
        file: the photograph.
        image: ``(H, W, 3)`` uint8 RGB; None if it cannot be read.
        alignment: from the photograph to the reference; None if it cannot be read.
        error: why it cannot be read; empty if it can.
    """

    file: Path
    image: np.ndarray | None = None
    alignment: Alignment | None = None
    error: str = ""

    @property
    def verdict(self) -> str:
        """The alignment's verdict, or why there is no alignment."""
        return self.alignment.verdict if self.alignment else f"failed, because {self.error}"

    def as_record(self) -> dict[str, Any]:
        """A row of ``alignment.csv``."""
        stored = self.alignment.to_dict() if self.alignment else {"status": "failed"}
        record = {"photograph": self.file.name} | {name: stored.get(name) for name in COLUMNS}
        record |= {"verdict": self.verdict, "warnings": "; ".join(stored.get("warnings", ()))}
        matrix = np.array(stored.get("homography") or [[None] * 3] * 3)
        return record | {f"h{i + 1}{j + 1}": matrix[i, j] for i in range(3) for j in range(3)}


def photographs_in(folder: Path, reference: str | None = None) -> tuple[list[Path], Path]:
    """The photographs directly in a folder by name, and the one that the others are aligned to.

    Args:
        folder: of JPEG, PNG, WebP, TIFF, BMP or PNM files.
        reference: name of a photograph in the folder, or path of any; the first one by default.

    Raises:
        HomoregError: there is no such folder or reference, or there is nothing to align.
    """
    if not folder.is_dir():
        raise HomoregError(f"images={folder}: there is no such folder")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise HomoregError(f"images={folder}: no photographs ({', '.join(IMAGE_SUFFIXES)})")
    chosen = files[0]
    if reference is not None:
        chosen = next((f for f in (folder / reference, Path(reference)) if f.is_file()), Path())
        if not chosen.name:
            raise HomoregError(f"reference={reference}: no such file, neither here nor in {folder}")
    others = [file for file in files if not file.samefile(chosen)]
    if not others:
        raise HomoregError(f"images={folder}: there is no photograph beside {chosen.name}")
    return others, chosen


def align_folder(aligner: Aligner, files: list[Path], reference: np.ndarray) -> Iterator[FolderRow]:
    """Align each file to the reference ``(H, W, 3)``; one that cannot be read is a failed row."""
    target = aligner.describe(reference)
    for file in progress(files, "aligning"):
        try:
            image = read_image(file)
        except PhotoError as error:
            yield FolderRow(file, error=str(error))
            continue
        yield FolderRow(file, image, aligner.align(aligner.describe(image), target))


def as_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Records as the table ``alignment.csv``; counts stay whole numbers where some are missing."""
    return pd.DataFrame(rows).astype(dict.fromkeys(("matches", "inliers", "turn_deg"), "Int64"))
