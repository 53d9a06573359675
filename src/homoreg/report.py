"""python -m homoreg.report runs=multirun/NAME: tables, figures and a page of finished runs."""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import pandas as pd
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from homoreg.cli import command
from homoreg.errors import HomoregError
from homoreg.evaluation import read_evaluation
from homoreg.files import conf_dir, reading
from homoreg.runs import RunFolder, find_runs
from homoreg.runs.evaluations import evaluated_runs, newest_first
from homoreg.runs.identity import OTHER
from homoreg.study.analysis import Analysis
from homoreg.study.arms import name_arms, order_arms, order_protocols, protocol_label, protocol_of
from homoreg.study.data import MANY_ARMS, StudyData
from homoreg.study.page import write_report
from homoreg.study.tables import gather_rows, read_epochs

log = logging.getLogger("homoreg.report")  # __name__ is "__main__" under python -m

Done = list[tuple[dict[str, Any], RunFolder]]  # finished runs and their rows of the table of runs
# Fields of run.json that a finished run has.
FINISHED = {"seed", "manifest_hash", "training", "regularizer"}
# Parts of a config that tell no runs apart: names, places, how fast or loud a run is, and what an
# evaluation adds to its table. What the pairs were made of does.
NOT_COMPARED = [
    *("ckpt", "hydra", "network", "regularizer.name"),
    *(entry for entry in OTHER if entry not in ("source", "warp", "prepare")),
    *("evaluation.best_epoch", "evaluation.figure_pairs", "evaluation.shift_pairs"),
    "evaluation.oracle",
]
# Groups of which the options tell runs apart, and not the choice.
BY_OPTIONS = ("trainer", "evaluation")


@command("report")
def main(cfg: DictConfig) -> None:
    if not cfg.runs:
        raise HomoregError("runs is empty: runs=PATH names a sweep, a run, or a list of them")
    listed = list(cfg.runs) if isinstance(cfg.runs, ListConfig) else [cfg.runs]
    # As text: YAML reads a folder that is named 2026 as a number.
    paths = [Path(str(path)).resolve() for path in listed]
    folder = Path(os.path.commonpath(paths))
    runs = find_runs(paths)
    if not any(run.status == "done" for run in runs):
        raise HomoregError(
            f"runs={cfg.runs}: none of the {len(runs)} runs is finished; "
            "python -m homoreg.train makes or resumes them"
        )
    if cfg.evaluations is None:
        evaluations = newest_first(Path(cfg.paths.outputs), cfg.table)
    else:
        evaluations = [Path(str(path)) for path in cfg.evaluations]
    options = cast(dict[str, Any], OmegaConf.to_container(cfg.analysis))
    analysis = {k: v for k, v in options.items() if not OmegaConf.is_missing(cfg.analysis, k)}
    output = _output_folder(folder) / "report"
    page = write_report(output, gather(runs, folder, output, cfg.table, evaluations, analysis))
    print(f"report: {page}")


