"""The original study's figures: boxes of RMSE, log₁₀ κ and matches, and RMSE against log₁₀ κ."""

from functools import partial

import pandas as pd

from homoreg.study import figures as draw
from homoreg.study.analysis import left_out
from homoreg.study.data import StudyData
from homoreg.study.document import Figure, Part, Section
from homoreg.study.tables import box_table, regression


def original_figures(study: StudyData) -> Section | None:
    parts: list[Part] = []
    boxes, lines = [], []
    for protocol, suffix, label, rows in study.drawn(study.rows):
        analysis = study.analyses[protocol]
        estimator = study.primary[protocol]
        own = rows[rows["estimator"] == estimator]
        x, y = analysis.kappa, analysis.picture_error
        kept = analysis.apply(own)
        note = left_out(analysis, own)
        boxes.append(box_table(kept, [y, x, "match_count"]))
        parts.append(
            Figure(
                f"study_boxes{suffix}",
                f"{label}{estimator}: the original study's three box plots in the columns of this "
                f"protocol, by model, seeds pooled. {note} Boxes: quartiles and median; whiskers: "
                "1.5 interquartile ranges; dots: pairs beyond. Beside each box: how many of the "
                "rows have a value.",
                "study_boxes",
                partial(draw.box_plots, kept, study.styles, [y, x, "match_count"]),
            )
        )
        line = regression(kept, x, y)
        lines.append(line)
        drawn = line[line["n"] >= draw.FEWEST_POINTS]
        if len(drawn):
            caption = label + draw.scatter_caption(x, y, estimator, note)
            figure = partial(draw.scatter, kept, drawn, x, y, study.styles)
            parts.append(Figure(f"study_scatter{suffix}", caption, "study_regression", figure))
    if not parts:
        return None
    lead = (
        "What the original study showed, drawn from these runs. RMSE and κ are those that each "
        "protocol reads: the notebook's RMSE compares pictures warped in the wrong direction, and "
        "its κ is the largest over the smallest singular value of the raw system, which measures "
        "the residual and not the conditioning."
    )
    frames = {"study_boxes": pd.concat(boxes), "study_regression": pd.concat(lines)}
    return Section("study", "The original study's figures", [lead, *parts], frames)
