"""The tables against values computed by hand, in plain Python, from the runs' own files."""

import csv
import math
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from homoreg.metrics import METRICS
from homoreg.study.arms import name_arms, settings_table
from homoreg.study.tables import gather_rows, model_table, read_epochs, regression

HUGE = 1e30  # stands for infinity where plain arithmetic would give NaN


def plain_quartiles(values: list[float]) -> list[float]:
    finite = [min(value, HUGE) for value in values]
    cuts = statistics.quantiles(finite * (1 if len(finite) > 1 else 2), n=4, method="inclusive")
    return [math.inf if cut > HUGE / 1e6 else cut for cut in cuts]


@pytest.mark.parametrize("model", ["l2", "rootsift"])
@pytest.mark.parametrize("estimator", ["dlt", "magsac"])
def test_model_table_equals_hand_computation(page: Path, sweep: Path, model: str, estimator: str):
    file = sweep / "regularizer-l2+seed-1" / "evaluation" / "eval.csv"
    with file.open(newline="") as lines:
        raw = [
            row
            for row in csv.DictReader(lines)
            if row["estimator"] == estimator and model in (row["regularizer"], row["descriptor"])
        ]
    models = pd.read_csv(page.parent / "tables" / "models.csv", keep_default_na=False)
    [row] = models[
        (models["arm"] == model)
        & (models["estimator"] == estimator)
        & models["seed"].isin(["1", ""])
    ].to_dict("records")

    assert row["pairs"] == len(raw) == 40
    assert row["failed_percent"] == 10.0
    assert row["too_few_matches_percent"] == 7.5
    assert row["degenerate_percent"] == 2.5
    for name in ("match_count", "recall_3px", "corner_error_px", "kappa", "rmse_gray", "ssim"):
        # A failed estimate has an empty cell: the worst value there is.
        worst = -1.0 if name == "ssim" else math.inf
        q1, median, q3 = plain_quartiles([float(r[name] or worst) for r in raw])
        assert float(row[f"{name}_q1"]) == pytest.approx(q1), name
        assert float(row[f"{name}_median"]) == pytest.approx(median), name
        assert float(row[f"{name}_q3"]) == pytest.approx(q3), name


def one_model(**columns: list) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    who = {
        "protocol": "corrected",
        "estimator": "dlt",
        "arm": "none",
        "run": "r",
        "status": "ok",
        "corner_error_px": 1.0,
    }
    rows = pd.DataFrame({**who, **columns}, index=range(count))
    rows = rows.reindex(columns=list(dict.fromkeys([*rows, *METRICS])))
    return rows.assign(seed=pd.array([0] * count, "Int64"))


def test_failing_on_the_hard_pairs_does_not_look_better():
    honest = one_model(rmse_gray=[5.0, 6.0, 50.0, 60.0])
    failing = one_model(rmse_gray=[5.0, 6.0, np.nan, np.nan])
    [a], [b] = (model_table(rows)["rmse_gray_median"] for rows in (honest, failing))
    assert a == 28.0
    assert b == math.inf


def test_baselines_of_all_runs_count_once(page: Path):
    models = pd.read_csv(page.parent / "tables" / "models.csv", keep_default_na=False)
    assert list(models.loc[models["estimator"] == "dlt", "arm"]) == [
        *("none", "none", "l2", "l2", "dropout", "dropout", "hybrid", "hybrid"),
        *("rootsift", "untrained"),
    ]
    baselines = models[models["arm"].isin(["rootsift", "untrained"])]
    assert set(baselines["run"]) == {""}
    assert set(baselines["pairs"]) == {40}


def test_baselines_on_other_pairs_are_not_taken_for_the_same():
    baseline = one_model(pair_id=["000001", "000002"]).assign(
        descriptor="orb", seed=pd.NA, benchmark="eval", kappa=2.0, kappa_correct=1.5
    )
    runs = pd.DataFrame({"run": ["a", "b"], "arm": ["none", "l2"], "manifest_hash": ["x", "y"]})
    runs = runs.assign(protocol="corrected")
    assert len(gather_rows({"a": baseline, "b": baseline}, runs)) == 4
    assert len(gather_rows({"a": baseline, "b": baseline}, runs.assign(manifest_hash="x"))) == 2
    older = baseline.drop(columns="kappa_correct")
    gathered = model_table(gather_rows({"a": older, "b": baseline}, runs))
    assert "kappa_correct_median" not in gathered
    assert "kappa_median" in gathered
    # What another protocol measured stands there.
    other = gather_rows(
        {"a": older, "b": baseline}, runs.assign(protocol=["notebook", "corrected"])
    )
    medians = model_table(other).set_index("protocol")["kappa_correct_median"]
    assert np.isnan(medians["notebook"])
    assert medians["corrected"] == 1.5


