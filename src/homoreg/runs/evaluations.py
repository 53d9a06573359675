"""What ``python -m homoreg.evaluate`` wrote about finished runs."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from homoreg.errors import HomoregError
from homoreg.files import reading
from homoreg.runs.folder import RunFolder, find_runs


def newest_first(outputs: Path, table: str) -> list[Path]:
    """Folders of evaluations below ``paths.outputs`` that hold ``evaluation/<table>.csv``."""
    files = sorted(outputs.glob(f"*/*/evaluation/{table}.csv"), key=lambda f: f.stat().st_mtime)
    return [file.parents[1] for file in reversed(files)]


def evaluated_runs(folders: Iterable[Path]) -> Iterator[tuple[Path, list[RunFolder]]]:
    """Each evaluation's folder and the runs that its command named; those without are left out.

    Raises:
        HomoregError: a folder is none that ``evaluate`` wrote.
    """
    for folder in folders:
        recorded = folder / ".hydra"
        with reading(recorded / "config.yaml", "an evaluation's config"):
            named = yaml.safe_load((recorded / "config.yaml").read_text("utf-8")).get("runs")
            hydra = yaml.safe_load((recorded / "hydra.yaml").read_text("utf-8"))["hydra"]
        paths = named if isinstance(named, list) else [named] if named is not None else []
        started_in = Path(hydra["runtime"]["cwd"])
        try:
            yield folder, find_runs(started_in / str(path) for path in paths)
        except HomoregError:  # the runs were moved or removed since
            continue
