"""The study's own figures: boxes of RMSE, log₁₀ κ and matches, and RMSE against log₁₀ κ."""

from functools import partial

import pandas as pd

from homoreg.study import figures as draw
from homoreg.study import tables
from homoreg.study.analysis import box_table, left_out, picture_error
from homoreg.study.document import Part, Plate, Section, Text
from homoreg.study.gathered import Gathered


def original_figures(study: Gathered) -> Section | None:
    parts: list[Part] = []
    boxes, lines = [], []
    for protocol, suffix, label, rows in study.drawn(study.rows):
        analysis = study.analyses[protocol]
        estimator = study.primary(protocol)
        own = rows[rows["estimator"] == estimator]
        metrics = [picture_error(analysis), f"log10_{analysis.kappa}", "match_count"]
        if not set(metrics) <= set(own):
            continue
        kept = analysis.apply(own)
        note = left_out(analysis, own)
        boxes.append(box_table(kept, metrics))
        parts.append(
            Plate(
                f"study_boxes{suffix}",
                f"{label}{estimator}: the study's three box plots in the columns of this protocol, "
                f"by model, seeds pooled. {note} Boxes: quartiles and median; whiskers: 1.5 "
                "interquartile ranges; dots: pairs beyond. At the right of each box: how many of "
                "the rows have a value.",
                "study_boxes",
                partial(draw.box_plots, kept, study.styles, metrics, columns=3),
            )
        )
        relation = draw.relation_of(analysis.kappa, picture_error(analysis))
        line = tables.regression(kept, relation.x, relation.y)
        lines.append(line)
        parts.append(
            Plate(
                f"study_scatter{suffix}",
                label + draw.scatter_caption(relation, estimator, note),
                "study_regression",
                partial(draw.scatter, kept, line, relation, study.styles),
            )
        )
    if not parts:
        return None
    lead = Text(
        "What the study showed, drawn from these runs. RMSE and κ are those that each protocol "
        "reads: the notebook's RMSE compares pictures warped the wrong way, and its κ is the "
        "largest over the smallest singular value of the raw system, which measures the residual "
        "rather than the conditioning."
    )
    frames = {"study_boxes": pd.concat(boxes), "study_regression": pd.concat(lines)}
    return Section("study", "The study's figures", [lead, *parts], frames)
