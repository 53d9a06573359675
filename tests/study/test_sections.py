"""Section by section, without drawing: protocols apart, arms over seeds, each number in a CSV."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.study.conftest import CORRECTED, NOTEBOOK, write_run

from homoreg.report import gather
from homoreg.runs import find_runs
from homoreg.study.arms import protocol_label
from homoreg.study.comparisons import OUTCOMES
from homoreg.study.data import StudyData
from homoreg.study.document import Figure, Section, Table, as_text, number, probability
from homoreg.study.page import notes
from homoreg.study.sections.accuracy import accuracy, best_epoch, stability, uncertainty
from homoreg.study.sections.claims import claims
from homoreg.study.sections.comparisons import comparison, contrasts, studies
from homoreg.study.sections.original import original_figures
from homoreg.study.sections.summary import answer, summary
from homoreg.study.sections.training import training
from homoreg.study.sections.variations import ablation, dose
from homoreg.study.tables import arm_table

# One row of these shows both protocols, which are rows of their own in the CSV.
SIDE_BY_SIDE = {"claims": "claim"}


def gathered(folder: Path) -> StudyData:
    return gather(find_runs(folder), folder, folder / "report")


def tables(section: Section | None) -> dict[str, Table]:
    assert section is not None
    return {part.name: part for part in section.parts if isinstance(part, Table)}


def figures(section: Section | None) -> dict[str, Figure]:
    assert section is not None
    return {part.name: part for part in section.parts if isinstance(part, Figure)}


def formatted(value: object) -> set[str]:
    """Every way in which the page could write a value."""
    if isinstance(value, str):
        return {value, value[:8]}
    shown = {as_text(value)}
    if isinstance(value, (bool, np.bool_)) or pd.isna(value):
        return shown | {"–", ""}
    return shown | {number(d)(value) for d in range(5)} | {probability(value)}


def numbers(table: Table, row: tuple[str, ...]) -> set[str]:
    """The numbers of a row as they are written, the ends of intervals apart."""
    cells = [cell for cell, text in zip(row, table.is_text, strict=True) if not text]
    parts = [part for cell in cells for part in re.split(r" \(| to |\)", cell)]
    return {part for part in parts if part not in ("", "–")}


def test_every_number_of_every_table_stands_in_a_row_of_its_csv(sections: list[Section]):
    checked = 0
    frames = {name: frame for section in sections for name, frame in section.frames.items()}
    for section in sections:
        for table in tables(section).values():
            frame = frames[table.csv]
            records = [
                set().union(*map(formatted, record.values())) for record in frame.to_dict("records")
            ]
            if table.name in SIDE_BY_SIDE:
                key = frame[SIDE_BY_SIDE[table.name]]
                records = [
                    set().union(*(r for r, k in zip(records, key, strict=True) if k == value))
                    for value in key.unique()
                ]
            for row in table.cells.itertuples(index=False, name=None):
                shown = numbers(table, row)
                assert any(shown <= record for record in records), (table.name, row)
                checked += len(shown)
    assert checked > 1000


def test_every_figure_names_a_csv_of_the_report(sections: list[Section]):
    written = {name for section in sections for name in section.frames}
    named = {part.csv for section in sections for part in section.parts if isinstance(part, Figure)}
    assert named <= written
    assert {"loss", "comparisons", "study_boxes"} <= named


def test_arms_of_one_name_stay_apart_by_protocol(both: StudyData):
    """The notebook's runs have three times the error; nothing is averaged over the two."""
    assert list(both.arms["protocol"].unique()) == ["notebook", "corrected"]
    trained = both.arms[both.arms["seeds"] > 0]
    assert set(trained["seeds"]) == {4}
    for protocol in ("notebook", "corrected"):
        own = both.rows[(both.rows["protocol"] == protocol) & (both.rows["arm"] == "none")]
        own = own[own["estimator"] == "dlt"]
        by_seed = own.groupby("seed")["corner_error_px"].median()
        [row] = trained[
            (trained["protocol"] == protocol)
            & (trained["arm"] == "none")
            & (trained["estimator"] == "dlt")
        ].to_dict("records")
        assert row["corner_error_px_median_mean"] == pytest.approx(by_seed.mean())
    names = {*figures(accuracy(both)), *figures(stability(both)), *figures(training(both))}
    assert {"loss_notebook", "loss_corrected", "kappa_corner_notebook", "recall_corrected"} <= names
    lines = stability(both).frames["regression"]
    assert set(lines.loc[lines["arm"] == "none", "pairs"]) == {4 * 12}


