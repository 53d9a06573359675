"""The page: whole, self-contained, and every number on it in a table beside it."""

import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from tests.commands import run, succeed
from tests.pages import Page, browse

from homoreg.cli import compose
from homoreg.report import gather
from homoreg.runs import find_runs
from homoreg.study.analysis import Analysis
from homoreg.study.data import StudyData
from homoreg.study.document import number
from homoreg.study.page import notes, write_report
from homoreg.study.render import csv_path

FIGURES = ["primary", "loss", "study_boxes", "study_scatter", "recall"]
FIGURES += ["forest", "kappa_corner", "predicted_corner"]
TABLES = ["protocols", "cost", "training_arms", "accuracy", "stability"]
TABLES += ["answer", "comparisons", "claims", "claim_1", "statements"]
FRAMES = ["runs", "protocols", "cost", "training", "training_arms", "epochs", "loss"]
FRAMES += ["evaluation", "models", "arms", "study_boxes", "regression"]
FRAMES += ["levels", "study_regression", "comparisons", "claims", "statements"]


def _report(run: Path, folder: Path) -> Path:
    return write_report(folder, gather(find_runs(run), run, folder))


def parsed(page: Path) -> Page:
    return Page(page.read_text(encoding="utf-8"))


def test_all_files_are_there(page: Path):
    expected = {"index.html", "report.md", *map(csv_path, FRAMES)}
    expected |= {f"tables/{name}.tex" for name in TABLES}
    expected |= {"figures/regularizer-none+seed-0_patch_pairs.jpg"}
    expected |= {f"figures/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    folder = page.parent
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == expected


def test_the_page_needs_nothing_but_itself(page: Path):
    shown = parsed(page)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in shown.tags}
    assert not re.search(r"@import|url\(", page.read_text(encoding="utf-8"))
    for address in shown.addresses():
        if address.startswith(("data:", "#")):
            continue
        assert (page.parent / unquote(address)).is_file(), address


def test_numbers_of_the_page_stand_in_the_csv(page: Path):
    """The accuracy rows are the CSV's rows in the format of the page."""
    arms = pd.read_csv(page.parent / "tables" / "arms.csv", keep_default_na=False, na_values=[""])
    shown = next(t for t in parsed(page).tables if "AUC 10 px" in t[0])
    rows = [row for row in shown[1:] if len(row) > 1]
    assert len(rows) == len(arms) == 12
    for row, record in zip(rows, arms.to_dict("records"), strict=True):
        assert row[1:4] == [record["arm"], str(record["seeds"] or "–"), str(record["pairs"])]
        aucs = [number(1)(record[f"auc_{t}px_mean"]) for t in (1, 3, 5, 10)]
        assert [cell.split(" ")[0] for cell in row[4:8]] == aucs
        assert row[8] == number(1)(record["failed_percent_mean"])
        assert row[-1].split(" ")[0] == number(2)(record["corner_error_px_median_mean"])


def test_training_table_is_the_studys(page: Path):
    training = pd.read_csv(page.parent / "tables" / "training.csv", keep_default_na=False)
    assert training["arm"].tolist() == ["none"] * 2 + ["l2"] * 2 + ["dropout"] * 2 + ["hybrid"] * 2
    hybrid = training[training["arm"] == "hybrid"].iloc[0]
    assert (hybrid["dropout"], hybrid["weight_decay"], hybrid["epochs"]) == (0.3, 1e-4, 6)
    assert hybrid["final_train_loss"] == pytest.approx(0.0885)
    shown = next(t for t in parsed(page).tables if "training loss" in t[0])
    assert shown[-1][:2] == ["hybrid", "2"]
    cells = [cell.split(" ")[0] for cell in shown[-1][2:]]
    assert [*cells[:2], *cells[3:]] == ["0.0885", "0.0849", "0.0001", "0.3"]
    assert len(shown) == 1 + 4
    assert "The same for all: epochs 6, patch (px) 32," in parsed(page).text


