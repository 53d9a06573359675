"""How a protocol reads its own rows: the numbers that it calls κ and error, and what it leaves out.

The study dropped failures and every κ above 2·10⁷. Its figures and its claims are shown that way
under its protocol; all other tables and figures keep every row.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Analysis:
    """The ``analysis`` options of a run; the defaults are the corrected protocol's.

    Attributes:
        kappa, error: columns of the evaluation.
        drop_failures: whether failed estimates are left out.
        max_kappa: rows whose ``kappa`` is larger are left out; ``None`` keeps them all.
    """

    kappa: str = "kappa"
    error: str = "corner_error_px"
    drop_failures: bool = False
    max_kappa: float | None = None

    @classmethod
    def of(cls, runs: pd.DataFrame) -> "Analysis":
        """What most of these runs were configured with."""
        chosen = {}
        for name in ("kappa", "error", "drop_failures", "max_kappa"):
            values = runs.get(f"analysis.{name}", pd.Series(dtype=object)).dropna()
            if len(values):
                chosen[name] = values.mode().tolist()[0]
        return cls(**chosen)

    def keeps(self, rows: pd.DataFrame) -> pd.Series:
        """Which rows this analysis looks at."""
        kept = pd.Series(True, index=rows.index)
        if self.drop_failures:
            kept &= rows["status"] == "ok"
        if self.max_kappa is not None:
            kept &= ~(rows[self.kappa] > self.max_kappa)
        return kept

    @property
    def picture_error(self) -> str:
        """The study's RMSE: the column read as error if it is one, else that of the valid parts."""
        return self.error if self.error.startswith("rmse") else "rmse_gray"

    def left_out(self, rows: pd.DataFrame) -> str:
        """One sentence on the rows that are left out; empty where none is."""
        kept = self.keeps(rows)
        if kept.all():
            return ""
        reasons = ["failures"] if self.drop_failures else []
        if self.max_kappa is not None:
            reasons.append(f"κ > {self.max_kappa:.0e}".replace("e+0", "e"))
        return (
            f"As in the study, {' and '.join(reasons)} are left out: "
            f"{int((~kept).sum())} of {len(rows)} rows."
        )


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
