"""Callbacks of a training: the table of epochs, the throughput, pictures of patches."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from homoreg.data.sheets import patch_sheet
from homoreg.descriptors.module import DescriptorModule
from homoreg.files import atomic_path, reading
from homoreg.metrics import watched_metrics
from homoreg.plotting import save_figure

# TensorBoard's "custom scalars" page: a section for each question, whose charts show all runs of a
# sweep. Names are regular expressions for the scalars' names.
LAYOUT = {
    "Does it generalize?": {
        "loss in evaluation mode": ["Multiline", ["train/loss_eval", "^val/loss"]],
        "gap, validation less training": ["Multiline", ["^val/gap"]],
    },
    "Does it tell places apart?": {
        "1-NN accuracy within a photo": ["Multiline", ["^val/nn_accuracy"]],
        "false positives at 95 % recall": ["Multiline", ["^val/fpr95$", "val/fpr95_same_photo"]],
        "average precision": [
            "Multiline",
            ["^val/average_precision$", "val/average_precision_same_photo"],
        ],
        "alignment and uniformity": ["Multiline", ["^val/alignment", "^val/uniformity"]],
    },
    "What does the regularizer do?": {
        "loss in training, with dropout": ["Multiline", ["^train/loss$"]],
        "penalty": ["Multiline", ["^train/penalty"]],
        "weight norm": ["Multiline", ["^train/weight_norm"]],
    },
}


def homography_charts() -> dict[str, dict[str, Any]]:
    """The section of the homographies: a chart for each watched metric, those of your own too."""
    charts = {
        metric.heading: ["Multiline", [f"^val/{name}$"]]
        for name, metric in watched_metrics().items()
    }
    return {"Does it find the homography?": charts}


class EpochTable(pl.Callback):
    """A CSV with one row an epoch and a column for everything that was logged in it.

    The row is written before the epoch's checkpoint, so that a run killed in between lacks no epoch
    when it resumes from the checkpoint; a resumed run keeps the earlier rows.

    Args:
        path: of the CSV.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.rows: list[dict[Any, Any]] = []
        self._before: dict[str, Any] = {}

    @rank_zero_only
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.path.is_file():
            return
        with reading(self.path, "the table of epochs; delete it to continue without these epochs"):
            # As text: pandas 2 reads some numbers a digit off, and would write them so.
            table = pd.read_csv(self.path, dtype=str, keep_default_na=False)
            self.rows = table.astype({"epoch": int}).to_dict("records")

    @rank_zero_only
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before = dict(trainer.callback_metrics)

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step - 1} | {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            # What was not computed in this epoch is still the same tensor.
            if value is not self._before.get(name) and not name.endswith("_step")
        }
        # A run that went back to an earlier checkpoint writes its later epochs again.
        self.rows = [*(r for r in self.rows if r["epoch"] < row["epoch"]), row]
        with atomic_path(self.path) as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False)


class Throughput(pl.Callback):
    """Patch pairs per second over steady training steps, of all devices together.

    The first steps of an epoch, in which workers start and kernels are chosen, validation and
    evaluation are left out. The device is synchronized only at the ends of the interval.

    Args:
        warm_up: steps of each epoch that are left out.
    """

    def __init__(self, warm_up: int = 5) -> None:
        self.warm_up = warm_up
        self.pairs = 0
        self.seconds = 0.0
        self._started: float | None = None

    @property
    def patch_pairs_per_second(self) -> float | None:
        """None where no epoch had enough steps."""
        return self.pairs / self.seconds if self.seconds else None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: dict[str, torch.Tensor],
        batch_idx: int,
    ) -> None:
        if batch_idx + 1 == self.warm_up:
            self._started = _now(pl_module.device)
            self._pairs = 0
        elif self._started is not None:
            self._pairs += outputs["pairs"]
            if batch_idx + 1 == trainer.num_training_batches:
                self.seconds += _now(pl_module.device) - self._started
                self.pairs += self._pairs
                self._started = None


def _now(device: torch.device) -> float:
    """The time, once the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class TrainingPictures(pl.Callback):
    """A sheet of patch pairs before training, and histograms of similarities on TensorBoard.

    Args:
        folder: where ``patch_pairs.png`` goes.
        rows: rows of three patch pairs for each label on the sheet.
    """

    def __init__(self, folder: str | Path, rows: int = 8) -> None:
        self.folder = Path(folder)
        self.rows = rows

    @rank_zero_only
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        dataset = trainer.datamodule.train  # type: ignore[attr-defined]
        batch = dataset.cut(list(range(min(len(dataset), 16 * self.rows))))
        first, second = batch["patches"].numpy().reshape(2, -1, *batch["patches"].shape[1:])
        sheet = patch_sheet(first, second, batch["label"].numpy(), self.rows)
        save_figure(sheet, self.folder / "patch_pairs.png")
        log_figure(trainer.loggers, "patch pairs", sheet)
        for board in tensorboards(trainer.loggers):
            board.add_custom_scalars(LAYOUT | homography_charts())

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DescriptorModule)
        output = pl_module.validation_output("val_same_photo")
        positive = output["label"] > 0
        for board in tensorboards(trainer.loggers):
            for name, which in (("same place", positive), ("same photo", ~positive)):
                values = output["similarity"][which]
                if len(values):
                    board.add_histogram(f"similarity/{name}", values, trainer.current_epoch)


def log_figure(loggers: Iterable[Logger], name: str, figure: Figure, step: int = 0) -> None:
    """Send a figure to every logger that takes pictures, each in its own way."""
    for logger in loggers:
        experiment: Any = getattr(logger, "experiment", None)
        if hasattr(experiment, "add_figure"):  # TensorBoard
            experiment.add_figure(name, figure, step, close=False)
        elif hasattr(logger, "log_image"):  # Weights & Biases
            logger.log_image(name, [figure])
        elif hasattr(experiment, "log_figure"):  # MLflow
            experiment.log_figure(logger.run_id, figure, f"{name}.png")  # type: ignore[attr-defined]


def tensorboards(loggers: Iterable[Logger]) -> list[SummaryWriter]:
    """The writers of the TensorBoard loggers among these."""
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]
