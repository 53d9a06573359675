"""Run folders as ``homoreg.train`` leaves them, with made-up but plausible numbers."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from homoreg.metrics import COLUMNS
from homoreg.report import gather
from homoreg.runs import find_runs
from homoreg.runs.folder import FORMAT
from homoreg.study.data import StudyData
from homoreg.study.document import Section
from homoreg.study.page import SECTIONS, write_report

ARM_ERROR_PX = {"none": 2.0, "l2": 2.2, "dropout": 3.2, "hybrid": 3.6}
BASELINE_ERROR_PX = {"rootsift": 4.0, "untrained": 9.0}
PAIRS = 40


def evaluation_rows(
    descriptor: str, regularizer: str, seed: int | None, error_px: float, pairs: int = PAIRS
) -> pd.DataFrame:
    """A pair has its own difficulty, a model scales the error, and a few estimates fail."""
    rng = np.random.default_rng([len(descriptor), len(regularizer), (seed or 0) + 1])
    difficulty = np.random.default_rng(0).lognormal(0, 1.0, pairs)
    identity = np.random.default_rng(1).normal(60, 4, pairs)  # of the pair, whatever the model
    parts = []
    for estimator, gain in [("dlt", 1.0), ("magsac", 0.4)]:
        corner = error_px * gain * difficulty * rng.lognormal(0, 0.3, pairs)
        kappa = 10 ** rng.normal(0.8, 0.25, pairs)
        rows = pd.DataFrame(
            {
                "descriptor": descriptor,
                "regularizer": regularizer,
                "seed": pd.array([seed] * pairs, "Int64"),
                "benchmark": "eval",
                "pair_id": [f"{number:06d}" for number in range(1, pairs + 1)],
                "photo": [f"photo{number // 2}.jpg" for number in range(pairs)],
                "group": "",
                "estimator": estimator,
                "status": "ok",
                "keypoints_1": 500,
                "keypoints_2": 480,
                "match_count": rng.integers(20, 300, pairs),
                "precision_3px": rng.beta(6, 3, pairs),
                "recall_3px": rng.beta(4, 4, pairs),
                "precision_at_recall_10": np.clip(1 - 0.02 * error_px * difficulty, 0, 1),
                "corner_error_px": corner,
                "corner_error_rms_px": 1.05 * corner,
                "kappa": kappa,
                "kappa_correct": 0.8 * kappa,
                "kappa_notebook": 10 ** rng.normal(6.8, 0.3, pairs),
                "predicted_corner_error_px": corner * rng.lognormal(0, 0.2, pairs),
                "rmse_gray": np.clip(5 + 6 * np.sqrt(corner) + rng.normal(0, 2, pairs), 2, 120),
                "ssim": np.clip(0.9 - 0.05 * np.sqrt(corner), -1, 1),
                "rmse_identity_gray": identity,
                "rmse_oracle_gray": rng.normal(3, 0.2, pairs),
                "rmse_notebook_gray": rng.normal(94, 6, pairs),
                "describe_ms": rng.normal(30, 1, pairs),
            }
        )
        estimate = ["predicted_corner_error_px", "kappa", "kappa_correct", "kappa_notebook"]
        failed = rng.choice(pairs, 4, replace=False)
        rows.loc[failed, [*estimate, "rmse_gray", "ssim", "rmse_notebook_gray"]] = np.nan
        rows.loc[failed, ["corner_error_px", "corner_error_rms_px"]] = np.inf
        rows.loc[failed[:3], "status"] = "too_few_matches"
        rows.loc[failed[3:], "status"] = "degenerate"
        parts.append(rows)
    return pd.concat(parts, ignore_index=True).reindex(columns=list(COLUMNS))


NOTEBOOK = {
    "protocol": "notebook",
    "kappa": "kappa_notebook",
    "error": "rmse_notebook_gray",
    "drop_failures": True,
    "max_kappa": 2e7,
    "estimators": ["dlt_raw", "dlt"],
}


def write_run(
    folder: Path,
    regularizer: str,
    seed: int,
    *,
    status: str = "done",
    analysis: dict | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    training: dict | None = None,
    record: dict | None = None,
    gain: float = 1.0,
    pairs: int = PAIRS,
    baselines: Mapping[str, float] = BASELINE_ERROR_PX,
    best_after_epochs: int | None = None,
    direction: str = "maximize",
    error_px: float | None = None,
) -> Path:
    """One run folder, baselines in its evaluation included.

    Args:
        analysis: goes into the record; ``None`` leaves it out.
        settings: options of the resolved config, and choices of config groups, that differ.
        training: fields of the training table's row that differ.
        record: further fields of the record.
        gain: multiplies the arm's error.
        pairs: held-out pairs.
        baselines: their typical error by name.
        best_after_epochs: evaluated there as well, with half the error of the last epoch.
        direction: of a hyperparameter search.
        error_px: of an arm that is not one of the original study's.
    """
    dropout = 0.3 if regularizer in ("dropout", "hybrid") else 0.0
    weight_decay = 1e-4 if regularizer in ("l2", "hybrid") else 0.0
    run = {
        "status": status,
        "format": FORMAT,
        "training_hash": f"{regularizer}{seed}".encode().hex(),
        "manifest_hash": "0123456789abcdef",
        "seed": seed,
        "git_revision": "deadbeef",
        "versions": {"homoreg": "0.1.0", "torch": "2.14.0", "opencv-python": "5.0.0"},
        "device": "cpu",
        "seconds": {"bank": 3.2, "fit": 181.0, "evaluation": 22.5},
        "patch_pairs_per_second": 1234.5,
        "metrics": {"val/fpr95": 0.21},
        "training": {
            "final_train_loss": 0.0585 + dropout / 10,
            "final_val_loss": 0.0576 + dropout / 11,
            "epochs": 6,
            "patch": 32,
            "offset_px": 1.5,
            "batch": 256,
            "optimizer": "Adam",
            "weight_decay": weight_decay,
            "dropout": dropout,
            "regularizer": regularizer,
            "device": "cpu",
            **(training or {}),
        },
        **({"analysis": analysis} if analysis else {}),
        **({"best_after_epochs": best_after_epochs} if best_after_epochs else {}),
        **(record or {}),
    }
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run))
    groups = {name: value for name, value in settings.items() if "." not in name}
    options = {name: value for name, value in settings.items() if "." in name}
    own = {"name": regularizer, "weight_decay": weight_decay, "dropout": dropout}
    config = {"seed": seed, "data": {"root": str(folder), "squash": None}, "regularizer": own}
    config["model"] = {"dropout": dropout}  # follows the regularizer's
    config["optimized_metric"] = "val/nn_accuracy"
    if analysis:
        config["analysis"] = analysis
        if analysis["protocol"] == "notebook":
            config["data"] |= {"squash": [256, 256], "pairs_per_view": 10}
    for name, value in options.items():
        group, option = name.split(".")
        config.setdefault(group, {})[option] = value
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / ".hydra").mkdir()
    choices = {"regularizer": regularizer, "hydra/launcher": "basic", **groups}
    hydra = {"runtime": {"choices": choices}, "sweeper": {"direction": direction}}
    (folder / ".hydra" / "hydra.yaml").write_text(json.dumps({"hydra": hydra}))
    if status != "done":
        return folder

    error_px = error_px or ARM_ERROR_PX[regularizer]
    rng = np.random.default_rng(seed)
    lines = []
    for epoch in range(6):
        loss = 0.06 + 0.2 * np.exp(-epoch / 2) + dropout / 10 + rng.normal(0, 0.004)
        step = 100 * (epoch + 1) - 1
        lines.append({"epoch": epoch, "step": step, "val/loss": loss, "val/fpr95": loss * 2})
        lines[-1]["val/nn_accuracy"] = 1 - loss
        train = {"train/loss": loss + dropout / 6, "train/loss_eval": loss * 0.95}
        lines.append({"epoch": epoch, "step": step, **train})
    (folder / "csv").mkdir()
    pd.DataFrame(lines).to_csv(folder / "csv" / "metrics.csv", index=False)

    trained = evaluation_rows("cnn", regularizer, seed, gain * error_px, pairs)
    others = [evaluation_rows(name, "", None, error, pairs) for name, error in baselines.items()]
    (folder / "evaluation").mkdir()
    pd.concat([trained, *others]).to_csv(folder / "evaluation" / "eval.csv", index=False)
    if best_after_epochs:
        best = evaluation_rows("cnn", regularizer, seed, gain * error_px / 2, pairs)
        best.to_csv(folder / "evaluation" / "eval_best.csv", index=False)
    (folder / "figures").mkdir()
    noise = rng.integers(0, 255, (40, 60, 3), np.uint8)
    names = ["patch_pairs", *(["pair_best_000001", "pair_worst_000002"] if analysis else [])]
    for name in names:
        Image.fromarray(noise).save(folder / "figures" / f"{name}.png")
    return folder


@pytest.fixture
def make_run() -> Callable[..., Path]:
    return write_run


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four arms, two seeds, a run that failed and one that never began to train; read only."""
    folder = tmp_path_factory.mktemp("multirun") / "demo"
    for seed in (0, 1):
        for regularizer in ("hybrid", "none", "l2", "dropout"):
            write_run(folder / f"regularizer-{regularizer}+seed-{seed}", regularizer, seed)
    write_run(folder / "regularizer-none+seed-2", "none", 2, status="failed")
    (folder / "regularizer-none+seed-3").mkdir()
    (folder / "regularizer-none+seed-3" / "run.json").write_text(
        json.dumps({"format": FORMAT, "status": "running", "metrics": None})
    )
    (folder / "regularizer-none+seed-3" / "config.yaml").write_text('{"seed": 3}')
    return folder


