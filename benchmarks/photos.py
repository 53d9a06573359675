"""Pairs to measure on, from the embedded photographs or from a folder."""

from pathlib import Path

from hydra.utils import instantiate

from homoreg.cli import compose
from homoreg.data.images import SUFFIXES
from homoreg.data.pairs import prepare_pairs

# Number of photos used of a folder; more would only take longer to prepare.
TRAIN, EVAL = 48, 12


def prepare(root: Path, photos: str | None) -> None:
    """Make the pairs under ``root``, from the embedded photographs if ``photos`` is None."""
    cfg = compose("prepare", ["source=folder"] if photos else [])
    if photos:
        cfg.source.root = str(Path(photos).absolute())
        found = sum(path.suffix.lower() in SUFFIXES for path in Path(photos).rglob("*"))
        if found > TRAIN + EVAL:
            cfg.source.train, cfg.source.eval = TRAIN, EVAL
    prepare_pairs(instantiate(cfg.source), instantiate(cfg.warp), root, **cfg.prepare)
