"""How a protocol reads its own rows: the numbers that it calls κ and error, and what it leaves out.

The study dropped failures and every κ above 2·10⁷. Its figures and its claims are shown that way
under its protocol; all other tables and figures keep every row.
"""

import numpy as np
import pandas as pd

from homoreg.study.statistics import Analysis


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
