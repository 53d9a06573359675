"""A short part of the campaign; ``make torture`` runs the whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from homoreg.errors import one_line
from homoreg.files import atomic_path


def test_a_full_disk_names_the_file_and_leaves_what_was_there(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.fail("this system has no /dev/full")
    table = tmp_path / "table.csv"
    table.write_text("before")
    with (
        pytest.raises(OSError, match="table.csv") as raised,
        atomic_path(table),
        full.open("w") as file,
    ):
        file.write("after")
    assert one_line(raised.value) == f"{table}: No space left on device"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert table.read_text() == "before"


@pytest.mark.slow
def test_a_short_campaign_finds_nothing() -> None:
    """Files of every kind, and preparation under kills, on full disks and in two processes."""
    command = [sys.executable, "-m", "tests.torture", "--smoke", "--stages", "prepare"]
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 faults" in ended.stdout.splitlines()[-1]
    parts = ("fuzzed: photograph", "fuzzed: checkpoint", "file limit: prepare", "kills: ")
    for part in (*parts, "matches", "2 processes: prepare"):
        assert part in ended.stdout
