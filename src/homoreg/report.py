"""Phase 6: the tables, the figures and the page of finished runs.

``python -m homoreg.report runs=multirun/NAME`` writes ``report/`` into the sweep's folder.
"""

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import pandas as pd
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig

from homoreg.cli import command
from homoreg.data import PairManifest
from homoreg.errors import HomoregError
from homoreg.evaluation import read_evaluation
from homoreg.runs import RunFolder, find_runs
from homoreg.study.gathered import MANY_ARMS, Gathered
from homoreg.study.page import write_report
from homoreg.study.tables import (
    gather_rows,
    name_arms,
    order_arms,
    order_protocols,
    read_epochs,
)

Record = dict[str, Any]
Records = list[Record]
NOT_COMPARED = ("paths", "study", "callbacks", "logger", "ckpt")  # parts of a config


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
    page = report(runs, folder, _output_folder(folder) / "report", cfg.table)
    print(f"report: {page}")


def report(runs: list[RunFolder], root: Path, folder: Path, benchmark: str = "eval") -> Path:
    """Gather the runs' files and write the report; returns the page's path."""
    return write_report(folder, gather(runs, root, folder, benchmark))


def gather(runs: list[RunFolder], root: Path, folder: Path, benchmark: str = "eval") -> Gathered:
    """The runs' files as tables.

    Args:
        runs: finished or not; at least one finished.
        root: a folder above all runs, which names the study; runs are named relative to it.
        folder: where the report goes, from where its links lead.
        benchmark: whose evaluation table is shown.
    """
    # Whole numbers stay whole where a run that never finished has none.
    records = pd.json_normalize([run.record for run in runs]).convert_dtypes()
    table = records.assign(
        run=[_name(run, root) for run in runs],
        status=[run.status for run in runs],
        protocol=[run.record.get("analysis", {}).get("protocol", "corrected") for run in runs],
        overrides=pd.Series([_overrides(run) for run in runs]),
        evaluation_csv=[_link(run.evaluation_csv(benchmark), folder) for run in runs],
        metrics_csv=[_link(run.metrics_csv, folder) for run in runs],
        config_yaml=[_link(run.config_file, folder) for run in runs],
    )
    table = table.assign(**_objectives(runs))
    for _, of_protocol in table[table["status"] == "done"].groupby("protocol"):
        table.loc[of_protocol.index, "arm"] = name_arms(of_protocol)

    done = [
        (record, run)
        for record, run in zip(cast(Records, table.to_dict("records")), runs, strict=True)
        if run.status == "done"
    ]
    epochs = [
        read_epochs(run.metrics_csv).assign(**_who(record))
        for record, run in done
        if run.metrics_csv.is_file()
    ]
    rows = {
        record["run"]: _with_photos(read_evaluation(run.evaluation_csv(benchmark)), run)
        for record, run in done
        if run.evaluation_csv(benchmark).is_file()
    }
    best_rows = {
        record["run"]: read_evaluation(run.best_evaluation_csv(benchmark))
        for record, run in done
        if run.best_evaluation_csv(benchmark).is_file()
    }
    shifts = [
        pd.DataFrame(response).assign(**_who(record))
        for record, run in done
        for response in _own_shift_responses(run)
    ]
    examples = _examples(done)
    return Gathered(
        title=_title(runs, root),
        runs=table,
        epochs=pd.concat(epochs, ignore_index=True) if epochs else pd.DataFrame(),
        rows=gather_rows(rows, table) if rows else pd.DataFrame(),
        best_rows=gather_rows(best_rows, table) if best_rows else pd.DataFrame(),
        shifts=pd.concat(shifts, ignore_index=True) if shifts else pd.DataFrame(),
        configs=_differences(examples),
        pictures=_pictures(examples),
    )


