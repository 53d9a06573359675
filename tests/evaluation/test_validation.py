"""Ratios and bounds chosen on validation pairs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.baselines import RootSift

from homoreg.data import PairManifest
from homoreg.data.correspondences import PairSampling
from homoreg.data.datamodule import PatchPairDataModule, validation_photos
from homoreg.data.patches import Window
from homoreg.descriptors.inference import Origin
from homoreg.evaluation import EvaluationProtocol, ManifestBenchmark, evaluate_benchmark
from homoreg.evaluation.calibration import Bound, Calibration
from homoreg.evaluation.table import make_table
from homoreg.evaluation.validation import (
    RATIOS,
    calibrate,
    validation_benchmarks,
)
from homoreg.geometry import Estimate, Estimator
from homoreg.matching import RatioMatcher, ShiTomasi


@dataclass(frozen=True)
class Limited:
    """Plain DLT on the matches up to a ratio."""

    max_ratio: Any = "auto"

    def __call__(self, points1: np.ndarray, points2: np.ndarray) -> Estimate:
        return Estimator()(points1, points2)


DATA = {"validation_share": 0.6, "validation_split": "photo"}
PROTOCOL = EvaluationProtocol(
    ShiTomasi(), RatioMatcher(None), {"dlt": Limited(), "magsac": Estimator("magsac")}
)


def halves(prepared: Path, **options: Any) -> tuple[ManifestBenchmark, ManifestBenchmark]:
    count = options.pop("count", 100)
    found = validation_benchmarks(DATA | {"root": prepared} | options, count)
    assert found is not None
    return found


def test_the_halves_are_of_different_photos_that_were_not_trained_on(prepared: Path) -> None:
    tuning, calibration = halves(prepared)
    photos = [{pair.photo for pair in half} for half in (tuning, calibration)]
    assert not photos[0] & photos[1]
    everyone = {p.photo for p in PairManifest.load(prepared / "pairs_train.json").pairs}
    assert photos[0] | photos[1] == validation_photos(everyone, 0.6)
    # What chooses the best epoch is measured on the photographs for tuning.
    data = PatchPairDataModule(
        prepared, Window(32, 16), PairSampling(), 0, 8, 4, validation_share=0.6
    )
    data.setup()
    shown = {data.manifest.pairs[i].photo for i in data.validation_members}
    assert shown == photos[0]
    trained = {data.manifest.pairs[i].photo for i in data.train_members}
    assert trained == everyone - photos[0] - photos[1]
    assert {len(tuning), len(calibration)} == {4}
    # A limit takes a pair of each photo first.
    few, _ = halves(prepared, count=4)
    assert len({pair.photo for pair in few}) == len(few) == 2


@pytest.mark.parametrize(
    ("options", "count", "reason"),
    [
        ({}, 0, "validation_pairs=0"),
        ({"validation_split": "sample"}, 9, "held out no photos"),
        ({"root": "nowhere"}, 9, "there is no nowhere/pairs_train.json"),
    ],
)
def test_without_validation_pairs_one_line_says_so(
    prepared: Path, options: dict, count: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert validation_benchmarks(DATA | {"root": prepared} | options, count) is None
    assert reason in caplog.text


def test_the_ratio_with_the_smallest_errors_is_chosen(prepared: Path) -> None:
    tuning, calibration = halves(prepared)
    found = calibrate([RootSift(support=32)], tuning, calibration, PROTOCOL)
    (key, ratio), *others = found.max_ratios.items()
    assert (key, others) == (("rootsift", "dlt"), [])
    errors = []
    for candidate in RATIOS:
        protocol = EvaluationProtocol(
            PROTOCOL.detector, PROTOCOL.matcher, {"dlt": Limited(candidate)}
        )
        table = evaluate_benchmark(RootSift(support=32), tuning, protocol)
        errors.append(np.log10(table["corner_error_px"].clip(0.05, 100)).mean())
    assert ratio == RATIOS[int(np.argmin(errors))] < 0.95
    assert min(errors) < errors[-1]


def test_the_bound_is_the_factor_times_the_prediction(
    prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tuning, calibration = halves(prepared)
    rootsift = RootSift(support=32)
    found = calibrate([rootsift], tuning, calibration, PROTOCOL)
    assert "as few as" in caplog.text
    # With four or eight pairs there is no bound that holds for 90 %.
    assert found.bounds["rootsift", "dlt"] == Bound(np.inf, 4, 2)
    # Nothing of MAGSAC was chosen on the pairs for tuning, so it is calibrated on these as well.
    assert found.bounds["rootsift", "magsac"] == Bound(np.inf, 8, 4)
    # Weights that were the best epoch on these pairs are calibrated on the others alone.
    rootsift.origin = Origin(Path("checkpoints/best.ckpt"), {})
    best = calibrate([rootsift], tuning, calibration, PROTOCOL)
    assert best.bounds["rootsift", "magsac"] == Bound(np.inf, 4, 2)
    known = Calibration(found.max_ratios, {("rootsift", "magsac"): Bound(2.5, 60, 30)})
    benchmark = ManifestBenchmark(prepared / "pairs_eval.json")
    table = evaluate_benchmark(rootsift, benchmark, PROTOCOL, calibration=known)
    dlt, magsac = (table[table["estimator"] == name] for name in ("dlt", "magsac"))
    assert dlt["bound_90_px"].isna().all()
    assert (magsac["bound_90_px"] == 2.5 * magsac["predicted_corner_error_px"]).all()
    # The estimator took fewer matches; precision and counts are the matcher's.
    assert (dlt["inliers"] < dlt["match_count"]).all()
    assert (dlt["match_count"].to_numpy() == magsac["match_count"].to_numpy()).all()
    known.write(tmp_path, **vars(PROTOCOL))
    written = json.loads((tmp_path / "calibration.json").read_text())
    assert written["coverage"] == 0.9
    assert "ShiTomasi" in written["detector"]
    assert "RatioMatcher" in written["matcher"]
    assert written["estimators"] == {name: repr(e) for name, e in PROTOCOL.estimators.items()}
    entries = {entry["estimator"]: entry for entry in written["entries"]}
    assert entries["dlt"]["max_ratio"] == found.max_ratios["rootsift", "dlt"]
    assert entries["magsac"] == {
        **{"descriptor": "rootsift", "estimator": "magsac", "max_ratio": None},
        **{"factor": 2.5, "pairs": 60, "photos": 30, "small": False},
    }
    make_table(table.to_dict("records"))