def test_unfinished_runs_are_named_and_left_out(page: Path):
    text = parsed(page).text
    assert "regularizer-none+seed-2 is failed" in text
    assert "regularizer-none+seed-3 is running" in text
    evaluation = pd.read_csv(page.parent / "tables" / "evaluation.csv.gz", keep_default_na=False)
    assert "regularizer-none+seed-2" not in set(evaluation["run"])


def test_what_was_run_is_told(page: Path):
    text = parsed(page).text
    for fact in ("torch 2.14.0", "deadbeef", "0123456789abcdef", "181"):
        assert fact in text


def test_infinite_medians_and_single_runs(tmp_path: Path, make_run: Callable):
    run = make_run(tmp_path / "run", "none", 0)
    file = run / "evaluation" / "eval.csv"
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    rows.loc[rows["descriptor"] == "cnn", ["corner_error_px", "kappa"]] = ["inf", ""]
    rows.to_csv(file, index=False)
    index = _report(run, tmp_path / "out" / "report")
    shown = next(t for t in parsed(index).tables if "AUC 10 px" in t[0])
    assert shown[1][1] == "none"
    assert shown[1][-1] == "∞"
    # Status ok and an infinite error: the estimate folds the view, and counts as failed.
    assert shown[1][8] == "100.0"
    assert "inf" in (index.parent / "tables" / "models.csv").read_text()


def test_a_run_without_evaluation_still_has_its_losses(tmp_path: Path, make_run: Callable):
    run = make_run(tmp_path / "run", "l2", 3)
    shutil.rmtree(run / "evaluation")
    shutil.rmtree(run / "figures")
    index = _report(run, run / "report")
    assert "run has no table of the benchmark" in parsed(index).text
    assert {p.stem for p in index.parent.glob("tables/*")} == {
        *("protocols", "runs", "cost", "training", "training_arms", "epochs", "loss")
    }


def test_runs_on_other_pairs_are_told_and_compared_on_those_that_they_share(
    tmp_path: Path, make_run: Callable
):
    for arm, pairs in [("none", 30), ("l2", 30), ("dropout", 12)]:
        make_run(tmp_path / arm, arm, 0, pairs=pairs, baselines={})
    study = gather(find_runs(tmp_path), tmp_path, tmp_path / "report")
    pairs = study.comparisons.query("estimator == 'dlt'").groupby("arm")["pairs"].unique()
    assert pairs.map(list).to_dict() == {"l2": [30], "dropout": [12]}
    [note] = notes(study)
    assert "on the pairs that all runs of both evaluated" in note


def test_a_run_with_the_weights_of_another_counts_once(tmp_path: Path, make_run: Callable):
    for name, record in [("a", {}), ("b", {"weights_from": "a"})]:
        make_run(tmp_path / name, "none", 0, record=record, settings={"study.name": "s"})
    make_run(tmp_path / "c", "l2", 0, record={"weights_from": "elsewhere"})
    study = gather(find_runs(tmp_path), tmp_path, tmp_path / "report")
    assert notes(study) == ["b is the same run as a and left out of the tables."]
    assert set(study.rows["run"]) == {"a", "c", ""}
    assert study.comparisons["seeds"].eq(1).all()


def test_an_evaluation_that_cannot_be_read_is_left_out(
    tmp_path: Path, make_run: Callable, caplog: pytest.LogCaptureFixture
):
    run = make_run(tmp_path / "a", "none", 0)
    study = gather(find_runs(run), run, tmp_path / "report", evaluations=[tmp_path / "gone"])
    assert len(study.rows)
    assert f"the evaluation {tmp_path / 'gone'} is left out: " in caplog.text


@pytest.mark.slow
def test_command(tmp_path: Path, make_run: Callable):
    make_run(tmp_path / "sweep" / "regularizer-none+seed-0", "none", 0)
    make_run(tmp_path / "broken" / "regularizer-l2+seed-0", "l2", 0, status="failed")

    succeed(tmp_path, "report", "runs=[sweep]", "hydra.run.dir=elsewhere")
    assert (tmp_path / "elsewhere" / "report" / "index.html").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"sweep", "broken", "elsewhere"}
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["regularizer-none+seed-0"]

    failed = run(tmp_path, "report", "runs=broken")
    assert failed.returncode == 2
    assert "none of the 1 runs is finished" in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr


