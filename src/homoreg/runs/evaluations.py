"""Evaluations that ``python -m homoreg.evaluate`` wrote, and the runs that they evaluated."""

from pathlib import Path

import yaml

from homoreg.errors import HomoregError
from homoreg.files import reading
from homoreg.runs.folder import RunFolder, find_runs


def newest_first(outputs: Path, table: str) -> list[Path]:
    """Folders of evaluations below ``paths.outputs`` that hold ``evaluation/<table>.csv``."""
    files = sorted(outputs.glob(f"*/*/evaluation/{table}.csv"), key=lambda f: f.stat().st_mtime)
    return [file.parents[1] for file in reversed(files)]


def evaluated_runs(folder: Path) -> list[RunFolder]:
    """The runs that an evaluation was started with; none if they were moved since.

    Raises:
        HomoregError: ``evaluate`` did not write the folder.
    """
    recorded = folder / ".hydra"
    with reading(recorded, "what an evaluation was started with"):
        named = yaml.safe_load((recorded / "config.yaml").read_text("utf-8")).get("runs")
        if not named:
            return []
        hydra = yaml.safe_load((recorded / "hydra.yaml").read_text("utf-8"))["hydra"]
    paths = named if isinstance(named, list) else [named]
    started_in = Path(hydra["runtime"]["cwd"])
    try:
        return find_runs(started_in / str(path) for path in paths)
    except HomoregError:
        return []