def test_many_runs_are_shown_by_arm(both: StudyData):
    shown = tables(accuracy(both))["accuracy"]
    assert shown.csv == "arms"
    assert len(shown.cells) == len(both.arms) == 2 * 2 * 6
    assert len(accuracy(both).frames["models"]) == 2 * 2 * (16 + 2)


def test_a_baseline_is_no_seed():
    models = pd.DataFrame(
        {
            "protocol": "corrected",
            "estimator": "dlt",
            "arm": ["none", "none", "orb"],
            "run": ["a", "b", ""],
            "pairs": 10,
            "auc_5px": [10.0, 20.0, 30.0],
        }
    )
    none, orb = arm_table(models).to_dict("records")
    assert (none["seeds"], none["auc_5px_mean"]) == (2, 15.0)
    assert (orb["seeds"], orb["auc_5px_mean"]) == (0, 30.0)
    assert np.isnan(orb["auc_5px_low"])


def test_any_regularizer_is_an_arm(tmp_path: Path, make_run: Callable):
    for seed in (0, 1):
        make_run(tmp_path / f"none+{seed}", "none", seed)
        make_run(
            tmp_path / f"whitening+{seed}",
            "whitening",
            seed,
            error_px=3.0,
            training={"strength": 0.25},
            settings={"regularizer.strength": 0.25},
        )
    study = gathered(tmp_path)
    models = study.models[study.models["estimator"] == "dlt"]
    assert list(models["arm"]) == ["none"] * 2 + ["whitening"] * 2 + ["rootsift", "untrained"]
    trained = study.arms[study.arms["seeds"] > 0]
    assert set(trained["arm"]) == {"none", "whitening"}
    cells = tables(training(study))["training_arms"].cells
    assert list(cells["strength"]) == ["–", "0.25"]
    assert set(comparison(study).frames["comparisons"]["arm"]) == {"whitening"}
    assert claims(study) is None
    assert len({study.styles[arm] for arm in ("none", "whitening", "rootsift")}) == 3


def test_what_the_last_quarter_of_the_training_gained(both: StudyData):
    """Six epochs: three quarters are four and a half, between the fourth and the fifth."""
    gains = [
        100 * (accuracy[5] / ((accuracy[3] + accuracy[4]) / 2) - 1)
        for _, run in both.epochs.query("protocol == 'corrected' and arm == 'none'").groupby("run")
        for accuracy in [run.sort_values("epoch")["val/nn_accuracy"].to_numpy()]
    ]
    table = tables(training(both))["training_arms"]
    own = table.frame.query("protocol == 'corrected' and arm == 'none'").iloc[0]
    assert own["seeds"] == len(gains)
    assert own["last_quarter_gain_percent_mean"] == pytest.approx(np.mean(gains))
    assert own["last_quarter_gain_percent_low"] < np.mean(gains)
    assert table.cells["last quarter (%)"].str.contains(" to ").all()
    short = replace(both, epochs=both.epochs[both.epochs["epoch"] < 3])
    table = tables(training(short))["training_arms"]
    assert "last quarter (%)" not in table.cells
    assert "plateau" not in table.caption


def test_the_studys_figures_leave_out_what_the_study_left_out(both: StudyData):
    section = original_figures(both)
    boxes = section.frames["study_boxes"]
    rows = both.rows[both.rows["arm"] == "l2"]
    for protocol, columns in [
        ("notebook", {"rmse_notebook_gray", "kappa_notebook", "match_count"}),
        ("corrected", {"rmse_gray", "kappa", "match_count"}),
    ]:
        assert both.primary[protocol] == {"notebook": "dlt", "corrected": "magsac"}[protocol]
        own = rows[(rows["protocol"] == protocol) & (rows["estimator"] == both.primary[protocol])]
        if protocol == "notebook":
            own = own[(own["status"] == "ok") & (own["kappa_notebook"] <= 2e7)]
        shown = boxes[(boxes["protocol"] == protocol) & (boxes["arm"] == "l2")]
        assert set(shown["metric"]) == columns
        assert set(shown["rows"]) == {len(own)}
        [matches] = shown[shown["metric"] == "match_count"].to_dict("records")
        assert matches["median"] == own["match_count"].median()
    assert "As in the study" in figures(section)["study_boxes_notebook"].caption
    assert "As in the study" not in figures(section)["study_boxes_corrected"].caption


