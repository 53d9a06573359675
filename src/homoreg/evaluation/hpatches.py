"""Sequences of views of one plane: HPatches, the Oxford affine sets, OpenCV's graf."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from homoreg.data import images
from homoreg.errors import HomoregError
from homoreg.evaluation.benchmarks import check_limit, index_of
from homoreg.evaluation.pair import ViewPair, is_homography
from homoreg.geometry import resized_homography

log = logging.getLogger(__name__)

# H_1_2 (HPatches), H1to2p (Oxford), H1to3p.xml (OpenCV).
HOMOGRAPHY_FILE = re.compile(r"H_?(\d+)(?:_|to)(\d+)p?(?:\.(?:txt|xml))?")
# 1.ppm, img1.ppm, graf1.png: a series of images is what stands before the number.
IMAGE_FILE = re.compile(r"(.*?)(\d+)")
IMAGE_SUFFIXES = (*images.SUFFIXES, ".ppm", ".pgm", ".pnm")


@dataclass(frozen=True)
class SequencePair:
    """Two images of a sequence and their homography in the files' own pixels."""

    id: str
    sequence: str
    image1: Path
    image2: Path
    homography: np.ndarray


class HPatchesBenchmark:
    """The pairs of a tree of sequences, image 1 with each other image.

    A sequence is a folder of images ``1.*`` … ``n.*`` and text files ``H_1_2`` … ``H_1_n``
    (HPatches: Balntas et al., CVPR 2017), or ``img1.*`` and ``H1to2p`` (Mikolajczyk et al., IJCV
    2005), or numbered images of any one name with OpenCV's ``H1to2p.xml``. A pair's id is the
    sequence and the two numbers, ``v_graf/1_3``; its photo is the sequence, and its group
    ``"i"`` (light) or ``"v"`` (viewpoint) where the sequence's name starts with ``i_`` or ``v_``.

    Args:
        root: the tree, or one sequence.
        short_side: a larger image is brought to this short side in pixels, as in the evaluation
            of SuperPoint (DeTone et al., CVPRW 2018), and its homography with it; None for none.
        name: of the table.
        limit: how many pairs at most, from the first by name; all by default.

    Raises:
        HomoregError: no sequence, or one that lacks an image or a homography.
    """

    def __init__(
        self,
        root: str | Path | None,
        short_side: int | None = 480,
        name: str = "hpatches",
        limit: int | None = None,
    ) -> None:
        check_limit(limit)
        if root is None:
            raise HomoregError("benchmark.root is not set: give the folder of the sequences")
        if short_side is not None and short_side < 1:
            raise HomoregError(f"benchmark.short_side={short_side}: give pixels, or null for none")
        self.root = Path(root)
        self.short_side = short_side
        self.name = name
        self.pairs = find_pairs(self.root)[:limit]

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[ViewPair]:
        return (self._read(index) for index in range(len(self.pairs)))

    def pair(self, pair_id: str) -> ViewPair:
        return self._read(index_of(pair_id, [pair.id for pair in self.pairs], str(self.root)))

    def _read(self, index: int) -> ViewPair:
        pair = self.pairs[index]
        whole1, whole2 = images.read_image(pair.image1), images.read_image(pair.image2)
        image1 = images.limit_side(whole1, self.short_side, of=min)
        image2 = images.limit_side(whole2, self.short_side, of=min)
        sizes = (image.shape[1::-1] for image in (whole1, image1, whole2, image2))
        homography = resized_homography(pair.homography, *sizes)
        return ViewPair(
            pair.id, image1, image2, homography, pair.sequence, sequence_group(pair.sequence)
        )


def sequence_group(sequence: str) -> str:
    """HPatches' ``"i"`` (light) or ``"v"`` (viewpoint) by a sequence's name; empty for others.

    >>> [sequence_group(name) for name in ("i_day", "hpatches/v_graf", "v_a/b", "graf", "vi_x")]
    ['i', 'v', '', '', '']
    """
    name = sequence.rpartition("/")[2]
    return name[0] if name.startswith(("i_", "v_")) else ""


