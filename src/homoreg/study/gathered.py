"""All that a report is made from, and what several of its sections need of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from homoreg.plotting import ArmStyle, arm_styles
from homoreg.study import tables
from homoreg.study.analysis import Analysis, analysis_of, primary_estimator
from homoreg.study.arms import arm_table

MANY_RUNS = 12  # up to so many finished runs have rows of their own on the page
MANY_ARMS = 12  # up to so many arms have panels of their own in the figures


@dataclass(frozen=True)
class Gathered:
    """The runs of one or more sweeps as plain tables.

    Attributes:
        title: the study's name.
        runs: a row per run, as :mod:`homoreg.study.tables` describes it, with an ``arm``, and
            ``evaluation_csv``, ``metrics_csv`` and ``config_yaml`` relative to the report's folder
            (empty where missing), ``objective`` (what a search went by, empty where a run served
            none), ``objective_value`` and ``objective_direction``.
        epochs: a row per epoch of the finished runs; may be empty.
        rows: a row per model, pair and estimator; may be empty.
        best_rows: the same of the runs that judged the weights of their best epoch as well, which
            lie ``best_after_epochs`` epochs in; may be empty.
        shifts: a row per run and shift of the shift response; may be empty.
        configs: a row per option in which the protocols' configs differ, a column per protocol.
        pictures: image files of the runs that show for their arms, by run.
    """

    title: str
    runs: pd.DataFrame
    epochs: pd.DataFrame = field(default_factory=pd.DataFrame)
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    best_rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    shifts: pd.DataFrame = field(default_factory=pd.DataFrame)
    configs: pd.DataFrame = field(default_factory=pd.DataFrame)
    pictures: Mapping[str, list[Path]] = field(default_factory=dict)

    @cached_property
    def done(self) -> pd.DataFrame:
        return self.runs[self.runs["status"] == "done"]

    @cached_property
    def protocols(self) -> list[str]:
        return tables.order_protocols(self.done["protocol"])

    @cached_property
    def models(self) -> pd.DataFrame:
        return tables.model_table(self.rows) if len(self.rows) else pd.DataFrame()

    @cached_property
    def arms(self) -> pd.DataFrame:
        return arm_table(self.models) if len(self.rows) else pd.DataFrame()

    @cached_property
    def styles(self) -> dict[str, ArmStyle]:
        """An arm looks the same under both protocols."""
        judged = list(self.rows["arm"]) if len(self.rows) else []
        return arm_styles([*self.done["arm"], *judged])

    @cached_property
    def varied_on_purpose(self) -> pd.Series:
        """Finished runs of an ablation or a search, which are not arms to compare by seeds."""
        corrected = self.done["overrides"].map(
            lambda overrides: any(o.lstrip("+").startswith("correction=") for o in overrides)
        )
        return corrected | (self.done["objective"] != "")

    @cached_property
    def trials(self) -> set[str]:
        """Arms of a search, which are one run each: a table and a figure of their own show them."""
        return set(self.done.loc[self.done["objective"] != "", "arm"])

    @property
    def many_runs(self) -> bool:
        return len(self.done) > MANY_RUNS

    def rows_of(self, protocol: str) -> pd.DataFrame:
        return self.rows[self.rows["protocol"] == protocol] if len(self.rows) else self.rows

    @cached_property
    def analyses(self) -> dict[str, Analysis]:
        """How each protocol reads its rows."""
        return {
            protocol: analysis_of(self.done[self.done["protocol"] == protocol])
            for protocol in self.protocols
        }

    def primary(self, protocol: str) -> str:
        return primary_estimator(self.rows_of(protocol), protocol)

    def drawn(self, frame: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
        """Each protocol whose arms can have panels of their own, with its rows of a frame.

        Yields:
            The protocol, what to add to a figure's name and what to put before its caption to tell
            the protocols' figures apart (both empty where there is one protocol), and the rows.
        """
        several = len(self.protocols) > 1
        frame = frame[~frame["arm"].isin(self.trials)] if len(frame) else frame
        for protocol in self.protocols:
            own = frame[frame["protocol"] == protocol] if len(frame) else frame
            if len(own) and own["arm"].nunique() <= MANY_ARMS:
                label = tables.PROTOCOLS[protocol]
                label = f"{label[0].upper()}{label[1:]}. " if several else ""
                yield protocol, f"_{protocol}" if several else "", label, own

    def readable(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame by arm less what would make a page's table too long.

        The trials of a search have a table of their own, and of many arms one estimator will do.
        """
        shown = frame[~frame["arm"].isin(self.trials)]
        if "estimator" not in shown:
            return shown
        primary = shown["protocol"].map({name: self.primary(name) for name in self.crowded()})
        return shown[primary.isna() | (shown["estimator"] == primary)]

    def crowded(self) -> list[str]:
        """Protocols with more arms than figures have panels for."""
        arms = self.rows if len(self.rows) else self.done
        counts = arms.groupby("protocol")["arm"].nunique()
        return [protocol for protocol in self.protocols if counts.get(protocol, 0) > MANY_ARMS]
