"""``python -m benchmarks.plateau``: what the last quarter of a training gained, on many places.

A run measures 1-NN accuracy on one draw of a few hundred validation places, the same for all seeds.
That is too few to tell 1 % from 2 %. Here the last epochs are measured on many such draws:

    python -m benchmarks.plateau RUN [DRAWS]

RUN is the folder of a run that kept the weights of its epochs in it, by the option "$EPOCHS":

    EPOCHS='+callbacks.epochs={_target_: lightning.pytorch.callbacks.ModelCheckpoint, '
    EPOCHS+='save_top_k: -1, monitor: step, mode: max, dirpath: "${paths.run}/epochs", '
    EPOCHS+='filename: "{epoch}"}'
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate

from homoreg.data.datamodule import PatchPairDataset
from homoreg.descriptors.checkpoint import trained_descriptor
from homoreg.descriptors.metrics import nearest_accuracy
from homoreg.descriptors.window import CutPatches
from homoreg.runs import RunFolder
from homoreg.study.tables import last_quarter_gain_percent, mean_interval

DRAWS = 30


def places(validation: PatchPairDataset, draw: int) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """A draw of N places. Draw 0 is the one that training validates on.

    Returns:
        Their patches in view 1 and in view 2, each ``(N, S, S, 3)`` uint8, and ``(N,)`` the photos.
    """
    first = draw * validation.length
    batch = validation.cut(list(range(first, first + validation.length)))
    positive = batch["label"] > 0
    patches1, patches2 = (side[positive].numpy() for side in batch["patches"].chunk(2))
    return patches1, patches2, batch["photo"][positive]


def main(run: RunFolder, draws: int = DRAWS) -> None:
    total = run.config["trainer"]["max_epochs"]
    # Epochs that were over: the two around three quarters, and the last two.
    epochs = sorted({math.floor(0.75 * total), math.ceil(0.75 * total), total - 1, total})
    files = [run.path / "epochs" / f"epoch={epoch - 1}.ckpt" for epoch in epochs]
    networks = [trained_descriptor(file) for file in files]
    data = instantiate(run.config["data"])
    data.setup()

    accuracy = np.empty((draws, len(epochs)))
    for draw in range(draws):
        *views, photos = places(data.validation["val_same_photo"], draw)
        for column, network in enumerate(networks):
            cuts = (CutPatches(patches, np.ones(len(patches), bool)) for patches in views)
            described = (torch.from_numpy(network.describe_patches(cut)) for cut in cuts)
            accuracy[draw, column] = nearest_accuracy(*described, photos).item()

    gains = [last_quarter_gain_percent(epochs, own.tolist()) for own in accuracy]
    last = 100 * (accuracy[:, -1] / accuracy[:, -2] - 1)
    print(f"{run.name}: {draws} draws of {len(photos)} places")
    for epoch, mean in zip(epochs, accuracy.mean(0), strict=True):
        print(f"1-NN accuracy after {epoch} of {total} epochs: {mean:.4f}")
    for what, gain in (("quarter", gains), ("epoch", last)):
        mean, low, high = mean_interval(gain)
        print(f"gained in the last {what}: {mean:.2f} % ({low:.2f} to {high:.2f} over draws)")


if __name__ == "__main__":
    main(RunFolder(Path(sys.argv[1])), *map(int, sys.argv[2:3]))
