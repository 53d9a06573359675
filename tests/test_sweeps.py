"""Sweeps as a user starts, breaks and restarts them, on every launcher, and what they show."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
import yaml
from tensorboard.program import TensorBoard

from homoreg.cli import machine
from homoreg.cli.machine import acquire_gpu
from homoreg.descriptors.callbacks import LAYOUT, homography_charts
from tests.commands import run, run_alone, succeed
from tests.runs import assert_same_run

TINY = [
    *("data.pairs_per_epoch=512", "data.batch_size=32", "data.validation_pairs=64"),
    *("patch.size=16", "patch.support=32", "trainer.enable_progress_bar=false"),
    *("evaluation.subset=2", "evaluation.figure_pairs=0", "evaluation.shift_pairs=0"),
    "benchmark.limit=2",
]


def test_processes_share_out_the_gpus_evenly(tmp_path: Path) -> None:
    script = f"""if True:
        import sys; from homoreg.cli.machine import acquire_gpu
        print(acquire_gpu(["0", "1"], {str(tmp_path)!r}), flush=True); sys.stdin.read()"""
    other = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "0\n"
    assert [acquire_gpu(["0", "1"], tmp_path) for _ in range(3)] == ["1", "0", "1"]
    other.communicate()
    assert acquire_gpu(["0", "1"], tmp_path) == "0"


@pytest.mark.parametrize(
    ("jobs", "asked", "threads"),
    [(2, None, 4), (2, "3", 3), (2, "6", 4), (0, "6", 1), (2, "4,2", 4)],
)
def test_a_job_has_its_share_of_the_cores_and_no_more_threads_than_asked_for(
    jobs: int, asked: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    monkeypatch.setattr(machine, "_visible_gpus", list)
    monkeypatch.setattr("torch.set_num_threads", limits.append)
    monkeypatch.setattr("cv2.setNumThreads", limits.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert machine.limit_threads(jobs) == (4 if jobs else 1)
    assert limits == [threads, threads]


def test_a_sweep_refuses_runs_on_several_devices(prepared: Path, tmp_path: Path) -> None:
    ended = run(tmp_path, "train", "-m", f"data.root={prepared}", "trainer=ddp", "seed=0")
    assert ended.returncode == 2
    assert "trainer.devices=2 in a sweep" in ended.stderr.splitlines()[-1]
    assert "hydra/launcher=joblib" in ended.stderr.splitlines()[-1]


def test_an_interpolation_in_an_override_follows_the_job(prepared: Path, tmp_path: Path) -> None:
    every = "_target_: lightning.pytorch.callbacks.ModelCheckpoint, save_top_k: -1"
    every += ", dirpath: '${paths.run}/every', monitor: step, mode: max"
    options = ["experiment=debug", *TINY, f"data.root={prepared}", "study=keep"]
    options += ["trainer.max_epochs=2", "evaluation.enabled=false"]
    succeed(tmp_path, "train", "-m", *options, f"+callbacks.every={{{every}}}", "seed=0,1")
    runs = sorted(path.parent for path in tmp_path.glob("multirun/keep/*/run.json"))
    assert [run.name for run in runs] == ["seed-0", "seed-1"]
    assert [len(list((run / "every").glob("*.ckpt"))) for run in runs] == [2, 2]
    assert "${paths.run}/every" in (tmp_path / "multirun/keep/sweep.json").read_text()
    again = succeed(tmp_path, "train", "-m", "study=keep")
    assert "2 jobs: 2 done before" in again.stdout


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on_and_says_what_becomes_of_each_job(
    prepared: Path, tmp_path: Path
) -> None:
    common = [f"data.root={prepared}", "trainer.max_epochs=5", *TINY]
    succeed(tmp_path, "train", "regularizer=dropout", *common, "hydra.run.dir=whole")
    arms = ["-m", "regularizer=none,l2,dropout,hybrid", "study=mine", *common]
    study = tmp_path / "multirun" / "mine"
    none, l2, dropout, hybrid = (
        study / f"regularizer-{arm}" for arm in ("none", "l2", "dropout", "hybrid")
    )
    l2.mkdir(parents=True)
    (l2 / "checkpoints").write_text("in the way: this job fails")

    process = subprocess.Popen(
        [sys.executable, "-m", "homoreg.train", *arms], cwd=tmp_path,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    epochs = dropout / "csv" / "metrics.csv"
    # A header, two epochs, and training steps of the third.
    while not (epochs.is_file() and len(epochs.read_text().splitlines()) > 2):
        assert process.poll() is None, "the sweep ended before it could be killed"
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert json.loads((dropout / "run.json").read_text())["status"] == "running"
    assert not hybrid.exists()

    (l2 / "checkpoints").unlink()
    again = succeed(tmp_path, "train", "-m", "study=mine")
    assert again.stdout.splitlines()[-1] == (
        "4 jobs: 1 done before, 1 resumed, 1 retried, 1 new, 0 failed"
    )
    for line in (
        f"{none} is done already",
        rf"{l2} failed \(.*\) and is retried",
        f"{dropout} broke off and is resumed, going on from .*/last.ckpt after [2-4] epochs",
        f"{hybrid} is new",
    ):
        assert len(re.findall(line, again.stdout)) == 1, again.stdout
    assert_same_run(tmp_path / "whole", dropout)


@pytest.mark.slow
def test_ctrl_c_ends_a_sweep_with_a_count_and_the_same_command_goes_on(
    prepared: Path, tmp_path: Path
) -> None:
    common = ["-m", "seed=0", "study=mine", f"data.root={prepared}", "evaluation=none", *TINY]
    process = subprocess.Popen(
        [sys.executable, "-m", "homoreg.train", *common, "trainer.max_epochs=200"], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Tests that run in the background ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    job = tmp_path / "multirun" / "mine" / "seed-0"
    while not (job / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert out.splitlines()[-1].endswith("0 failed, 1 not ended")
    assert err.splitlines()[-1].endswith("python -m homoreg.train -m study=mine")
    assert json.loads((job / "run.json").read_text())["status"] == "running"


@pytest.fixture(scope="module")
def study(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms, one at a time, in one process that cuts the patches as well."""
    folder = tmp_path_factory.mktemp("work")
    options = [f"data.root={prepared}", "data.num_workers=0", "trainer.max_epochs=2", *TINY]
    succeed(folder, "train", "-m", "regularizer=none,dropout", "study=mine", *options)
    return folder / "multirun" / "mine"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_every_launcher_gives_the_same_runs_lines_and_exit_code(
    launcher: str, study: Path, prepared: Path, tmp_path: Path
) -> None:
    # A process of each job's own cuts the patches, as it does where a job has several cores.
    options = [f"data.root={prepared}", "data.num_workers=1", "trainer.max_epochs=2", *TINY]
    arms = ["-m", "regularizer=none,dropout", "seed=0,-1", f"hydra/launcher={launcher}"]
    ended = run_alone(tmp_path, "train", *arms, "study=mine", *options)
    assert ended.returncode == 2
    assert "validated against ConfigStore" not in ended.stderr
    assert [line for line in ended.stderr.splitlines() if line.startswith("homoreg:")] == [
        f"homoreg: job regularizer-{arm}+seed--1 failed: seed=-1: "
        "give a whole number from 0 to 2³² − 1"
        for arm in ("dropout", "none")
    ]
    line = "4 jobs: 0 done before, 0 resumed, 0 retried, 2 new, 2 failed"
    assert ended.stdout.splitlines()[-1] == line
    for arm in ("none", "dropout"):
        job = tmp_path / "multirun" / "mine" / f"regularizer-{arm}+seed-0"
        assert_same_run(study / f"regularizer-{arm}", job)
        assert (study / f"regularizer-{arm}" / "train.log").is_file()