def test_arms_at_their_best_epoch_stand_beside_equal_training(both: StudyData):
    section = best_epoch(both)
    assert section is not None
    table = section.frames["best_epoch"]
    assert set(table["protocol"]) == {"corrected"}  # the other one's runs evaluated the last epoch
    assert (table["seeds"] == 4).all()
    by_weights = table.set_index(["estimator", "arm", "weights"])
    last, best = (by_weights.xs(w, level="weights") for w in ("last epoch", "best epoch"))
    assert (last["epochs_mean"] == 6).all()
    assert (best["epochs_mean"] == 4.5).all()  # 3, 4, 5 and 6
    arms = both.arms[both.arms["protocol"] == "corrected"].set_index(["estimator", "arm"])
    for column in ("auc_5px_mean", "precision_3px_median_low"):
        pd.testing.assert_series_equal(last[column], arms.loc[last.index, column])
    errors = (frame["predicted_corner_error_px_median_mean"] for frame in (last, best))
    assert np.divide(*errors).to_numpy() == pytest.approx(2)


def test_few_seeds_are_said_once_and_tested_nowhere(sections: list[Section]):
    by_id = {section.id: section for section in sections}
    verdicts = set(by_id["comparison"].frames["comparisons"]["verdict"])
    assert verdicts <= {"open: too few seeds", "not informative"}
    assert {"forest_notebook", "forest_corrected"} <= set(figures(by_id["comparison"]))
    text = next(part for part in by_id["summary"].parts if isinstance(part, str))
    assert text.count("Too few seeds for a test: ") == 1
    assert "at least 7 seeds" in text


def test_nothing_to_see_has_no_panel(both: StudyData):
    rows = both.rows.assign(precision_3px=0.0)  # at the floor in every arm
    of_dropout = rows["arm"] == "dropout"
    rows.loc[of_dropout & (rows["seed"] > 0), "kappa"] = np.nan
    rows.loc[of_dropout & (rows["pair_id"] > "000002"), "kappa"] = np.nan
    study = replace(both, rows=rows)
    forest = figures(comparison(study))["forest_corrected"].draw()
    titles = " ".join(ax.get_title(loc="left").replace("\n", " ") for ax in forest.axes)
    assert "median recall at 3 px" in titles
    assert "precision" not in titles
    section = stability(study)
    drawn = figures(section)["kappa_corner_corrected"].draw()
    assert "dropout" not in {ax.get_title(loc="left") for ax in drawn.axes}
    lines = section.frames["regression"].query("protocol == 'corrected' and arm == 'dropout'")
    assert set(lines.loc[lines["x"] == "kappa", "n"]) <= {1, 2}  # the table has it


def test_stated_contrasts_come_first_at_both_epochs(tmp_path: Path, make_run: Callable):
    question = "Does dropout matter?"
    stated = {"arm": "dropout", "against": "none", "question": question}
    for seed in range(6):
        for arm, px in {"none": 1.5, "dropout": 4.0}.items():
            make_run(
                tmp_path / f"{arm}+{seed}",
                arm,
                seed,
                analysis=CORRECTED | {"contrasts": [stated]},
                error_px=px,
                best_after_epochs=3,
            )
    section = contrasts(gathered(tmp_path))
    [text] = [part for part in section.parts if isinstance(part, str) and question in part]
    assert f"{question} **dropout** against none: 2." in text
    assert "6 seeds; p = 0.031), higher." in text
    [row] = section.frames["contrasts"].query("estimator == 'magsac'").to_dict("records")
    assert (row["seeds"], row["verdict"], row["best_verdict"]) == (6, "higher", "higher")
    assert row["p_holm"] == 2 / 2**6


