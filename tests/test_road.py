"""The whole road, as a user walks it: photographs in, four evaluated descriptors and a page out."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from pydantic.dataclasses import dataclass
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import homoreg
from homoreg.cli import compose
from homoreg.descriptors.checkpoint import build_network, read_checkpoint
from homoreg.descriptors.losses import Batch
from homoreg.descriptors.regularizers import Regularizer
from homoreg.evaluation import evaluate_manifest, read_evaluation
from homoreg.evaluation.table import EvaluationProtocol
from homoreg.geometry import Estimator
from homoreg.matching import RatioMatcher, ShiTomasi
from tests.commands import run, run_alone, succeed
from tests.conftest import small_photos

# Seconds instead of minutes; everything else is the default.
SMALL = [
    "data.pairs_per_epoch=192",
    "data.batch_size=64",
    "data.validation_pairs=64",
    "patch.size=16",
    "patch.support=32",
    "evaluation.subset=2",
    "evaluation.figure_pairs=1",
    "trainer.enable_progress_bar=false",
]
VIEW2 = "processed/train/img_000003_warped.jpg"
TIMES = ["describe_ms", "match_ms", "estimate_ms"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, image in small_photos().items():
        cv2.imwrite(str(folder / name), image[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A sweep of the four arms over folder photos, from nothing; its folder is named mine."""
    folder = tmp_path_factory.mktemp("work")
    source = ["source=folder", f"source.root={photos}", "source.train=6", "source.eval=2"]
    arms = "regularizer=none,l2,dropout,hybrid"
    options = ["study=mine", *source, "trainer.max_epochs=2", "evaluation.best_epoch=true", *SMALL]
    ended = run_alone(folder, "train", "-m", arms, *options)
    assert ended.returncode == 0, ended.stderr
    return folder / "multirun" / "mine"


def run_of(sweep: Path, arm: str) -> Path:
    return sweep / f"regularizer-{arm}"


