import contextlib
import shutil
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from homoreg.data import PatchPairDataModule, cut_patches
from homoreg.data.correspondences import POSITIVE, PairSampling
from homoreg.data.datamodule import Batch, EpochBatches, fits_shared_memory, validation_photos
from homoreg.data.patches import Window
from homoreg.errors import HomoregError
from homoreg.geometry import transform_points


def module(root: Path, **options: object) -> PatchPairDataModule:
    defaults = {"window": Window(32, 16), "seed": 5, "pairs_per_epoch": 40, "batch_size": 16}
    sampling = PairSampling(same_photo_share=0.3)
    data = PatchPairDataModule(root, sampling=sampling, validation_pairs=30, **defaults | options)
    data.setup()
    return data


def epoch_of(data: PatchPairDataModule, epoch: int) -> list[Batch]:
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, EpochBatches)
    if data.resample:
        loader.sampler.epoch = lambda: epoch
    return list(loader)


def test_the_number_of_workers_changes_no_sample(prepared: Path) -> None:
    for epoch in (0, 3):
        batches = [epoch_of(module(prepared, num_workers=workers), epoch) for workers in (0, 1, 2)]
        for other in batches[1:]:
            for one, two in zip(batches[0], other, strict=True):
                assert all(torch.equal(one[key], two[key]) for key in one)


