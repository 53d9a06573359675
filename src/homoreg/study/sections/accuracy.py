"""How far the corners are from the truth, how certain that is, and how κ relates to it."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from homoreg.aggregates import AUC_THRESHOLDS_PX
from homoreg.metrics import METRICS
from homoreg.study import figures as draw
from homoreg.study.data import StudyData
from homoreg.study.document import SEEDS, Column, Figure, Part, Section, Table, with_interval
from homoreg.study.tables import regression

ACCURACY = ["match_count", "precision_3px", "recall_3px", "corner_error_px"]
STABILITY = ["predicted_corner_error_px", "kappa", "kappa_correct"]


def accuracy(study: StudyData) -> Section | None:
    if not len(study.rows):
        return None
    aucs = {f"auc_{t}px": f"AUC {t} px" for t in AUC_THRESHOLDS_PX}
    models = study.models
    parts: list[Part] = [
        "The corner error is the mean distance in pixels of view 1's corners under the estimated "
        "and the true homography. A failed estimate has an infinite error, and an estimate that "
        "folds the view counts as failed. No pair is left out: in medians and quartiles a failed "
        "estimate counts as the worst value. Nothing is tested here; a difference between two rows "
        "may be due to a seed.",
        _model_table(
            study,
            "accuracy",
            "AUC of the corner error (0 to 100, higher is better), failed estimates, and medians "
            "over n pairs. AUC depends on n: compare rows of the same pairs only. A pair without "
            "matches has precision 0.",
            {**aucs, "failed_percent": "failed (%)"},
            ACCURACY,
        ),
    ]
    reasons = {
        name: f"{name.removesuffix('_percent').replace('_', ' ')} (%)"
        for name in map(str, models)
        if name.endswith("_percent") and name != "failed_percent"
    }
    if reasons and not study.many_runs:
        columns = [*RUN_COLUMNS, *(Column(key, name, 1) for key, name in reasons.items())]
        caption = "Failed estimates by reason, in percent of the n pairs."
        by = ["protocol", "estimator"]
        parts.append(Table("failures", caption, "models", models, columns, by))
    for _, suffix, label, rows in study.drawn(study.rows):
        parts.append(
            Figure(
                f"recall{suffix}",
                f"{label}Share of pairs with a corner error below a threshold (px); AUC is the "
                "area under this curve, up to linear interpolation. Seeds of an arm are pooled; n "
                "counts pairs times seeds.",
                "evaluation",
                partial(draw.recall_curves, rows, study.styles),
            )
        )
    frames = {"evaluation": study.rows, "models": models, "arms": study.arms}
    return Section("accuracy", "Accuracy", parts, frames)


def stability(study: StudyData) -> Section | None:
    """κ, the predicted error, and how both go with the true error."""
    if not len(study.rows):
        return None
    parts: list[Part] = [
        _model_table(
            study,
            "stability",
            "How well the matches determine the homography: κ = σ₁/σ₈ of the normalized system of "
            "the final solve (1 is best), and the RMS corner error that its covariance predicts. "
            "κ is of the points that the solve used, right or wrong, unless it says correct. "
            "Medians over n pairs.",
            {},
            [name for name in STABILITY if name in study.rows],
        )
    ]
    lines = []
    for protocol, suffix, label, rows in study.drawn(study.rows):
        estimator = study.primary[protocol]
        own = rows[rows["estimator"] == estimator]
        for name, (x, y) in draw.RELATIONS.items():
            if x not in own or y not in own:
                continue
            line = regression(own, x, y)
            if (line["n"] < 3).all():
                continue
            lines.append(line)
            parts.append(
                Figure(
                    f"{name}{suffix}",
                    label + draw.scatter_caption(x, y, estimator),
                    "regression",
                    partial(draw.scatter, own, line, x, y, study.styles),
                )
            )
    frames = {"regression": pd.concat(lines)} if lines else {}
    return Section("stability", "Stability", parts, frames)


RUN_COLUMNS = [Column("arm", "model"), Column("seed", "seed"), Column("pairs", "n")]
ARM_COLUMNS = [Column("arm", "model"), SEEDS, Column("pairs", "n")]


def _model_table(
    study: StudyData, name: str, caption: str, plain: dict[str, str], metrics: Sequence[str]
) -> Table:
    """A row per run with quartiles over pairs, or per arm with intervals over many seeds."""
    by = ["protocol", "estimator"]
    formats = {key: METRICS[key].decimals for key in metrics}
    if study.many_runs:
        columns = [
            *ARM_COLUMNS,
            *(
                with_interval(key, text, 1) if key == "auc_5px" else Column(f"{key}_mean", text, 1)
                for key, text in plain.items()
            ),
            *(
                with_interval(f"{key}_median", METRICS[key].heading, show)
                for key, show in formats.items()
            ),
        ]
        caption += (
            " Means over the seeds of an arm of each run's number, with the 95 % t interval over "
            "seeds, which takes the pairs as given; an arm with a run whose median is infinite has "
            "an infinite mean. The runs one by one: `tables/models.csv`."
        )
        return Table(name, caption, "arms", study.readable(study.arms), columns, by)
    columns = [
        *RUN_COLUMNS,
        *(Column(key, text, 1) for key, text in plain.items()),
        *(
            Column(f"{key}_median", METRICS[key].heading, show, (f"{key}_q1", f"{key}_q3"))
            for key, show in formats.items()
        ),
    ]
    caption += " With first and third quartile."
    return Table(name, caption, "models", study.readable(study.models), columns, by)
