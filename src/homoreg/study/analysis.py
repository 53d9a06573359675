"""How the report reads the rows of a run: which columns are κ and the error, and what is left out.

The original study dropped failures and every κ above 2·10⁷. Under the notebook's protocol its
figures and claims are shown that way; every other table and figure keeps all rows.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from homoreg.errors import HomoregError


@dataclass(frozen=True)
class Analysis:
    """The options ``analysis`` of a run's config.

    Attributes:
        protocol: ``corrected`` or ``notebook``.
        kappa: the column read as κ.
        error: the column read as the alignment error.
        drop_failures: leave out pairs without an estimate, as the original study did.
        max_kappa: leave out pairs with a larger κ, as the original study did; ``None`` keeps all.

    Raises:
        HomoregError: a value that is not among the choices.
    """

    protocol: str = "corrected"
    kappa: str = "kappa"
    error: str = "corner_error_px"
    drop_failures: bool = False
    max_kappa: float | None = None

    def __post_init__(self) -> None:
        for field, choices in {
            "protocol": ("corrected", "notebook"),
            "kappa": ("kappa", "kappa_notebook"),
            "error": ("corner_error_px", "rmse_gray", "rmse_notebook_gray"),
        }.items():
            if getattr(self, field) not in choices:
                raise HomoregError(
                    f"analysis.{field}={getattr(self, field)}: choose {' or '.join(choices)}"
                )

    def apply(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that count; all of them under the corrected protocol."""
        keep = pd.Series(True, index=rows.index)
        if self.drop_failures:
            keep &= rows["status"] == "ok"
        if self.max_kappa is not None:
            keep &= ~(rows[self.kappa] > self.max_kappa)
        return rows[keep]


NOTEBOOK = Analysis("notebook", "kappa_notebook", "rmse_notebook_gray", True, 2e7)
ANALYSES = {"corrected": Analysis(), "notebook": NOTEBOOK}


def analysis_of(runs: pd.DataFrame) -> Analysis:
    """The ``analysis`` options that most of these runs were configured with."""
    chosen = {}
    for name in ("protocol", "kappa", "error", "drop_failures", "max_kappa"):
        values = runs.get(f"analysis.{name}", pd.Series(dtype=object)).dropna()
        if len(values):
            chosen[name] = values.mode().tolist()[0]
    return Analysis(**chosen)


def picture_error(analysis: Analysis) -> str:
    """The study's RMSE: the column read as error if it is one, else that of the valid parts."""
    return analysis.error if analysis.error.startswith("rmse") else "rmse_gray"


def left_out(analysis: Analysis, rows: pd.DataFrame) -> str:
    """One sentence on the rows that an analysis leaves out; empty where it leaves out none."""
    dropped = len(rows) - len(analysis.apply(rows))
    if not dropped:
        return ""
    reasons = ["failures"] if analysis.drop_failures else []
    if analysis.max_kappa is not None:
        reasons.append(f"κ > {analysis.max_kappa:.0e}".replace("e+0", "e"))
    return f"As in the study, {' and '.join(reasons)} are left out: {dropped} of {len(rows)} rows."


def primary_estimator(rows: pd.DataFrame, protocol: str = "corrected") -> str:
    """The estimator that a protocol's figures and claims are about: DLT, and the study's was raw.

    Robust estimators have their own tables, boxes and recall curves.
    """
    found = list(dict.fromkeys(rows["estimator"]))
    asked = ["dlt_raw", "dlt"] if protocol == "notebook" else ["dlt", "dlt_raw"]
    return next((name for name in [*asked, *found] if name in found), "")


def box_table(rows: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """What box plots show: quartiles of an arm's pooled values, and how many rows have one."""
    keys = ["protocol", "estimator", "arm"]
    records = []
    for key, group in rows.groupby(keys, sort=False):
        for metric in metrics:
            values = group[metric].to_numpy(float)
            finite = values[np.isfinite(values)]
            q1, median, q3 = np.quantile(finite, [0.25, 0.5, 0.75]) if finite.size else [np.nan] * 3
            record = {**dict(zip(keys, key, strict=True)), "metric": metric}
            record |= {"rows": len(group), "n": finite.size}
            records.append(record | {"q1": q1, "median": median, "q3": q3})
    return pd.DataFrame(records)
