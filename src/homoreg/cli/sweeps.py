"""The record of a sweep in its folder: its overrides, and how each job started and ended.

A launcher may run the jobs in other processes or on other machines, so the record is in files:
``sweep.json`` in the sweep's folder, and ``job`` in each job's ``run.json``.
"""

import json
import sys
import traceback
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from homoreg.cli.resolvers import IDENTITY, given_overrides, register_resolvers
from homoreg.cli.results import print_results
from homoreg.errors import HomoregError, exit_with, one_line
from homoreg.files import reading, write_json, write_text
from homoreg.runs import RunFolder

# How a job starts, by the status of its folder.
STARTS = {"done": "done before", "running": "resumed", "failed": "retried", "absent": "new"}
RECORD = "sweep.json"
# Overrides that set the folder of a sweep and not its jobs.
WHERE = ("study=", "paths.", "hydra.sweep.dir=")
NOT_RECORDED = (*WHERE, "hydra.mode=", "hydra/job_logging=")


class SweepRecorder(Callback):
    """Records a sweep and its jobs. Hydra pickles it into the processes that a launcher starts."""

    # The sweeps that this process has started.
    started: list["SweepRecorder"] = []  # noqa: RUF012 (there is one list)

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex  # tells this start of a sweep from earlier ones
        self.folder = Path()
        self.where: list[str] = []  # the overrides that name the folder
        self.lost: dict[str, dict[str, Any]] = {}  # records of jobs that could not be written

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The first code of ours in a launcher's process, before Hydra composes the job's config.
        register_resolvers()
        self.__dict__.update(state)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        # Hydra turns exceptions in a callback into warnings.
        try:
            self.folder = Path(config.hydra.sweep.dir).absolute()
            overrides = [*given_overrides(config.hydra), *config.hydra.overrides.hydra]
            self.where = [o for o in overrides if o.startswith(WHERE)]
            if not any(o.startswith(("study=", "hydra.sweep.dir=")) for o in self.where):
                self.where.append(f"study={self.folder.name}")
            record_sweep(self.folder, config.hydra.job.config_name, overrides)
        except Exception as error:
            exit_with(error)
        SweepRecorder.started.append(self)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.mode.name == "RUN":
            return
        run = RunFolder(Path(config.hydra.runtime.output_dir))
        with suppress(HomoregError), run.locked():  # another process may be writing it
            (run.path / "error.txt").unlink(missing_ok=True)
            if config.hydra.job.config_name != "train":  # only a training is resumed
                run.record_file.unlink(missing_ok=True)
            run.update_record(job={"sweep": self.id, "start": STARTS.get(run.status, "new")})

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if config.hydra.mode.name == "RUN":
            return
        run = RunFolder(Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir)
        status, line = "done", None
        if failed := job_return.status == JobStatus.FAILED:
            error = job_return._return_value  # the property raises it
            status, line = "failed", one_line(error)
        try:
            job = run.record.get("job", {})
            with run.locked():
                if job.get("sweep") == self.id:
                    # A finished run stays done although its job failed, for example because a
                    # search asked for a metric that does not exist.
                    kept = "done" if run.status == "done" else status
                    job |= {"ended": True, "failed": failed}
                    run.update_record(status=kept, error=line, job=job)
                    if line:
                        text = "\n".join([line, "", *traceback.format_exception(error)])
                        write_text(run.path / "error.txt", text)
                    return
        except (OSError, HomoregError) as refused:
            status, line = "failed", line or one_line(refused)
        # The folder cannot be written or is locked: the record stays in this process.
        job = {"sweep": self.id, "start": "new", "ended": True}
        self.lost[run.name] = {"status": status, "error": line, "job": job}

    def jobs(self) -> dict[str, dict[str, Any]]:
        """The records of the jobs of this start, by the jobs' names."""
        records = {run.name: run.record for run in jobs_in(self.folder)}
        own = {k: r for k, r in records.items() if r.get("job", {}).get("sweep") == self.id}
        return own | self.lost


def jobs_in(folder: Path) -> Iterator[RunFolder]:
    """The jobs in a sweep's folder, of any start, but for those of another version."""
    for file in sorted(folder.glob("*/run.json")):
        run = RunFolder(file.parent)
        with suppress(HomoregError):  # a record of another version
            if run.record:
                yield run


