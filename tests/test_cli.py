import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig

from homoreg.cli import command
from homoreg.cli.command import as_typed
from homoreg.cli.resolvers import MAX_JOB_NAME, job_name, study_name
from homoreg.errors import HomoregError, one_line
from homoreg.runs import RunFolder
from tests.commands import Ended
from tests.commands import run as run_command


def fail_or_leave_a_file(cfg: DictConfig) -> None:
    """A job that ends as its seed says."""
    if cfg.seed == 1:
        raise HomoregError("seed=1: choose another")
    if cfg.seed == 2:
        raise RuntimeError("a bug")
    if cfg.seed == 99:
        raise KeyboardInterrupt
    (Path(cfg.paths.run) / "done").write_text(cfg.data.root)


def run(folder: Path, *arguments: str, name: str = "train") -> Ended:
    return run_command(folder, name, *arguments, main=command(name)(fail_or_leave_a_file))


def test_a_process_of_any_locale_ends_with_a_line_and_a_code(tmp_path: Path) -> None:
    """Output in an encoding that has no letter for a message's κ, × or …."""
    script = """if True:
        from homoreg.cli import command
        from homoreg.errors import HomoregError
        @command("train")
        def main(cfg):
            raise HomoregError("κ × …")
        main()"""
    ended = subprocess.run(
        [sys.executable, "-c", script, "seed=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (2, "homoreg: ? ? ?\n")


def jobs(folder: Path) -> set[str]:
    return {file.parent.name for file in folder.glob("*/done")}


def test_a_single_run_ends_as_its_error_deserves(tmp_path: Path) -> None:
    fine = run(tmp_path, "seed=0")
    assert (fine.returncode, fine.stderr) == (0, "")
    mistake = run(tmp_path, "seed=1")
    assert (mistake.returncode, mistake.stderr) == (2, "homoreg: seed=1: choose another\n")
    bug = run(tmp_path, "seed=2")
    assert bug.returncode == 1
    assert "RuntimeError: a bug" in bug.stderr
    interrupted = run(tmp_path, "seed=99")
    assert interrupted.returncode == 130
    assert "homoreg.train seed=99 hydra.run.dir=outputs/" in interrupted.stderr.splitlines()[-1]
    assert len(list(tmp_path.glob("outputs/*/*"))) == 4


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
    assert jobs(study) == {"regularizer-l2+seed-0", "regularizer-l2+seed-3"}
    assert "a bug" in (study / "regularizer-l2+seed-2" / "error.txt").read_text()


def test_a_job_whose_folder_cannot_be_written_does_not_end_the_sweep(tmp_path: Path) -> None:
    study = tmp_path / "multirun" / "mine"
    study.mkdir(parents=True)
    (study / "seed-3").write_text("in the way")
    sweep = run(tmp_path, "-m", "study=mine", "seed=0,3,4,5")
    assert sweep.returncode == 2
    assert jobs(study) == {"seed-0", "seed-4", "seed-5"}
    lines = [line for line in sweep.stderr.splitlines() if line.startswith("homoreg:")]
    assert [line.split()[2] for line in lines] == ["seed-3"]
    assert sweep.stdout.splitlines()[-1].endswith("3 new, 1 failed")
    (study / "seed-3").unlink()
    assert run(tmp_path, "-m", "study=mine").returncode == 0


def test_a_job_that_another_process_is_at_keeps_its_record(tmp_path: Path) -> None:
    job = RunFolder(tmp_path / "multirun" / "mine" / "seed-0")
    job.update_record(status="running", job={"sweep": "another", "start": "new"})
    record = job.record
    with job.locked():
        sweep = run(tmp_path, "-m", "study=mine", "seed=0,1")
    assert job.record == record
    assert "job seed-0 failed" in sweep.stderr
    assert sweep.stdout.splitlines()[-1].startswith("2 jobs: 0 done before")


def test_a_study_goes_on_by_its_name_alone(tmp_path: Path) -> None:
    study = tmp_path / "multirun" / "mine"
    first = run(tmp_path, "-m", "study=mine", "seed=0,3", "patch.size=16")
    assert (first.returncode, jobs(study)) == (0, {"seed-0", "seed-3"})
    (study / "seed-3" / "done").unlink()
    again = run(tmp_path, "-m", "study=mine")
    assert (again.returncode, jobs(study)) == (0, {"seed-0", "seed-3"})
    assert "multirun/mine goes on: seed=0,3 patch.size=16 study=mine" in again.stdout
    assert again.stdout.splitlines()[-1].startswith("2 jobs: 2 done before")

    other = run(tmp_path, "-m", "study=mine", "seed=4", "regularizer=none,l2")
    assert "was started with other options; this adds jobs to it" in other.stdout
    added = {"regularizer-none+seed-4", "regularizer-l2+seed-4"}
    assert jobs(study) == {"seed-0", "seed-3"} | added
    everything = run(tmp_path, "-m", "study=mine", "trainer.max_epochs=3")
    assert everything.stdout.splitlines()[-1].startswith("4 jobs: 4 done before")

    unnamed = run(tmp_path, "-m", "seed=0,99")
    assert unnamed.stdout.splitlines()[-1].endswith("1 new, 0 failed, 1 not ended")
    command = unnamed.stderr.splitlines()[-1].partition("homoreg.train ")[2]
    assert unnamed.returncode == 130
    assert run(tmp_path, *command.split()).returncode == 130
    assert len(list((tmp_path / "multirun").iterdir())) == 2

    old = study / "old" / "run.json"
    old.parent.mkdir()
    old.write_text('{"format": 1}')  # of another version, and none of this sweep's jobs
    again = run(tmp_path, "-m", "study=mine")
    assert (again.returncode, again.stderr) == (0, "")

    (study / "sweep.json").write_text("[")
    damaged = run(tmp_path, "-m", "study=mine")
    assert (damaged.returncode, len(damaged.stderr.splitlines())) == (2, 1)
    assert "sweep.json" in damaged.stderr


def test_a_study_gets_more_seeds_and_keeps_its_options_and_the_user_s_configs(
    tmp_path: Path,
) -> None:
    (tmp_path / "own" / "size").mkdir(parents=True)
    text = "# @package _global_\ndata:\n  root: elsewhere  # folder of the pairs\n"
    (tmp_path / "own" / "size" / "own.yaml").write_text(text)
    own = ["--config-dir=own", "size=own", "patch.size=16"]
    assert run(tmp_path, "-m", "study=mine", "seed=0", *own).returncode == 0
    for seeds in ("seed=3", "seed=4,5"):
        more = run(tmp_path, "-m", "study=mine", seeds)
        assert more.returncode == 0, more.stderr
        assert more.stdout.count("goes on: ") == 1
    study = tmp_path / "multirun" / "mine"
    assert {file.parent.name: file.read_text() for file in study.glob("*/done")} == dict.fromkeys(
        ("seed-0", "seed-3", "seed-4", "seed-5"), "elsewhere"
    )
    interrupted = run(tmp_path, "seed=99", *own).stderr.splitlines()[-1]
    command = shlex.split(interrupted.partition("homoreg.train ")[2])
    assert run(tmp_path, *command).returncode == 130
    refused = run(tmp_path, "seed=0", "-cd", "nowhere")
    assert (refused.returncode, refused.stderr) == (
        2,
        "homoreg: -cd nowhere: there is no such folder\n",
    )


def test_numbers_are_names_of_studies_and_folders(tmp_path: Path) -> None:
    ended = run(tmp_path, "-m", "study=2026_11_25", "data.root=2019,1e3", "seed=0")
    assert ended.returncode == 0, ended.stderr
    files = sorted((tmp_path / "multirun" / "2026_11_25").glob("*/done"))
    assert [file.read_text() for file in files] == ["1e3", "2019"]


def test_a_sweep_of_another_command_is_counted_and_nothing_of_it_is_done_before(
    tmp_path: Path,
) -> None:
    for _ in range(2):
        ended = run(tmp_path, "-m", "study=mine", "seed=0,1", name="evaluate")
        assert ended.returncode == 2
        assert ended.stdout.splitlines()[-1] == (
            "2 jobs: 0 done before, 0 resumed, 0 retried, 1 new, 1 failed"
        )
    assert json.loads((tmp_path / "multirun/mine/seed-1/run.json").read_text())["error"] == (
        "seed=1: choose another"
    )


def test_the_command_line_replaces_arms_and_seeds_of_a_study(tmp_path: Path) -> None:
    few = run(tmp_path, "seed=0,3", "-m", "experiment=study", "regularizer=l2", "study=few")
    assert jobs(tmp_path / "multirun" / "few") == {
        f"recipe-{recipe}+regularizer-l2+seed-{seed}"
        for recipe in ("cosine", "strong")
        for seed in (0, 3)
    }
    assert (few.returncode, few.stdout.splitlines()[-1]) == (
        0,
        "4 jobs: 0 done before, 0 resumed, 0 retried, 4 new, 0 failed",
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["patch.sise=3"], "unknown option 'patch.sise': --options lists the options"),
        (
            ["regularizer=l3"],
            "regularizer=l3: there is no such choice; choose adamw, decorrelation",
        ),
        (["patch.size="], "patch.size=: Input should be a valid integer"),
        (["patch.size=abc"], "patch.size=abc: Input should be a valid integer; the default is 32"),
        (["data.batch_size=2.5"], "data.batch_size=2.5: Input should be a valid integer"),
        (["evaluation.enabled=3"], "evaluation.enabled=3: Input should be a valid boolean"),
        (["model.channels=[8,x]"], "model.channels=[8,x]: Input should be a valid integer"),
        (["warp=notebook", "warp.scale=2"], "warp.scale=2: Input should be a valid list"),
        (["-m", "patch.size=16,abc"], "patch.size=abc: Input should be a valid integer"),
        (["-m", "study=a/b", "seed=0"], "study=a/b: use letters"),
        (["seed=[1"], "seed=[1 is not understood"),
        (["source.root=/a=b"], """quote it: 'source.root="/a=b"'"""),
        (["source.root=/a b,c"], """quote a value with a comma: 'source.root="/a b,c"'"""),
    ],
)
def test_what_is_no_option_or_value_is_one_line(
    tmp_path: Path, arguments: list[str], line: str
) -> None:
    refused = run_command(tmp_path, "train", *arguments)
    assert refused.returncode == 2, refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert line in refused.stderr
    assert not list(tmp_path.iterdir())


