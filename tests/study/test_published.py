"""The tables of docs/results, computed again from the rows that are committed beside them."""

from ast import literal_eval
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from homoreg.study.analysis import Analysis
from homoreg.study.comparisons import OUTCOMES, compare_arms, levels
from homoreg.study.tables import GAIN, arm_table, last_quarter_gains, model_table, over_seeds

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOLDERS = sorted(file.parent for file in RESULTS.rglob("evaluation.csv*"))


def read(file: Path) -> pd.DataFrame:
    """A table of a report as its frame was: every digit, and an empty name is no missing value."""
    columns = pd.read_csv(file, nrows=0).columns
    text = {*("descriptor", "regularizer", "benchmark", "pair_id", "photo", "group", "estimator")}
    text |= {*("status", "run", "protocol", "arm", "manifest_hash", "metric", "verdict")}
    return pd.read_csv(
        file,
        dtype=dict.fromkeys(text, str) | {"seed": "Int64"},
        keep_default_na=False,
        na_values={name: ["", "nan"] for name in columns if name not in text},
    )


def rows_of(folder: Path) -> pd.DataFrame:
    [file] = folder.glob("evaluation.csv*")
    return read(file)


def analyses_of(folder: Path) -> dict[str, Analysis]:
    """By protocol, from the options that the table of runs has as text."""
    found: dict[str, Analysis] = {}
    for run in read(folder / "runs.csv").query("status == 'done'").to_dict("records"):
        given: dict[str, Any] = {
            str(name).removeprefix("analysis."): literal_eval(value)
            if str(value).startswith(("[", "("))
            else value
            for name, value in run.items()
            if str(name).startswith("analysis.") and pd.notna(value)
        }
        found.setdefault(run["protocol"], Analysis(**given))
    return found


def assert_published(again: pd.DataFrame, published: pd.DataFrame, keys: list[str]) -> None:
    """Every number that both have is the same, but for the last digits."""
    shared = [name for name in again if name in published]
    assert len(shared) > len(keys) + 4
    aligned = again[keys].merge(published[shared], on=keys, how="left", validate="one_to_one")
    pd.testing.assert_frame_equal(again[shared], aligned[shared], check_dtype=False, rtol=1e-9)


def check_intervals(folder: Path, rows: pd.DataFrame) -> None:
    """The outcomes of the corner error, and their differences from none."""
    published = read(folder / "levels.csv")
    names = ("log10_corner_error", "auc_1px", "auc_3px", "auc_5px")
    shown = {name: OUTCOMES[name] for name in names if f"{name}_mean" in published}
    for protocol, own in published.groupby("protocol"):
        of_arms = rows[(rows["protocol"] == protocol) & rows["arm"].isin(own["arm"])]
        again = levels(of_arms, shown)
        assert_published(again, own, ["estimator", "arm"])
    if folder.parent.name == "ablation":  # corrections of one arm, which are not tested
        return
    published = read(folder / "comparisons.csv")
    columns = [*("protocol", "estimator", "arm", "seed", "pair_id", "photo", "status")]
    columns += ["kappa", "kappa_notebook", "manifest_hash", "corner_error_px"]
    compared = rows.loc[rows["protocol"].isin(published["protocol"]), columns]
    again = compare_arms(compared, analyses=analyses_of(folder))
    again = again[~again["metric"].str.contains("kappa")].reset_index(drop=True)
    assert_published(again, published, ["protocol", "estimator", "metric", "arm"])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_published_tables_are_those_of_the_rows(folder: Path):
    rows = rows_of(folder)
    models = model_table(rows)
    keys = ["protocol", "estimator", "arm"]
    published = read(folder / "models.csv")
    assert len(models) == len(published)
    assert_published(models, published, [*keys, "seed", "run"])
    assert_published(arm_table(models), read(folder / "arms.csv"), [*keys, "pairs"])
    check_intervals(folder, rows)


@pytest.mark.parametrize(
    "folder",
    [folder for folder in FOLDERS if (folder / "epochs.csv").is_file()],
    ids=lambda folder: folder.parent.name,
)
def test_published_gains_of_the_last_quarter_are_those_of_the_epochs(folder: Path):
    runs = read(folder / "training.csv")
    runs[GAIN] = runs["run"].map(last_quarter_gains(read(folder / "epochs.csv")))
    again = over_seeds(runs, ["protocol", "arm"], ["final_train_loss", "final_val_loss", GAIN])
    assert_published(again, read(folder / "training_arms.csv"), ["protocol", "arm"])


def test_committed_results_are_small():
    files = [file for file in RESULTS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 15e6
    assert [
        file.name for file in files if file.suffix == ".csv" and file.stat().st_size > 1e6
    ] == []
