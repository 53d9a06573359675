"""``python -m homoreg.prepare source=sample|folder|coco``: prepare the pairs in ``data.root``."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from homoreg.cli import command
from homoreg.data.pairs import prepare_pairs
from homoreg.data.prepared import SHEET


@command("prepare")
def main(cfg: DictConfig) -> None:
    source, warp = instantiate(cfg.source), instantiate(cfg.warp)
    prepare_pairs(source, warp, cfg.data.root, **cfg.prepare)
    print(f"look at some of the pairs: {Path(cfg.data.root) / SHEET}")


if __name__ == "__main__":
    main()
