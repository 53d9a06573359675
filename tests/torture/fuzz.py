"""Files that were changed at random, given to their readers: one error that names the file.

A reader may return something or raise a ``HomoregError`` that names the file. Batches are read in
processes of their own, so that a crash or a hang is one of the faults.
"""

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
from PIL import Image

from homoreg.cli.provenance import made_with
from homoreg.cli.sweeps import recorded_sweeps
from homoreg.data.images import decode_image, image_size
from homoreg.data.manifest import PairManifest
from homoreg.descriptors.exported import INCLUDED
from homoreg.descriptors.loading import load_descriptor
from homoreg.errors import HomoregError
from homoreg.evaluation.hpatches import read_homography
from homoreg.evaluation.table import read_evaluation
from homoreg.report import gather
from homoreg.runs import RunFolder, find_runs
from homoreg.study.tables import read_epochs
from tests.torture.commands import copy_tree

SECONDS_EACH = 20
NUMBERS = (None, True, -1, 0, -0.0, 1e308, float("nan"), float("inf"), 2**63, 10**400)
TEXTS = ("", "1e3", "x" * 5000, "\0", "../../x", "/etc/passwd", "${oc.env:HOME}")
TARGETS = ({"_target_": "os.system", "command": "true"}, {"_target_": "torch.load"})
HOSTILE: tuple[Any, ...] = (
    *(*NUMBERS, *TEXTS, *TARGETS, [], {}, [[[]]]),
    "!!python/object/apply:os.system [true]",
)
WORDS = (
    *(b"\0", b"\xff\xff\xff\xff", b"NaN", b"1e999", b"{", b"[", b'"', b",", b"-1", b"\n"),
    b"/../",
)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: of the kind.
        samples: whole files, by the path that they have below a run's or data folder.
        read: reads a file as the commands do.
    """

    name: str
    samples: list[Path]
    read: Callable[[Path], Any]


def kinds(base: Path) -> list[Kind]:
    """Every kind of file that is read, with samples from the finished results in ``base``."""
    photos, homographies = base / "fuzz_photos", base / "fuzz_homographies"
    run = base / "s" / "seed-0"
    if not photos.is_dir():
        _write_photos(photos, next((base / "photos").iterdir()))
        homographies.mkdir()
        (homographies / "H_1_2").write_text("0.9 0.1 3\n-0.1 1.1 -2\n1e-5 2e-5 1\n")
        numbers = "0.9 0.1 3 -0.1 1.1 -2 1e-5 2e-5 1"
        xml = f"<opencv_storage><H><data>{numbers}</data></H></opencv_storage>"
        (homographies / "H1to2p.xml").write_text(xml)
    return [
        Kind("photograph", sorted(photos.iterdir()), _read_photo),
        Kind("manifest", [base / "data" / "pairs_train.json"], PairManifest.load),
        Kind("homography", sorted(homographies.iterdir()), read_homography),
        Kind("evaluation table", [run / "evaluation" / "eval.csv"], read_evaluation),
        Kind("epoch table", [run / "csv" / "metrics.csv"], _read_epoch_table),
        Kind("run.json", [run / "run.json"], _read_record),
        Kind("config.yaml", [run / "config.yaml"], lambda file: load_descriptor(file.parent)),
        Kind("checkpoint", [run / "checkpoints" / "last.ckpt"], load_descriptor),
        Kind("weights", [INCLUDED], load_descriptor),
        Kind("run in a report", [run / "run.json", run / "evaluation" / "eval.csv"], _report),
        Kind("training_photos.json", [run / "training_photos.json"], _read_training_photos),
        Kind("sweep.json", [base / "s" / "sweep.json"], lambda file: recorded_sweeps(file.parent)),
        Kind("prepare.json", [base / "data" / "prepare.json"], _read_prepare_record),
    ]


def _read_photo(file: Path) -> Any:
    name = file.name
    error = None
    try:
        image = decode_image(file.read_bytes(), name)
    except HomoregError as raised:
        error = raised
    else:
        assert image.ndim == 3, image.shape
        assert image.shape[2] == 3, image.shape
        assert image.dtype == np.uint8, image.dtype
        assert image_size(file) == (image.shape[1], image.shape[0])
    if error:
        raise error


def _read_epoch_table(file: Path) -> Any:
    run = RunFolder(file.parent.parent)
    metrics = run.training_metrics()
    read_epochs(file)
    return metrics


def _read_record(file: Path) -> Any:
    runs = find_runs(file.parent)
    return [(run.status, run.trained, run.record.get("metrics")) for run in runs]


def _report(file: Path) -> Any:
    run = next(folder for folder in file.parents if (folder / "run.json").is_file())
    return gather(find_runs(run), run.parent, run / "report")


def _read_training_photos(file: Path) -> Any:
    return RunFolder(file.parent).training_photos


def _read_prepare_record(file: Path) -> Any:
    return made_with(file.parent, PairManifest.load(file.parent / "pairs_train.json"))


def _write_photos(folder: Path, photo: Path) -> None:
    folder.mkdir()
    image = Image.open(photo).convert("RGB")
    image.thumbnail((64, 48))
    for name in ("a.jpg", "b.png", "c.webp", "d.tif", "e.bmp"):
        image.save(folder / name)
    image.save(folder / "progressive.jpg", progressive=True, quality=60)
    image.convert("L").save(folder / "gray.jpg")
    image.convert("P").save(folder / "palette.png")
    image.convert("RGBA").save(folder / "alpha.png")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.save(folder / "packed.tif", compression="tiff_lzw")
    image.save(folder / "lossless.webp", lossless=True)
    deep = np.asarray(image).astype(np.uint16) * 257
    cv2.imwrite(str(folder / "deep.png"), deep)
    cv2.imwrite(str(folder / "deep.tif"), deep)
    cv2.imwrite(str(folder / "deep_gray.png"), deep[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.jpg", exif=exif)


def mutate(file: Path, others: list[Path], random: Random) -> bytes:
    """The content of a file, changed."""
    content = file.read_bytes()
    if file.suffix == ".json" and random.random() < 0.6:
        return _mutate_json(content, random)
    if file.suffix == ".yaml" and random.random() < 0.5:
        return _mutate_lines(content, random)
    data = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 4, 16])):
        where = random.randrange(len(data)) if data else 0
        # The headers of images lie in front.
        where = where if random.random() < 0.5 else min(where, random.randrange(64))
        change = random.randrange(7)
        if change == 0 and data:
            data[where] = random.randrange(256)
        elif change == 1 and data:
            data[where] ^= 1 << random.randrange(8)
        elif change == 2:
            del data[where:]
        elif change == 3:
            del data[where : where + random.randrange(1, 64)]
        elif change == 4:
            word = random.choice(WORDS)
            data[where : where + len(word) * random.randrange(2)] = word
        elif change == 5:
            other = random.choice(others).read_bytes()
            cut = random.randrange(len(other) + 1)
            data[where:] = other[cut:]
        else:
            size = random.choice([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
            data[where : where + 4] = size.to_bytes(4, random.choice(["big", "little"]))
    return bytes(data)


def _mutate_json(content: bytes, random: Random) -> bytes:
    """A value somewhere in the tree is replaced, deleted or deeply nested."""
    tree = json.loads(content)
    for _ in range(random.choice([1, 1, 3])):
        node, key, parent = tree, None, None
        while isinstance(node, (dict, list)) and node and (parent is None or random.random() < 0.8):
            parent = node
            key = random.choice(list(node) if isinstance(node, dict) else range(len(node)))
            node = node[key]
        value = deepcopy(random.choice(HOSTILE))
        if parent is None:
            tree = value
        elif random.random() < 0.2:
            del parent[key]
        elif random.random() < 0.1:
            parent[key] = [parent[key]] * 50
        else:
            parent[key] = value
    text = json.dumps(tree)
    return b"[" * 100_000 if random.random() < 0.01 else text.encode()


def _mutate_lines(content: bytes, random: Random) -> bytes:
    lines = content.decode().splitlines()
    for _ in range(random.choice([1, 1, 3])):
        place = random.randrange(len(lines))
        head, colon, _ = lines[place].partition(":")
        value = deepcopy(random.choice(HOSTILE))
        lines[place] = f"{head}{colon} {value if isinstance(value, str) else json.dumps(value)}"
        if random.random() < 0.2:
            del lines[place]
    return "\n".join(lines).encode()


def batch(kind: Kind, first: int, count: int, base: Path, work: Path) -> Iterator[str]:
    """The faults of ``count`` files with the numbers from ``first``, read in another process."""
    receiver, sender = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        os.close(receiver)
        with os.fdopen(sender, "w", buffering=1) as pipe:
            code = 1
            try:
                _read_batch(kind, first, count, base, work, pipe)
                code = 0
            finally:
                pipe.flush()
                os._exit(code)
    os.close(sender)
    number = first
    with os.fdopen(receiver) as pipe:
        for line in pipe:
            number, _, fault = line.rstrip("\n").partition(" ")
            if fault:
                yield f"{kind.name} {number}: {fault}"
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        yield f"{kind.name} after {number}: the reader ended with {status}"


def _read_batch(
    kind: Kind, first: int, count: int, base: Path, work: Path, pipe: io.TextIOBase
) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    source = kind.samples[0]
    folder = base
    for root in (base / "s" / "seed-0", base / "s", base / "data"):
        if source.is_relative_to(root):
            folder = root
            break
    copied = folder != base
    if copied:
        copy_tree(folder, work / folder.name)
    for number in range(first, first + count):
        random = Random(f"{kind.name} {number}")
        sample = random.choice(kind.samples)
        target = work / (sample.relative_to(folder.parent) if copied else sample.name)
        if not copied and random.random() < 0.1:  # a wrong extension
            target = target.with_suffix(random.choice(kind.samples).suffix)
        target.write_bytes(mutate(sample, kind.samples, random))
        pipe.write(f"{number} {_fault(kind, target)}\n")
        if copied:
            target.write_bytes(sample.read_bytes())


def _fault(kind: Kind, file: Path) -> str:
    """What is wrong with how a file is read; empty if nothing is."""

    def too_slow(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS_EACH} s")

    signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(SECONDS_EACH)
    try:
        kind.read(file)
    except HomoregError as error:
        text = str(error)
        # A manifest beside prepare.json, or a checkpoint beside config.yaml, is named as well.
        named = file.name in text or str(file.parent) in text
        return "" if named and "\n" not in text else f"not one line with the file: {text!r}"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    finally:
        signal.alarm(0)
    return ""
