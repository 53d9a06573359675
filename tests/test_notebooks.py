"""The notebooks run from top to bottom, and git keeps them without what they print."""

import os
from pathlib import Path
from unittest.mock import patch

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LONGEST_CELL = 40  # lines: what a reader takes in at once


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def test_both_notebooks_are_here() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["study", "three_errors"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_without_outputs_and_places(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert "execution" not in cell.metadata
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert cell.source.count("\n") < LONGEST_CELL, f"{cell.id} is long"
        # A path of one machine is of no use on another.
        assert not any(root in cell.source for root in ("/home/", "/Users/", "/tmp/", ":\\"))
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    """Every cell succeeds without a warning, and all that is written lies in a temporary folder."""
    notebook = read(path)
    temporary, started_in = tmp_path / "temporary", tmp_path / "started_in"
    temporary.mkdir()
    started_in.mkdir()
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(started_in)}},
    )
    with patch.dict(os.environ, {"HOMOREG_NOTEBOOK": "test", "TMPDIR": str(temporary)}):
        client.execute()
    assert list(started_in.iterdir()) == []
    outputs = [(cell.id, out) for cell in notebook.cells for out in cell.get("outputs", [])]
    assert [(cell, out.text) for cell, out in outputs if out.get("name") == "stderr"] == []
    assert any("image/png" in out.get("data", {}) for _, out in outputs)