@pytest.mark.slow
def test_a_search_goes_by_its_metric_and_repeats_itself(prepared: Path, tmp_path: Path) -> None:
    search = [
        *("-m", "hparams_search=optuna", "hydra.sweeper.n_trials=3", "study=tune"),
        *(f"data.root={prepared}", "trainer.max_epochs=1", *TINY),
    ]
    first = succeed(tmp_path, "train", *search)
    assert first.stdout.splitlines()[-1].startswith("3 jobs: 0 done before")
    folder = tmp_path / "multirun" / "tune"
    values = [
        json.loads(file.read_text())["metrics"]["val/nn_accuracy"]
        for file in folder.glob("*/run.json")
    ]
    found = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    assert found["best_value"] == max(values)
    assert set(found["best_params"]) == {
        *("regularizer.weight_decay", "regularizer.dropout", "optimizer.lr", "loss.margin")
    }
    again = succeed(tmp_path, "train", *search)
    assert again.stdout.splitlines()[-1].startswith("3 jobs: 3 done before")
    wrong = run(tmp_path, "train", *search, "optimized_metric=val/nothing")
    assert wrong.returncode == 2
    assert "optimized_metric=val/nothing: a run has" in wrong.stderr
    assert wrong.stdout.splitlines()[-1].endswith("3 failed")
    succeed(tmp_path, "report", f"runs={folder}")


