"""The whole pipeline as a user runs it: photographs in, four descriptors and a page out."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pandas as pd
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import homoreg
from homoreg.descriptors.checkpoint import read_checkpoint
from homoreg.evaluation import evaluate_manifest, read_evaluation
from homoreg.evaluation.table import EvaluationProtocol
from homoreg.geometry import Estimator
from homoreg.matching import RatioMatcher, ShiTomasi
from tests.commands import SMALL, TIMES, run, succeed
from tests.runs import table_of

SIFT_SYSTEM = "tests.baselines.SiftSystem"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A sweep of the four arms over folder photos, from nothing; its folder is named mine."""
    folder = tmp_path_factory.mktemp("work")
    source = ["source=folder", f"source.root={photos}", "source.train=6", "source.eval=2"]
    arms = "regularizer=none,l2,dropout,hybrid"
    options = ["study=mine", *source, "trainer.max_epochs=2", "evaluation.best_epoch=true", *SMALL]
    succeed(folder, "train", "-m", arms, *options)
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
        def board_of(arm: str) -> EventAccumulator:
            board = EventAccumulator(str(run_of(sweep, arm) / "tb"), size_guidance={"tensors": 0})
            board.Reload()
            return board

        board = board_of("l2")
        tags = board.Tags()
        epochs = pd.read_csv(run_of(sweep, "l2") / "csv" / "metrics.csv")
        for name in ("train/loss", "val/loss", "val/fpr95", "val/corner_error_px"):
            assert name in tags["scalars"]
        assert [e.value for e in board.Scalars("val/loss")] == pytest.approx(epochs["val/loss"])
        assert "patch pairs" in tags["images"]
        # Arms can be compared on the same pairs.
        assert board_of("none").Tags()["images"] == tags["images"]
        # The first page shows the first two groups, sorted by name.
        groups = sorted({tag.partition("/")[0] for tag in tags["scalars"] + tags["images"]})
        assert groups[:2] == ["Overview", "held-out pairs"]
        first = [e.value for e in board.Scalars("Overview/loss, validation")]
        assert first == pytest.approx(epochs["val/loss"])
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
        for arm in ("none", "dropout"):
            rows, first = (
                table[table["regularizer"] == arm].reset_index(drop=True)
                for table in (table_of(out), table_of(run_of(sweep, arm)))
            )
            assert rows["bound_90_px"].notna().any()
            pd.testing.assert_frame_equal(rows, first, check_exact=True)
        assert [p.name for p in out.rglob("*.csv")] == ["eval.csv"]

    def test_the_best_epoch_is_evaluated_beside_the_last(self, sweep: Path) -> None:
        out = sweep.parents[1] / "best"
        options = ["checkpoint=best", "descriptors=none", "patch_pairs=0", "gallery=0"]
        succeed(sweep.parents[1], "evaluate", f"runs={sweep}", *options, f"hydra.run.dir={out}")
        again = table_of(out)
        for arm in ("none", "l2", "dropout", "hybrid"):
            run = run_of(sweep, arm)
            best = read_evaluation(run / "evaluation" / "eval_best.csv").drop(columns=TIMES)
            rows = again[again["regularizer"] == arm].reset_index(drop=True)
            pd.testing.assert_frame_equal(rows, best, check_exact=True)
            accuracy = pd.read_csv(run / "csv" / "metrics.csv")["val/nn_accuracy"]
            record = json.loads((run / "run.json").read_text())
            assert record["best_after_epochs"] == accuracy.argmax() + 1

    def test_best_weights_that_nothing_keeps_are_refused_before_training(self, sweep: Path) -> None:
        ended = run(
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

    def test_the_report_gathers_the_sweep_and_its_newest_evaluation(self, sweep: Path) -> None:
        quick = ["patch_pairs=0", "gallery=0", "validation_pairs=0"]
        beside = ("descriptors=[untrained,rootsift]", f"+systems.sift._target_={SIFT_SYSTEM}")
        succeed(sweep.parents[1], "evaluate", f"runs={run_of(sweep, 'l2')}", *beside, *quick)
        succeed(sweep.parents[1], "report", f"runs={sweep}")
        levels = pd.read_csv(sweep / "report" / "tables" / "levels.csv")
        seeds = levels.groupby("arm")["seeds"].first()
        assert seeds[["rootsift", "sift", "untrained", "l2"]].tolist() == [0, 0, 0, 1]
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


def test_the_package_imports_without_side_effects(tmp_path: Path) -> None:
    script = "import homoreg, homoreg.data, homoreg.evaluation, homoreg.train, homoreg.report"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env=os.environ,
    )  # fmt: skip
    assert ended.stdout == ""
    assert list(tmp_path.iterdir()) == []
