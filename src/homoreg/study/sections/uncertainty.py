"""Whether the bound on the corner error holds."""

import pandas as pd

from homoreg.study.conditioning import BOUND, bound_coverage
from homoreg.study.data import StudyData
from homoreg.study.document import SEEDS, Column, Section, Table, with_interval


def uncertainty(study: StudyData) -> Section | None:
    """Absent where no table has bounds."""
    if BOUND not in study.rows or study.rows[BOUND].isna().all():
        return None
    table = pd.concat(
        [
            bound_coverage(study.rows_of(protocol)).assign(protocol=protocol)
            for protocol in study.evaluated
        ],
        ignore_index=True,
    )
    columns = [
        Column("arm", "model"),
        SEEDS,
        Column("n", "estimates"),
        with_interval("covered", "within the bound", 3),
    ]
    part = Table(
        "coverage",
        "Share of the pairs with an estimate whose RMS corner error is at most the stated 90 % "
        "bound, with a 95 % interval over seeds and photos. It holds for planar warps of "
        "photographs like these.",
        "coverage",
        study.readable(table),
        columns,
        by=["protocol", "estimator"],
    )
    return Section("uncertainty", "Does the bound hold?", [part], {"coverage": table})
