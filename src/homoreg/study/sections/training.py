"""The training table and the loss curves."""

from functools import partial

from homoreg.study import arms, tables
from homoreg.study import figures as draw
from homoreg.study.document import Column, Part, Plate, Section, Table, number, view, with_interval
from homoreg.study.gathered import Gathered

LOSSES = {"final_train_loss": "training loss", "final_val_loss": "validation loss"}
OPTIONS = [
    Column("epochs", "epochs"),
    Column("patch", "patch (px)"),
    Column("offset_px", "offset (± px)"),
    Column("batch", "batch"),
    Column("optimizer", "optimizer"),
    Column("dropout", "dropout"),
    Column("weight_decay", "weight decay"),
    Column("device", "device"),
]
EXPLAINED = (
    "Both losses are in evaluation mode, that is, without dropout, so that arms compare. Patch: "
    "side of the network's input; offset: jitter of the second patch of a pair."
)


def training(study: Gathered) -> Section:
    of_runs = tables.training_table(study.done)
    of_arms = arms.training_arms(of_runs)
    frames = {"training": of_runs, "training_arms": of_arms}
    if study.many_runs:
        columns = [Column("arm", "arm"), Column("seeds", "seeds")]
        columns += [with_interval(key, name, number(4)) for key, name in LOSSES.items()]
        table = Table(
            "training_arms",
            f"Mean over the seeds of an arm at their last epoch, with its 95 % t interval. "
            f"{EXPLAINED} The runs one by one: `tables/training.csv`.",
            "training_arms",
            view(study.readable(of_arms), [*columns, *OPTIONS], by=["protocol"]),
        )
    else:
        columns = [Column("arm", "arm"), Column("seed", "seed")]
        columns += [Column(key, name, number(4)) for key, name in LOSSES.items()]
        table = Table(
            "training",
            f"Each run at its last epoch. {EXPLAINED}",
            "training",
            view(study.readable(of_runs), [*columns, *OPTIONS], by=["protocol"]),
        )
    parts: list[Part] = [table]
    if len(study.epochs):
        frames["epochs"] = study.epochs
        losses = arms.loss_table(study.epochs)
        frames["loss"] = losses
        for _, suffix, label, own in study.drawn(losses):
            parts.append(
                Plate(
                    f"loss{suffix}",
                    f"{label}Loss against epochs. Solid: validation; dashed: training; both in "
                    "evaluation mode, means over the arm's seeds, with a band from the lowest to "
                    "the highest seed. Dotted: the running loss that the optimizer saw, dropout "
                    "included; it does not compare between arms. The runs one by one: "
                    "`tables/epochs.csv`.",
                    "loss",
                    partial(draw.loss_curves, own, study.styles),
                )
            )
    return Section("training", "Training", parts, frames)
