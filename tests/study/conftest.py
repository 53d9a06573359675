"""Run folders as ``homoreg.train`` leaves them, with made-up but plausible numbers."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from homoreg.report import report
from homoreg.runs import find_runs

ARM_ERROR_PX = {"none": 2.0, "l2": 2.2, "dropout": 3.2, "hybrid": 3.6}
PEER_ERROR_PX = {"rootsift": 4.0, "untrained": 9.0}
PAIRS = 40


def evaluation_rows(descriptor: str, regularizer: str, seed: int | None, error_px: float):
    """A pair's difficulty is its own; a model's error scales it; a few estimates fail."""
    rng = np.random.default_rng([len(descriptor), len(regularizer), (seed or 0) + 1])
    difficulty = np.random.default_rng(0).lognormal(0, 1.0, PAIRS)
    parts = []
    for estimator, gain in [("dlt", 1.0), ("magsac", 0.4)]:
        corner = error_px * gain * difficulty * rng.lognormal(0, 0.3, PAIRS)
        kappa = 10 ** rng.normal(0.8, 0.25, PAIRS)
        identity = rng.normal(60, 4, PAIRS)
        rows = pd.DataFrame(
            {
                "descriptor": descriptor,
                "regularizer": regularizer,
                "seed": pd.array([seed] * PAIRS, "Int64"),
                "benchmark": "eval",
                "pair_id": [f"{number:06d}" for number in range(1, PAIRS + 1)],
                "estimator": estimator,
                "status": "ok",
                "keypoints_1": 500,
                "keypoints_2": 480,
                "match_count": rng.integers(20, 300, PAIRS),
                "precision_3px": rng.beta(6, 3, PAIRS),
                "recall_3px": rng.beta(4, 4, PAIRS),
                "corner_error_px": corner,
                "corner_error_rms_px": 1.05 * corner,
                "kappa": kappa,
                "kappa_notebook": 10 ** rng.normal(6.8, 0.3, PAIRS),
                "predicted_corner_error_px": corner * rng.lognormal(0, 0.2, PAIRS),
                "rmse_gray": np.clip(5 + 6 * np.sqrt(corner) + rng.normal(0, 2, PAIRS), 2, 120),
                "ssim": np.clip(0.9 - 0.05 * np.sqrt(corner), -1, 1),
                "rmse_identity_gray": identity,
                "rmse_oracle_gray": rng.normal(3, 0.2, PAIRS),
                "rmse_notebook_gray": rng.normal(94, 6, PAIRS),
                "describe_ms": rng.normal(30, 1, PAIRS),
            }
        )
        estimate = ["predicted_corner_error_px", "kappa", "kappa_notebook", "rmse_gray", "ssim"]
        failed = rng.choice(PAIRS, 4, replace=False)
        rows.loc[failed, [*estimate, "rmse_notebook_gray"]] = np.nan
        rows.loc[failed, ["corner_error_px", "corner_error_rms_px"]] = np.inf
        rows.loc[failed[:3], "status"] = "too_few_matches"
        rows.loc[failed[3:], "status"] = "degenerate"
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def write_run(folder: Path, regularizer: str, seed: int, *, status: str = "done") -> Path:
    """One run folder, peers in its evaluation included."""
    dropout = 0.3 if regularizer in ("dropout", "hybrid") else 0.0
    weight_decay = 1e-4 if regularizer in ("l2", "hybrid") else 0.0
    record = {
        "status": status,
        "config_hash": f"{regularizer}{seed}".encode().hex(),
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
        },
    }
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text(f"seed: {seed}\n")
    (folder / ".hydra").mkdir()
    overrides = [f"regularizer={regularizer}", f"seed={seed}", "trainer.max_epochs=6"]
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
    if status != "done":
        return folder

    rng = np.random.default_rng(seed)
    lines = []
    for epoch in range(6):
        loss = 0.06 + 0.2 * np.exp(-epoch / 2) + dropout / 10 + rng.normal(0, 0.004)
        step = 100 * (epoch + 1) - 1
        lines.append({"epoch": epoch, "step": step, "val/loss": loss, "val/fpr95": loss * 2})
        train = {"train/loss": loss + dropout / 6, "train/loss_eval": loss * 0.95}
        lines.append({"epoch": epoch, "step": step, **train})
    (folder / "csv").mkdir()
    pd.DataFrame(lines).to_csv(folder / "csv" / "metrics.csv", index=False)

    own = evaluation_rows("cnn", regularizer, seed, ARM_ERROR_PX[regularizer])
    peers = [evaluation_rows(name, "", None, error) for name, error in PEER_ERROR_PX.items()]
    (folder / "evaluation").mkdir()
    pd.concat([own, *peers]).to_csv(folder / "evaluation" / "eval.csv", index=False)

    (folder / "figures").mkdir()
    noise = rng.integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(noise).resize((600, 400)).save(folder / "figures" / "patch_pairs.png")
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
    (folder / "regularizer-none+seed-3" / "run.json").write_text('{"status": "running"}')
    return folder


@pytest.fixture(scope="session")
def page(sweep: Path) -> Path:
    """The report's page of the sweep; its tables and figures lie beside it."""
    return report(find_runs(sweep), sweep, sweep / "report")
