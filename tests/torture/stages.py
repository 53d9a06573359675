"""The stages of the pipeline on tiny photographs: what each command starts from and results in."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from PIL import Image

from homoreg.descriptors.exported import read_safetensors
from homoreg.runs import RunFolder
from tests.conftest import small_photos
from tests.torture.commands import Ended, call, copy_tree

TRAIN = (
    *("experiment=debug", "trainer.max_epochs=3", "trainer.enable_progress_bar=false"),
    *("model.channels=[4,4,8]", "patch.size=16", "patch.support=24", "data.batch_size=32"),
    *("data.validation_pairs=32", "evaluation.validation_pairs=4", "evaluation.shift_pairs=1"),
)
SELECTION = ("source=folder", "source.train=6", "source.eval=2")
VIEWS = "{base}/data/processed/eval/img_000001"
ALIGN = (f"image1={VIEWS}.jpg", f"image2={VIEWS}_warped.jpg", "descriptor=rootsift")
EVALUATE = ("descriptors=[raw_patches]", "gallery=1", "patch_pairs=1", "benchmark.limit=2")
SWEEP = ("-m", "study=s", "seed=0,1")


@dataclass(frozen=True)
class Stage:
    """A command that writes under ``work/out``.

    Attributes:
        name: of the stage.
        command: and its arguments, with ``{base}`` for the folder of finished results.
        start: folders of ``base`` that lie in ``work/out`` at the start, by their names there.
    """

    name: str
    command: tuple[str, ...]
    start: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, base: Path) -> list[str]:
        return [argument.format(base=base) for argument in self.command]

    def begin(self, base: Path, work: Path) -> None:
        """Lay out what the command starts from."""
        (work / "out").mkdir(parents=True, exist_ok=True)
        for name, source in self.start.items():
            copy_tree(base / source, work / "out" / name)


DATA, RUN = "data.root={base}/data", "hydra.run.dir=out/run"
STAGES = (
    Stage(
        "prepare",
        ("prepare", *SELECTION, "source.root={base}/photos", "data.root=out/data"),
    ),
    Stage("bank", ("train", *TRAIN, "data.root=out/data", RUN), {"data": "data_without_bank"}),
    Stage("fit", ("train", *TRAIN, DATA, RUN)),
    Stage("evaluation", ("train", *TRAIN, DATA, RUN), {"run": "trained"}),
    Stage("evaluate", ("evaluate", "runs={base}/s", *EVALUATE, RUN)),
    Stage("report", ("report", "runs={base}/s", RUN)),
    Stage("align", ("align", *ALIGN, "panorama=out/both.png", RUN)),
    Stage("export", ("export", "run={base}/trained", "to=out/trained.safetensors")),
    Stage("sweep", ("train", *SWEEP, *TRAIN, DATA, "paths.multirun=out")),
)


def make_base(base: Path) -> None:
    """Photographs, prepared pairs, a run and a sweep that nothing disturbed."""
    (base / "photos").mkdir(parents=True)
    for name, image in small_photos().items():
        small = cv2.resize(image, (128, 96), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(base / "photos" / name), small[..., ::-1])
    data = f"data.root={base}/data"
    photos = f"source.root={base}/photos"
    succeed(call(base, "prepare", *SELECTION, photos, data))
    copy_tree(base / "data", base / "data_without_bank")
    succeed(call(base, "train", *TRAIN, data, "hydra.run.dir=trained"))
    succeed(call(base, "train", *SWEEP, *TRAIN, data, "paths.multirun=."))
    # As a run is when its training has ended and its evaluation has not begun.
    for file in (base / "trained" / "evaluation").iterdir():
        file.unlink()
    unfinished = {"status": "running", "metrics": None, "reading_hash": None}
    RunFolder(base / "trained").update_record(**unfinished)


def succeed(ended: Ended) -> None:
    assert ended.code == 0, ended.text


def results(folder: Path) -> dict[str, str]:
    """What must come out to the bit: lists, manifests, weights, and tables without times."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if re.search(r"\.txt$|pairs_(train|eval)\.json$|alignment\.json$", name):
            found[name] = file.read_text()
        elif file.suffix == ".safetensors":
            weights, texts = read_safetensors(file)  # the library writes texts in any order
            values = {key: tensor.tolist() for key, tensor in weights.items()}
            found[name] = json.dumps([values, texts], sort_keys=True)
        elif file.suffix == ".csv":
            table = pd.read_csv(file, dtype=str, keep_default_na=False)
            timed = [column for column in table if str(column).endswith("_ms")]
            found[name] = table.drop(columns=timed).to_csv(index=False)
    return found


def damaged_files(folder: Path) -> list[str]:
    """Files under their final names that cannot be read whole."""
    damaged = []
    for file in sorted(folder.rglob("*")):
        # Temporary files, logs and event files grow while they are written, and nothing reads them.
        if any(part.startswith(".") for part in file.relative_to(folder).parts):
            continue
        try:
            if file.suffix == ".json":
                json.loads(file.read_text())
            elif file.suffix == ".csv":
                pd.read_csv(file)
            elif file.suffix == ".ckpt":
                torch.load(file, weights_only=True)
            elif file.suffix == ".safetensors":
                read_safetensors(file)
            elif file.suffix in (".png", ".jpg"):
                with Image.open(file) as image:
                    image.load()
            elif file.suffix == ".npz":
                with np.load(file) as arrays:
                    list(arrays.values())
            elif file.suffix == ".html":
                assert file.read_text().rstrip().endswith("</html>")
        except Exception as error:
            damaged.append(f"{file.relative_to(folder)}: {type(error).__name__}: {error}")
    return damaged
