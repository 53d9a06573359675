"""An evaluation that was killed goes on with the pairs that are left."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.baselines import Orb, Pairs, RawPatches
from tests.commands import TIMES, succeed

from homoreg.evaluation import ViewPair, read_evaluation
from homoreg.evaluation.journal import Journal
from homoreg.files import append

# The command whose first argument is the number of records after which it is killed, while it
# writes the next one.
KILLED = """if True:
    import os, signal, sys
    from homoreg import evaluate
    from homoreg.evaluation import journal

    left, append = int(sys.argv.pop(1)), journal.append

    def append_or_die(file, text):
        global left
        left -= 1
        append(file, text if left >= 0 else text[: len(text) // 2])
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    journal.append = append_or_die
    evaluate.main()
"""


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if not k.endswith("_ms")}
    return [without_times(v) for v in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_a_killed_command_goes_on_and_ends_with_the_same_table(
    prepared: Path, tmp_path: Path
) -> None:
    options = [
        *("descriptors=[rootsift,raw_patches]", "estimators=[dlt,magsac]", "reruns=1"),
        *(f"data.root={prepared}", "data.validation_share=0.6", "patch_pairs=0", "gallery=0"),
    ]
    succeed(tmp_path, "evaluate", *options, "hydra.run.dir=whole")
    options.append("hydra.run.dir=out")
    command = [sys.executable, "-c", KILLED, "10", *options]
    killed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert [path.name for path in (tmp_path / "out" / "evaluation").iterdir()] == ["journal.txt"]
    said = succeed(tmp_path, "evaluate", *options).stdout
    # The pairs for tuning, those for calibration, and the first two held-out ones.
    for done in ("tuning: 4 of 4", "calibration: 4 of 4", "eval: 2 of 4"):
        assert f"benchmark {done} pairs were evaluated before" in said
    whole, resumed = (tmp_path / name / "evaluation" for name in ("whole", "out"))
    assert {path.name for path in resumed.iterdir()} == {path.name for path in whole.iterdir()}
    one, two = (read_evaluation(folder / "eval.csv") for folder in (whole, resumed))
    assert one.drop(columns=TIMES).to_csv() == two.drop(columns=TIMES).to_csv()
    for name in ("summary.json", "calibration.json"):
        one, two = (json.loads((folder / name).read_text()) for folder in (whole, resumed))
        assert json.dumps(without_times(one)) == json.dumps(without_times(two))


IMAGES = np.random.default_rng(0).integers(0, 256, (4, 40, 50, 3), np.uint8)
ORB = Orb()
PAIRS = Pairs(ViewPair(str(i), image, image, np.eye(3)) for i, image in enumerate(IMAGES))


def evaluated(
    journal: Journal, pairs: Pairs = PAIRS, descriptor: Any = ORB, about: Any = ("rows",)
) -> list[str]:
    """The ids of the pairs that are not known."""
    asked = []

    def evaluate_pair(pair: ViewPair) -> dict[str, Any]:
        asked.append(pair.id)
        return {"nan": np.nan, "third": np.float32(1 / 3), "array": np.arange(2.0)}

    for record in journal.evaluate(pairs, [descriptor], evaluate_pair, *about):
        assert np.isnan(record["nan"])
        assert record["third"] == np.float32(1 / 3)
        assert list(record["array"]) == [0.0, 1.0]
    return asked


def test_pairs_are_known_until_something_that_they_depend_on_changes(tmp_path: Path) -> None:
    file = tmp_path / "new" / "journal.txt"
    assert evaluated(Journal(file, {"ratio": 0.8}), Pairs(PAIRS[:3])) == ["0", "1", "2"]
    known = file.read_bytes()

    def again(options: Any = None, **changed: Any) -> list[str]:
        file.write_bytes(known)
        return evaluated(Journal(file, options or {"ratio": 0.8}), **changed)

    assert again() == ["3"]
    other = Pairs([*PAIRS[:1], ViewPair("1", IMAGES[3], IMAGES[1], np.eye(3)), *PAIRS[2:]])
    assert again(pairs=other) == ["1", "3"]
    moved = Pairs([ViewPair("0", IMAGES[0], IMAGES[0], np.diag([1, 1, 1.001])), *PAIRS[1:]])
    assert again(pairs=moved) == ["0", "3"]
    everything = ["0", "1", "2", "3"]
    assert again(options={"ratio": 0.7}) == everything
    assert again(descriptor=Orb(support=40)) == everything
    assert again(descriptor=RawPatches(support=32)) == everything
    assert again(about=("rows", "of another calibration")) == everything


def test_what_was_not_written_to_its_end_is_computed_again(tmp_path: Path) -> None:
    file = tmp_path / "journal.txt"
    evaluated(Journal(file))
    whole = file.read_bytes()
    *_, last = whole.splitlines()
    for lost in (1, 2, len(last) // 2, len(last) - 3, len(last)):
        file.write_bytes(whole[:-lost])
        assert evaluated(Journal(file)) == ["3"]
        assert evaluated(Journal(file)) == []
    # A power cut can leave zeros where the data were.
    file.write_bytes(whole.replace(b"third", b"\0\0\0\0\0", 1))
    assert evaluated(Journal(file)) == ["0"]


def test_the_file_stays_unless_the_evaluation_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "journal.txt"

    def evaluate(fail: bool) -> list[str]:
        with Journal(file) as journal:
            asked = evaluated(journal)
            if fail:
                raise KeyboardInterrupt
        return asked

    with pytest.raises(KeyboardInterrupt):
        evaluate(fail=True)
    assert file.is_file()
    assert evaluate(fail=False) == []
    assert not file.exists()


def test_a_full_disk_names_the_journal(tmp_path: Path) -> None:
    full = tmp_path / "journal.txt"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device.*journal\.txt"):
        append(full, "record")
