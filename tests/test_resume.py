"""Runs that broke off, damaged checkpoints, and evaluations that must not be."""

import json
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from homoreg.cli.resume import Plan, one_at_a_time, plan_run
from homoreg.descriptors.callbacks import EpochTable
from homoreg.descriptors.checkpoint import read_checkpoint
from homoreg.descriptors.checkpoint_io import AtomicCheckpointIO
from homoreg.files import append
from homoreg.runs import RunFolder
from tests.commands import DEBUG, run, succeed
from tests.runs import assert_same_run, table_of


class Unwritable:
    def __reduce__(self) -> str:
        raise OSError(28, "No space left on device")


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path: Path) -> None:
    plugin, last = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    for epoch in (0, 1):
        plugin.save_checkpoint({"epoch": epoch}, last)
    assert torch.load(last)["epoch"] == 1
    assert torch.load(tmp_path / "previous.ckpt")["epoch"] == 0
    with pytest.raises(OSError, match="No space left"):
        plugin.save_checkpoint({"epoch": 2, "broken": Unwritable()}, last)
    assert torch.load(last)["epoch"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]


def test_jobs_that_run_at_the_same_time_train_a_network_once(tmp_path: Path) -> None:
    identity = {"training_hash": "a" * 64}
    script = f"""if True:
        import os; from pathlib import Path; from homoreg.runs import RunFolder
        RunFolder(Path({str(tmp_path / "killed")!r})).training_lock("a" * 64).acquire()
        os.kill(os.getpid(), 9)"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9

    def start(run: RunFolder) -> Plan:
        with one_at_a_time(run, identity["training_hash"]):
            plan = plan_run(run, {"ckpt": None}, identity, table=None, in_sweep=True)
            if plan.train:
                time.sleep(0.5)
                run.update_record(training={"epochs": 1}, **identity)
        return plan

    runs = [RunFolder(tmp_path / name) for name in ("one", "two")]
    with ThreadPoolExecutor(2) as jobs:
        plans = list(jobs.map(start, runs))
    trains = [plan.train for plan in plans]
    assert sorted(trains) == [False, True]
    assert plans[trains.index(False)].donor == runs[trains.index(True)]


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_an_epoch(prepared: Path, trained: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    undone = {"training": None, "metrics": None, "reading_hash": None}
    RunFolder(broken).update_record(status="running", **undone)
    last = broken / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-2000])
    options = [*DEBUG, f"data.root={prepared}", "hydra.run.dir=broken"]
    ended = succeed(tmp_path, "train", *options)
    assert "last.ckpt is damaged" in ended.stdout
    assert "previous.ckpt after 1 epochs" in ended.stdout
    assert_same_run(trained, broken)


def test_the_epochs_of_before_keep_every_digit(tmp_path: Path) -> None:
    # pandas 2 reads this number as …6334.
    before = "0,9,3.7876839637756343,"
    file = tmp_path / "metrics.csv"
    file.write_text(f"epoch,step,val/kappa,val/loss\n{before}\n1,19,2.5,0.5\n")
    table: Any = EpochTable(file)
    trainer = SimpleNamespace(current_epoch=1, global_step=20, callback_metrics={})
    table.on_fit_start(trainer, None)
    table.on_train_epoch_start(trainer, None)
    trainer.callback_metrics = {"val/kappa": torch.tensor(1.5)}
    table.on_train_epoch_end(trainer, None)
    assert file.read_text().splitlines()[1:] == [before, "1,19,1.5,"]


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on(
    prepared: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "broken", ignore=shutil.ignore_patterns("evaluation"))
    undone = {"status": "running", "metrics": None, "reading_hash": None}
    RunFolder(tmp_path / "broken").update_record(**undone)
    options = [*DEBUG, f"data.root={prepared}", "hydra.run.dir=broken"]

    def interrupt(file: Path, text: str) -> None:
        if file.is_file() and file.read_text().count("\n") == 3:
            raise KeyboardInterrupt
        append(file, text)

    monkeypatch.setattr("homoreg.evaluation.journal.append", interrupt)
    assert run(tmp_path, "train", *options).returncode == 130
    monkeypatch.undo()
    said = succeed(tmp_path, "train", *options).stdout
    assert sum(map(int, re.findall(r"(\d+) of \d+ pairs were evaluated before", said))) == 3
    assert_same_run(trained, tmp_path / "broken")
    before, after = (RunFolder(path).record for path in (trained, tmp_path / "broken"))
    assert (after["status"], after["training"]) == ("done", before["training"])


@pytest.mark.slow
def test_two_processes_do_not_write_one_run(prepared: Path, trained: Path, tmp_path: Path) -> None:
    script = """if True:
        import sys; from filelock import FileLock
        lock = FileLock(sys.argv[1]); lock.acquire(); print("held", flush=True); sys.stdin.read()"""
    lock = str(tmp_path / "out" / ".lock")
    shutil.copytree(trained, tmp_path / "out")
    holder = subprocess.Popen(
        [sys.executable, "-c", script, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout
    assert holder.stdout.readline()
    options = [*DEBUG, f"data.root={prepared}", "hydra.run.dir=out"]
    refused = run(tmp_path, "train", *options)
    assert (refused.returncode, "is being written by process" in refused.stderr) == (2, True)
    holder.communicate()
    assert "is done already" in succeed(tmp_path, "train", *options).stdout


@pytest.mark.slow
def test_a_run_is_not_evaluated_on_photos_that_it_was_trained_on(
    prepared: Path, trained: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(prepared, root, ignore=shutil.ignore_patterns("*.bank"))
    shutil.copy(root / "pairs_train.json", root / "pairs_eval.json")
    options = [f"runs={trained}", f"data.root={root}", "descriptors=none", "benchmark.limit=2"]
    options += ["patch_pairs=0", "gallery=0", "hydra.run.dir=out"]
    refused = run(tmp_path, "evaluate", *options)
    assert refused.returncode == 2
    assert "was trained on 1 of the 1 photographs" in refused.stderr
    allowed = succeed(tmp_path, "evaluate", *options, "allow_seen=true")
    assert "was trained on 1 of the 1 photographs" in allowed.stdout
    assert set(table_of(tmp_path / "out")["descriptor"]) == {"oracle", "cnn"}


@pytest.mark.slow
def test_held_out_pairs_that_cannot_be_read_are_refused_before_training(
    prepared: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(prepared, root, ignore=shutil.ignore_patterns("*.bank"))
    options = [*DEBUG, "data.root=data", "hydra.run.dir=out"]
    manifest = json.loads((root / "pairs_eval.json").read_text())
    image = root / manifest["pairs"][0]["img2"]
    image.write_bytes(b"")
    refused = run(tmp_path, "train", *options)
    assert (refused.returncode, image.name in refused.stderr) == (2, True)
    (root / "pairs_eval.json").write_text(json.dumps(manifest | {"pairs": []}))
    refused = run(tmp_path, "train", *options)
    assert (refused.returncode, "has no pairs" in refused.stderr) == (2, True)
    assert not (tmp_path / "out" / "run.json").exists()
    succeed(tmp_path, "train", *options, "evaluation=none")


@pytest.mark.slow
def test_a_checkpoint_of_another_network_or_optimizer_is_one_line(
    prepared: Path, trained: Path, tmp_path: Path
) -> None:
    common = [*DEBUG, "trainer.max_epochs=3", f"data.root={prepared}", "evaluation=none"]
    common += [f"ckpt={trained / 'checkpoints' / 'last.ckpt'}"]
    for option, line in (
        ("model.channels=[8,8,8]", "holds another network: network.features.0.weight is"),
        ("optimizer=sgd", "was written with another optimizer than torch.optim.sgd.SGD"),
    ):
        refused = run(tmp_path, "train", *common, option, f"hydra.run.dir={option[:5]}")
        assert refused.returncode == 2, refused.stderr
        assert line in refused.stderr.splitlines()[-1]
    succeed(tmp_path, "train", *common, "hydra.run.dir=on")
    assert read_checkpoint(tmp_path / "on" / "checkpoints" / "last.ckpt")["epoch"] == 2