def test_workers_send_the_same_batches_where_shared_memory_is_small(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = module(prepared, num_workers=1)
    shared = epoch_of(data, 0)
    container = shutil.disk_usage("/")._replace(free=64 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: container)
    assert fits_shared_memory(2**20)
    assert not fits_shared_memory(2**24)
    monkeypatch.setattr("homoreg.data.datamodule.fits_shared_memory", lambda _: False)
    piped = epoch_of(data, 0)
    assert all(isinstance(value, np.ndarray) for value in piped[0].values())
    for one, two in zip(shared, piped, strict=True):
        two = data.on_before_batch_transfer(two, 0)
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_epochs_differ_unless_they_are_to_be_the_same(prepared: Path) -> None:
    fresh, fixed = module(prepared), module(prepared, resample=False)
    assert not torch.equal(epoch_of(fresh, 0)[0]["patches"], epoch_of(fresh, 1)[0]["patches"])
    assert torch.equal(epoch_of(fixed, 0)[0]["patches"], epoch_of(fixed, 1)[0]["patches"])


class Watcher(pl.LightningModule):
    """Trains nothing and remembers which patches it was given, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[tuple[str, int], list[torch.Tensor]] = {}

    def _remember(self, kind: str, batch: Batch) -> None:
        self.seen.setdefault((kind, self.current_epoch), []).append(batch["patches"])

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        self._remember("train", batch)
        return self.weight * 0

    def validation_step(self, batch: Batch, _: int, dataloader_idx: int = 0) -> None:
        self._remember(f"val {dataloader_idx}", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Break(pl.Callback):
    """Ends a training in the middle of an epoch."""

    def __init__(self, epoch: int | None) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.current_epoch == self.epoch and trainer.fit_loop.epoch_loop.batch_idx == 1:
            raise InterruptedError


def watch(
    data: PatchPairDataModule, folder: Path, break_in: int | None = None, go_on: Path | None = None
) -> dict[tuple[str, int], torch.Tensor]:
    """What a training of three epochs was given; it leaves ``last.ckpt`` after each."""
    watcher = Watcher()
    last = ModelCheckpoint(
        dirpath=folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=[last, Break(break_in)],
    )
    with contextlib.suppress(InterruptedError):
        trainer.fit(watcher, data, ckpt_path=go_on, weights_only=True if go_on else None)
    return {key: torch.cat(patches) for key, patches in watcher.seen.items()}


def test_a_trainer_gets_new_samples_every_epoch_and_the_same_validation(
    prepared: Path, tmp_path: Path
) -> None:
    seen = watch(module(prepared), tmp_path)
    for epoch in range(3):
        expected = torch.cat([batch["patches"] for batch in epoch_of(module(prepared), epoch)])
        assert torch.equal(seen["train", epoch], expected)
        for kind in ("val 0", "val 1", "val 2"):
            assert torch.equal(seen[kind, epoch], seen[kind, 0])
    assert not torch.equal(seen["train", 0], seen["train", 1])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_trainer_gets_the_samples_of_its_epoch(
    prepared: Path, tmp_path: Path, workers: int
) -> None:
    whole = watch(module(prepared, num_workers=workers), tmp_path / "whole")
    watch(module(prepared, num_workers=workers), tmp_path, break_in=1)
    rest = watch(module(prepared, num_workers=workers), tmp_path, go_on=tmp_path / "last.ckpt")
    assert {epoch for kind, epoch in rest if kind == "train"} == {1, 2}
    for epoch in (1, 2):
        assert torch.equal(rest["train", epoch], whole["train", epoch])


def test_batches_hold_every_sample_of_an_epoch_once() -> None:
    batches = EpochBatches(40, 16, lambda: 2)
    assert [len(b) for b in batches] == [16, 16, 8]
    assert len(batches) == 3
    assert [item for batch in batches for item in batch] == list(range(80, 120))


def test_devices_share_each_batch_and_see_each_sample_once() -> None:
    whole = list(EpochBatches(40, 16, lambda: 2))
    shares = [list(EpochBatches(40, 16, lambda: 2, 4, device)) for device in range(4)]
    for number, batch in enumerate(whole):
        of_batch = [share[number] for share in shares]
        assert len({len(items) for items in of_batch}) == 1
        # Taken by turns the shares are the batch in its order, as the module gathers them.
        assert [item for turn in zip(*of_batch, strict=True) for item in turn] == batch


def test_what_devices_cannot_share_evenly_is_named(prepared: Path) -> None:
    data = module(prepared)
    data.check_devices(2)
    with pytest.raises(HomoregError, match="data.batch_size=16: give a multiple of the 3 devices"):
        data.check_devices(3)


def test_a_batch_is_cut_where_the_samples_say(prepared: Path) -> None:
    data = module(prepared)
    batch = epoch_of(data, 1)[2]
    pairs = data.train.sampler.sample(1, np.arange(32, 40))
    for i in range(8):
        for which, view, pair, point in (
            (0, data.train.bank.view1, pairs.pair1[i], pairs.frames1[i]),
            (1, data.train.bank.view2, pairs.pair2[i], pairs.frames2[i]),
        ):
            expected = cut_patches(view(pair), point[None], support=32, size=16)[0]
            assert (batch["patches"][8 * which + i].numpy() == expected).all()


def test_training_and_validation_share_no_photo(prepared: Path) -> None:
    data = module(prepared)
    photos = [pair.photo for pair in data.manifest.pairs]
    train = {photos[i] for i in data.train_members}
    validation = {photos[i] for i in data.validation_members}
    assert train | validation == set(photos)
    assert not train & validation
    assert len(validation) == 2
    for name, members in (("val", data.validation_members), ("train_eval", data.train_members)):
        drawn = data.validation[name].sampler.sample(0, np.arange(30))
        assert set(drawn.pair1) | set(drawn.pair2) <= set(members)


def test_validation_is_the_same_for_every_seed(prepared: Path) -> None:
    one, two = module(prepared, seed=1), module(prepared, seed=2)
    for first, second in zip(one.val_dataloader(), two.val_dataloader(), strict=True):
        for a, b in zip(first, second, strict=True):
            assert torch.equal(a["patches"], b["patches"])
    assert not torch.equal(epoch_of(one, 0)[0]["patches"], epoch_of(two, 0)[0]["patches"])


def test_a_new_photo_moves_at_most_one_photo_across_the_split() -> None:
    photos = {f"{i}.jpg" for i in range(100)}
    before = validation_photos(photos, 0.1)
    after = validation_photos(photos | {"new.jpg"}, 0.1)
    assert len(before) == 10
    assert len(before - after) <= 1


def test_too_few_photos_to_split_is_one_line() -> None:
    with pytest.raises(HomoregError, match="at least 4 are needed"):
        validation_photos({"a", "b", "c"}, 0.1)


def test_squashed_views_keep_their_correspondences(prepared: Path) -> None:
    data = module(prepared, squash=[128, 128])
    assert data.train.bank.view1(0).shape == (128, 128, 3)
    pairs = data.train.sampler.sample(0, np.arange(40))
    for i in np.flatnonzero(pairs.kind == POSITIVE):
        pair = data.manifest.pairs[pairs.pair1[i]]
        native = (pairs.frames1[i] + 0.5) * np.array(pair.size1) / 128 - 0.5
        place = (transform_points(native[None], pair.homography)[0] + 0.5) * 128 / pair.size2 - 0.5
        assert np.abs(pairs.frames2[i] - place).max() <= data.sampling.jitter_px


def test_a_split_by_sample_shows_the_same_photos_on_both_sides(prepared: Path) -> None:
    data = module(prepared, validation_split="sample", pairs_per_view=10, validation_share=0.25)
    assert data.train_members.tolist() == data.validation_members.tolist() == list(range(12))
    assert len(data.train) == data.pairs_per_epoch == 90  # three quarters of ten a pair of views
    by_photo = module(prepared, pairs_per_view=10, validation_share=0.25)
    assert len(by_photo.train) == 10 * len(by_photo.train_members) < 120


def test_validation_may_be_drawn_again_as_the_study_did(prepared: Path, tmp_path: Path) -> None:
    seen = watch(module(prepared, validation_resample=True), tmp_path)
    assert not torch.equal(seen["val 0", 0], seen["val 0", 1])
