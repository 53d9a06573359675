"""A training as a user starts it: resumed, read again, extended, and given what cannot work."""

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
from torch import nn

from homoreg.cli import compose
from homoreg.descriptors.checkpoint import build_network
from homoreg.descriptors.losses import Batch
from homoreg.descriptors.regularizers import Regularizer
from tests.commands import DEBUG, SMALL, run, run_alone, succeed
from tests.runs import assert_same_run, epochs_of, hyperparameters_of, table_of, weights_of

VIEW2 = "processed/train/img_000003_warped.jpg"


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


@pytest.fixture(scope="module")
def shared(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The options and the folder of a run whose batches two processes share.

    Its loss compares samples of the whole batch, whichever process holds them.
    """
    folder = tmp_path_factory.mktemp("shared")
    options = [f"data.root={prepared}", *SMALL, "loss=hardest_in_batch", "trainer.max_epochs=2"]
    # In float32 what differs is the order in which numbers are added.
    options += ["trainer.accelerator=cpu", "trainer.precision=32-true"]
    two = [*options, "trainer=ddp", "trainer.devices=2"]
    ended = run_alone(folder, "train", *two, "hydra.run.dir=two")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("two is new") == 1
    return options, folder / "two"


@pytest.mark.slow
def test_two_processes_train_as_one_does(shared: tuple[list[str], Path], tmp_path: Path) -> None:
    options, two = shared
    one = tmp_path / "one"
    succeed(tmp_path, "train", *options, "trainer=cpu", "hydra.run.dir=one")
    # Which negative is the hardest can turn on a rounding: one epoch is compared.
    epochs = [epochs_of(run).iloc[:1] for run in (one, two)]
    pd.testing.assert_frame_equal(*epochs, rtol=1e-5, atol=1e-6, check_like=True)
    first, second = weights_of(one, "previous"), weights_of(two, "previous")
    for key, value in first.items():
        # As a whole: where a gradient is next to 0, Adam turns its last bits into a step.
        assert torch.dist(second[key], value) <= 1e-4 * value.norm(), key
    assert len(table_of(two)) == len(table_of(one))
    files = [
        sorted(str(p.relative_to(run)) for p in run.rglob("*") if "tfevents" not in p.name)
        for run in (one, two)
    ]
    assert files[0] == files[1]
    assert json.loads((two / "run.json").read_text())["status"] == "done"


@pytest.mark.slow
def test_a_killed_run_of_two_processes_ends_as_if_it_had_not_been(
    shared: tuple[list[str], Path], tmp_path: Path
) -> None:
    options, whole = shared
    options = [*options, "trainer=ddp", "trainer.devices=2", "hydra.run.dir=broken"]
    command = [sys.executable, "-m", "homoreg.train", *options]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True
    )
    broken = tmp_path / "broken"
    while not (broken / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    time.sleep(0.2)  # TensorBoard gets an epoch after its checkpoint is written
    os.killpg(process.pid, signal.SIGKILL)  # with the processes that it shares the run with
    process.wait()
    assert json.loads((broken / "run.json").read_text())["status"] == "running"
    resumed = run_alone(tmp_path, "train", *options)
    assert "going on from" in resumed.stdout
    assert_same_run(whole, broken)
    assert sorted(p.name for p in (broken / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    ]


@pytest.mark.slow
def test_a_compiled_network_trains_alike_and_a_missing_compiler_is_one_line(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["experiment=debug", f"data.root={prepared}", "evaluation=none", "trainer=cpu"]
    common += ["trainer.precision=32-true", "model.channels=[8,8]", "model.kernel_sizes=[3,3]"]
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
class TestReadingApartFromTraining:
    def test_another_reading_evaluates_again_and_trains_nothing(
        self, prepared: Path, trained: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(trained, out)
        common = [*DEBUG, f"data.root={prepared}", "hydra.run.dir=out"]
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
        self, prepared: Path, trained: Path, tmp_path: Path
    ) -> None:
        arms = ["-m", "study=mine", "matcher=ratio,mutual", "seed=0", *DEBUG]
        ended = succeed(tmp_path, "train", *arms, f"data.root={prepared}")
        donor, taker = (
            tmp_path / "multirun/mine" / f"matcher-{m}+seed-0" for m in ("ratio", "mutual")
        )
        assert f"{taker} takes its weights from {donor.name}" in ended.stdout
        record = json.loads((taker / "run.json").read_text())
        assert record["weights_from"] == donor.name
        assert record["training"] == json.loads((donor / "run.json").read_text())["training"]
        assert len(table_of(taker)) == len(table_of(donor))
        assert hyperparameters_of(taker) == hyperparameters_of(donor) | {"matcher": "mutual"}
        # As the run of seed 0 and matcher=mutual, the defaults, is by itself.
        pd.testing.assert_frame_equal(table_of(trained), table_of(taker))
        first, second = weights_of(trained), weights_of(taker)
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
    succeed(tmp_path, "prepare", *source, "warp.shift=0.1", "warp.repeats=2", "prepare.seed=7")
    common = ["experiment=debug", "evaluation=none", "hydra.run.dir=out"]
    succeed(tmp_path, "train", *common)
    assert not (tmp_path / "out" / "evaluation").exists()
    manifest = json.loads((tmp_path / "data" / "pairs_train.json").read_text())
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "done"
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
    # A warp that leaves the number of second views to the source takes those that are there.
    succeed(tmp_path, "train", *common, *source, "warp=default", "warp.shift=0.1")


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
    mine += ["callbacks=early_stopping", "hydra.run.dir=all"]
    succeed(tmp_path, "train", *common, *mine)
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
    assert len(table_of(tmp_path / "none")) == 2 * 2 * 2  # pairs, estimators, network and oracle


def own_model(name: str) -> list[str]:
    """Options for a network of this module, which takes none of the default's options."""
    unused = [key for key in compose("train").model if key != "_target_"]
    return [f"model._target_=tests.test_training.{name}", *(f"~model.{key}" for key in unused)]


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


class WholeNumbers(Own):
    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return (patches.flatten(1) * self.weight).long()


class NotFinite(Own):
    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return patches.flatten(1) * self.weight * torch.nan


@dataclass(kw_only=True)
class PenaltyPerSample(Regularizer):
    def penalty(
        self,
        network: nn.Module,
        descriptors1: torch.Tensor,
        descriptors2: torch.Tensor,
        batch: Batch,
    ) -> torch.Tensor:
        return descriptors1.square().sum(1)


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
        (["model._target_=homoreg.nothing.Net"], "model._target_=homoreg.nothing.Net cannot be"),
        (own_model("TwoOutputs"), "TwoOutputs gives a tuple for 128"),
        (own_model("Flat"), r"Flat gives a tensor \(\) of float32 for 128"),
        (own_model("WholeNumbers"), r"WholeNumbers gives a tensor \(128, 3072\) of int64 for 128"),
        (own_model("NotFinite"), "NotFinite gives descriptors that are"),
        (
            ["regularizer._target_=tests.test_training.PenaltyPerSample"],
            r"regularizer._target_=tests.test_training.PenaltyPerSample gives a tensor \(64,\)",
        ),
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
    assert not re.search("Traceback|HYDRA_FULL_ERROR", ended.stderr)
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
def test_a_penalty_is_logged_apart_and_its_options_are_recorded(
    prepared: Path, trained: Path, tmp_path: Path
) -> None:
    mine = ["regularizer._target_=tests.test_training.Penalty", "+regularizer.weight=0.5"]
    mine += [f"data.root={prepared}", "evaluation=none", "logger=none", "hydra.run.dir=out"]
    succeed(tmp_path, "train", *DEBUG, *mine)
    plain, penalized = epochs_of(trained), epochs_of(tmp_path / "out")
    assert penalized["train/penalty"].iloc[0] == pytest.approx(0.5, rel=1e-3)
    # An epoch is one batch: the loss of the first is that of the initial weights.
    assert plain["train/loss"].iloc[0] == penalized["train/loss"].iloc[0]
    assert "train/penalty" not in plain
    record = json.loads((tmp_path / "out" / "run.json").read_text())
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
    prepared: Path, trained: Path, tmp_path: Path
) -> None:
    root, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(prepared, root)
    flat = np.full((180, 240, 3), 90, np.uint8)
    cv2.imwrite(str(root / "processed/eval/img_000001.jpg"), flat)
    shutil.copytree(trained, out)
    # Another matcher, so that the run is evaluated again.
    succeed(tmp_path, "train", *DEBUG, "data.root=data", "matcher=ratio", "hydra.run.dir=out")
    table = table_of(out)
    failed = table[table["pair_id"] == "000001"]
    assert failed["status"].unique().tolist() == ["no_keypoints"]
    assert np.isinf(failed["corner_error_px"]).all()