def test_an_analysis_on_the_command_line_holds_for_every_run(
    tmp_path: Path, make_run: Callable, monkeypatch: pytest.MonkeyPatch
):
    strict = {"protocol": "corrected", "kappa": "kappa_notebook", "max_kappa": 2e7}
    make_run(tmp_path / "s" / "regularizer-none+seed-0", "none", 0, analysis=strict)
    make_run(tmp_path / "s" / "regularizer-none+seed-1", "none", 1)
    seen: list[StudyData] = []
    monkeypatch.setattr("homoreg.report.write_report", lambda _, study: seen.append(study))
    succeed(tmp_path, "report", "runs=s", "analysis.max_kappa=null", "analysis.drop_failures=true")
    assert seen[0].runs["analysis"].tolist() == [
        Analysis(kappa="kappa_notebook", drop_failures=True),
        Analysis(drop_failures=True),
    ]
    refused = run(tmp_path, "report", "runs=s", "analysis.kappa=dop")
    assert refused.returncode == 2
    assert "analysis.kappa: Input should be 'kappa' or" in refused.stderr
    assert compose("report").analysis.keys() == compose("train").analysis.keys()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_shows_all_of_it(page: Path, tmp_path: Path, width: int):
    probe = """addEventListener("load", () => {
      const images = [...document.images], root = document.documentElement
      root.dataset.images = images.length
      root.dataset.broken = images.filter(image => !image.naturalWidth).length
      root.dataset.overflow = root.scrollWidth - root.clientWidth
    })"""
    copy = shutil.copy(page, tmp_path / "copy.html")
    (root,) = browse(copy, tmp_path / "profile", probe=probe, width=width).named("html")
    shown = {name: root[f"data-{name}"] for name in ("images", "broken", "overflow")}
    assert shown == {"images": str(len(FIGURES) + 1), "broken": "0", "overflow": "0"}


@pytest.mark.parametrize("metric", ["match_count", "kappa", "rmse_gray"])
def test_a_table_of_others_may_lack_a_metric(
    tmp_path: Path, make_run: Callable[..., Path], metric: str
) -> None:
    for seed, regularizer in itertools.product((0, 1), ("none", "dropout")):
        run = make_run(tmp_path / "runs" / f"{regularizer}{seed}", regularizer, seed)
        table = pd.read_csv(run / "evaluation" / "eval.csv", dtype=str, keep_default_na=False)
        table.drop(columns=metric).to_csv(run / "evaluation" / "eval.csv", index=False)
    text = parsed(_report(tmp_path / "runs", tmp_path / "report")).text
    assert "error of none" in text
    assert not re.search(r"\bnan\b", text)


def test_baselines_stand_beside_runs_of_their_keypoints(
    tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    strong, cosine = (
        make_run(tmp_path / recipe, "none", 0, settings={"recipe": recipe}) / "evaluation"
        for recipe in ("strong", "cosine")
    )
    rows = pd.read_csv(strong / "eval.csv", dtype=str, keep_default_na=False)
    # Another detector, with as many keypoints in one pair by chance.
    other = rows["repeatable"].where(rows["pair_id"] == rows["pair_id"][0], "1")
    rows.assign(repeatable=other).to_csv(cosine / "eval.csv", index=False)
    outputs = tmp_path / "outputs"
    for folder in ("evaluation", ".hydra"):
        (outputs / folder).mkdir(parents=True)
    baseline = rows[rows["descriptor"] == "rootsift"].assign(descriptor="orb")
    baseline.to_csv(outputs / "evaluation" / "eval.csv", index=False)
    (outputs / ".hydra" / "config.yaml").write_text("runs: [cosine, strong]")
    (outputs / ".hydra" / "hydra.yaml").write_text(f"hydra: {{runtime: {{cwd: '{tmp_path}'}}}}")
    runs = find_runs([cosine.parent, strong.parent])
    study = gather(runs, tmp_path, tmp_path / "report", evaluations=[outputs])
    beside = study.rows[study.rows["descriptor"] == "orb"]
    assert set(beside["protocol"]) == {"corrected_strong"}
    assert len(beside) == len(baseline)