CORRECTED = {
    "protocol": "corrected",
    "kappa": "kappa",
    "error": "corner_error_px",
    "drop_failures": False,
    "max_kappa": None,
}


@pytest.fixture(scope="session")
def protocols(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The notebook's study and the corrected one: four arms, four seeds each; read only."""
    folder = tmp_path_factory.mktemp("multirun")
    for name, analysis, gain in [("notebook", NOTEBOOK, 3.0), ("study", CORRECTED, 1.0)]:
        for seed in range(4):
            for regularizer in ("none", "l2", "dropout", "hybrid"):
                write_run(
                    folder / name / f"regularizer-{regularizer}+seed-{seed}",
                    regularizer,
                    seed,
                    analysis=analysis,
                    settings={"experiment": name},
                    gain=gain,
                    pairs=12,
                    best_after_epochs=3 + seed if name == "study" else None,
                )
    return [folder / "notebook", folder / "study"]


@pytest.fixture(scope="session")
def both(protocols: list[Path]) -> StudyData:
    """The two of them gathered into one report's tables."""
    root = protocols[0].parent
    return gather(find_runs(protocols), root, root / "report")


@pytest.fixture(scope="session")
def sections(both: StudyData) -> list[Section]:
    """Those of the report on both, undrawn."""
    return [section for make in SECTIONS if (section := make(both)) is not None]


@pytest.fixture(scope="session")
def page(sweep: Path) -> Path:
    """The report's page of the sweep; its tables and figures lie beside it."""
    return write_report(sweep / "report", gather(find_runs(sweep), sweep, sweep / "report"))