@pytest.mark.slow
class TestASweep:
    def test_every_arm_leaves_a_whole_run(self, sweep: Path) -> None:
        assert {p.name for p in sweep.iterdir() if p.is_dir()} == {
            f"regularizer-{arm}" for arm in ("none", "l2", "dropout", "hybrid")
        }
        for arm, decay, dropout in (("none", 0, 0), ("hybrid", 1e-4, 0.3)):
            run = run_of(sweep, arm)
            record = json.loads((run / "run.json").read_text())
            assert record["status"] == "done"
            assert record["training"]["weight_decay"] == decay
            assert record["training"]["dropout"] == dropout
            assert record["training"]["epochs"] == 2
            assert {"bank", "fit", "evaluation"} <= set(record["seconds"])
            epochs = pd.read_csv(run / "csv" / "metrics.csv")
            assert epochs["epoch"].tolist() == [0, 1]
            assert record["training"]["final_val_loss"] == epochs["val/loss"].iloc[-1]
            config = yaml.safe_load((run / "config.yaml").read_text())
            assert config["regularizer"]["name"] == arm
            assert "${" not in (run / "config.yaml").read_text()
            for which in ("last", "best"):
                read_checkpoint(run / "checkpoints" / f"{which}.ckpt")
            assert (run / "figures" / "patch_pairs.png").stat().st_size > 10_000
            assert list((run / "figures").glob("pair_*.png"))

    def test_each_arm_is_regularized_as_it_says(self, sweep: Path) -> None:
        table = {
            arm: pd.read_csv(run_of(sweep, arm) / "csv" / "metrics.csv").iloc[-1]
            for arm in ("none", "l2", "dropout", "hybrid")
        }
        norms = {arm: row["train/weight_norm"] for arm, row in table.items()}
        assert norms["l2"] < norms["none"]
        assert norms["hybrid"] < norms["dropout"]
        # Dropout makes the loss of training larger than the same network's in evaluation.
        for arm in ("dropout", "hybrid"):
            assert table[arm]["train/loss"] > table[arm]["train/loss_eval"] + 0.01

    def test_tensorboard_has_curves_pictures_histograms_and_hparams(self, sweep: Path) -> None:
        board = EventAccumulator(str(run_of(sweep, "l2") / "tb"), size_guidance={"tensors": 0})
        board.Reload()
        tags = board.Tags()
        epochs = pd.read_csv(run_of(sweep, "l2") / "csv" / "metrics.csv")
        for name in ("train/loss", "val/loss", "val/fpr95", "val/corner_error_px"):
            assert name in tags["scalars"]
        assert [e.value for e in board.Scalars("val/loss")] == pytest.approx(epochs["val/loss"])
        assert "patch pairs" in tags["images"]
        assert any(tag.startswith("held-out pair") for tag in tags["images"])
        assert "similarity/same place" in tags["distributions"]
        assert {"config/text_summary", "custom_scalars__config__"} <= set(tags["tensors"])
        assert board.SummaryMetadata("_hparams_/session_start_info")
        assert "hp/dlt/auc_5px" in tags["scalars"]

    def test_evaluate_repeats_the_callback_s_table_bit_for_bit(self, sweep: Path) -> None:
        work = sweep.parents[1]
        out = work / "again"
        before = {p: p.stat().st_mtime_ns for p in sweep.rglob("*")}
        succeed(work, "evaluate", f"runs={sweep}", "descriptors=none", f"hydra.run.dir={out}")
        assert {p: p.stat().st_mtime_ns for p in sweep.rglob("*")} == before
        again = read_evaluation(out / "evaluation" / "eval.csv").drop(columns=TIMES)
        for arm in ("none", "dropout"):
            first = read_evaluation(run_of(sweep, arm) / "evaluation" / "eval.csv")
            rows, first = (
                table[table["regularizer"] == arm].reset_index(drop=True)
                for table in (again, first.drop(columns=TIMES))
            )
            assert rows["bound_90_px"].notna().any()
            pd.testing.assert_frame_equal(rows, first, check_exact=True)
        assert [p.name for p in out.rglob("*.csv")] == ["eval.csv"]

    def test_the_best_epoch_is_evaluated_beside_the_last(self, sweep: Path) -> None:
        out = sweep.parents[1] / "best"
        options = ["checkpoint=best", "descriptors=none", "patch_pairs=0", "gallery=0"]
        succeed(sweep.parents[1], "evaluate", f"runs={sweep}", *options, f"hydra.run.dir={out}")
        again = read_evaluation(out / "evaluation" / "eval.csv").drop(columns=TIMES)
        for arm in ("none", "l2", "dropout", "hybrid"):
            run = run_of(sweep, arm)
            best = read_evaluation(run / "evaluation" / "eval_best.csv").drop(columns=TIMES)
            rows = again[again["regularizer"] == arm].reset_index(drop=True)
            pd.testing.assert_frame_equal(rows, best, check_exact=True)
            accuracy = pd.read_csv(run / "csv" / "metrics.csv")["val/nn_accuracy"]
            record = json.loads((run / "run.json").read_text())
            assert record["best_after_epochs"] == accuracy.argmax() + 1

    def test_best_weights_that_nothing_keeps_are_refused_before_training(self, sweep: Path) -> None:
        ended = run_alone(
            sweep.parents[1],
            "train",
            "evaluation.best_epoch=true",
            "~callbacks.best_checkpoint",
            "hydra.run.dir=refused",
            *SMALL,
        )
        assert ended.returncode == 2
        assert "callbacks.best_checkpoint" in ended.stderr.strip().splitlines()[-1]
        assert not list((sweep.parents[1] / "refused").rglob("*.ckpt"))

    def test_the_api_gives_the_same_rows(self, sweep: Path) -> None:
        run = run_of(sweep, "hybrid")
        estimators = {"dlt": Estimator(), "magsac": Estimator("magsac")}
        table = evaluate_manifest(
            homoreg.load_descriptor(run),
            sweep.parents[1] / "data" / "pairs_eval.json",
            EvaluationProtocol(ShiTomasi(), RatioMatcher(mutual=True), estimators),
        )
        stored = read_evaluation(run / "evaluation" / "eval.csv")
        # Without the run's calibration there is no bound, and DLT takes every match.
        without = [*TIMES, "bound_90_px"]
        rows, expected = (
            part[(part["regularizer"] == "hybrid") & (part["estimator"] == "magsac")]
            for part in (table.drop(columns=without), stored.drop(columns=without))
        )
        pd.testing.assert_frame_equal(rows.reset_index(drop=True), expected.reset_index(drop=True))

    def test_one_pair_can_be_looked_at(self, sweep: Path) -> None:
        work = sweep.parents[1]
        ended = succeed(
            work,
            "evaluate",
            f"runs={sweep}",
            "pair=000002",
            "descriptors=[rootsift]",
            "hydra.run.dir=look",
        )
        figure = work / "look" / "figures" / "pair_000002.png"
        assert cv2.imread(str(figure)).shape[1] > 800
        assert "pair_000002.png" in ended.stdout
        refused = run(work, "evaluate", f"runs={sweep}", "pair=000099")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
        assert "pair=000099" in refused.stderr

    def test_the_report_gathers_the_sweep(self, sweep: Path) -> None:
        succeed(sweep.parents[1], "report", f"runs={sweep}")
        page = (sweep / "report" / "index.html").read_text()
        assert not re.search(r'(src|href)="https?:', page)
        training = pd.read_csv(sweep / "report" / "tables" / "training.csv")
        assert training["arm"].tolist() == ["none", "l2", "dropout", "hybrid"]
        models = pd.read_csv(sweep / "report" / "tables" / "models.csv")
        summary = json.loads((run_of(sweep, "l2") / "evaluation" / "summary.json").read_text())
        trained = [entry for entry in summary["entries"] if entry["descriptor"] == "cnn"]
        for entry in trained:
            row = models[
                (models["arm"] == "l2") & (models["estimator"] == entry["estimator"])
            ].iloc[0]
            assert row["auc_5px"] == pytest.approx(entry["auc"]["5px"])
            for column in ("corner_error_px", "kappa", "rmse_gray", "ssim", "match_count"):
                assert row[f"{column}_median"] == pytest.approx(entry["median"][column])

    def test_started_again_it_skips_what_is_done(self, sweep: Path, photos: Path) -> None:
        weights = run_of(sweep, "l2") / "checkpoints" / "last.ckpt"
        before = weights.stat().st_mtime_ns
        source = ["source=folder", f"source.root={photos}", "source.train=6", "source.eval=2"]
        common = ["study=mine", *source, "evaluation.best_epoch=true", *SMALL]
        again = succeed(
            sweep.parents[1],
            "train",
            "-m",
            "regularizer=l2,hybrid",
            "trainer.max_epochs=2",
            *common,
        )
        assert again.stdout.count("is done already") == 2
        assert weights.stat().st_mtime_ns == before
        other = run(
            sweep.parents[1], "train", "-m", "regularizer=l2", "trainer.max_epochs=3", *common
        )
        assert other.returncode == 2
        assert "holds another training: trainer.max_epochs (2, now 3)" in other.stderr
        assert weights.stat().st_mtime_ns == before


