"""The proper counterparts: how far the corners end from the truth, and how sure that is."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from homoreg.aggregates import AUC_THRESHOLDS_PX
from homoreg.study import figures as draw
from homoreg.study import seed_figures, tables
from homoreg.study.analysis import box_table, picture_error
from homoreg.study.document import (
    Column,
    Part,
    Plate,
    Section,
    Table,
    Text,
    number,
    view,
    with_interval,
)
from homoreg.study.gathered import Gathered

ACCURACY = ["match_count", "precision_3px", "recall_3px", "corner_error_px"]
STABILITY = ["predicted_corner_error_px", "kappa", "log10_kappa"]
PICTURES = ["rmse_gray", "ssim", "rmse_notebook_gray", "rmse_identity_gray", "rmse_oracle_gray"]
REFERENCES = ("rmse_identity_gray", "rmse_oracle_gray")


def accuracy(study: Gathered) -> Section | None:
    if not len(study.rows):
        return None
    aucs = {f"auc_{t}px": f"AUC {t} px" for t in AUC_THRESHOLDS_PX}
    parts: list[Part] = [
        Text(
            "The corner error is the mean distance in pixels of view 1's corners under the "
            "estimated and the true homography; a failed estimate has an infinite one. Nothing is "
            "filtered here: in all medians and quartiles a failed estimate counts as the worst "
            "value (infinite; −1 for SSIM). No test is made here: a difference between two rows "
            "may be the luck of a seed."
        ),
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
    models = study.models
    failures = {
        f"{status}_percent": f"{status.replace('_', ' ')} (%)"
        for status in tables.FAILURES
        if models[f"{status}_percent"].any()
    }
    if failures and not study.many_runs:
        columns = [*WHO_RUN, *(Column(key, name, number(1)) for key, name in failures.items())]
        shown = view(models, columns, by=["protocol", "estimator"])
        caption = "Failed estimates by reason, in percent of the n pairs."
        parts.append(Table("failures", caption, "models", shown))
    for _, suffix, label, rows in study.drawn(study.rows):
        parts.append(
            Plate(
                f"recall{suffix}",
                f"{label}Share of pairs whose corner error is below a threshold (px); AUC is the "
                "area under this curve, up to linear interpolation. Seeds of an arm are pooled; n "
                "counts pairs times seeds.",
                "evaluation",
                partial(draw.recall_curves, rows, study.styles),
            )
        )
    trained = models[models["run"] != ""]
    for protocol, suffix, label, own in study.drawn(trained):
        arms = study.arms[(study.arms["protocol"] == protocol) & (study.arms["seeds"] > 0)]
        parts.append(
            Plate(
                f"auc_by_seed{suffix}",
                f"{label}AUC of the corner error at 5 px, a dot per training run; thin lines join "
                "the runs of one seed, which share initial weights, data order and pairs. Bars: "
                "mean and 95 % t interval over the n runs of an arm.",
                "models",
                partial(seed_figures.auc_by_seed, own, arms, study.styles),
            )
        )
    frames = {"evaluation": study.rows, "models": models, "arms": study.arms}
    return Section("accuracy", "Accuracy", parts, frames)


def stability(study: Gathered) -> Section | None:
    if not len(study.rows):
        return None
    predicted = "predicted_corner_error_px" in study.rows
    parts: list[Part] = [
        _model_table(
            study,
            "stability",
            "How well the matches determine the homography: κ = σ₁/σ₈ of the normalized system of "
            "the final solve (1 is best)"
            + (", and the RMS corner error that its covariance predicts" if predicted else "")
            + ". Medians over n pairs.",
            {},
            STABILITY,
        ),
        _model_table(
            study,
            "pictures",
            "View 2 warped back by the estimate against view 1, where both are valid: RMSE in gray "
            "levels (0 to 255, lower is better) and SSIM (higher is better), as medians. The "
            "notebook's RMSE follows the study's own definition, kept for comparison. The last "
            "columns are medians of two references: no warp, and the true homography.",
            {},
            PICTURES,
        ),
    ]
    boxes = []
    for _, suffix, label, rows in study.drawn(study.rows):
        for estimator in dict.fromkeys(rows["estimator"]):
            own = rows[rows["estimator"] == estimator]
            boxes.append(box_table(own, [name for name in draw.BOXES if name in own]))
            parts.append(
                Plate(
                    f"boxes_{estimator}{suffix}",
                    f"{label}{estimator}: matches, κ, RMSE, corner error and predicted corner "
                    "error by model, seeds pooled, nothing filtered. Boxes: quartiles and median; "
                    "whiskers: 1.5 interquartile ranges; dots: pairs beyond. At the right of each "
                    "box: how many of the pairs have a value; the others failed and are in no box. "
                    "Vertical lines: median RMSE of the two references.",
                    "boxes",
                    partial(draw.box_plots, own, study.styles),
                )
            )
    frames = {"boxes": pd.concat(boxes)} if boxes else {}
    return Section("stability", "Stability and pictures", parts, frames)


def relations(study: Gathered) -> Section | None:
    parts: list[Part] = []
    lines = []
    for protocol, suffix, label, rows in study.drawn(study.rows):
        estimator = study.primary(protocol)
        own = rows[rows["estimator"] == estimator]
        analysis = study.analyses[protocol]
        shown = draw.relation_of(analysis.kappa, picture_error(analysis))  # by the study's figures
        for relation in draw.RELATIONS:
            if relation.x not in own or relation.y not in own:
                continue
            if relation == shown and len(analysis.apply(own)) == len(own):
                continue
            line = tables.regression(own, relation.x, relation.y)
            lines.append(line)
            if (line["n"] < 3).all():  # with every estimate failed there is nothing to draw
                continue
            unfiltered = (
                "This is the study's own relation, without its filter κ ≤ 2·10⁷."
                if relation.name == "kappa_notebook"
                else ""
            )
            parts.append(
                Plate(
                    f"{relation.name}{suffix}",
                    label + draw.scatter_caption(relation, estimator, unfiltered),
                    "regression",
                    partial(draw.scatter, own, line, relation, study.styles),
                )
            )
    if not parts:
        return None
    return Section("relations", "κ and error", parts, {"regression": pd.concat(lines)})


WHO_RUN = [Column("arm", "model"), Column("seed", "seed"), Column("pairs", "n")]
WHO_ARM = [
    Column("arm", "model"),
    Column("seeds", "seeds", lambda seeds: str(seeds) if seeds else "–"),
    Column("pairs", "n"),
]


def _model_table(
    study: Gathered, name: str, caption: str, plain: dict[str, str], metrics: Sequence[str]
) -> Table:
    """A row per run with quartiles over pairs, or per arm with intervals over seeds if many ran.

    References (the same for all models) show their median alone.
    """
    labels = {metric: tables.METRICS[metric] for metric in metrics}
    if study.many_runs:
        columns = [
            *WHO_ARM,
            # The others have theirs in the CSV.
            *(
                with_interval(key, text, number(1))
                if key == "auc_5px"
                else Column(f"{key}_mean", text, number(1))
                for key, text in plain.items()
            ),
        ]
        columns += [
            Column(f"{key}_median_mean", metric.label, number(metric.decimals))
            if key in REFERENCES
            else with_interval(f"{key}_median", metric.label, number(metric.decimals))
            for key, metric in labels.items()
        ]
        caption += (
            " Means over the seeds of an arm of each run's number, with the 95 % t interval; an "
            "arm with a run whose median is infinite has an infinite mean. The runs one by one: "
            "`tables/models.csv`."
        )
        shown = view(study.readable(study.arms), columns, by=["protocol", "estimator"])
        return Table(name, caption, "arms", shown)
    columns = [*WHO_RUN, *(Column(key, text, number(1)) for key, text in plain.items())]
    columns += [
        Column(
            f"{key}_median",
            metric.label,
            number(metric.decimals),
            None if key in REFERENCES else (f"{key}_q1", f"{key}_q3"),
        )
        for key, metric in labels.items()
    ]
    caption += " With first and third quartile."
    shown = view(study.readable(study.models), columns, by=["protocol", "estimator"])
    return Table(name, caption, "models", shown)
