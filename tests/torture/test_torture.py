"""A short part of the campaign; ``make torture`` runs the whole."""

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