def close_sweeps(sweeps: Iterable[SweepRecorder], errors: Iterable[Exception]) -> None:
    """Print a line for each job that failed or did not end, and a count; then exit with code 2.

    Args:
        errors: what Hydra raised: a job's own error, or that of a launcher.
    """
    jobs = {name: record for sweep in sweeps for name, record in sweep.jobs().items()}
    kinds = {name: _kind(record) for name, record in jobs.items()}
    for name, kind in kinds.items():
        if kind == "failed":
            print(f"homoreg: job {name} failed: {jobs[name]['error']}", file=sys.stderr)
        elif kind == "not ended":
            why = "it was killed, or still runs on another machine"
            print(f"homoreg: job {name} has not ended: {why}", file=sys.stderr)
    for folder in dict.fromkeys(sweep.folder for sweep in sweeps):
        print_results(jobs_in(folder), folder)
    if jobs:
        print(count_jobs(jobs))
    for error in errors:
        if "not ended" in kinds.values():
            print(f"homoreg: the launcher says: {one_line(error)}", file=sys.stderr)
        elif "failed" not in kinds.values():
            exit_with(error)
    if {"failed", "not ended"} & set(kinds.values()):
        sys.exit(2)


def count_jobs(jobs: Mapping[str, Mapping[str, Any]]) -> str:
    """How many jobs there were, and how many of each kind.

    >>> done = {"status": "done", "job": {"start": "new", "ended": True}}
    >>> count_jobs({"seed-0": done, "seed-1": done | {"status": "failed"}})
    '2 jobs: 0 done before, 0 resumed, 0 retried, 1 new, 1 failed'
    """
    kinds = Counter(map(_kind, jobs.values()))
    shown = [*STARTS.values(), "failed", *(["not ended"] if kinds["not ended"] else [])]
    number = "1 job" if len(jobs) == 1 else f"{len(jobs)} jobs"
    return f"{number}: {', '.join(f'{kinds[kind]} {kind}' for kind in shown)}"


def _kind(record: Mapping[str, Any]) -> str:
    job = record["job"]
    if not job.get("ended"):
        return "not ended"
    return "failed" if job.get("failed", record["status"] == "failed") else job["start"]


def record_sweep(folder: Path, command: str, overrides: list[str]) -> None:
    """Add the sweep to the folder's record; prints a line if the folder holds another sweep."""
    sweep = {
        "command": command,
        "overrides": [o for o in overrides if not o.startswith(NOT_RECORDED)],
    }
    known = recorded_sweeps(folder)
    others = [other for other in known if _what(other) != _what(sweep)]
    if others and len(others) == len(known):
        print(f"{folder} was started with other options; this adds jobs to it")
    write_json(folder / RECORD, [*others, sweep])


def recorded_sweeps(folder: Path) -> list[dict[str, Any]]:
    """The sweeps that were started in the folder: ``command`` and ``overrides`` of each."""
    file = folder / RECORD
    if not file.is_file():
        return []
    with reading(file, "the record of a sweep; delete it and give the whole command"):
        sweeps = json.loads(file.read_text(encoding="utf-8"))
        return [{"command": s["command"], "overrides": list(s["overrides"])} for s in sweeps]


def continued(sweep: Mapping[str, Any], overrides: list[str]) -> list[str] | None:
    """The overrides of a recorded sweep with those of a command; None if that is another sweep.

    A command starts another sweep if it gives several values for another option than the seed,
    chooses a regularizer, an experiment or a search, or sets another option that the recorded sweep
    varies. Its seeds replace the recorded ones.

    >>> continued({"overrides": ["seed=0,1", "patch.size=16"]}, ["study=a", "patch.size=32"])
    ['seed=0,1', 'study=a', 'patch.size=32']
    >>> continued({"overrides": ["seed=0,1", "patch.size=16"]}, ["study=a", "seed=2,3"])
    ['patch.size=16', 'study=a', 'seed=2,3']
    >>> continued({"overrides": ["regularizer=none,l2"]}, ["study=a", "regularizer=sosr"])
    """
    parser = OverridesParser.create()
    given = parser.parse_overrides(overrides)
    recorded = parser.parse_overrides(sweep["overrides"])
    keys = {override.key_or_group for override in given}
    varied = {o.key_or_group for o in recorded + given if o.is_sweep_override()}
    varied |= {*IDENTITY, "experiment", "hparams_search"}
    if keys & varied - {"seed"}:
        return None
    if "hydra/launcher" in keys:
        recorded = [o for o in recorded if not o.key_or_group.startswith("hydra.launcher")]
    return [str(o.input_line) for o in recorded if o.key_or_group not in keys] + overrides


def _what(sweep: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The command and the options of a sweep, whatever its launcher and their order."""
    task = [o for o in sweep["overrides"] if not o.startswith(("hydra.launcher", "hydra/launcher"))]
    return sweep["command"], sorted(task)
