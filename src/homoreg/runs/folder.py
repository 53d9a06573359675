"""The layout of a run folder, and the runs under a path.

No other file knows the layout. ``train`` writes it, ``evaluate`` and ``report`` read it.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from filelock import FileLock, Timeout
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from homoreg.errors import HomoregError
from homoreg.files import reading, write_json

# Version of the layout, increased when older runs can no longer be read.
FORMAT = 2


class _Training(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    regularizer: str


class _Record(TypedDict, total=False):
    """Types of the fields of run.json that are read; other fields are allowed."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    status: str
    error: str | None
    seed: int | None
    training: _Training | None
    metrics: dict[str, float] | None
    analysis: dict[str, Any]
    job: dict[str, Any]
    seconds: dict[str, float]


_RECORD = TypeAdapter(_Record)


@dataclass(frozen=True)
class RunFolder:
    """One training run on disk."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics_csv(self) -> Path:
        return self.path / "csv" / "metrics.csv"

    @property
    def photos_file(self) -> Path:
        """What identifies the photographs that the run was trained on, by their names."""
        return self.path / "training_photos.json"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def journal(self) -> Path:
        """What an unfinished evaluation has computed so far."""
        return self.path / "evaluation" / "journal.txt"

    def evaluation_csv(self, benchmark: str = "eval") -> Path:
        return self.path / "evaluation" / f"{benchmark}.csv"

    def best_evaluation_csv(self, benchmark: str = "eval") -> Path:
        """The same table for the weights of the best epoch."""
        return self.evaluation_csv(f"{benchmark}_best")

    def checkpoint(self, which: str = "last") -> Path:
        """The checkpoint ``"last"`` or ``"best"``; HomoregError where it is missing."""
        if which not in ("last", "best"):
            raise HomoregError(f"checkpoint={which}: give last or best")
        file = self.checkpoints / f"{which}.ckpt"
        if not file.is_file():
            raise HomoregError(f"{file} is missing: the run has not finished an epoch")
        return file

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config that the run was started with."""
        with reading(self.config_file, "a run's config"):
            return dict(yaml.safe_load(self.config_file.read_text(encoding="utf-8")))

    @property
    def record(self) -> dict[str, Any]:
        """``run.json`` as it is now; empty where the run has not begun.

        Raises:
            HomoregError: the file is damaged, or another version of homoreg wrote it.
        """
        if not self.record_file.is_file():
            return {}
        with reading(self.record_file, "a run's record"):
            record = dict(json.loads(self.record_file.read_text(encoding="utf-8")))
            if record.get("format") != FORMAT:
                raise HomoregError(
                    f"{self.record_file} has format {record.get('format', 1)}, and this version of "
                    f"homoreg reads {FORMAT}: train the run again in another folder"
                )
            _RECORD.validate_python(record)
            return record

    @property
    def status(self) -> str:
        """``running``, ``done``, ``failed``, or ``absent`` where nothing has begun."""
        return str(self.record.get("status", "absent"))

    @property
    def trained(self) -> bool:
        """Whether the training is finished, evaluated or not."""
        return bool(self.record.get("training"))

    @property
    def training_photos(self) -> dict[str, str | int] | None:
        """What identifies each photograph that the run was trained on; None if not recorded."""
        if not self.photos_file.is_file():
            return None
        with reading(self.photos_file, "a record of photographs"):
            return TypeAdapter(dict[str, str | int]).validate_json(self.photos_file.read_bytes())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; the system releases the lock when the process ends.

        Raises:
            HomoregError: another process writes the run.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout as error:
            process = self.record.get("process")
            raise HomoregError(f"{self.path} is being written by process {process}") from error

    def training_lock(self, training_hash: str) -> FileLock:
        """Of the jobs of this run's sweep that would train the same network."""
        return FileLock(self.path.parent / f".{training_hash[:16]}.lock")

    def update_record(self, **fields: Any) -> None:
        """Set fields of ``run.json``, leaving the others."""
        write_json(self.record_file, {"format": FORMAT} | self.record | fields)

    def training_metrics(self) -> dict[str, float]:
        """The last value of every column of the epoch table."""
        if not self.metrics_csv.is_file():
            raise HomoregError(f"{self.metrics_csv} is missing: callbacks.epoch_table writes it")
        with reading(self.metrics_csv, "a table of epochs"):
            epochs = pd.read_csv(self.metrics_csv).drop(columns=["epoch", "step"]).ffill()
            return {str(name): float(value) for name, value in epochs.iloc[-1].items()}


def find_runs(paths: str | Path | Iterable[str | Path]) -> list[RunFolder]:
    """The runs at these paths in their order, those of a sweep sorted by name.

    Args:
        paths: a run's folder, a sweep's folder (its runs lie one level down), or a list of both.

    Raises:
        HomoregError: a path does not exist or holds no run.
    """
    # YAML reads a folder that is named 2026 as a number.
    if isinstance(paths, (str, Path, int, float)):
        paths = [str(paths)]
    runs: dict[Path, RunFolder] = {}
    for path in (Path(str(path)) for path in paths):
        if not path.is_dir():
            raise HomoregError(f"runs={path}: there is no such folder")
        folders = [path] if _is_run(path) else sorted(p for p in path.iterdir() if _is_run(p))
        if not folders:
            raise HomoregError(f"runs={path}: no run lies there (a run's folder has a run.json)")
        runs |= {folder.resolve(): RunFolder(folder) for folder in folders}
    return list(runs.values())


def _is_run(path: Path) -> bool:
    # A job that failed before its training began, or one of another command, has no config.
    return (path / "run.json").is_file() and (path / "config.yaml").is_file()