def test_arms_of_a_seed_share_initial_weights_and_samples(prepared: Path) -> None:
    networks, batches = [], []
    for arm in ("none", "l2", "dropout", "hybrid"):
        cfg = compose("train", [f"regularizer={arm}", f"data.root={prepared}", "seed=3"])
        networks.append(build_network(cfg.model, cfg.seed).state_dict())
        data = instantiate(cfg.data)
        data.setup()
        batches.append(data.train[list(range(20))])
    for network, batch in zip(networks[1:], batches[1:], strict=True):
        assert all(torch.equal(network[key], value) for key, value in networks[0].items())
        assert all(torch.equal(batch[key], value) for key, value in batches[0].items())


def table_of(run: Path) -> pd.DataFrame:
    return read_evaluation(run / "evaluation" / "eval.csv").drop(columns=TIMES)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"]


def assert_same_run(one: Path, two: Path) -> None:
    pd.testing.assert_frame_equal(table_of(one), table_of(two), check_exact=True)
    first, second = weights_of(one), weights_of(two)
    assert all(torch.equal(first[key], second[key]) for key in first)
    metrics = [pd.read_csv(run / "csv" / "metrics.csv") for run in (one, two)]
    pd.testing.assert_frame_equal(*metrics, check_exact=True, check_like=True)


