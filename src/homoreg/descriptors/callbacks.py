"""What a training run leaves behind beside its weights: a table of epochs, a speed, pictures."""

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard import SummaryWriter

from homoreg.data.sheets import patch_sheet
from homoreg.descriptors.module import DescriptorModule
from homoreg.files import atomic_path

# TensorBoard's "custom scalars" page: a section for each question of the study, in whose charts the
# runs of a sweep lie over each other. Names are patterns, searched for in a scalar's name.
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
    "Does it find the place?": {
        "corner error, px": ["Multiline", ["^val/corner_error_px"]],
        "precision and recall at 3 px": ["Multiline", ["^val/precision_3px", "^val/recall_3px"]],
        "matches": ["Multiline", ["^val/match_count"]],
    },
    "Is the homography stable?": {
        "predicted corner error, px": ["Multiline", ["^val/predicted_corner_error_px"]],
        "κ": ["Multiline", ["^val/kappa"]],
    },
    "What does the regularizer do?": {
        "loss in training, with dropout": ["Multiline", ["^train/loss$"]],
        "weight norm": ["Multiline", ["^train/weight_norm"]],
    },
}


class EpochTable(Logger):
    """A CSV with one row an epoch and a column for everything that was logged in it.

    Lightning's own starts again when a run resumes; this one keeps the epochs before.

    Args:
        path: of the CSV.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self.rows: dict[int, dict[Any, Any]] = {}
        if self.path.is_file():
            table = pd.read_csv(self.path)
            self.rows = {int(row["epoch"]): row for row in table.to_dict("records")}

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters stand in the run's config."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "epoch" not in metrics:
            return
        epoch = int(metrics["epoch"])
        # A run that went back to an earlier checkpoint writes its later epochs again.
        self.rows = {e: row for e, row in self.rows.items() if e <= epoch}
        row = self.rows.setdefault(epoch, {})
        row.update({"epoch": epoch, "step": step or 0} | metrics | {"epoch": epoch})

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:
            return
        with atomic_path(self.path) as temporary:
            pd.DataFrame([self.rows[e] for e in sorted(self.rows)]).to_csv(temporary, index=False)


class LossBeforeCheckpoint(pl.Callback):
    """Puts an epoch's training loss into the table before the epoch's checkpoint is written.

    Lightning tells its loggers afterwards, so a run killed in between would go on from the
    checkpoint and never learn that loss.
    """

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["train/loss"])
        for logger in trainer.loggers:
            if isinstance(logger, EpochTable):
                row = {"epoch": trainer.current_epoch, "train/loss": loss}
                logger.log_metrics(row, trainer.global_step - 1)
                logger.save()


class Throughput(pl.Callback):
    """Patch pairs per second over steady training steps.

    The first steps of an epoch, in which workers start and kernels are chosen, are left out, and so
    are validation and evaluation. No step waits for the device; the clock is read at the edges. The
    pairs of all devices count.

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
    """The time at which the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class TrainingPictures(pl.Callback):
    """A sheet of patch pairs before training; similarities as histograms while it goes on.

    Args:
        folder: where ``patch_pairs.png`` goes.
        rows: pairs of each label on the sheet.
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
        self.folder.mkdir(parents=True, exist_ok=True)
        sheet.savefig(self.folder / "patch_pairs.png")
        for board in tensorboards(trainer):
            board.add_custom_scalars(LAYOUT)
            board.add_figure("patch pairs", sheet, close=False)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DescriptorModule)
        output = pl_module.validation_output("val_same_photo")
        positive = output["label"] > 0
        for board in tensorboards(trainer):
            for name, which in (("same place", positive), ("same photo", ~positive)):
                values = output["similarity"][which]
                if len(values):
                    board.add_histogram(f"similarity/{name}", values, trainer.current_epoch)


def tensorboards(trainer: pl.Trainer) -> list[SummaryWriter]:
    """The writers of a trainer's TensorBoard loggers; none where it logs elsewhere."""
    return [x.experiment for x in trainer.loggers if isinstance(x, TensorBoardLogger)]
