"""What a run folder already contains, and what remains to be done."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from homoreg.descriptors.checkpoint import read_checkpoint
from homoreg.descriptors.checkpoint_io import PREVIOUS
from homoreg.errors import HomoregError
from homoreg.files import atomic_path
from homoreg.runs.folder import RunFolder
from homoreg.runs.identity import differences, training_options

log = logging.getLogger("homoreg.train")

# Fields of run.json that belong to the weights.
TRAINING_FIELDS = ("training", "patch_pairs_per_second", "best_after_epochs")


@dataclass(frozen=True)
class Plan:
    """What remains to be done for a run.

    Attributes:
        train: the network has to be trained.
        evaluate: the network has to be evaluated.
        message: the plan as the end of a line that starts with the run's folder.
        checkpoint: training resumes from it; None starts anew.
        donor: a finished training of the same identity, whose weights are taken.
        done: nothing is left to do.
    """

    train: bool
    evaluate: bool
    message: str = "is new"
    checkpoint: Path | None = None
    donor: RunFolder | None = None
    done: bool = False


@contextmanager
def one_at_a_time(run: RunFolder, training_hash: str) -> Iterator[None]:
    """Let no other job of the sweep plan or train the same network, in this or another process.

    A job that waited takes the weights, or trains where the other one failed or was killed: the
    system releases a process's locks when it ends.
    """
    lock = run.training_lock(training_hash)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s waits for another job that trains the same network", run.path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def plan_run(
    run: RunFolder,
    config: dict[str, Any],
    identity: dict[str, str | None],
    *,
    table: Path | None,
    in_sweep: bool,
) -> Plan:
    """Compare what a folder holds with what is asked for.

    Args:
        run: the folder.
        config: the resolved config of the run that is asked for.
        identity: its ``training_hash``, ``manifest_hash`` and ``reading_hash``.
        table: the evaluation's; None where no evaluation is asked for.
        in_sweep: the folders beside this one hold jobs of the same sweep.

    Raises:
        HomoregError: the folder holds another training.
    """
    record = run.record
    same = record.get("training_hash") == identity["training_hash"]
    own = _own_checkpoint(run) if same else None
    if run.trained and own and own.name != PREVIOUS:
        current = record.get("reading_hash") == identity["reading_hash"]
        evaluate = table is not None and not (current and table.is_file())
        if not record.get("metrics"):
            return Plan(False, evaluate, f"{_begins(run)} after its training")
        message = "is trained already and evaluated again" if evaluate else "is done already"
        return Plan(False, evaluate, message, done=not evaluate)
    evaluate = table is not None
    # A run that broke off before its first checkpoint holds nothing that could be lost.
    if not same and (run.checkpoints / "last.ckpt").is_file():
        raise HomoregError(f"{run.path} holds another training: {_what_differs(run, config)}")
    donor = _donor(run, identity) if in_sweep else None
    if donor:
        return Plan(False, evaluate, f"takes its weights from {donor.name}", donor=donor)
    checkpoint = own or _given(config["ckpt"])
    message = _begins(run)
    if checkpoint:
        epochs = read_checkpoint(checkpoint)["epoch"] + 1
        message += f", going on from {checkpoint} after {epochs} epochs"
    return Plan(True, evaluate, message, checkpoint)


def take_weights(run: RunFolder, donor: RunFolder) -> None:
    """Copy a finished training of the same identity: checkpoints, epoch table, training row."""
    files = (*sorted(donor.checkpoints.glob("*.ckpt")), donor.metrics_csv, donor.photos_file)
    for file in files:
        with atomic_path(run.path / file.relative_to(donor.path)) as copy:
            shutil.copyfile(file, copy)
    record = donor.record
    taken = {key: record.get(key) for key in TRAINING_FIELDS}
    run.update_record(**taken, weights_from=record.get("weights_from") or donor.name)


def _begins(run: RunFolder) -> str:
    return {
        "running": "broke off and is resumed",
        "failed": f"failed ({run.record.get('error')}) and is retried",
    }.get(run.status, "is new")


def _own_checkpoint(run: RunFolder) -> Path | None:
    """The newest checkpoint of a run that can be read; a damaged one is reported."""
    for name in ("last.ckpt", PREVIOUS):
        file = run.checkpoints / name
        if not file.is_file():
            continue
        try:
            read_checkpoint(file)
        except HomoregError as error:
            log.warning("%s; an earlier checkpoint is used where there is one", error)
        else:
            return file
    return None


def _what_differs(run: RunFolder, config: dict[str, Any]) -> str:
    differing = differences(training_options(run.config), training_options(config))
    return (
        f"{differing or 'other training pairs'}; choose another study or hydra.run.dir, or remove "
        "the folder"
    )


def _donor(run: RunFolder, identity: dict[str, str | None]) -> RunFolder | None:
    """A job of the same sweep that has finished the training of this identity."""
    for folder in sorted(run.path.parent.iterdir()):
        other = RunFolder(folder)
        if folder == run.path or not other.record_file.is_file():
            continue
        try:
            if other.trained and other.record.get("training_hash") == identity["training_hash"]:
                return other
        except HomoregError as error:
            log.warning("no weights are taken from %s: %s", folder, error)
    return None


def _given(ckpt: str | None) -> Path | None:
    if ckpt is None:
        return None
    if not Path(ckpt).is_file():
        raise HomoregError(f"ckpt={ckpt}: there is no such file")
    return Path(ckpt)