@pytest.mark.slow
def test_tensorboard_s_own_server_shows_a_study_as_a_dashboard(study: Path) -> None:
    planned = subprocess.run(
        ["make", "--no-print-directory", "-n", "dashboard", f"SWEEP={study}"],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True,
    )  # fmt: skip
    command = shlex.split(planned.stdout.splitlines()[-1])
    assert Path(command[0]).name == "tensorboard"
    board = TensorBoard()
    board.configure(argv=[*command, "--port", "0", "--load_fast", "false"])
    url = board.launch() + "data/"

    def get(path: str, **params: str) -> Any:
        return requests.get(url + path, params=params, timeout=60).json()

    # A run is its job's name and the folder of its curves.
    arms = ["regularizer-dropout/tb", "regularizer-none/tb"]
    ends = time.monotonic() + 60
    while sorted(get("runs")) != arms and time.monotonic() < ends:
        time.sleep(0.2)
    assert sorted(get("runs")) == arms
    tags = get("plugin/scalars/tags")
    layout = get("plugin/custom_scalars/layout")
    asked = {"allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_RUNNING"]}
    session_groups = requests.post(
        url + "plugin/hparams/session_groups",
        json=asked | {"experimentName": "", "colParams": [], "startIndex": 0, "sliceSize": 10},
        timeout=60,
    ).json()["sessionGroups"]
    losses = get("plugin/scalars/scalars", tag="val/loss", run="regularizer-dropout/tb")

    epochs = pd.read_csv(study / "regularizer-dropout" / "csv" / "metrics.csv")
    assert [value for _, _, value in losses] == pytest.approx(epochs["val/loss"])

    shown = {category["title"]: category["chart"] for category in layout["category"]}
    assert set(shown) == set(LAYOUT | homography_charts())
    for charts in shown.values():
        for chart in charts:
            for pattern in chart["multiline"]["tag"]:
                if pattern == "^train/penalty":
                    continue  # of arms that have one
                for arm in arms:
                    assert any(re.search(pattern, tag) for tag in tags[arm]), pattern

    for group in session_groups:
        record = json.loads(((study / group["name"]).parent / "run.json").read_text())
        assert group["hparams"]["regularizer.name"] == record["training"]["regularizer"]
        assert group["hparams"]["regularizer.dropout"] == record["training"]["dropout"]
        assert group["hparams"]["seed"] == 0
        assert len(group["hparams"]) < 15
        values = {m["name"]["tag"]: m["value"] for m in group["metricValues"]}
        for name in ("dlt/auc_5px", "magsac/corner_error_px", "val/nn_accuracy", "val/gap"):
            assert values[f"hp/{name}"] == pytest.approx(record["metrics"][name])
        assert len(values) < 15
    assert sorted(group["name"] for group in session_groups) == arms
