"""Figures carry the table's numbers, and an arm looks the same wherever it is drawn."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from homoreg.plotting import arm_styles
from homoreg.study import figures, seed_figures
from homoreg.study.tables import loss_table, regression


def rows(arm: str, error: list[float], **columns: list) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "protocol": "corrected",
            "arm": arm,
            "estimator": "dlt",
            "run": "r",
            "corner_error_px": error,
            **columns,
        }
    )


def test_recall_curve_ends_at_the_share_of_pairs_below_the_limit():
    table = rows("none", [0.5, 2.0, 9.0, 12.0, np.inf])
    [ax] = figures.recall_curves(table, arm_styles(["none"])).axes
    [line] = ax.lines
    x, y = line.get_data()
    assert list(x) == [0.0, 0.5, 2.0, 9.0, 10.0]
    assert list(y) == pytest.approx([0, 20, 40, 60, 60])


def test_boxes_say_how_many_pairs_they_leave_out():
    table = rows("none", [1.0, 2.0, np.inf], match_count=[9, 8, 3], rmse_gray=[5.0, np.nan, np.nan])
    metrics = ["match_count", "rmse_gray", "corner_error_px"]
    figure = figures.box_plots(table, arm_styles(["none"]), metrics)
    counts = {ax.get_xlabel(): [text.get_text() for text in ax.texts] for ax in figure.axes}
    assert counts["matches"] == ["n = 3/3"]
    assert counts["RMSE (gray levels)"] == ["n = 1/3"]
    assert counts["log₁₀ corner error (px)"] == ["n = 2/3"]


def test_scatter_draws_the_tables_line_and_points():
    columns = {"kappa": [1.0, 10.0, 100.0, np.nan], "rmse_gray": [1.0, 3.0, 5.0, 4.0]}
    table = rows("$a_b^ 100%$", [1.0] * 4, **columns)
    lines = regression(table, "kappa", "rmse_gray")
    figure = figures.scatter(table, lines, "kappa", "rmse_gray", arm_styles(table["arm"]))
    figure.draw_without_rendering()  # a title taken for mathematics fails here
    [ax] = figure.axes
    assert ax.collections[0].get_offsets().tolist() == [[0.0, 1.0], [1.0, 3.0], [2.0, 5.0]]
    assert ax.lines[0].get_xydata().ravel() == pytest.approx([0.0, 1.0, 2.0, 5.0])
    assert ax.texts[0].get_text() == "n = 3 of 4\nslope +2.00, ρ +1.00"


def test_loss_curves_are_means_with_bands_over_seeds():
    epochs = pd.DataFrame(
        {
            "protocol": "corrected",
            "arm": "none",
            "run": ["a", "a", "b", "b"],
            "epoch": [0, 1, 0, 1],
            "val/loss": [0.4, 0.2, 0.6, 0.4],
        }
    )
    [ax] = figures.loss_curves(loss_table(epochs), arm_styles(["none"])).axes
    assert ax.lines[0].get_xydata().ravel() == pytest.approx([1, 0.5, 2, 0.3])
    [band] = ax.collections
    assert band.get_datalim(ax.transData).intervaly == pytest.approx([0.2, 0.6])
    assert ax.texts[0].get_text() == "n = 2 seeds"


@pytest.mark.parametrize("panels", [2, 3, 5])
def test_legends_of_the_primary_figure_lie_beside_each_other(panels: int):
    estimators = ["magsac", "dlt", "ransac", "poselib", "usac_accurate"][:panels]
    baselines = ["oracle", "untrained", "rootsift", "tfeat"]
    by_estimator = pd.DataFrame({"estimator": estimators})
    own = {"difference": 0.0, "low": -0.1, "high": 0.1, "margin": 0.05, "seeds": 16, "photos": 50}
    figure = seed_figures.primary_figure(
        by_estimator.merge(pd.DataFrame({"arm": ["l2", "dropout"]}), "cross").assign(**own),
        by_estimator.merge(pd.DataFrame({"arm": baselines}), "cross").assign(difference=-1.17),
        "error",
        arm_styles(["l2", "dropout", *baselines]),
    )
    figure.draw_without_rendering()  # which lays it out
    legends = [legend for ax in figure.axes if (legend := ax.get_legend())]
    assert legends[0].get_texts()[0].get_text() == "oracle (−1.17)"
    places = [legend.get_window_extent() for legend in legends]
    assert len(places) == panels
    whole = figure.bbox
    assert all(whole.x0 <= place.x0 and place.x1 <= whole.x1 for place in places)
    assert all(whole.y0 <= place.y0 and place.y1 <= whole.y1 for place in places)
    assert not any(first.overlaps(second) for first, second in combinations(places, 2))