def test_a_contrast_at_another_dose_says_so(tmp_path: Path, make_run: Callable):
    stated = [{"arm": arm, "against": "none"} for arm in ("l2", "dropout", "hybrid")]
    analysis = CORRECTED | {"contrasts": stated}
    for arm, options in {"none": {}, "l2": {}, "dropout": {"regularizer.dropout": 0.1}}.items():
        make_run(tmp_path / arm, arm, 0, analysis=analysis, settings=options)
    study = gathered(tmp_path)
    changed = "dropout has dropout 0.1 instead of 0.3"
    assert f"The arm {changed} of its file in conf/regularizer." in notes(study)
    section = contrasts(study)
    lines = section.parts[1].splitlines()
    assert [f"Not as stated: {changed}." in line for line in lines] == [False, True, False]
    assert lines[2].endswith("**hybrid** against none: no runs of a common seed.")
    verdicts = tables(section)["contrasts"].cells["verdict"]
    assert list(verdicts) == ["too few seeds", "too few seeds, not as stated", "too few seeds"]
    make_run(tmp_path / "more", "dropout", 0, analysis=analysis)
    assert gathered(tmp_path).changed == {}  # now the arms' names tell


def test_the_summary_answers_in_words(tmp_path: Path, make_run: Callable):
    error = {"none": 1.5, "l2": 1.5, "dropout": 4.0}
    for seed in range(8):
        for arm, px in error.items():
            make_run(tmp_path / f"{arm}+{seed}", arm, seed, analysis=CORRECTED, error_px=px)
    study = gathered(tmp_path)
    section = summary(study)
    text = next(part for part in section.parts if isinstance(part, str))
    own = study.levels["corrected"].set_index(["estimator", "arm"])["log10_corner_error_mean"]
    level = f"{10 ** own['magsac', 'none']:.2f}"
    assert f"error of none is {level} px (magsac, 40 pairs of 20 photos)" in text
    assert "Higher: **dropout** 2." in text
    assert "8 seeds; p = 0.016)" in text
    assert "Under dlt " in text
    assert f"rootsift {10 ** own['magsac', 'rootsift']:.2f} px" in text
    assert list(tables(section)["answer"].cells["model"]) == [
        *("none", "l2", "dropout", "rootsift", "untrained")
    ]
    figure = figures(section)["primary"].draw()
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert [label.split(" ")[0] for label in labels] == ["rootsift", "untrained"]


def test_the_summary_ends_with_what_the_runs_do_not_show(both: StudyData):
    texts = [part for part in summary(both).parts if isinstance(part, str)]
    starts = ["### ", "These runs do not show", "Under the notebook's protocol (magsac, 4 seeds), "]
    assert len(texts) == len(starts)
    assert all(text.startswith(start) for text, start in zip(texts, starts, strict=True))
    levels = both.levels["notebook"].set_index(["estimator", "arm"])["log10_corner_error_mean"]
    assert f"dropout {10 ** levels['magsac', 'dropout']:.2f} px" in texts[-1]


def test_open_verdicts_come_with_the_seeds_that_they_take():
    row = {"estimator": "magsac", "arm": "l2", "seeds": 16, "photos": 50, "pairs": 300}
    row |= {"difference": 0.01, "low": -0.04, "high": 0.06, "margin": 0.05, "verdict": "open"}
    own = pd.DataFrame([row]).assign(p_holm=1.0, skewness=0.0, mean_baseline=1.0)
    levels = pd.DataFrame({"arm": ["none"], "seeds": [16], "log10_corner_error_mean": [1.0]})
    decided = own.assign(verdict="equivalent")
    both = pd.concat([decided, own.assign(estimator="dlt")])
    texts = [answer(of, levels, "magsac", "log10_corner_error") for of in (decided, own, both)]
    # The interval is twice as wide as the margin.
    assert ["takes at least 64 seeds" in text for text in texts] == [False, True, True]


