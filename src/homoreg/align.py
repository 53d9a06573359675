"""python -m homoreg.align: the homography between photographs, and how far it can be trusted."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import get_args

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image

from homoreg.alignment import Aligner, Alignment, load_aligner
from homoreg.alignment.figure import alignment_figure
from homoreg.alignment.folder import align_folder, as_table, photographs_in
from homoreg.alignment.panorama import panorama
from homoreg.alignment.result import Status
from homoreg.cli import command, given_options
from homoreg.data.images import SUFFIXES, read_image
from homoreg.errors import HomoregError
from homoreg.evaluation.table import write_table
from homoreg.files import write_json
from homoreg.plotting import save_figure, save_image
from homoreg.runs.environment import environment_info


@command("align")
def main(cfg: DictConfig) -> None:
    check_options(cfg, given_options())
    folder = Path(cfg.paths.run)
    if cfg.images is None:
        align_two(cfg, folder)
    else:
        align_many(cfg, folder)


def check_options(cfg: DictConfig, given: Collection[str]) -> None:
    """HomoregError for options that contradict each other, before anything is loaded.

    Args:
        cfg: all options.
        given: those that the command line sets.
    """
    if cfg.images is None:
        if cfg.image1 is None or cfg.image2 is None:
            raise HomoregError("give image1=FILE image2=FILE, or images=FOLDER")
        if cfg.reference is not None:
            raise HomoregError("reference goes with images=FOLDER; two photographs need none")
    for option in ("image1", "image2", "panorama"):
        if cfg.images is not None and cfg[option] is not None:
            raise HomoregError(f"{option} and images: give either two photographs or a folder")
    if cfg.run is not None and "descriptor" in given:
        raise HomoregError("run and descriptor: give one of them")
    if cfg.panorama is not None and Path(str(cfg.panorama)).suffix.lower() not in SUFFIXES:
        raise HomoregError(f"panorama={cfg.panorama}: its name must end in {', '.join(SUFFIXES)}")


def align_two(cfg: DictConfig, folder: Path) -> None:
    """Align image1 with image2."""
    file1, file2 = Path(str(cfg.image1)), Path(str(cfg.image2))
    image1, image2 = read_image(file1), read_image(file2)
    alignment = build_aligner(cfg)(image1, image2)
    print(alignment.verdict)
    for warning in alignment.warnings:
        print(f"warning: {warning}")
    if alignment.status != "failed":
        print(alignment.calibration)
    write(alignment, image1, image2, folder / "alignment", file1, file2)
    print(f"wrote {folder / 'alignment.json'} and {folder / 'alignment.png'}")
    if cfg.panorama is None:
        return
    if alignment.homography is None:
        print(f"no {cfg.panorama}: the alignment failed")
        return
    canvas = panorama(image1, image2, alignment.homography, cfg.panorama_side_px)
    save_image(Image.fromarray(canvas), Path(str(cfg.panorama)), quality=95)
    print(f"wrote {cfg.panorama} ({canvas.shape[1]}×{canvas.shape[0]} px)")


def align_many(cfg: DictConfig, folder: Path) -> None:
    """Align each photograph of a folder with the reference; one that fails does not end it."""
    reference = None if cfg.reference is None else str(cfg.reference)
    files, reference_file = photographs_in(Path(str(cfg.images)), reference)
    target = read_image(reference_file)
    records = []
    for row in align_folder(build_aligner(cfg), files, target):
        records.append(row.as_record())
        print(f"{row.file.name}: {row.verdict}")
        if row.alignment is not None and row.image is not None:
            stem = folder / row.file.name
            write(row.alignment, row.image, target, stem, row.file, reference_file)
    write_table(as_table(records), folder / "alignment.csv")
    counts = Counter(record["status"] for record in records)
    shown = ", ".join(f"{counts[status]} {status}" for status in get_args(Status))
    print(f"{len(records)} photographs with {reference_file.name}: {shown}")
    print(f"wrote {folder / 'alignment.csv'}, and NAME.json and NAME.png of each photograph")


def build_aligner(cfg: DictConfig) -> Aligner:
    """The descriptor with a run's own steps, or with those of the config.

    What the command line sets takes precedence over the run.
    """
    given = given_options()

    def chosen(group: str) -> bool:
        return cfg.run is None or any(o == group or o.startswith(f"{group}.") for o in given)

    estimators = cfg.estimators or {}
    if len(estimators) != 1:
        raise HomoregError(f"estimators=[{','.join(map(str, estimators))}]: give one")
    (estimator,) = estimators.values()
    return load_aligner(
        str(cfg.descriptor if cfg.run is None else cfg.run),
        detector=instantiate(cfg.detector) if chosen("detector") else None,
        matcher=instantiate(cfg.matcher) if chosen("matcher") else None,
        estimator=instantiate(estimator) if chosen("estimators") else None,
        max_side_px=cfg.max_side_px,
        checkpoint=cfg.checkpoint or "",
        device=cfg.device,
        packages=cfg.packages,
    )


def write(
    alignment: Alignment,
    image1: np.ndarray,
    image2: np.ndarray,
    stem: Path,
    file1: Path,
    file2: Path,
) -> None:
    """Write ``<stem>.json`` and ``<stem>.png``."""
    record, picture = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("json", "png"))
    files = {"image1": str(file1), "image2": str(file2)}
    versions = {"versions": environment_info()["versions"]}
    write_json(record, files | alignment.to_dict() | versions)
    save_figure(alignment_figure(image1, image2, alignment), picture)


if __name__ == "__main__":
    main()
