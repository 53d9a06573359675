"""Every comparison of `make bench` runs at its smallest size."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks.__main__ import main
from benchmarks.cross_check import Errors, rows
from benchmarks.ellipses import inside
from benchmarks.plateau import main as plateau

from homoreg.runs import RunFolder
from tests.commands import DEBUG, succeed

ROOT = Path(__file__).parents[1]

# Ratios of each comparison that the table must have.
RATIOS = {
    "training": {"× the plain loop", "of the bare step"},
    "evaluation": {"× as fast as the original code", "× the time of one"},
    "stages": {"× JPEG coding alone", "× as fast as decoding alone", "× as fast as eager"},
    "growth": {"× 20 pairs"},
    "startup": {"× importing Lightning"},
    "quality": set(),
}


@pytest.mark.slow
def test_every_comparison_fills_the_table(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "2"},  # of which a comparison leaves one to the loader
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    table = pd.read_csv(next(tmp_path.glob("*.csv")))
    for comparison, ratios in RATIOS.items():
        rows = table[table["comparison"] == comparison]
        assert set(rows["against"].dropna()) == ratios
    assert (table["value"] > 0).all()
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert (table["ratio"].dropna() > 0).all()
    page = next(tmp_path.glob("*.md")).read_text(encoding="utf-8")
    assert all(f"### {comparison}" in page for comparison in RATIOS)
    assert page.count("\n| ") == len(table) + 2 * len(RATIOS)


def test_a_comparison_that_does_not_exist_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "trainning"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "there is no comparison trainning" in capsys.readouterr().err


def test_rows_of_the_cross_check_have_aucs_and_differences_from_the_last() -> None:
    pairs = {("sift", "ours"): [0.0, 0.0], ("sift", "theirs"): [0.0, np.inf]}
    ours, theirs = rows(Errors(["a", "b"], pairs), ["ours", "theirs"])
    assert ours.startswith("| sift | ours | 100.0 / 100.0 / 100.0 / 100.0 |")
    assert ours.count("+50.0 (+0.0 to +100.0)") == 4
    assert theirs.startswith("| sift | theirs | 50.0 / 50.0 / 50.0 / 50.0 |  |")


def test_corners_inside_their_ellipses_are_counted() -> None:
    rng = np.random.default_rng(0)
    covariances = np.array([[[4.0, 1.0], [1.0, 2.0]]] * 4)
    offsets = rng.multivariate_normal([0, 0], covariances[0], (2000, 4))
    found = np.array([inside(one, covariances, 10_000, np.sqrt(np.log(2))) for one in offsets])
    by_noise, calibrated = found.mean(axis=(0, 2))
    # Within a Mahalanobis distance r lie 1 - exp(-r^2 / 2): half at r = sqrt(2 log 2).
    assert by_noise == pytest.approx(0.95, abs=0.01)
    assert calibrated == pytest.approx(0.5, abs=0.02)
    assert not inside(offsets[0], covariances, 10_000, float("nan"))[1].any()


def test_the_first_draw_of_a_plateau_is_what_training_measured(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = "_target_: lightning.pytorch.callbacks.ModelCheckpoint, save_top_k: -1, monitor: step"
    keep += ', mode: max, dirpath: "${paths.run}/epochs", filename: "{epoch}"'
    options = [f"data.root={prepared}", "hydra.run.dir=run", "trainer.max_epochs=4"]
    succeed(tmp_path, "train", *DEBUG, *options, f"+callbacks.epochs={{{keep}}}")
    plateau(RunFolder(tmp_path / "run"), draws=1)
    printed = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "run" / "csv" / "metrics.csv").groupby("epoch").last()
    before, after = table.loc[[2, 3], "val/nn_accuracy"]
    assert f"after 3 of 4 epochs: {before:.4f}\n" in printed
    assert f"after 4 of 4 epochs: {after:.4f}\n" in printed
    assert f"gained in the last quarter: {100 * (after / before - 1):.2f} %" in printed