def find_pairs(root: Path) -> list[SequencePair]:
    """The pairs of every sequence at or below a folder, by name.

    Raises:
        HomoregError: there is none, or one is incomplete; the line names the file.
    """
    if not root.is_dir():
        raise HomoregError(f"benchmark.root={root}: there is no such folder")
    folders = sorted(folder for folder in (root, *root.rglob("*")) if folder.is_dir())
    found = {folder: _sequence(folder, root) for folder in folders}
    pairs = [pair for of_sequence in found.values() for pair in of_sequence]
    left_out = [folder for folder in folders if not found[folder] and _has_series(folder)]
    if pairs and left_out:
        log.warning(
            "%s: left out %d folders with numbered images and no homography, such as %s",
            root,
            len(left_out),
            left_out[0],
        )
    if not pairs:
        raise HomoregError(
            f"benchmark.root={root}: no sequence there, which is a folder with images 1.ppm, "
            "2.ppm, … and homographies H_1_2, …"
        )
    return pairs


def _sequence(folder: Path, root: Path) -> list[SequencePair]:
    """The pairs of one folder, none where it has no homographies."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    matches = [(HOMOGRAPHY_FILE.fullmatch(file.name), file) for file in files]
    homographies = {(int(m[1]), int(m[2])): file for m, file in matches if m}
    if not homographies:
        return []
    named = {number for pair in homographies for number in pair}
    numbered = _images(folder, files, named)
    for number in sorted(numbered.keys() - named):
        raise HomoregError(f"{numbered[number]} has no homography: H_1_{number} is missing")
    name = folder.name if folder == root else folder.relative_to(root).as_posix()
    return [
        SequencePair(f"{name}/{a}_{b}", name, numbered[a], numbered[b], read_homography(file))
        for (a, b), file in sorted(homographies.items())
    ]


def _has_series(folder: Path) -> bool:
    """Whether a folder has images 1 and 2, as a sequence has."""
    stems = {file.stem for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES}
    numbers = {int(match[2]) for stem in stems if (match := IMAGE_FILE.fullmatch(stem))}
    return {1, 2} <= numbers


def _images(folder: Path, files: list[Path], named: set[int]) -> dict[int, Path]:
    """By number, the images of the one series in a folder that has all the numbers named."""
    series: dict[str, dict[int, Path]] = {}
    for file in files:
        match = IMAGE_FILE.fullmatch(file.stem)
        if match and file.suffix.lower() in IMAGE_SUFFIXES:
            other = series.setdefault(match[1], {}).setdefault(int(match[2]), file)
            if other != file:
                raise HomoregError(f"{folder}: {other.name} or {file.name}? Leave one of them")
    whole = [numbered for numbered in series.values() if named <= numbered.keys()]
    if len(whole) > 1:
        first, second = (numbered[min(named)].name for numbered in whole[:2])
        raise HomoregError(f"{folder}: {first} or {second}? Leave one series of images there")
    if not whole:
        nearest = max(series.values(), key=lambda numbers: len(named & numbers.keys()), default={})
        missing = min(named - nearest.keys())
        raise HomoregError(f"{folder}: there is no image {missing}, which a homography names")
    return whole[0]


def read_homography(file: Path) -> np.ndarray:
    """The 3×3 matrix of a text file, or the first one of an XML file of OpenCV's.

    Raises:
        HomoregError: there is no such matrix in it, or it is not a homography.
    """
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".xml":
            text = ElementTree.fromstring(text).findtext(".//data", default="")
        matrix = np.array(text.split(), np.float64).reshape(3, 3)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise HomoregError(f"{file}: not a 3×3 matrix of numbers ({error})") from error
    if not is_homography(matrix):
        raise HomoregError(f"{file}: a homography must be finite and invertible")
    return matrix
