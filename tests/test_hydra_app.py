import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from homoreg.errors import HomoregError
from homoreg.hydra_app import MAX_JOB_NAME, job_name, study_name

# A command of its own: it fails, or leaves a file, as its options say.
COMMAND = """
from pathlib import Path
from homoreg.errors import HomoregError
from homoreg.hydra_app import command

@command("train")
def main(cfg):
    if cfg.seed == 1:
        raise HomoregError("seed=1: choose another")
    if cfg.seed == 2:
        raise RuntimeError("a bug")
    (Path(cfg.paths.run) / "done").touch()

main()
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = folder / "command.py"
    script.write_text(COMMAND)
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        check=False,
    )


def test_a_single_run_ends_as_its_error_deserves(tmp_path: Path) -> None:
    fine = run(tmp_path, "seed=0")
    assert (fine.returncode, fine.stderr) == (0, "")
    mendable = run(tmp_path, "seed=1")
    assert (mendable.returncode, mendable.stderr) == (2, "homoreg: seed=1: choose another\n")
    bug = run(tmp_path, "seed=2")
    assert bug.returncode == 1
    assert "RuntimeError: a bug" in bug.stderr
    assert len(list(tmp_path.glob("outputs/*/*"))) == 3


def test_a_sweep_goes_on_and_names_each_job_that_failed(tmp_path: Path) -> None:
    sweep = run(tmp_path, "regularizer=l2", "seed=0,1,2,3", "data.root=/photos", "-m", "study=mine")
    assert sweep.returncode == 2
    lines = [line for line in sweep.stderr.splitlines() if line.startswith("homoreg:")]
    assert lines == [
        "homoreg: job regularizer-l2+seed-1 failed: seed=1: choose another",
        "homoreg: job regularizer-l2+seed-2 failed: RuntimeError: a bug",
    ]
    assert "Traceback" not in sweep.stderr
    study = tmp_path / "multirun" / "mine"
    done = {path.parent.name for path in study.glob("*/done")}
    assert done == {"regularizer-l2+seed-0", "regularizer-l2+seed-3"}
    assert "a bug" in (study / "regularizer-l2+seed-2" / "error.txt").read_text()

    again = run(tmp_path, "-m", "regularizer=l2", "seed=0,3", "study=mine")
    assert again.returncode == 0, again.stderr


def test_a_study_is_four_arms_at_twelve_seeds_unless_the_command_line_says_otherwise(
    tmp_path: Path,
) -> None:
    run(tmp_path, "-m", "experiment=study", "study=all")
    jobs = {path.name for path in (tmp_path / "multirun" / "all").iterdir() if path.is_dir()}
    assert jobs == {
        f"regularizer-{arm}+seed-{seed}"
        for arm in ("none", "l2", "dropout", "hybrid")
        for seed in range(12)
    }
    few = run(tmp_path, "seed=0,3", "-m", "experiment=study", "regularizer=l2", "study=few")
    jobs = {path.name for path in (tmp_path / "multirun" / "few").iterdir() if path.is_dir()}
    assert jobs == {"regularizer-l2+seed-0", "regularizer-l2+seed-3"}
    assert (few.returncode, few.stdout.splitlines()[-1]) == (
        0,
        "2 jobs: 0 done before, 0 resumed, 0 retried, 2 new, 0 failed",
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["patch.sise=3"], "unknown option 'patch.sise'"),
        (["seed=0", "study=1e3", "-m"], "study=1000.0"),
        (["regularizer=l3"], "l3"),
        (["patch.size="], "patch.size=: give a whole number"),
        (["patch.size=abc"], "patch.size=abc: give a whole number, as the default 32 is"),
        (["data.batch_size=2.5"], "data.batch_size=2.5: give a whole number"),
        (["evaluation.enabled=3"], "evaluation.enabled=3: give true or false"),
        (["model.channels=[8,x]"], "model.channels=[8, 'x']: give a list"),
        (["warp=notebook", "warp.scale=2"], "warp.scale=2: give a list"),
        (["seed=[1"], "seed=[1"),
        (["study=1e3", "-m", "seed=0,3"], "study=1000.0"),
    ],
)
def test_what_hydra_refuses_is_one_line(tmp_path: Path, arguments: list[str], line: str) -> None:
    refused = run(tmp_path, *arguments)
    assert refused.returncode == 2, refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert line in refused.stderr


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z]{1,12}(\.[a-z]{1,12})?", fullmatch=True),
            st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=80),
        ),
        max_size=6,
    )
)
def test_a_job_s_name_needs_no_quoting(overrides: list[tuple[str, str]]) -> None:
    name = job_name([f"{key}={value}" for key, value in overrides], [])
    assert 0 < len(name) <= MAX_JOB_NAME
    assert "/" not in name
    assert (
        OverridesParser.create().parse_override(f"runs=multirun/{name}").value()
        == f"multirun/{name}"
    )
    assert name.isascii() is False or json.dumps(name) == f'"{name}"'


def test_long_names_that_differ_late_stay_apart() -> None:
    names = {job_name([f"{'key' * 50}={i}"], []) for i in range(100)}
    assert len(names) == 100


def test_a_study_s_name_is_a_plain_folder() -> None:
    assert study_name(None, "now") == "now"
    assert study_name("mine", "now") == "mine"
    assert study_name(2024, "now") == "2024"
    for wrong in (1e3, "a/b", "a b", ".."):
        with pytest.raises(HomoregError, match="study="):
            study_name(wrong, "now")
