"""docs/extending.md, run as it stands: its package outside homoreg, its folder of YAML files."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from homoreg import HomoregError, load_descriptor
from homoreg.descriptors.callbacks import homography_charts
from homoreg.evaluation.gallery import page_columns
from homoreg.files import conf_dir
from homoreg.metrics import COLUMNS, METRICS
from homoreg.study.page import SECTIONS
from tests.commands import run, succeed

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
CHOICES = (
    *("source=noise", "warp=rotation", "model=linear", "loss=margin", "regularizer=variance"),
    *("augmentation=dim", "optimizer=sign", "scheduler=warm_up"),
    *("detector=learned", "matcher=strict", "estimators=[dlt,careful]", "callbacks=note"),
)

YAML = re.findall(r"```yaml\n# (conf/\S+\.yaml)\n(.*?)```", PAGE, re.DOTALL)
OWN = ("extensions=[mymetrics]",)


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the page's ``mypackage.py`` and ``conf/``, the package importable."""
    folder = tmp_path_factory.mktemp("extension")
    python = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    [metrics] = [text for text in python if text.startswith("# mymetrics.py")]
    (folder / "mymetrics.py").write_text(metrics, encoding="utf-8")
    python.remove(metrics)
    (folder / "mypackage.py").write_text("\n".join(python), encoding="utf-8")
    for place, text in YAML:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("mypackage", None)
    if sys.modules.pop("mymetrics", None):  # what it registered is the process's
        METRICS.pop("center_error_px")
        COLUMNS.remove("center_error_px")
        SECTIONS[:] = [make for make in SECTIONS if make.__module__ != "mymetrics"]


@pytest.fixture(scope="module")
def trained(extension: Path) -> Path:
    options = ("experiment=debug", "regularizer.dropout=0.2", "hydra.run.dir=run")
    succeed(extension, "train", "--config-dir=conf", *CHOICES, *options, *OWN, "logger=[lines]")
    return extension / "run"


def test_the_page_has_one_of_each() -> None:
    files = conf_dir().glob("*/*.yaml")
    groups = {path.parent.name for path in files if "_target_: " in path.read_text("utf-8")}
    assert groups - {Path(place).parent.name for place, _ in YAML} == {"data", "hydra", "trainer"}


def test_a_training_with_one_of_each(trained: Path) -> None:
    table = pd.read_csv(trained / "evaluation" / "eval.csv")
    table = table[table["descriptor"] != "oracle"]
    assert set(table["estimator"]) == {"dlt", "careful"}
    assert set(table["regularizer"]) == {"variance"}
    assert set(table["descriptor"]) == {"linear"}
    assert (table["keypoints_1"] <= 300).all()
    epochs = pd.read_csv(trained / "csv" / "metrics.csv")
    assert epochs[["train/penalty", "val/center_error_px"]].notna().all(axis=None)
    # The first epoch of the warm-up has a third of optimizer.lr.
    assert epochs["train/learning_rate"].iloc[0] == pytest.approx(1e-4 / 3)
    assert (trained / "note.txt").read_text().startswith("0 ")
    lines = (trained / "lines.txt").read_text()
    assert lines.startswith("seed0")
    assert "train/loss" in lines


def test_a_metric_and_a_section_of_a_package_of_ones_own(trained: Path, extension: Path) -> None:
    table = pd.read_csv(trained / "evaluation" / "eval.csv")
    ok = table[table["status"] == "ok"]
    assert len(ok)
    # The error of a homography that is nearly affine grows from the center to the corners.
    assert (ok["center_error_px"] < 1e-6 + 2 * ok["corner_error_px"]).mean() > 0.5
    assert (table.loc[table["status"] != "ok", "center_error_px"] == float("inf")).all()
    assert "center_error_px" in [column.name for column in page_columns()]
    assert "center error (px)" in homography_charts()["Does it find the homography?"]
    succeed(extension, "report", f"runs={trained}", *OWN)
    shown = (trained / "report" / "report.md").read_text(encoding="utf-8")
    assert "Median error of the center" in shown
    centers = pd.read_csv(trained / "report" / "tables" / "centers.csv")
    [center] = centers.query("estimator == 'dlt' and arm == 'variance'")[
        "center_error_px_median_mean"
    ]
    own = table[(table["descriptor"] == "linear") & (table["estimator"] == "dlt")]
    assert center == pytest.approx(own["center_error_px"].median())
    refused = run(extension, "report", f"runs={trained}", "extensions=[nowhere]")
    assert (refused.returncode, "No module named 'nowhere'" in refused.stderr) == (2, True)


def test_the_run_is_read_with_the_package_named(trained: Path, extension: Path) -> None:
    with pytest.raises(HomoregError, match=r"packages=\[mypackage\]"):
        load_descriptor(trained)
    assert load_descriptor(trained, packages=["mypackage"]).name == "linear"
    evaluate = ("evaluate", "--config-dir=conf", f"runs={trained}", "descriptors=[mean_color]")
    refused = run(extension, *evaluate)
    assert refused.returncode == 2
    assert "packages=[mypackage]" in refused.stderr
    options = ("packages=[mypackage]", "hydra.run.dir=read", "patch_pairs=0", "gallery=0")
    benchmark = ("benchmark=half_size", "benchmark.root=data/processed/eval")
    succeed(extension, *evaluate, "systems=[orb_system]", *benchmark, *options)
    table = pd.read_csv(extension / "read" / "evaluation" / "half_size.csv")
    # The system, which has keypoints of its own, finds what the benchmark says is true.
    assert table.loc[table["descriptor"] == "orb_system", "correct_3px"].min() > 5
    assert set(table["descriptor"]) - {"oracle"} == {"linear", "mean_color", "orb_system"}
    assert set(table["estimator"]) == {"dlt", "careful"}
