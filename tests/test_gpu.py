"""What only a GPU can show: it cuts, trains, resumes and describes as the CPU does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from skimage import data as photographs

from homoreg import load_descriptor
from homoreg.cli import compose
from homoreg.data.device import DeviceBank
from homoreg.data.patches import Window
from homoreg.evaluation import read_evaluation
from homoreg.runs import RunFolder
from tests.commands import DEBUG, run, succeed
from tests.runs import assert_same_run, epochs_of, weights_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
STRONG = ["recipe=strong", "trainer.max_epochs=3", "data.pairs_per_epoch=192"]
STRONG += ["data.batch_size=64", "data.validation_pairs=64", "evaluation.subset=2"]
STRONG += ["evaluation.figure_pairs=0", "trainer.enable_progress_bar=false", "data.num_workers=0"]


@pytest.mark.parametrize("window", ["fixed", "scaled", "oriented"])
def test_it_cuts_the_same_patches(prepared: Path, window: str) -> None:
    cfg = compose("train", [f"data.root={prepared}"])
    data = instantiate(cfg.data)
    data.setup()
    bank, rng = data.train.bank, np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, len(bank.slots), 600))
    places, scales = rng.uniform(-5, 200, (600, 2)), np.exp(rng.uniform(0, 4, 600))
    frames = np.column_stack([places, scales, rng.uniform(0, 360, 600)]).astype(np.float32)
    cuts = [
        DeviceBank(bank, Window(48, 32, window), device)
        .cut(images.to(device), torch.from_numpy(frames).to(device))
        .cpu()
        .int()
        for device in (CPU, GPU)
    ]
    difference = (cuts[0] - cuts[1]).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 1e-3


@pytest.mark.parametrize(
    ("precision", "largest"), [("32-true", 2e-6), ("bf16-mixed", 0.03)], ids=["float32", "bfloat16"]
)
def test_its_descriptors_are_those_of_the_cpu(precision: str, largest: float) -> None:
    image = photographs.astronaut()
    one = load_descriptor("homoreg", device="cpu")
    other = load_descriptor("homoreg", device="cuda", precision=precision)
    frames = one.detector(image)
    difference = np.abs(one.describe(image, frames) - other.describe(image, frames))
    assert difference.max() < largest


@pytest.mark.parametrize("recipe", ["cosine", "strong"])
def test_a_training_is_repeated_and_resumed_to_the_bit(
    prepared: Path, tmp_path: Path, recipe: str
) -> None:
    options = [*STRONG, f"recipe={recipe}", f"data.root={prepared}", "regularizer=hybrid"]
    for name in ("one", "two"):
        succeed(tmp_path, "train", *options, f"hydra.run.dir={name}")
    assert json.loads((tmp_path / "one" / "run.json").read_text())["machine"]["gpu"]
    assert_same_run(tmp_path / "one", tmp_path / "two")
    undone = {"training": None, "metrics": None, "reading_hash": None}
    RunFolder(tmp_path / "two").update_record(status="running", **undone)
    last = tmp_path / "two" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-2000])
    assert "previous.ckpt" in succeed(tmp_path, "train", *options, "hydra.run.dir=two").stdout
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize(
    "option",
    [
        "data.device_bank=true",
        "data.num_workers=2",
        "trainer.compile=true",
        "trainer.compile=true trainer.compile_mode=reduce-overhead",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
    ],
)
def test_what_changes_only_the_arithmetic_changes_little(
    prepared: Path, tmp_path: Path, option: str
) -> None:
    options = [*STRONG, f"data.root={prepared}", "benchmark.limit=1"]
    succeed(tmp_path, "train", *options, "hydra.run.dir=plain")
    succeed(tmp_path, "train", *options, *option.split(), "hydra.run.dir=other")
    losses = [epochs_of(tmp_path / name)["train/loss"].dropna() for name in ("plain", "other")]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)


def test_what_it_trained_is_read_on_the_cpu(prepared: Path, tmp_path: Path) -> None:
    options = [*STRONG, f"data.root={prepared}", "hydra.run.dir=run"]
    succeed(tmp_path, "train", *options)
    tensors = weights_of(tmp_path / "run").values()
    assert {tensor.device for tensor in tensors} == {CPU}
    read = ["runs=run", "gallery=0", "patch_pairs=0"]
    for device in ("cpu", "cuda"):
        succeed(tmp_path, "evaluate", *read, f"device={device}", f"hydra.run.dir={device}")
    tables = [
        read_evaluation(tmp_path / device / "evaluation" / "eval.csv") for device in ("cpu", "cuda")
    ]
    assert tables[0]["pair_id"].equals(tables[1]["pair_id"])
    assert (tables[0]["match_count"] - tables[1]["match_count"]).abs().max() <= 2


def test_two_gpus_where_there_is_one(prepared: Path, tmp_path: Path) -> None:
    count = torch.cuda.device_count()
    options = [f"data.root={prepared}", "trainer=ddp", f"trainer.devices={count + 1}"]
    ended = run(tmp_path, "train", *DEBUG, *options)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "your machine only has" in ended.stderr