def gather(
    runs: list[RunFolder],
    root: Path,
    folder: Path,
    benchmark: str = "eval",
    evaluations: Sequence[Path] = (),
    analysis: Mapping[str, Any] = MappingProxyType({}),
) -> StudyData:
    """The runs' files as tables.

    Args:
        runs: finished or not; at least one finished.
        root: a folder above all runs; runs are named relative to it.
        folder: of the report, where its links start.
        benchmark: whose evaluation table is shown.
        evaluations: folders that ``evaluate`` wrote, preferred first; each protocol gets baselines
            and controls of the first one that evaluated runs of it at their keypoints.
        analysis: options of :class:`~homoreg.study.analysis.Analysis` in place of the runs' own.

    Raises:
        HomoregError: a file of a run cannot be read.
        pydantic.ValidationError: there is no such analysis.
    """
    table = _run_table(runs, root, analysis).assign(
        evaluation_csv=[_link(run.evaluation_csv(benchmark), folder) for run in runs],
        metrics_csv=[_link(run.metrics_csv, folder) for run in runs],
        config_yaml=[_link(run.config_file, folder) for run in runs],
    )
    records = cast(list[dict[str, Any]], table.to_dict("records"))
    done = [pair for pair in zip(records, runs, strict=True) if pair[0]["status"] == "done"]

    def evaluated(
        file_of: Callable[[RunFolder], Path], extra: Mapping[str, pd.DataFrame] | None = None
    ) -> pd.DataFrame:
        found = {
            record["run"]: read_evaluation(file_of(run))
            for record, run in done
            if file_of(run).is_file()
        }
        for name, rows in (extra or {}).items():
            found[name] = pd.concat([found[name], rows], join="inner")
        return gather_rows(found, table) if found else pd.DataFrame()

    def of_runs(frames: list[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    first = _first_runs(done)
    return StudyData(
        title=_title(runs, root),
        runs=table,
        epochs=of_runs(
            [
                read_epochs(run.metrics_csv).assign(**_keys(record))
                for record, run in done
                if run.metrics_csv.is_file()
            ]
        ),
        rows=evaluated(
            lambda run: run.evaluation_csv(benchmark), _baselines(evaluations, done, benchmark)
        ),
        best_rows=evaluated(lambda run: run.best_evaluation_csv(benchmark)),
        configs=_protocol_differences(first),
        pictures=_pictures(first),
    )


def _baselines(evaluations: Sequence[Path], done: Done, benchmark: str) -> dict[str, pd.DataFrame]:
    """Rows of baselines and controls, by the run that they were evaluated with."""
    known = {
        run.path.resolve(): (record, run)
        for record, run in done
        if run.evaluation_csv(benchmark).is_file()
    }
    protocols = {record["protocol"] for record, _ in known.values()}
    found: dict[str, tuple[str, pd.DataFrame]] = {}
    for folder in evaluations:
        if len(found) == len(protocols):
            break
        try:
            first: dict[str, tuple[dict[str, Any], RunFolder]] = {}
            for evaluated in evaluated_runs(folder):
                if pair := known.get(evaluated.path.resolve()):
                    first.setdefault(pair[0]["protocol"], pair)
            for protocol in [name for name in first if name not in found]:
                record, run = first[protocol]
                table = read_evaluation(folder / "evaluation" / f"{benchmark}.csv")
                rows = table[table["seed"].isna()]
                kept = same_pairs(rows, read_evaluation(run.evaluation_csv(benchmark)))
                if len(kept):
                    found[protocol] = record["run"], kept
                if len(kept) < len(rows):
                    log.warning(
                        "%s: %d of %d rows of baselines are left out: other pairs or keypoints",
                        protocol_label(protocol),
                        len(rows) - len(kept),
                        len(rows),
                    )
        except HomoregError as error:
            log.warning("the evaluation %s is left out: %s", folder, error)
    return dict(found.values())


def same_pairs(rows: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Rows of pairs that are in another table with the same pixels, if all keypoints agree as well.

    A system has keypoints of its own, which are not known.
    """
    pixels = ["pair_id", "rmse_identity_gray"]
    keypoints = [*pixels, "keypoints_1", "keypoints_2", "repeatable"]

    def known(columns: list[str]) -> np.ndarray:
        tables = (pd.MultiIndex.from_frame(table[columns]) for table in (rows, own))
        return next(tables).isin(next(tables))

    shared, system = known(pixels), rows["keypoints_1"].isna()
    # Another detector finds as many by chance in some pairs.
    detected_alike = bool(known(keypoints)[shared & ~system].all())
    return rows[shared & (system | detected_alike)]


def _run_table(runs: list[RunFolder], root: Path, analysis: Mapping[str, Any]) -> pd.DataFrame:
    """A row per run; finished ones have an arm."""
    analyses = [replace(_analysis(run), **analysis) for run in runs]
    choices = [_hydra(run).get("runtime", {}).get("choices", {}) for run in runs]
    # Whole numbers stay whole where a run that never finished has none.
    table = pd.json_normalize([run.record for run in runs]).convert_dtypes()
    names = [_name(run, root) for run in runs]
    table = table.assign(
        run=names,
        status=[run.status for run in runs],
        protocol=[each.protocol for each in analyses],
        analysis=pd.Series(analyses, dtype=object),
        settings=pd.Series(list(map(_settings, runs, choices)), dtype=object),
    )
    searched = [bool(chosen.get("hparams_search")) for chosen in choices]
    objectives = [
        run.config["optimized_metric"] if search else ""
        for run, search in zip(runs, searched, strict=True)
    ]
    table = table.assign(
        objective=objectives,
        objective_value=[
            cast(Any, run.record.get("metrics") or {}).get(objective)  # null while it runs
            for run, objective in zip(runs, objectives, strict=True)
        ],
        objective_direction=[
            str(_hydra(run)["sweeper"]["direction"]) if search else ""
            for run, search in zip(runs, searched, strict=True)
        ],
    )
    table["protocol"] = _protocols(table, [chosen.get("recipe") for chosen in choices])
    for _, of_protocol in table[table["status"] == "done"].groupby("protocol"):
        table.loc[of_protocol.index, "arm"] = name_arms(of_protocol)
    table["changed"] = [
        ", ".join(text for name, text in _changed(own).items() if f"{name}=" not in str(arm))
        for own, arm in zip(table["settings"], table["arm"], strict=True)
    ]
    if "weights_from" in table:  # the same arm and seed once more, as under another job's name
        done = table[table["status"] == "done"]
        twice = done[done.duplicated(["protocol", "arm", "seed"], keep=False)]
        again = twice["weights_from"].dropna()
        table.loc[again.index, "status"] = "the same run as " + again
    return table


def _protocols(table: pd.DataFrame, recipes: list[str | None]) -> list[str]:
    """Each run's protocol and recipe, and its sweep where another one has the same arms.

    Sweeps that have an arm and a seed in common are studies of their own, not seeds of one.
    """
    table = table.assign(
        recipe=[recipe or "" for recipe in recipes],
        sweep=[re.sub(r"[^\w.+-]+", "+", name.rpartition("/")[0]) for name in table["run"]],
    )
    done = table[table["status"] == "done"]
    arms = [name_arms(own) for _, own in done.groupby(["protocol", "recipe", "sweep"])]
    of_seed = done.assign(arm=pd.concat(arms)).groupby(["protocol", "arm", "seed"])
    apart = set(done.loc[of_seed["sweep"].transform("nunique") > 1, "sweep"])
    return [
        protocol_of(protocol, recipe, sweep if sweep in apart else "")
        for protocol, recipe, sweep in zip(table["protocol"], recipes, table["sweep"], strict=True)
    ]


def _analysis(run: RunFolder) -> Analysis:
    """How a run says that it is to be read; its record has all that a finished run's has."""
    with reading(run.record_file, "a run's record"):
        record = run.record
        if run.status == "done":
            given = record.keys() | (record.get("training") or {}).keys()
            if lacking := FINISHED - given:
                raise ValueError(f"a finished run has {', '.join(sorted(lacking))}")
        return Analysis(**record.get("analysis", {}))


def _settings(run: RunFolder, choices: dict[str, Any]) -> dict[str, Any]:
    """What a run was configured with: choices of config groups, then options.

    Paths are left out, and the side of a window of another kind.
    """
    if not run.config_file.is_file():
        return {}
    options = cast(dict[str, Any], pd.json_normalize(run.config).iloc[0].to_dict())
    groups = {
        group: choice
        for group, choice in choices.items()
        if "/" not in group and group not in BY_OPTIONS
    }
    windows = [name.rpartition(".")[0] for name in options if name.endswith(".window")]
    unused = [
        f"{window}.{'scale_factor' if options[f'{window}.window'] == 'fixed' else 'support'}"
        for window in windows
    ]
    return {
        name: value
        for name, value in {**groups, **options}.items()
        if not any(name == part or name.startswith(f"{part}.") for part in NOT_COMPARED + unused)
        and not (isinstance(value, str) and Path(value).is_absolute())
    }


def _changed(settings: Mapping[str, Any]) -> dict[str, str]:
    """A run's options of its regularizer that the regularizer's file has otherwise, in words."""
    folder = conf_dir() / "regularizer"
    file = folder / f"{settings.get('regularizer')}.yaml"
    if not file.is_file():  # one of your own
        return {}
    files = (folder / "none.yaml", file)
    stated = cast(DictConfig, OmegaConf.merge(*map(OmegaConf.load, files)))
    return {
        name: f"{name} {settings[option]} instead of {stated[name]}"
        for name in map(str, stated)
        if (option := f"regularizer.{name}") in settings
        and not OmegaConf.is_interpolation(stated, name)
        and settings[option] != stated[name]
    }


def _hydra(run: RunFolder) -> dict[str, Any]:
    """Hydra's own config of the run; empty where it left none."""
    file = run.path / ".hydra" / "hydra.yaml"
    if not file.is_file():
        return {}
    with reading(file, "Hydra's config"):
        return dict(yaml.safe_load(file.read_text(encoding="utf-8"))["hydra"])


def _keys(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("protocol", "arm", "run", "seed")}


def _first_runs(done: Done) -> dict[str, dict[str, RunFolder]]:
    """The first run of each arm, in the arms' order, by protocol and by the run's name."""
    found: dict[str, dict[str, RunFolder]] = {}
    for protocol in order_protocols(record["protocol"] for record, _ in done):
        first: dict[str, tuple[str, RunFolder]] = {}
        for record, run in done:
            if record["protocol"] == protocol:
                first.setdefault(record["arm"], (record["run"], run))
        found[protocol] = dict(first[arm] for arm in order_arms(first))
    return found


def _pictures(first: dict[str, dict[str, RunFolder]]) -> dict[str, list[Path]]:
    """Pairs drawn by each arm's first run; of the first arm also its training patches."""
    pictures: dict[str, list[Path]] = {}
    for runs in first.values():
        for place, (name, run) in enumerate(runs.items()):
            files = [
                *([run.figures / "patch_pairs.png"] if place == 0 else []),
                *sorted(run.figures.glob("pair_*.png")),
            ]
            if place == 0 or len(runs) <= MANY_ARMS:
                pictures[name] = [file for file in files if file.is_file()]
    return pictures


def _protocol_differences(first: dict[str, dict[str, RunFolder]]) -> pd.DataFrame:
    """Options in which the protocols' configs differ, each at its first run."""
    configs = {
        protocol: _settings(run, {})
        for protocol, runs in first.items()
        for run in list(runs.values())[:1]
    }
    if len(configs) < 2:
        return pd.DataFrame()
    # An option that one of them lacks is NaN, the one value that differs from itself.
    table = pd.DataFrame(
        {name: pd.Series(config, dtype=object) for name, config in configs.items()}
    )
    table = table.map(lambda value: "" if value is None or value != value else str(value))
    differ = table[table.nunique(axis=1) > 1].sort_index()
    return differ.rename_axis("option").reset_index()


def _title(runs: list[RunFolder], root: Path) -> str:
    """The sweeps' names, or that of the only folder, and the day on which the last run ended."""
    sweeps = list(dict.fromkeys(run.path.resolve().parent.name for run in runs))
    name = " and ".join(sweeps) if len(sweeps) > 1 else root.name
    ended = max(run.record_file.stat().st_mtime for run in runs if run.status == "done")
    day = datetime.fromtimestamp(ended).date()
    return f"Regularization and homographies: {name}, {day.day} {day:%B %Y}"


def _output_folder(sweep: Path) -> Path:
    """``hydra.run.dir`` where the user gave one, else the sweep's folder."""
    hydra = HydraConfig.get()
    given = any(override.startswith("hydra.run.dir=") for override in hydra.overrides.hydra)
    return Path(hydra.runtime.output_dir) if given else sweep


def _name(run: RunFolder, root: Path) -> str:
    path = run.path.resolve()
    return run.name if path == root else path.relative_to(root).as_posix()


def _link(file: Path, folder: Path) -> str:
    """Where ``file`` lies as seen from ``folder``; empty where there is no such file."""
    return Path(os.path.relpath(file, folder)).as_posix() if file.is_file() else ""


if __name__ == "__main__":
    main()
