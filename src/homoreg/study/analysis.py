"""How the report reads the rows of a run: the options ``analysis`` of its config.

The original study dropped failures and every κ above 2·10⁷. Under the notebook's protocol its
figures and claims are shown that way; every other table and figure keeps all rows.
"""

from collections import Counter
from typing import Annotated, Literal

import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

# The keys of homoreg.study.comparisons.OUTCOMES, which need not be imported to check a config.
OutcomeName = Literal[
    "log10_corner_error",
    "auc_1px",
    "auc_3px",
    "auc_5px",
    "log10_predicted_corner_error",
    "log10_kappa",
    "match_count",
    "failure_rate",
    "precision_3px",
    "recall_3px",
    "precision_at_recall_10",
    "log10_kappa_notebook",
    "log10_rmse_notebook",
    "log10_rmse",
]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", title="analysis.contrasts"))
class Contrast:
    """A comparison of two arms that is stated before the runs start.

    Attributes:
        arm: the arm's name in tables.
        against: the name of the arm that it is compared with.
        question: what the comparison is to answer.
    """

    arm: str
    against: str
    question: str = ""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", title="analysis"))
class Analysis:
    """The options ``analysis`` of a run's config.

    Attributes:
        protocol: the protocol that the run belongs to.
        kappa: the column read as κ.
        error: the column read as the alignment error.
        drop_failures: leave out pairs without an estimate, as the original study did; it kept
            estimates that fold the view, which it did not check.
        max_kappa: leave out pairs with a larger κ, as the original study did; ``None`` keeps all.
        estimators: in the order of their importance; the first one that was evaluated is primary.
            By default every robust one comes before plain DLT.
        outcomes: in the order of their importance, keys of
            :data:`homoreg.study.comparisons.OUTCOMES`; the first is the primary one.
        smallest_effect: the smallest difference of mean log10 errors that counts, above 0.
        floor_percent: an outcome of which all arms are within so many percent of one end of its
            range tells nothing.
        contrasts: the comparisons that a study is made for, by the first outcome under the first
            estimator; those of all recipes are one family of tests.

    Raises:
        pydantic.ValidationError: an unknown option or value.
    """

    protocol: Literal["corrected", "notebook"] = "corrected"
    kappa: Literal["kappa", "kappa_notebook"] = "kappa"
    error: Literal["corner_error_px", "rmse_gray", "rmse_notebook_gray"] = "corner_error_px"
    drop_failures: bool = False
    max_kappa: Annotated[float, Field(gt=0)] | None = None
    estimators: tuple[str, ...] = (
        *("magsac", "poselib", "usac_accurate", "usac", "usac_fast", "prosac", "ransac", "lmeds"),
        *("dlt", "dlt_raw"),
    )
    outcomes: Annotated[tuple[OutcomeName, ...], Field(min_length=1)] = (
        *("log10_corner_error", "auc_1px", "auc_3px", "auc_5px"),
    )
    smallest_effect: Annotated[float, Field(gt=0)] = 0.02
    floor_percent: Annotated[float, Field(ge=0, lt=50)] = 5.0
    contrasts: tuple[Contrast, ...] = ()

    def apply(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that count; all of them under the corrected protocol."""
        keep = pd.Series(True, index=rows.index)
        if self.drop_failures:
            keep &= rows["status"].isin(["ok", "folded"])
        if self.max_kappa is not None:
            keep &= ~(rows[self.kappa] > self.max_kappa)
        return rows[keep]

    @property
    def picture_error(self) -> str:
        """The RMSE of this protocol: the error column if it is one, else that of valid pixels."""
        return self.error if self.error.startswith("rmse") else "rmse_gray"


NOTEBOOK = Analysis(
    "notebook", "kappa_notebook", "rmse_notebook_gray", True, 2e7, ("dlt_raw", "dlt")
)
ANALYSES = {"corrected": Analysis(), "notebook": NOTEBOOK}


def analysis_of(runs: pd.DataFrame) -> Analysis:
    """The analysis that most of these runs were configured with."""
    return Counter(runs["analysis"]).most_common(1)[0][0]


def left_out(analysis: Analysis, rows: pd.DataFrame) -> str:
    """One sentence on the rows that an analysis leaves out; empty where it leaves out none."""
    dropped = len(rows) - len(analysis.apply(rows))
    if not dropped:
        return ""
    reasons = ["pairs without an estimate"] if analysis.drop_failures else []
    if analysis.max_kappa is not None:
        reasons.append(f"κ > {analysis.max_kappa:.0e}".replace("e+0", "e"))
    return f"As in the study, {' and '.join(reasons)} are left out: {dropped} of {len(rows)} rows."


def primary_estimator(rows: pd.DataFrame, analysis: Analysis) -> str:
    """The first of the analysis's estimators that is in the rows, else the rows' first."""
    found = list(dict.fromkeys(rows["estimator"])) if len(rows) else []
    return next((name for name in [*analysis.estimators, *found] if name in found), "")
