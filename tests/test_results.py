"""The table of arms that trainings leave on the terminal."""

import json
from pathlib import Path

import pytest

from homoreg.cli.results import print_results
from homoreg.cli.sweeps import jobs_in
from homoreg.runs.folder import FORMAT, RunFolder


def run(folder: Path, name: str, error: float, **fields: object) -> RunFolder:
    """A finished job of a sweep."""
    numbers = {"log10_corner_error": error, "auc_5px": 61.25, "failure_rate": 0.05}
    numbers |= {"precision_3px": 0.9, "recall_3px": 0.5, "match_count": 212.0}
    metrics = {f"magsac/{key}": value for key, value in numbers.items()}
    record = {"format": FORMAT, "metrics": metrics | {"dlt/auc_5px": 1.0, "val/loss": 0.1}}
    record |= {"analysis": {"estimators": ["magsac", "dlt"]}}
    record |= {"training": {"regularizer": "l2"}, "job": {}, **fields}
    record = {key: value for key, value in record.items() if value is not None}
    (folder / name).mkdir(parents=True)
    (folder / name / "run.json").write_text(json.dumps(record))
    return RunFolder(folder / name)


def test_arms_stand_beside_their_control(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run(tmp_path, f"regularizer-none+seed-{seed}", 0.1 * seed) for seed in (0, 2)]
    runs += [run(tmp_path, f"regularizer-l2+seed-{seed}", 0.1 * seed + 0.3) for seed in (0, 2)]
    runs.append(run(tmp_path, "regularizer-l2+seed-3", 0.0, metrics=None))  # failed
    print_results(runs, tmp_path)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines[:-2])) <= 100
    cells = {
        line.split()[0]: line.split()[1:] for line in lines if line.startswith(("none ", "l2 "))
    }
    assert list(cells) == ["none", "l2"]  # the control first
    assert cells == {
        "none": ["2", "1.26", "1.00", "61.2", "0.90", "0.50", "212", "5.0%"],
        "l2": ["2", "2.51", "2.00", "61.2", "0.90", "0.50", "212", "5.0%"],
    }
    assert [line.split()[3] for line in lines[-2:]] == ["homoreg.report", "homoreg.evaluate"]


def test_a_single_run_is_its_regularizer_and_none_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_results([run(tmp_path, "12-00", 0.0, job=None)], tmp_path)
    rows = map(str.split, capsys.readouterr().out.splitlines())
    assert [row[1:4] for row in rows if row[:1] == ["l2"]] == [["1", "1.00", "–"]]
    print_results([run(tmp_path, "13-00", 0.0, metrics=None)], tmp_path)
    assert capsys.readouterr().out == ""


def test_whatever_a_sweep_varies_makes_arms_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = {"1e-4": 1.0, "1e-3": 0.0, "1e-2": 2.0}
    runs = [run(tmp_path, f"optimizer.lr-{lr}+seed-0", error) for lr, error in errors.items()]
    runs += [run(tmp_path, f"seed-{seed}", 0.0) for seed in (0, 1)]
    print_results(runs, tmp_path)
    rows = map(str.split, capsys.readouterr().out.splitlines())
    cells = [row[:4] for row in rows if row and row[0].startswith(("opt", "l2"))]
    assert cells == [
        ["optimizer.lr-1e-2", "1", "100.00", "–"],
        ["optimizer.lr-1e-3", "1", "1.00", "–"],
        ["optimizer.lr-1e-4", "1", "10.00", "–"],
        ["l2", "2", "1.00", "–"],
    ]


def test_a_sweep_s_folder_may_hold_jobs_of_other_starts_and_versions(tmp_path: Path) -> None:
    runs = [run(tmp_path, f"regularizer-{arm}", 0.0) for arm in ("l2", "none")]
    run(tmp_path, "regularizer-dropout", 0.0, format=1)
    assert list(jobs_in(tmp_path)) == runs