def test_ids_stay_text(page: Path):
    rows = pd.read_csv(page.parent / "tables" / "evaluation.csv.gz", dtype=str)
    assert set(rows["pair_id"].str.len()) == {6}


def runs_of(*settings: dict, regularizer: str = "none") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "training.regularizer": [own.get("regularizer", regularizer) for own in settings],
            "settings": list(settings),
            "seed": [own.get("seed", 0) for own in settings],
        }
    )


def test_runs_that_differ_in_more_than_the_seed_have_arms_of_their_own():
    seeds = ({"seed": 0, "key.of": 0}, {"seed": 1, "key.of": 1})
    runs = runs_of(*seeds, {"seed": 0, "key.of": 0, "optimizer.lr": 0.1})
    assert list(name_arms(runs)) == ["none", "none", "none optimizer.lr=0.1"]


def test_what_follows_from_another_setting_names_no_arm():
    runs = runs_of(
        {"regularizer": "none", "model.dropout": 0.0, "size": "small", "data.pairs": 10},
        {"regularizer": "mine", "model.dropout": 0.5, "size": "small", "data.pairs": 10},
        {"regularizer": "mine", "model.dropout": 0.5, "size": "large", "data.pairs": 99},
    )
    assert list(name_arms(runs)) == ["none", "mine size=small", "mine size=large"]
    assert list(name_arms(runs, ["size"])) == ["none", "mine", "mine"]
    assert list(name_arms(runs.iloc[:2])) == ["none", "mine"]
    assert list(settings_table(runs)) == ["regularizer", "size", "data.pairs", "model.dropout"]


def test_a_setting_that_mirrors_another_is_shown_once():
    runs = runs_of(*({"regularizer.p": p, "model.dropout": p} for p in (0.1, 0.2)))
    assert list(settings_table(runs)) == ["regularizer.p"]


def test_an_epochs_scattered_lines_become_one(tmp_path: Path):
    file = tmp_path / "metrics.csv"
    file.write_text(
        "epoch,step,train/loss,val/loss\n"
        "0,9,,0.5\n0,9,0.4,\n1,19,,0.3\n"  # broke off here
        "1,19,,0.25\n1,19,0.2,\n"
    )
    epochs = read_epochs(file)
    assert epochs["epoch"].tolist() == [0, 1]
    assert epochs["train/loss"].tolist() == [0.4, 0.2]
    assert epochs["val/loss"].tolist() == [0.5, 0.25]


def test_regression_finds_a_known_line_and_counts_what_it_cannot_use():
    # κ is plotted as log10; RMSE as it is.
    columns = {"kappa": [1, 10, 100, 1000, 1e4, np.nan], "rmse_gray": [1, 3, 5, 7, np.inf, 2]}
    [line] = regression(one_model(**columns), "kappa", "rmse_gray").to_dict("records")
    assert (line["pairs"], line["n"]) == (6, 4)
    assert (line["slope"], line["intercept"]) == pytest.approx((2.0, 1.0))
    assert line["spearman"] == pytest.approx(1.0)


@pytest.mark.parametrize("y", [[1.0, 2.0, np.nan], [3.0, 3.0, 3.0]])
def test_no_line_through_two_points_or_a_constant(y: list):
    rows = one_model(ssim=[1.0, 2.0, 3.0], rmse_gray=y)
    [line] = regression(rows, "ssim", "rmse_gray").to_dict("records")
    assert np.isnan([line["slope"], line["intercept"], line["spearman"]]).all()


def test_an_estimate_that_folds_the_view_is_a_failure():
    rows = one_model(
        pair_id=["a", "b"], corner_error_px=[np.inf, 1.0], kappa=[3.0, 3.0], match_count=[9, 9]
    ).assign(descriptor="cnn", benchmark="eval")
    runs = pd.DataFrame({"run": ["r"], "protocol": ["corrected"], "arm": ["none"]})
    gathered = gather_rows({"r": rows}, runs.assign(manifest_hash="x"))
    assert list(gathered["status"]) == ["folded", "ok"]
    assert list(gathered["match_count"]) == [9, 9]
    assert model_table(gathered)["failed_percent"].tolist() == [50.0]