def test_a_screening_names_the_best_arm_of_each_regularizer(
    tmp_path: Path, make_run: Callable
) -> None:
    make_run(tmp_path / "none", "none", 0, analysis=CORRECTED, error_px=1.5)
    for place in range(14):
        name, dose = ("l2", "weight_decay") if place % 2 else ("dropout", "dropout")
        make_run(
            tmp_path / str(place),
            name,
            0,
            analysis=CORRECTED,
            settings={f"regularizer.{dose}": place},
            error_px=2.0 + place,
        )
    fewer = {"data.train_photos": 20}  # the best of all, and no regularizer
    make_run(tmp_path / "few", "none", 0, analysis=CORRECTED, settings=fewer, error_px=0.1)
    text = next(part for part in summary(gathered(tmp_path)).parts if isinstance(part, str))
    named = re.findall(r"\*\*(.*?)\*\*", text)
    assert named == ["dropout dropout=0", "l2 weight\\_decay=1"]
    assert "15 arms, of which the best of each regularizer" in text


@pytest.fixture(scope="module")
def two_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A on 16 pairs; B on the first 10 of them, with another rate and a seed less for l2."""
    folder = tmp_path_factory.mktemp("multirun")
    for name, pairs, rate in [("a", 16, 0.1), ("b", 10, 0.2)]:
        for seed in range(7):
            for arm, px in {"none": 6.0 if name == "b" else 1.5, "l2": 1.5}.items():
                if (name, arm, seed) != ("b", "l2", 6):
                    own = {"optimizer.lr": rate}
                    options = {"analysis": CORRECTED, "settings": own, "error_px": px}
                    write_run(folder / name / f"{arm}+{seed}", arm, seed, pairs=pairs, **options)
    return folder


@pytest.fixture(scope="module")
def side_by_side(two_studies: Path) -> StudyData:
    return gather(find_runs([two_studies / "a", two_studies / "b"]), two_studies, two_studies)


def test_two_studies_are_compared_on_the_pairs_that_they_share(side_by_side: StudyData):
    study = side_by_side
    assert study.protocols == ["corrected@a", "corrected@b"]
    assert set(study.arms["seeds"]) == {7, 6, 0}  # nothing is pooled
    section = studies(study)
    table = section.frames["studies"].set_index(["estimator", "arm"])
    assert (table["pairs_first"] == 16).all()
    assert (table[["pairs_second", "pairs"]] == 10).all(axis=None)
    rows = study.rows[(study.rows["estimator"] == "dlt") & (study.rows["pair_id"] <= "000010")]
    rows = rows.assign(value=np.log10(rows["corner_error_px"].clip(0.05, 100)))
    by_seed = rows.groupby(["arm", "protocol", "seed"])["value"].mean().unstack("protocol").dropna()
    for arm in ("none", "l2"):
        row, own = table.loc[("dlt", arm)], by_seed.loc[arm]
        assert (row["mean_baseline"], row["mean_arm"]) == pytest.approx(tuple(own.mean()))
        difference = own["corrected@b"] - own["corrected@a"]
        assert (row["seeds"], row["difference"]) == (len(own), pytest.approx(difference.mean()))
        assert row["low"] < difference.mean() < row["high"]
    assert table["seeds"].to_dict() == {
        (estimator, arm): 7 - (arm == "l2") for estimator, arm in table.index
    }
    assert table.loc[("magsac", "none"), "verdict"] == "higher"
    assert table.loc[("magsac", "l2"), "verdict"] == "open: too few seeds"
    text = " ".join(part for part in section.parts if isinstance(part, str))
    assert "10 pairs of 5 photos are shared, of 16 of the first and 10 of the second" in text
    assert "**none** against the first: " in text
    assert study.configs.set_index("option").loc["optimizer.lr"].tolist() == ["0.1", "0.2"]


def test_studies_on_other_warps_of_the_photos_share_no_pair(side_by_side: StudyData):
    rows = side_by_side.rows.copy()
    rows.loc[rows["protocol"] == "corrected@b", "rmse_identity_gray"] += 1
    section = studies(replace(side_by_side, rows=rows))
    assert not tables(section)
    assert "nothing is compared" in section.parts[1]


def test_further_seeds_of_a_study_are_pooled_with_it(two_studies: Path, make_run: Callable):
    more = {"analysis": CORRECTED, "settings": {"optimizer.lr": 0.1}, "pairs": 16}
    make_run(two_studies / "c" / "none+7", "none", 7, **more)
    study = gather(find_runs([two_studies / "a", two_studies / "c"]), two_studies, two_studies)
    assert study.protocols == ["corrected"]
    assert set(study.done["arm"]) == {"none", "l2"}
    assert studies(study) is None


def test_claims_show_both_protocols_and_every_estimator(sections: list[Section]):
    by_id = {section.id: section for section in sections}
    section = by_id["claims"]
    cells = tables(section)["claims"].cells
    verdicts = section.frames["claims"].set_index(["protocol", "claim"])
    assert len(cells) == 6
    for claim, row in enumerate(cells.to_dict("records"), start=1):
        for protocol in ("notebook", "corrected"):
            verdict, by = verdicts.loc[(protocol, claim), ["verdict", "by_estimator"]]
            assert row[protocol_label(protocol)] in (verdict, f"{verdict} ({by})")
            assert set(re.findall(r"(\w+):", by)) == {"dlt", "magsac"}
    assert len(by_id["statements"].frames["statements"]) == 2 * 2 * 26
    # Claim 1's matches beside their precision and that at equal recall, of the primary estimator.
    matches = tables(section)["claim_1"].cells
    assert [label for label in matches["outcome"] if label] == 2 * [
        OUTCOMES[name].label for name in ("match_count", "precision_3px", "precision_at_recall_10")
    ]
    assert list(matches["arm"]) == 6 * ["l2", "dropout", "hybrid"]
    notes = " ".join(part for part in section.parts if isinstance(part, str))
    assert "κ is `kappa_correct`, of those of the solve's points" in notes
    assert "κ is `kappa_notebook`, of all matches that" in notes


def test_what_changes_no_row_names_no_arm(tmp_path: Path, make_run: Callable):
    alike = {"evaluation.best_epoch": False, "trainer.accelerator": "cpu", "trainer": "cpu"}
    for seed, settings in enumerate([{}, alike, {"evaluation.validation_pairs": 9}]):
        # A window of a fixed side has no use for a scale.
        window = {"patch.window": "fixed", "patch.scale_factor": 7.0 + seed}
        make_run(tmp_path / str(seed), "none", seed, settings=window | settings)
    arms = gathered(tmp_path).done["arm"]
    assert arms.tolist() == ["none", "none", "none evaluation.validation_pairs=9"]


def test_one_protocol_alone_says_how_to_run_the_other(protocols: list[Path]):
    section = claims(gathered(protocols[1]))
    texts = " ".join(part for part in section.parts if isinstance(part, str))
    assert "The notebook's protocol has not been run here" in texts
    assert "experiment=notebook" in texts


def test_the_bounds_coverage_is_the_share_of_estimates(tmp_path: Path, make_run: Callable):
    for seed in (0, 1):
        make_run(tmp_path / f"none+{seed}", "none", seed)
    study = gathered(tmp_path)
    failed = study.rows["status"] != "ok"
    study = replace(study, rows=study.rows.assign(bound_90_px=np.where(failed, np.nan, 3.0)))
    table = uncertainty(study).frames["coverage"].set_index(["estimator", "arm"])
    own = study.rows[(study.rows["estimator"] == "dlt") & (study.rows["status"] == "ok")]
    held = (own["corner_error_rms_px"] <= 3.0).groupby([own["arm"], own["seed"]], dropna=False)
    expected = held.mean().groupby("arm").mean()
    assert table.loc[("dlt", "none"), "covered_mean"] == pytest.approx(expected["none"])
    assert table.loc[("dlt", "none"), "n"] == 2 * 36
    assert table.loc[("dlt", "rootsift"), "covered_mean"] == pytest.approx(expected["rootsift"])
    low, high = table.loc[("dlt", "none"), ["covered_low", "covered_high"]]
    assert low < expected["none"] < high


def test_configs_show_what_tells_the_protocols_apart(both: StudyData):
    options = both.configs.set_index("option")
    assert options.loc["data.squash", "notebook"] == "[256, 256]"
    assert options.loc["data.pairs_per_view"].tolist() == ["10", ""]  # the other has no such option
    assert "data.root" not in options.index


def test_each_correction_is_held_against_none(tmp_path: Path, make_run: Callable):
    gains = {"all": 0.5, "none": 3.0, "alignment": 2.0}
    for correction, gain in gains.items():
        analysis = NOTEBOOK if correction == "none" else NOTEBOOK | {"error": "corner_error_px"}
        for seed in (0, 1):
            make_run(
                tmp_path / f"correction-{correction}+seed-{seed}",
                "none",
                seed,
                analysis=analysis,
                settings={
                    "experiment": "notebook",
                    "correction": correction,
                    "data.mended": correction == "all",  # follows from the correction
                },
                gain=gain,
            )
    study = gathered(tmp_path)
    table = ablation(study).frames["ablation"].set_index("correction")
    assert list(table.index) == ["none", "alignment", "all"]
    assert list(table["error_column"]) == ["rmse_notebook_gray", *["corner_error_px"] * 2]
    models = study.models[study.models["estimator"] == "dlt"].set_index(["arm", "seed"])["auc_5px"]
    differences = [
        models["none correction=all", seed] - models["none correction=none", seed]
        for seed in (0, 1)
    ]
    assert table.loc["all", "difference"] == pytest.approx(np.mean(differences))
    assert np.isnan(table.loc["none", "difference"])
    # Intervals are those of seeds and photos, as of any arm.
    arms = study.levels["notebook"].set_index(["estimator", "arm"])
    for end in ("mean", "low", "high"):
        expected = arms.loc[("dlt", "none correction=all"), f"auc_5px_{end}"]
        assert table.loc["all", f"auc_5px_{end}"] == pytest.approx(expected)
    rows = study.rows[study.rows["arm"] == "none correction=all"]
    rows = rows[rows["estimator"] == "dlt"]
    kept = rows[(rows["status"] == "ok") & (rows["kappa_notebook"] <= 2e7)]
    by_seed = kept.groupby("seed")["corner_error_px"].median()
    assert table.loc["all", "error"] == pytest.approx(by_seed.mean())
    # Corrections are no arms to compare with none.
    assert comparison(study) is None


def test_nothing_varied_shows_no_ablation_or_dose(both: StudyData):
    assert ablation(both) is None
    assert dose(both) is None


def test_doses_are_a_grid_of_what_was_set(tmp_path: Path, make_run: Callable):
    for decay in (0, 1e-4):
        for rate in (0, 0.3):
            for seed in (0, 1):
                make_run(
                    tmp_path / f"decay-{decay}+dropout-{rate}+seed-{seed}",
                    "hybrid",
                    seed,
                    analysis=CORRECTED,
                    settings={
                        "regularizer.weight_decay": decay,
                        "regularizer.dropout": rate,
                        "model.dropout": rate,
                    },
                    gain=1 + rate,
                )
    make_run(tmp_path / "none", "none", 0, analysis=CORRECTED)
    study = gathered(tmp_path)
    section = dose(study)
    table = section.frames["dose"]
    table = table[table["estimator"] == "magsac"]
    own = table[table["option"] == "weight_decay"]
    assert list(zip(own["other settings"], own["dose"], strict=True)) == [
        *(("dropout=0", "0"), ("dropout=0", "0.0001")),
        *(("dropout=0.3", "0"), ("dropout=0.3", "0.0001")),
    ]
    models = study.models[study.models["estimator"] == "magsac"]
    of_arm = models["arm"] == "hybrid dropout=0.3 weight_decay=0.0001"
    row = own.iloc[-1]
    assert (row["seeds"], row["regularizer"]) == (2, "hybrid")
    assert row["auc_5px_mean"] == pytest.approx(models.loc[of_arm, "auc_5px"].mean())
    assert len(figures(section)) == 2  # an option each
    ax, *_ = figures(section)["dose_corrected_hybrid_weight_decay"].draw().axes
    assert len(ax.containers) == 2  # a line per dropout rate
    by_dropout = table[table["option"] == "dropout"].set_index(["other settings", "dose"])
    best = by_dropout["log10_corner_error_mean"].idxmin()
    won = section.frames["winners"].set_index(["estimator", "option"]).loc[("magsac", "dropout")]
    assert (won["other settings"], won["dose"]) == best


def test_a_screening_has_doses_of_each_regularizer_and_numbers_of_photos(
    tmp_path: Path, make_run: Callable
):
    arms: list[tuple[str, dict]] = [("none", {}), ("none", {"data.train_photos": 20})]
    arms += [("l2", {"regularizer.weight_decay": dose}) for dose in (1e-5, 1e-3)]
    arms += [("mild", {"augmentation": name}) for name in ("weak", "strong")]
    for recipe in ("cosine", "strong"):
        for place, (regularizer, settings) in enumerate(arms):
            make_run(
                tmp_path / f"{recipe}+{place}",
                regularizer,
                0,
                analysis=CORRECTED,
                settings=settings | {"recipe": recipe},
                error_px=1.0 + place,
            )
    study = gathered(tmp_path)
    assert study.protocols == ["corrected", "corrected_strong"]
    expected = ["none", "none data.train_photos=20", "l2 weight_decay=0.001"]
    expected += ["l2 weight_decay=1e-05", "mild augmentation=weak", "mild augmentation=strong"]
    own = study.arms[(study.arms["protocol"] == "corrected_strong") & (study.arms["seeds"] > 0)]
    assert list(own["arm"].unique()) == expected
    winners = dose(study).frames["winners"].query("estimator == 'magsac'")
    chosen = ["regularizer", "option", "dose"]
    assert list(winners[chosen].drop_duplicates().itertuples(index=False, name=None)) == [
        ("l2", "weight_decay", "1e-05"),
        ("mild", "augmentation", "weak"),
    ]
    assert len(winners) == 4


def test_trials_of_a_search_are_ranked_by_the_table_of_runs(tmp_path: Path, make_run: Callable):
    make_run(tmp_path / "none", "none", 0)
    for rate in (1e-3, 1e-2):
        make_run(
            tmp_path / f"lr-{rate}",
            "hybrid",
            0,
            settings={"hparams_search": "optuna", "optimizer.lr": rate},
            record={"metrics": {"val/nn_accuracy": 100 * rate}},
        )
    study = gathered(tmp_path)
    table = study.runs[study.runs["objective"] == "val/nn_accuracy"]
    assert sorted(table["objective_value"]) == pytest.approx([0.1, 1.0])
    assert set(table["objective_direction"]) == {"maximize"}
    assert comparison(study) is None  # they are no arms to compare by seed


def test_arms_of_unequal_seeds_are_told_apart():
    common = {"estimator": "magsac", "photos": 50, "pairs": 300, "difference": 0.1, "margin": 0.05}
    common |= {"low": 0.0, "high": 0.2, "p_holm": 0.02, "skewness": 0.0, "mean_baseline": 1.0}
    own = pd.DataFrame(
        [{"arm": "l2", "seeds": 7, "verdict": "higher"}, {"arm": "sosr", "seeds": 1}]
    )
    own = own.fillna({"verdict": "open: too few seeds"}).assign(**common)
    own.loc[own["seeds"] == 1, ["low", "high"]] = np.nan
    levels = pd.DataFrame({"arm": ["none", "tfeat"], "seeds": [7, 0]})
    levels = levels.assign(log10_corner_error_mean=[1.0, 0.5])
    text = answer(own, levels, "magsac", "log10_corner_error")
    assert "error of none is 10.00 px (magsac, 300 pairs of 50 photos)" in text
    assert "Higher: **l2** 1.26 times (1.00 to 1.58; 7 seeds; p = 0.020)." in text
    assert "Too few seeds for a test: **sosr** 1.26 times (1 seed)." in text
    assert "takes at least 7 seeds" in text
    assert "tfeat 3.16 px" in text
    for l2, easy in [(79.0, False), (81.0, True)]:
        levels = pd.DataFrame({"arm": ["none", "l2"], "seeds": 7, "auc_1px_mean": [90.0, l2]})
        levels = levels.assign(log10_corner_error_mean=0.0)
        text = answer(own, levels, "magsac", "log10_corner_error")
        assert ("these pairs are easy" in text) == easy
