"""How the jobs of a sweep went: a note in each job's folder, and what they say together.

Notes are files, because a launcher may run the jobs in other processes or on other machines.
"""

import json
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homoreg.files import write_json, write_text
from homoreg.runs import RunFolder

# What a job is to its sweep, by the status of its folder when it begins.
STARTS = {"done": "done before", "running": "resumed", "failed": "retried", "absent": "new"}
NOTE = "job.json"


@dataclass(frozen=True)
class Sweep:
    """One start of a sweep.

    Attributes:
        folder: where it writes; its jobs' folders lie one level down.
        id: tells its jobs' notes from those of earlier starts. Times would not do: the clocks of a
            cluster's machines differ.
    """

    folder: Path
    id: str

    @classmethod
    def starting(cls, folder: str | Path) -> "Sweep":
        return cls(Path(folder).absolute(), uuid.uuid4().hex)

    @contextmanager
    def job(self, folder: Path, line_of: Callable[[BaseException], str]) -> Iterator[None]:
        """Keep the note ``job.json`` of the job that writes into ``folder``.

        A failure leaves ``error.txt`` too: its line, then the traceback. What is killed or
        interrupted leaves the note as it stood at the start.

        Args:
            line_of: one line on an error.
        """
        note = {"sweep": self.id, "start": STARTS.get(RunFolder(folder).status, "new")}
        error_file = folder / "error.txt"
        error_file.unlink(missing_ok=True)
        write_json(folder / NOTE, note | {"outcome": "broke off"})
        try:
            yield
        except Exception as error:
            line = line_of(error)
            write_text(error_file, "\n".join([line, "", *traceback.format_exception(error)]))
            write_json(folder / NOTE, note | {"outcome": "failed", "error": line})
            raise
        write_json(folder / NOTE, note | {"outcome": "done"})

    def notes(self) -> dict[str, dict[str, Any]]:
        """The notes of this start's jobs by the jobs' names, in their order."""
        notes = {
            file.parent.name: json.loads(file.read_text(encoding="utf-8"))
            for file in sorted(self.folder.glob(f"*/{NOTE}"))
        }
        return {name: note for name, note in notes.items() if note["sweep"] == self.id}


def summary(notes: Mapping[str, Mapping[str, Any]]) -> str:
    """How many jobs there were, and how many of each kind.

    A job that failed or broke off counts as nothing else.

    >>> well, badly = {"start": "new", "outcome": "done"}, {"start": "new", "outcome": "failed"}
    >>> summary({"seed-0": well, "seed-1": badly})
    '2 jobs: 0 done before, 0 resumed, 0 retried, 1 new, 1 failed'
    """
    kinds = Counter(
        note["start"] if note["outcome"] == "done" else note["outcome"] for note in notes.values()
    )
    shown = [*STARTS.values(), "failed", *(["broke off"] if kinds["broke off"] else [])]
    jobs = "1 job" if len(notes) == 1 else f"{len(notes)} jobs"
    return f"{jobs}: {', '.join(f'{kinds[kind]} {kind}' for kind in shown)}"