def test_help_is_short_and_every_option_is_explained() -> None:
    # In a process of its own: what other tests left running in this one may print too.
    script = """if True:
        import json; from pathlib import Path; from tests.commands import run
        commands = "prepare", "train", "evaluate", "align", "report", "export"
        shown = {c: [run(Path(), c, o).stdout for o in ("--help", "--options")] for c in commands}
        print(json.dumps(shown))"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    explained = re.compile(r"#|.*\._\w+_=|.*=\$\{|.*  # |$")
    for name, (text, options) in json.loads(ended.stdout).items():
        assert len(text.splitlines()) < 30
        assert f"python -m homoreg.{name} --options" in text
        assert len(options) > 100
        assert [line for line in options.splitlines() if not explained.match(line)] == []


def test_options_follow_the_choices_of_the_command_line(tmp_path: Path) -> None:
    shown = run_command(tmp_path, "train", "trainer=ddp", "patch.size=48", "--options").stdout
    assert "# trainer=ddp  choose auto, cpu, ddp, gpu" in shown
    assert (
        "trainer.strategy=ddp  # auto for one device; ddp for several, each in a process" in shown
    )
    assert "trainer.max_epochs=10  # epochs" in shown
    assert "patch.size=48  # side of the patch that the network sees, pixels" in shown


def test_options_show_the_user_s_own_configs(tmp_path: Path) -> None:
    (tmp_path / "mine" / "loss").mkdir(parents=True)
    (tmp_path / "mine" / "loss" / "own.yaml").write_text(
        "_target_: own.Loss\nslope: 2.0  # of the hinge\n"
    )
    arguments = ["--options", "loss=own", "--config-dir", str(tmp_path / "mine")]
    shown = run_command(tmp_path, "train", *arguments).stdout
    assert re.search(r"# loss=own  choose cosine, .*, own$", shown, re.MULTILINE)
    assert "loss.slope=2.0  # of the hinge" in shown


def test_a_config_is_shown_in_a_sweep_too(tmp_path: Path) -> None:
    assert "max_epochs: 10" in run_command(tmp_path, "train", "--cfg", "job", "-m", "seed=3").stdout


class TestNames:
    @given(
        st.lists(
            st.tuples(
                st.from_regex(r"[a-z]{1,12}(\.[a-z]{1,12})?", fullmatch=True),
                st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=80),
            ),
            max_size=6,
        )
    )
    def test_a_job_s_name_needs_no_quoting(self, overrides: list[tuple[str, str]]) -> None:
        name = job_name([f"{key}={value}" for key, value in overrides], [])
        assert 0 < len(name) <= MAX_JOB_NAME
        assert name.isascii()
        parsed = OverridesParser.create().parse_override(f"runs=multirun/{name}")
        assert parsed.value() == f"multirun/{name}"

    def test_jobs_that_differ_have_different_names(self) -> None:
        assert len({job_name([f"{'key' * 50}={i}"], []) for i in range(100)}) == 100
        roots = ("/x/a", "/x/a/", "x/a", "x_a", "/x_a")
        assert len({job_name([f"data.root={root}"], []) for root in roots}) == 5
        assert job_name(["model.channels=[8,16]", "optimizer.lr=1e-3"], []) == (
            "model.channels-8_16+optimizer.lr-1e-3"
        )

    @pytest.mark.parametrize("name", ["2026_11_25", "2026", "1e3", "007", "1.50"])
    def test_a_number_is_a_name_as_typed(self, name: str) -> None:
        for key in ("study", "data.root", "hydra.run.dir"):
            override = OverridesParser.create().parse_override(as_typed(f"{key}={name}"))
            assert override.value() == name

    def test_a_study_s_name_is_a_plain_folder(self) -> None:
        assert study_name(None, "now") == "now"
        assert study_name("2024", "now") == "2024"
        for wrong in ("a/b", "a b", ".."):
            with pytest.raises(HomoregError, match="study="):
                study_name(wrong, "now")


def test_a_chain_of_errors_that_runs_in_a_circle_ends() -> None:
    first, second = RuntimeError("first"), OSError(28, "No space left on device", "a.ckpt")
    first.__cause__, second.__context__ = second, first
    assert one_line(first) == "a.ckpt: No space left on device"
    second.errno = None
    assert one_line(first) == "RuntimeError: first"


FAILS = """if True:
    from homoreg.errors import HomoregError, exit_with
    from homoreg.progress import progress

    def numbers():
        for number in progress(range(3), "counting"):
            yield number

    def fail():
        counted = numbers()
        for number in counted:
            raise HomoregError("a.csv: No space left on device")

    try:
        fail()
    except HomoregError as error:
        exit_with(error)
"""


def test_the_message_comes_last() -> None:
    command = [sys.executable, "-c", FAILS]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert ended.returncode == 2
    assert "counting" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "homoreg: a.csv: No space left on device"


def test_a_log_on_a_full_disk_keeps_the_exit_code() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([sys.executable, "-c", FAILS], stdout=full, stderr=full, check=False)
    assert ended.returncode == 2