@pytest.mark.slow
def test_a_seed_gives_one_result_whatever_the_workers(prepared: Path, tmp_path: Path) -> None:
    common = [f"data.root={prepared}", "regularizer=hybrid", "trainer.max_epochs=2", *SMALL]
    for workers in (0, 2):
        succeed(
            tmp_path,
            "train",
            *common,
            f"data.num_workers={workers}",
            f"hydra.run.dir=workers-{workers}",
        )
    assert_same_run(tmp_path / "workers-0", tmp_path / "workers-2")


@pytest.mark.slow
@pytest.mark.parametrize("devices", [["trainer=cpu"], ["trainer=ddp", "trainer.devices=2"]])
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(
    prepared: Path, tmp_path: Path, devices: list[str]
) -> None:
    common = [f"data.root={prepared}", "regularizer=dropout", *SMALL, "trainer.max_epochs=12"]
    common += [*devices, "trainer.accelerator=cpu"]
    whole = run_alone(tmp_path, "train", *common, "hydra.run.dir=whole")
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "homoreg.train", *common, "hydra.run.dir=broken"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True
    )
    metrics = tmp_path / "broken" / "csv" / "metrics.csv"
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) > 4):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)  # with the processes that it shares the run with
    process.wait()
    assert json.loads((tmp_path / "broken" / "run.json").read_text())["status"] == "running"
    resumed = run_alone(tmp_path, "train", *common, "hydra.run.dir=broken")
    assert "going on from" in resumed.stdout
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    assert sorted(p.name for p in (tmp_path / "broken" / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    ]


@pytest.mark.slow
# The hardest negative needs the whole batch; which one it is can turn on a rounding, so that its
# run is held to one epoch.
@pytest.mark.parametrize(("loss", "epochs"), [("cosine", 2), ("hardest_in_batch", 1)])
def test_two_processes_train_as_one_does(
    prepared: Path, tmp_path: Path, loss: str, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One thread a process, as two processes on two cores have: threads add in another order.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    common = [f"data.root={prepared}", *SMALL, f"loss={loss}", f"trainer.max_epochs={epochs}"]
    # In float32 what differs is the order in which numbers are added.
    common += ["trainer.accelerator=cpu", "trainer.precision=32-true"]
    two = ["trainer=ddp", "trainer.devices=2"]
    for name, options in (("one", ["trainer=cpu"]), ("two", two)):
        ended = run_alone(tmp_path, "train", *common, *options, f"hydra.run.dir={name}")
        assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("two is new") == 1
    one, two = tmp_path / "one", tmp_path / "two"
    metrics = [pd.read_csv(run / "csv" / "metrics.csv") for run in (one, two)]
    pd.testing.assert_frame_equal(*metrics, rtol=1e-5, atol=1e-6, check_like=True)
    first, second = weights_of(one), weights_of(two)
    for key, value in first.items():
        # As a whole: where a gradient is next to 0, Adam turns its last bits into a step.
        assert torch.dist(second[key], value) <= 1e-4 * value.norm(), key
    assert len(table_of(two)) == len(table_of(one))
    files = [
        sorted(str(p.relative_to(run)) for p in run.rglob("*") if "tfevents" not in p.name)
        for run in (one, two)
    ]
    assert files[0] == files[1]
    records = [json.loads((run / "run.json").read_text()) for run in (one, two)]
    assert records[1]["status"] == "done"


@pytest.mark.slow
def test_a_compiled_network_trains_alike_and_a_missing_compiler_is_one_line(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["experiment=debug", f"data.root={prepared}", "evaluation=none", "trainer=cpu"]
    common += ["trainer.precision=32-true"]
    succeed(tmp_path, "train", *common, "hydra.run.dir=plain")
    compiled = [*common, "trainer.compile=true", "hydra.run.dir=compiled"]
    ended = run_alone(tmp_path, "train", *compiled)
    assert ended.returncode == 0, ended.stderr
    first, second = weights_of(tmp_path / "plain"), weights_of(tmp_path / "compiled")
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=1e-3, atol=1e-3)
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    refused = run_alone(tmp_path, "train", *compiled[:-1], "hydra.run.dir=refused")
    assert refused.returncode == 2, refused.stderr
    assert "trainer.compile=true: the network cannot be compiled here" in refused.stderr


@pytest.mark.slow
def test_one_batch_can_be_learned_by_heart(prepared: Path, tmp_path: Path) -> None:
    succeed(
        tmp_path, "train", "experiment=overfit", f"data.root={prepared}", "hydra.run.dir=out",
        "data.pairs_per_epoch=48", "data.validation_pairs=16", "trainer.max_epochs=150",
        "trainer.enable_progress_bar=false", "patch.size=16", "patch.support=32",
    )  # fmt: skip
    losses = pd.read_csv(tmp_path / "out" / "csv" / "metrics.csv")["train/loss"]
    assert losses.iloc[0] > 0.1
    assert losses.iloc[-1] < 0.01


@pytest.mark.slow
def test_debug_goes_through_everything_and_evaluation_none_leaves_it_out(
    prepared: Path, tmp_path: Path
) -> None:
    common = ["experiment=debug", f"data.root={prepared}"]
    succeed(tmp_path, "train", *common, "hydra.run.dir=debug", "callbacks=early_stopping")
    assert len(table_of(tmp_path / "debug")) == 2 * 2 * 2  # pairs, estimators, network and oracle
    succeed(tmp_path, "train", *common, "hydra.run.dir=without", "evaluation=none")
    assert not (tmp_path / "without" / "evaluation").exists()
    record = json.loads((tmp_path / "without" / "run.json").read_text())
    assert record["status"] == "done"


@pytest.mark.slow
def test_a_run_that_broke_in_its_evaluation_is_completed(prepared: Path, tmp_path: Path) -> None:
    common = ["experiment=debug", f"data.root={prepared}", "hydra.run.dir=out"]
    succeed(tmp_path, "train", *common)
    out = tmp_path / "out"
    table, weights = table_of(out), weights_of(out)
    record = json.loads((out / "run.json").read_text())
    shutil.rmtree(out / "evaluation")
    nobody = 2**22 + 1  # above the largest number that Linux gives a process
    (out / "run.json").write_text(json.dumps(record | {"status": "running", "process": nobody}))
    succeed(tmp_path, "train", *common)
    again = json.loads((out / "run.json").read_text())
    assert (again["status"], again["training"]) == ("done", record["training"])
    assert again["metrics"]["dlt/corner_error_px"] == record["metrics"]["dlt/corner_error_px"]
    pd.testing.assert_frame_equal(table_of(out), table, check_exact=True)
    assert all(torch.equal(weights_of(out)[key], value) for key, value in weights.items())


@pytest.mark.slow
class TestReadingApartFromTraining:
    def test_another_reading_evaluates_again_and_trains_nothing(
        self, prepared: Path, tmp_path: Path
    ) -> None:
        common = ["experiment=debug", f"data.root={prepared}", "hydra.run.dir=out"]
        succeed(tmp_path, "train", *common)
        out = tmp_path / "out"
        weights = (out / "checkpoints" / "last.ckpt").stat().st_mtime_ns
        record = json.loads((out / "run.json").read_text())
        same = succeed(tmp_path, "train", *common)
        assert "is done already" in same.stdout
        assert json.loads((out / "run.json").read_text()) == record
        other = [
            "matcher=mutual",
            "detector=fast",
            "estimators=[lmeds]",
            "evaluation.best_epoch=true",
        ]
        again = succeed(tmp_path, "train", *common, *other)
        assert "is trained already and evaluated again" in again.stdout
        assert "Epoch" not in again.stdout
        assert table_of(out)["estimator"].unique().tolist() == ["lmeds"]
        reread = json.loads((out / "run.json").read_text())
        assert reread["training"] == record["training"]
        assert {k for k in reread["metrics"] if not k.startswith(("val/", "train/"))} == {
            k.replace("dlt/", "lmeds/") for k in record["metrics"] if k.startswith("dlt/")
        }
        options = ["descriptors=none", "benchmark.limit=2", "hydra.run.dir=other"]
        succeed(tmp_path, "evaluate", "runs=out", *options)
        pd.testing.assert_frame_equal(table_of(tmp_path / "other"), table_of(out))
        succeed(tmp_path, "train", *common, *other, "analysis.drop_failures=true")
        assert json.loads((out / "run.json").read_text())["analysis"]["drop_failures"]
        assert (out / "checkpoints" / "last.ckpt").stat().st_mtime_ns == weights

    def test_jobs_of_a_sweep_that_differ_in_their_reading_share_one_training(
        self, prepared: Path, tmp_path: Path
    ) -> None:
        arms = ["-m", "study=mine", "matcher=ratio,mutual", "seed=0", "experiment=debug"]
        ended = succeed(tmp_path, "train", *arms, f"data.root={prepared}")
        ratio, mutual = (
            tmp_path / "multirun/mine" / f"matcher-{m}+seed-0" for m in ("ratio", "mutual")
        )
        taker, donor = (mutual, ratio) if "mutual+seed-0 takes" in ended.stdout else (ratio, mutual)
        assert f"{taker} takes its weights from {donor.name}" in ended.stdout
        record = json.loads((taker / "run.json").read_text())
        assert record["weights_from"] == donor.name
        assert record["training"] == json.loads((donor / "run.json").read_text())["training"]
        assert len(table_of(taker)) == len(table_of(donor))
        alone = ["experiment=debug", f"data.root={prepared}", "hydra.run.dir=alone", "seed=0"]
        name = taker.name.removeprefix("matcher-").partition("+")[0]
        succeed(tmp_path, "train", *alone, f"matcher={name}")
        pd.testing.assert_frame_equal(table_of(tmp_path / "alone"), table_of(taker))
        first, second = weights_of(tmp_path / "alone"), weights_of(taker)
        assert all(torch.equal(first[key], second[key]) for key in first)

    def test_a_folder_of_an_older_format_is_refused(self, prepared: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "run.json").write_text('{"status": "done"}')
        (tmp_path / "out" / "config.yaml").write_text("{}")
        training = ["experiment=debug", f"data.root={prepared}", "hydra.run.dir=out"]
        for command, *options in (
            ["evaluate", "runs=out"],
            ["report", "runs=out"],
            ["train", *training],
        ):
            ended = run(tmp_path, command, *options)
            assert ended.returncode == 2, ended.stderr
            assert "run.json has format 1" in ended.stderr
            assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_run_records_what_its_pairs_were_made_with(photos: Path, tmp_path: Path) -> None:
    source = ["source=folder", f"source.root={photos}", "source.train=6", "source.eval=2"]
    succeed(tmp_path, "prepare", *source, "warp.shift=0.1", "prepare.seed=7")
    common = ["experiment=debug", "evaluation=none", "hydra.run.dir=out"]
    succeed(tmp_path, "train", *common)
    manifest = json.loads((tmp_path / "data" / "pairs_train.json").read_text())
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    for recorded in (config, record):
        assert recorded["warp"] == manifest["warp"]
        assert recorded["prepare"]["seed"] == manifest["seed"] == 7
        assert recorded["source"]["place"] == str(photos)
    for asked in (
        ["experiment=notebook"],
        ["warp=default"],
        ["warp.shift=0.2"],
        ["prepare.seed=42"],
        ["source=sample"],
        ["source=folder", "source.root=elsewhere"],
    ):
        refused = run(tmp_path, "train", *asked, "hydra.run.dir=refused")
        assert refused.returncode == 2, (asked, refused.stderr)
        assert "holds pairs made with" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    succeed(tmp_path, "train", *common, *source, "warp.shift=0.1")


class Recorder(Logger):
    """A logger that Lightning and homoreg do not know."""

    seen: ClassVar[dict[str, Any]] = {}
    name, version = "recorder", "0"

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self.seen["hyperparameters"] = params

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.seen.setdefault("metrics", set()).update(metrics)

    def log_image(self, key: str, images: list[Any]) -> None:
        self.seen.setdefault("images", []).append(key)


@pytest.mark.slow
def test_any_logger_gets_hyperparameters_metrics_and_pictures(
    prepared: Path, tmp_path: Path
) -> None:
    common = ["experiment=debug", f"data.root={prepared}", "trainer.log_every_n_steps=1"]
    mine = ["logger=[tensorboard,csv]", f"+logger.mine._target_={__name__}.Recorder"]
    succeed(tmp_path, "train", *common, *mine, "hydra.run.dir=all")
    seen = Recorder.seen
    assert seen["hyperparameters"]["regularizer.weight_decay"] == 0
    assert {"train/loss_step", "train/loss", "val/loss", "hp/dlt/auc_5px"} <= seen["metrics"]
    assert "patch pairs" in seen["images"]
    assert any(name.startswith("held-out pair") for name in seen["images"])
    assert "train/loss_step" in pd.read_csv(tmp_path / "all" / "csv_logger" / "metrics.csv")
    fast = ["logger=none", "trainer.fast_dev_run=true", "trainer.profiler=simple"]
    ended = succeed(tmp_path, "train", *common, *fast, "hydra.run.dir=none")
    assert not (tmp_path / "none" / "tb").exists()
    assert len(pd.read_csv(tmp_path / "none" / "csv" / "metrics.csv")) == 1
    (profile,) = (tmp_path / "none").glob("*profile*.txt")
    assert profile.read_text().strip() in ended.stdout
    assert len(table_of(tmp_path / "none")) == 2 * 2 * 2


def own_model(name: str) -> list[str]:
    """Options for a network of this module, which takes none of the default's options."""
    unused = [key for key in compose("train").model if key != "_target_"]
    return [f"model._target_=tests.test_road.{name}", *(f"~model.{key}" for key in unused)]


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


class TwoOutputs(Own):
    def forward(self, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return patches, patches


class Flat(Own):
    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return patches.mean()


class NotFinite(Own):
    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return patches.flatten(1) * self.weight * torch.nan


@dataclass(kw_only=True)
class Penalty(Regularizer):
    """A regularizer with an option and a penalty of its own."""

    weight: float

    def penalty(
        self,
        network: nn.Module,
        descriptors1: torch.Tensor,
        descriptors2: torch.Tensor,
        batch: Batch,
    ) -> torch.Tensor:
        return self.weight * descriptors1.square().sum(1).mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["optimizer.lr=1e30"], "the loss is nan after 1 steps: lower optimizer.lr=1e\\+30"),
        (["+loss.reduction=none"], "loss._target_=.*CosineEmbeddingLoss gives a tensor .64,."),
        (own_model("TwoOutputs"), "TwoOutputs gives a tuple for 128"),
        (own_model("Flat"), r"Flat gives a tensor \(\) for 128"),
        (own_model("NotFinite"), "NotFinite gives descriptors that are"),
        (["trainer.precision=banana"], "trainer: Precision 'banana' is invalid"),
        (["trainer.max_epochs=0"], "trainer.max_epochs"),
        (["trainer.strategy=x"], "trainer.strategy"),
        (["trainer.compile_mode=x"], "trainer.compile_mode: Input should be 'default'"),
        (["benchmark.limit=0"], "benchmark.limit=0"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_training_that_cannot_work_ends_in_one_line(
    options: list[str], line: str, prepared: Path, tmp_path: Path
) -> None:
    ended = run(tmp_path, "train", "experiment=debug", f"data.root={prepared}",
                "trainer.enable_progress_bar=false", "logger=none", *options)  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert re.search(line, ended.stderr.splitlines()[-1]), ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
def test_a_penalty_is_logged_apart_and_its_options_are_recorded(
    prepared: Path, tmp_path: Path
) -> None:
    common = ["experiment=debug", f"data.root={prepared}", "evaluation=none", "logger=none"]
    mine = ["regularizer._target_=tests.test_road.Penalty", "+regularizer.weight=0.5"]
    for name, options in (("plain", []), ("penalty", mine)):
        succeed(tmp_path, "train", *common, *options, f"hydra.run.dir={name}")
    epochs = [pd.read_csv(tmp_path / n / "csv" / "metrics.csv") for n in ("plain", "penalty")]
    assert epochs[1]["train/penalty"].iloc[0] == pytest.approx(0.5, rel=1e-3)
    # The first batch is the only one: its loss is that of the initial weights.
    assert epochs[0]["train/loss"].iloc[0] == epochs[1]["train/loss"].iloc[0]
    assert "train/penalty" not in epochs[0]
    record = json.loads((tmp_path / "penalty" / "run.json").read_text())
    assert record["training"]["weight"] == 0.5


@pytest.mark.slow
class TestBadInput:
    @pytest.mark.parametrize(
        ("break_it", "line"),
        [
            (lambda root: (root / "pairs_train.json").write_text("{"), "pairs_train.json"),
            (
                lambda root: (root / "processed/train/img_000003_warped.jpg").unlink(),
                "img_000003_warped",
            ),
            (
                lambda root: (root / "processed/train/img_000002.jpg").write_bytes(b"junk"),
                "img_000002.jpg",
            ),
        ],
    )
    def test_training_on_broken_pairs_is_one_line(
        self, prepared: Path, tmp_path: Path, break_it, line: str
    ) -> None:
        root = tmp_path / "data"
        shutil.copytree(prepared, root, ignore=shutil.ignore_patterns("*.bank"))
        break_it(root)
        refused = run(tmp_path, "train", "experiment=debug", "data.root=data")
        assert refused.returncode == 2, refused.stderr
        assert line in refused.stderr.splitlines()[-1]
        assert "Traceback" not in refused.stderr

    def test_an_empty_folder_of_photos_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        refused = run(tmp_path, "train", "source=folder", "source.root=photos")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
        assert "photos" in refused.stderr

    def test_missing_runs_and_checkpoints_are_one_line(
        self, prepared: Path, tmp_path: Path
    ) -> None:
        for command, *arguments in (
            ("evaluate", "runs=nowhere"),
            ("evaluate", "descriptors=none"),
            ("report", "runs=nowhere"),
            ("train", "ckpt=nowhere.ckpt", "experiment=debug", f"data.root={prepared}"),
            ("train", "seed=-1"),
            ("train", "trainer.max_epochs=0", "experiment=debug", f"data.root={prepared}"),
            ("train", "optimizer.lr=-1", "experiment=debug", f"data.root={prepared}"),
            ("evaluate", "device=banana", f"data.root={prepared}"),
            ("evaluate", "estimators=[]", f"data.root={prepared}"),
            ("evaluate", "gallery=-1", f"data.root={prepared}"),
            ("evaluate", "runs=2026"),
            ("report", "runs=2026", "table=eval"),
        ):
            refused = run(tmp_path, command, *arguments)
            assert refused.returncode == 2, (command, refused.stderr)
            assert len(refused.stderr.splitlines()) == 1
            assert refused.stderr.startswith("homoreg: ")


@pytest.mark.slow
def test_held_out_pairs_without_corners_are_rows_and_not_crashes(
    prepared: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(prepared, root)
    flat = np.full((180, 240, 3), 90, np.uint8)
    cv2.imwrite(str(root / "processed/eval/img_000001.jpg"), flat)
    succeed(tmp_path, "train", "experiment=debug", "data.root=data", "hydra.run.dir=out")
    table = table_of(tmp_path / "out")
    failed = table[table["pair_id"] == "000001"]
    assert failed["status"].unique().tolist() == ["no_keypoints"]
    assert np.isinf(failed["corner_error_px"]).all()


def test_the_package_imports_without_side_effects(tmp_path: Path) -> None:
    script = "import homoreg, homoreg.data, homoreg.evaluation, homoreg.train, homoreg.report"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env=os.environ,
    )  # fmt: skip
    assert ended.stdout == ""
    assert list(tmp_path.iterdir()) == []
