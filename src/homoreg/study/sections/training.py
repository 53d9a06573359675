"""The training table and the loss curves."""

from functools import partial

from homoreg.study import figures as draw
from homoreg.study import tables
from homoreg.study.data import StudyData
from homoreg.study.document import Column, Figure, Part, Section, Table, as_text, with_interval

LOSSES = dict(zip(tables.LOSS_COLUMNS, ("training loss", "validation loss"), strict=True))
# Any other option, as those of a regularizer, goes by its own name.
OPTIONS = {"patch": "patch (px)", "offset_px": "offset (± px)"}
PLATEAU = (
    "Last quarter: what the last quarter of the training added to 1-NN accuracy on validation "
    "patches, in percent of it; below 1 % training was at a plateau, as far as a few hundred "
    "places tell. "
)


def training(study: StudyData) -> Section:
    of_runs = tables.training_table(study.done)
    if "val/nn_accuracy" in study.epochs:
        gains = of_runs["run"].map(tables.last_quarter_gains(study.epochs))
        if gains.notna().any():  # none of a training of fewer than four epochs
            of_runs[tables.GAIN] = gains
    of_arms = tables.training_arms(of_runs)
    names = {
        name: OPTIONS.get(name, name.replace("_", " ")) for name in tables.training_options(of_runs)
    }
    texts = of_runs[list(names)].map(as_text)
    alike = {name: label for name, label in names.items() if texts[name].nunique() == 1}
    shared = ", ".join(f"{label} {texts[name].iloc[0]}" for name, label in alike.items())
    parts: list[Part] = [
        Table(
            "training_arms",
            "Losses at the last epoch: means over the seeds of an arm with the 95 % t interval. "
            "Both losses are in evaluation mode, that is, without dropout, so that arms are "
            f"comparable. {PLATEAU * (tables.GAIN in of_runs)}Patch: side of the network's input; "
            f"offset: jitter of the second patch of a pair. The same for all: {shared}. The runs "
            "one by one: `tables/training.csv`.",
            "training_arms",
            study.readable(of_arms),
            [
                *(Column("arm", "arm"), Column("seeds", "seeds")),
                *(with_interval(key, name, 4) for key, name in LOSSES.items()),
                with_interval(tables.GAIN, "last quarter (%)", 1),
                *(Column(name, label) for name, label in names.items() if name not in alike),
            ],
            by=["protocol"],
        )
    ]
    frames = {"training": of_runs, "training_arms": of_arms}
    if len(study.epochs):
        losses = tables.loss_table(study.epochs)
        frames |= {"epochs": study.epochs, "loss": losses}
        parts += [
            Figure(
                f"loss{suffix}",
                f"{label}Loss by epoch. Solid: validation; dashed: training; both in evaluation "
                "mode, means over the arm's seeds, with a band from the lowest to the highest "
                "seed. Dotted: the running loss that the optimizer saw, with dropout; it is not "
                "comparable between arms. The runs one by one: `tables/epochs.csv`.",
                "loss",
                partial(draw.loss_curves, own, study.styles),
            )
            for _, suffix, label, own in study.drawn(losses)
        ]
    return Section("training", "Training", parts, frames)
