"""Everything that a report is made from, and what several of its sections derive from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from homoreg.plotting import ArmStyle, arm_styles
from homoreg.study import tables
from homoreg.study.analysis import Analysis, analysis_of, primary_estimator
from homoreg.study.arms import ORIGINAL_ARMS, order_protocols, protocol_label
from homoreg.study.claims import evaluate_claims
from homoreg.study.comparisons import (
    OUTCOMES,
    compare_arms,
    compare_contrasts,
    compare_studies,
    levels,
)
from homoreg.study.document import capitalized

BASELINE = "none"  # the arm that the others are compared with
MANY_ARMS = 12  # above this, there are no figures with an arm per panel


@dataclass(frozen=True)
class StudyData:
    """The runs of one or more sweeps as plain tables.

    Attributes:
        title: the study's name.
        runs: a row per run: ``run``, ``status``, ``protocol`` (a key of
            :func:`~homoreg.study.arms.protocol_of`), ``arm``, the run's record flattened with dots
            (``training.epochs``, ``seconds.fit``), ``analysis`` (an
            :class:`~homoreg.study.analysis.Analysis`), ``settings`` (its resolved config and its
            choices of config groups, by option), ``changed`` (options of its regularizer that the
            file in ``conf/regularizer`` has otherwise and the arm's name does not tell, in words;
            else empty), ``evaluation_csv``, ``metrics_csv`` and ``config_yaml`` relative to the
            report's folder (empty where missing), and ``objective`` (of a search, else empty),
            ``objective_value`` and ``objective_direction``.
        epochs: a row per epoch of the finished runs; may be empty.
        rows: a row per model, pair and estimator, with ``run``, ``protocol`` and ``arm``; may be
            empty.
        best_rows: the same with the weights of the best epoch, where they were evaluated.
        configs: a row per option in which the protocols' configs differ, a column per protocol.
        pictures: image files of the first run of each arm, by run.
    """

    title: str
    runs: pd.DataFrame
    epochs: pd.DataFrame = field(default_factory=pd.DataFrame)
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    best_rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    configs: pd.DataFrame = field(default_factory=pd.DataFrame)
    pictures: Mapping[str, list[Path]] = field(default_factory=dict)

    @cached_property
    def done(self) -> pd.DataFrame:
        return self.runs[self.runs["status"] == "done"]

    @cached_property
    def protocols(self) -> list[str]:
        return order_protocols(self.done["protocol"])

    def rows_of(self, protocol: str) -> pd.DataFrame:
        return self.rows[self.rows["protocol"] == protocol] if len(self.rows) else self.rows

    @cached_property
    def evaluated(self) -> list[str]:
        """The protocols of which there are rows."""
        return [protocol for protocol in self.protocols if len(self.rows_of(protocol))]

    @cached_property
    def analyses(self) -> dict[str, Analysis]:
        """How the rows of each protocol are read."""
        return {
            protocol: analysis_of(self.done[self.done["protocol"] == protocol])
            for protocol in self.protocols
        }

    @cached_property
    def primary(self) -> dict[str, str]:
        """The primary estimator of each protocol; empty without rows."""
        return {
            protocol: primary_estimator(self.rows_of(protocol), self.analyses[protocol])
            for protocol in self.protocols
        }

    @cached_property
    def models(self) -> pd.DataFrame:
        return tables.model_table(self.rows) if len(self.rows) else pd.DataFrame()

    @cached_property
    def arms(self) -> pd.DataFrame:
        return tables.arm_table(self.models) if len(self.rows) else pd.DataFrame()

    @cached_property
    def levels(self) -> dict[str, pd.DataFrame]:
        """The outcomes of each protocol's arms and baselines, in their order, and failures.

        See :func:`~homoreg.study.comparisons.levels`.
        """
        return {
            name: levels(
                self.rows_of(name),
                {key: OUTCOMES[key] for key in [*self.analyses[name].outcomes, "failure_rate"]},
            ).assign(protocol=name)
            for name in self.evaluated
        }

    @cached_property
    def varied_on_purpose(self) -> pd.Series:
        """Finished runs of an ablation or a search, which are not arms to compare by seed."""
        corrections = self.done["settings"].map(lambda settings: bool(settings.get("correction")))
        return corrections | (self.done["objective"] != "")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Every arm against ``none``, in the protocols that have it and another arm; may be empty.

        Corrections and searches are left out.
        """
        if not len(self.rows):
            return pd.DataFrame()
        rows = self.rows[self.rows["run"].isin(self.done.loc[~self.varied_on_purpose, "run"])]
        arms = rows.groupby("protocol")["arm"].agg(set)
        compared = [protocol for protocol, names in arms.items() if {BASELINE} < names]
        return compare_arms(rows[rows["protocol"].isin(compared)], BASELINE, self.analyses)

    @cached_property
    def claims(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """:func:`~homoreg.study.claims.evaluate_claims` of the protocols with all original arms."""
        whole = [
            protocol
            for protocol in self.evaluated
            if set(ORIGINAL_ARMS) <= set(self.rows_of(protocol)["arm"])
        ]
        if not whole:
            return pd.DataFrame(), pd.DataFrame()
        rows, runs = (
            frame[frame["arm"].isin(ORIGINAL_ARMS) & frame["protocol"].isin(whole)]
            for frame in (self.rows, self.done)
        )
        return evaluate_claims(rows, tables.training_table(runs), self.analyses)

    @cached_property
    def matched_studies(self) -> list[tuple[str, str]]:
        """Pairs of protocols to compare: of the first study and of each other one.

        Those of one recipe, or the only ones of two studies.
        """
        of_study: dict[str, dict[str, str]] = {}
        for protocol in self.done["protocol"].unique():
            recipe, _, study = str(protocol).partition("@")
            if study:
                of_study.setdefault(study, {})[recipe] = str(protocol)
        first, *others = of_study.values() or [{}]
        matched: list[tuple[str, str]] = []
        for own in others:
            if len(first) == len(own) == 1:
                matched += zip(first.values(), own.values(), strict=True)
            else:
                matched += [(first[recipe], own[recipe]) for recipe in first if recipe in own]
        return matched

    @cached_property
    def between_studies(self) -> pd.DataFrame:
        """The arms of the matched studies on the pairs that they share; may be empty."""
        if not len(self.rows) or not self.matched_studies:
            return pd.DataFrame()
        return compare_studies(self.rows, self.matched_studies, self.analyses)

    @cached_property
    def changed(self) -> dict[tuple[str, str], str]:
        """What ``changed`` says of each protocol's arms at a dose that their names do not tell."""
        arms = self.done[self.done["changed"] != ""].drop_duplicates(["protocol", "arm"])
        return {(run["protocol"], run["arm"]): run["changed"] for run in arms.to_dict("records")}

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        """The contrasts that were stated beforehand, at the last epoch; may be empty.

        An arm is stated at the dose of its file in ``conf/regularizer``: ``not_as_stated`` says
        where its runs have another one. ``best_difference``, ``best_low``, ``best_high``,
        ``best_p_holm`` and ``best_verdict`` are of the best epoch, where that was evaluated.
        """
        last, best = (
            compare_contrasts(rows, self.analyses) if len(rows) else pd.DataFrame()
            for rows in (self.rows, self.best_rows)
        )
        if not len(last):
            return last
        last["not_as_stated"] = [
            "; ".join(
                f"{arm} has {self.changed[protocol, arm]}"
                for arm in arms
                if (protocol, arm) in self.changed
            )
            for protocol, *arms in last[["protocol", "arm", "against"]].itertuples(index=False)
        ]
        if not len(best):
            return last
        keys = ["protocol", "estimator", "arm", "against"]
        best = best.set_index(keys)[["difference", "low", "high", "p_holm", "verdict"]]
        return last.join(best.add_prefix("best_"), on=keys)

    def drawn(self, frame: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
        """Each protocol with few enough arms for a panel each, with its rows of a frame.

        Yields:
            The protocol, the suffix of a figure's name and the prefix of its caption that tell the
            protocols apart (both empty where there is one protocol), and the rows.
        """
        several = len(self.protocols) > 1
        for protocol in self.protocols if len(frame) else []:
            own = frame[frame["protocol"] == protocol]
            if len(own) and own["arm"].nunique() <= MANY_ARMS:
                label = f"{capitalized(protocol_label(protocol))}. " if several else ""
                yield protocol, f"_{protocol}" if several else "", label, own

    def readable(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame by arm; where there are many arms, with the primary estimator alone."""
        if "estimator" not in frame:
            return frame
        primary = frame["protocol"].map({name: self.primary[name] for name in self.crowded()})
        return frame[primary.isna() | (frame["estimator"] == primary)]

    def crowded(self) -> list[str]:
        """Protocols with too many arms for figures by arm."""
        arms = self.rows if len(self.rows) else self.done
        counts = arms.groupby("protocol")["arm"].nunique()
        return [protocol for protocol in self.protocols if counts.get(protocol, 0) > MANY_ARMS]

    @cached_property
    def styles(self) -> dict[str, ArmStyle]:
        """The same for all protocols."""
        evaluated = list(self.rows["arm"]) if len(self.rows) else []
        return arm_styles([*self.done["arm"], *evaluated])
