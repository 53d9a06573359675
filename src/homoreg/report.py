"""Phase 6: the tables, the figures and the page of finished runs.

``python -m homoreg.report runs=multirun/NAME`` writes ``report/`` into the sweep's folder.
"""

import os
from pathlib import Path

import pandas as pd
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig

from homoreg.errors import HomoregError
from homoreg.evaluation import read_evaluation
from homoreg.hydra_app import command
from homoreg.runs import RunFolder, find_runs
from homoreg.study.page import write_report
from homoreg.study.tables import gather_rows, name_arms, order_arms, read_epochs


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
    """Gather the runs' files and write the report; returns the page's path.

    Args:
        runs: finished or not; at least one finished.
        root: a folder above all runs, which names the study; runs are named relative to it.
        folder: where the report goes.
        benchmark: whose evaluation table is shown.
    """
    # Whole numbers stay whole where a run that never finished has none.
    records = pd.json_normalize([run.record for run in runs]).convert_dtypes()
    table = records.assign(
        run=[_name(run, root) for run in runs],
        status=[run.status for run in runs],
        overrides=pd.Series([_overrides(run) for run in runs]),
        evaluation_csv=[_link(run.evaluation_csv(benchmark), folder) for run in runs],
        metrics_csv=[_link(run.metrics_csv, folder) for run in runs],
    )
    table["arm"] = name_arms(table[table["status"] == "done"])

    done = [
        (name, arm, run)
        for name, arm, run in zip(table["run"], table["arm"], runs, strict=True)
        if run.status == "done"
    ]
    epochs = [
        read_epochs(run.metrics_csv).assign(run=name, arm=arm)
        for name, arm, run in done
        if run.metrics_csv.is_file()
    ]
    rows = {
        name: read_evaluation(run.evaluation_csv(benchmark))
        for name, _, run in done
        if run.evaluation_csv(benchmark).is_file()
    }
    first_arm = order_arms(arm for _, arm, _ in done)[0]
    shown, figures = next((name, run.figures) for name, arm, run in done if arm == first_arm)
    return write_report(
        folder,
        title=root.name,
        runs=table,
        epochs=pd.concat(epochs, ignore_index=True) if epochs else pd.DataFrame(),
        rows=gather_rows(rows, table) if rows else pd.DataFrame(),
        pictures={
            f"{file.stem.replace('_', ' ')} of {shown}": file
            for file in sorted(figures.glob("*.png"))
        },
    )


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