def _objectives(runs: list[RunFolder]) -> pd.DataFrame:
    """What each run's search went by, and what it got; empty where it served none."""
    columns = ["objective", "objective_value", "objective_direction"]
    records: list[tuple[str, float | None, str]] = []
    for run in runs:
        if not any(override.startswith("hparams_search=") for override in _overrides(run)):
            records.append(("", None, ""))
            continue
        hydra = yaml.safe_load((run.path / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"))
        objective = run.config["optimized_metric"]
        value = run.record.get("metrics", {}).get(objective)
        records.append((objective, value, str(hydra["hydra"]["sweeper"]["direction"])))
    return pd.DataFrame(records, columns=columns)


def _with_photos(rows: pd.DataFrame, run: RunFolder) -> pd.DataFrame:
    """The rows with each pair's ``photo`` where the benchmark's manifest is still there.

    Pairs of one photo are no independent evidence, and a bootstrap draws them together.
    """
    manifest = Path(str(run.config.get("benchmark", {}).get("manifest", "")))
    if not manifest.is_file():
        return rows.assign(photo=rows["pair_id"])
    return rows.assign(photo=rows["pair_id"].map(_photos(manifest)).fillna(rows["pair_id"]))


@lru_cache(maxsize=8)
def _photos(manifest: Path) -> dict[str, str]:
    try:
        return {pair.id: pair.photo for pair in PairManifest.load(manifest).pairs}
    except HomoregError:  # its pictures have gone, which a report does not need
        return {}


def _who(record: Record) -> dict[str, Any]:
    return {key: record[key] for key in ("protocol", "arm", "run", "seed")}


def _examples(done: list[tuple[Record, RunFolder]]) -> dict[str, dict[str, RunFolder]]:
    """The first run of each arm, in the arms' order, by protocol and by the run's name."""
    examples: dict[str, dict[str, RunFolder]] = {}
    for protocol in order_protocols(record["protocol"] for record, _ in done):
        of_protocol = [(record, run) for record, run in done if record["protocol"] == protocol]
        first: dict[str, tuple[str, RunFolder]] = {}
        for record, run in of_protocol:
            first.setdefault(record["arm"], (record["run"], run))
        examples[protocol] = dict(first[arm] for arm in order_arms(first))
    return examples


def _pictures(examples: dict[str, dict[str, RunFolder]]) -> dict[str, list[Path]]:
    """Best and worst pairs of each arm's example; of the first also what it was trained on."""
    pictures: dict[str, list[Path]] = {}
    for runs in examples.values():
        for number, (name, run) in enumerate(runs.items()):
            judged = sorted(run.figures.glob("pair_best_*.png"))
            judged += sorted(run.figures.glob("pair_worst_*.png"))
            if number == 0:
                shown = [run.figures / "patch_pairs.png", *judged]
                if not judged:
                    shown = sorted(run.figures.glob("*.png"))
                pictures[name] = [file for file in shown if file.is_file()]
            elif len(runs) <= MANY_ARMS:
                pictures[name] = judged
    return pictures


def _differences(examples: dict[str, dict[str, RunFolder]]) -> pd.DataFrame:
    """Options in which the protocols' configs differ, each at its first run; paths left out."""
    configs = {
        protocol: pd.json_normalize(run.config).iloc[0]
        for protocol, runs in examples.items()
        for run in list(runs.values())[:1]
        if run.config_file.is_file()
    }
    if len(configs) < 2:
        return pd.DataFrame()
    # An option that one of them lacks is NaN, the one value that differs from itself.
    table = pd.DataFrame(configs).map(lambda v: "" if v is None or v != v else str(v))
    compared = ~table.index.str.partition(".").get_level_values(0).isin(NOT_COMPARED)
    paths = table.map(os.path.isabs).any(axis=1)
    differ = table.nunique(axis=1) > 1
    return table[compared & differ & ~paths].rename_axis("option").reset_index()


def _own_shift_responses(run: RunFolder) -> list[dict[str, Any]]:
    """The run's own entries of its evaluation's shift responses, without its baselines'."""
    file = run.evaluation_csv().with_name("summary.json")
    if not file.is_file():
        return []
    responses = json.loads(file.read_text(encoding="utf-8")).get("shift_response", [])
    return [response for response in responses if response["regularizer"]]


def _title(runs: list[RunFolder], root: Path) -> str:
    """The sweeps' names where there are several, else that of the folder."""
    sweeps = list(dict.fromkeys(run.path.resolve().parent.name for run in runs))
    return " and ".join(sweeps) if len(sweeps) > 1 else root.name


def _output_folder(sweep: Path) -> Path:
    """``hydra.run.dir`` where the user gave one, else the sweep's folder."""
    hydra = HydraConfig.get()
    given = any(override.startswith("hydra.run.dir=") for override in hydra.overrides.hydra)
    return Path(hydra.runtime.output_dir) if given else sweep


def _name(run: RunFolder, root: Path) -> str:
    path = run.path.resolve()
    return run.name if path == root else path.relative_to(root).as_posix()


def _overrides(run: RunFolder) -> list[str]:
    file = run.path / ".hydra" / "overrides.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else []


def _link(file: Path, folder: Path) -> str:
    """Where ``file`` lies as seen from ``folder``; empty where there is no such file."""
    return Path(os.path.relpath(file, folder)).as_posix() if file.is_file() else ""


if __name__ == "__main__":
    main()
