"""Every comparison of `make bench` runs at its smallest size."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks.__main__ import main
from benchmarks.cross_check import Errors, Weighted, rows

from homoreg.geometry import Estimator, corner_error, transform_points

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


def test_cauchy_weights_lower_the_error_where_some_matches_are_noisier() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[0.9, -0.2, 30.0], [0.25, 1.1, -12.0], [1e-4, -2e-4, 1.0]])
    plain = Estimator("magsac")
    errors: dict[str, list[float]] = {"plain": [], "weighted": []}
    for _ in range(30):
        points1 = rng.uniform(0, 480, (150, 2))
        noise = rng.choice([0.1, 0.8], (150, 1)) * rng.normal(size=(150, 2))
        points2 = transform_points(points1, truth) + noise
        for name, estimator in {"plain": plain, "weighted": Weighted(plain)}.items():
            found = estimator(points1, points2).homography
            errors[name].append(corner_error(found, truth, (481, 481)))
    assert np.mean(errors["weighted"]) < 0.8 * np.mean(errors["plain"])


def test_a_row_of_the_cross_check_has_aucs_and_their_difference() -> None:
    pairs = {("sift", "ours"): [0.0, 0.0], ("sift", "theirs"): [0.0, np.inf]}
    [row] = rows(Errors(["a", "b"], pairs), ["ours", "theirs"])
    assert row.startswith("| sift | 100.0 / 100.0 / 100.0 / 100.0 | 50.0 / 50.0 / 50.0 / 50.0 |")
    assert row.count("+50.0 (+0.0 to +100.0)") == 4
