"""Memory and time of the training data as the number of pairs grows.

The manifests are synthetic: many pairs share the pixels of a few images. So the growth is what
homoreg keeps of each pair, without the pages of the bank's file.
"""

import gc
import json
import shutil
from pathlib import Path

import numpy as np
from hydra.utils import instantiate

from benchmarks.measure import Ratio, Row, Session, alone, rows, seconds
from benchmarks.training import training_config
from homoreg.data.manifest import write_manifest

BATCHES = 20


def measure(session: Session) -> list[Row]:
    sizes = session.pick((100, 1_000, 20_000), (20, 40))
    units = {"opening": "s", "drawing a batch": "ms", "memory": "MB", "memory, anonymous": "MB"}
    names = {size: f"{size:,} pairs" for size in sizes}
    turns: dict[str, dict[str, list[float]]] = {quantity: {} for quantity in units}
    for _ in range(session.pick(2, 1)):
        for size in sizes:
            for quantity, value in alone(one_size, session, size).items():
                turns[quantity].setdefault(names[size], []).append(value)
    smallest = names[sizes[0]]
    ratios = {name: [Ratio(smallest, f"× {smallest}")] for name in list(names.values())[1:]}
    table: list[Row] = []
    for quantity, unit in units.items():
        table += rows("growth", quantity, unit, turns[quantity], ratios)
    return table


def one_size(session: Session, size: int) -> dict[str, float]:
    """Open ``size`` pairs in this process and draw some batches."""
    root = session.scratch / f"pairs_{size}"
    if not root.exists():
        synthetic_pairs(session.root, root, size)
    cfg = training_config(session, [])
    cfg.data.root = str(root)
    data = instantiate(cfg.data)
    opening = seconds(data.setup)
    gc.freeze()  # as before training
    batch = min(cfg.data.batch_size, session.pick(256, 8))
    batches = [np.arange(i * batch, (i + 1) * batch).tolist() for i in range(BATCHES)]
    drawing = seconds(lambda: [data.train.cut(numbers) for numbers in batches]) / BATCHES
    status = Path("/proc/self/status")
    kilobytes = {}
    if status.exists():  # Linux only
        fields = (line.split() for line in status.read_text().splitlines())
        kilobytes = {field[0]: int(field[1]) for field in fields if field[0].startswith("Rss")}
        kilobytes["VmRSS:"] = sum(kilobytes.values())
    return {
        "opening": opening,
        "drawing a batch": 1e3 * drawing,
        "memory": kilobytes.get("VmRSS:", np.nan) / 1024,
        "memory, anonymous": kilobytes.get("RssAnon:", np.nan) / 1024,
    }


def synthetic_pairs(source: Path, root: Path, size: int) -> None:
    """Write a manifest of ``size`` pairs of different photos, with the images of ``source``."""
    manifest = json.loads((source / "pairs_train.json").read_text(encoding="utf-8"))
    few = manifest["pairs"][:16]
    for pair in few:
        for view in ("img1", "img2"):
            (root / pair[view]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / pair[view], root / pair[view])
    pairs = (few[i % len(few)] | {"id": f"{i + 1:06d}", "photo": f"photo {i}"} for i in range(size))
    write_manifest(root / "pairs_train.json", manifest["seed"], manifest["warp"], pairs)
