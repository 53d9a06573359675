"""Batches of patch pairs for training and validation."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import lightning.pytorch as pl
import numpy as np
import pydantic
import torch
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt
from torch.utils.data import DataLoader, Dataset, Sampler

from homoreg.data.bank import PixelBank, photos_of
from homoreg.data.correspondences import (
    PairSampling,
    PatchPairs,
    PatchPairSampler,
    Views,
    patch_pair_sampler,
)
from homoreg.data.device import DeviceBank
from homoreg.data.keypoints import Detector, view_keypoints
from homoreg.data.manifest import Pair, PairManifest
from homoreg.data.patches import Window, detectors_for
from homoreg.data.prepared import manifest_path
from homoreg.data.views import view2_around
from homoreg.errors import HomoregError
from homoreg.geometry import resized_homography
from homoreg.keyed import keyed_seed

# One batch of N patch pairs:
# "patches" (2N, S, S, 3) uint8, the N first patches, then the N second ones;
# "label" (N,) float32, ±1;
# "photo" (N,) int64, the photo, and "pair" (N,) int64, the pair of views of the first patch;
# "points1" (N, 2) float32, the center of the first patch in view 1, pixels;
# "points2" (N, 2) float32, the true place of that point in view 2, pixels, without jitter.
Batch = dict[str, torch.Tensor]

PREFETCHED = 2  # batches that each worker cuts in advance

# Validation sets are the same for every seed and every arm.
VALIDATION_SEED = keyed_seed("validation")
TRAIN_EVAL_SEED = keyed_seed("training pairs in evaluation mode")


@dataclass(eq=False)
class PatchPairDataset(Dataset):
    """Batches of patch pairs: sample ``i`` of epoch ``e`` is item ``e · length + i``.

    Args:
        bank: pixels.
        sampler: draws where the patches lie.
        length: samples in an epoch.
        window: how patches are cut.
        on_device: return the patches' places instead of patches, for the training device to cut.
    """

    bank: PixelBank
    sampler: PatchPairSampler
    length: int
    window: Window
    on_device: bool = False

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, items: list[int]) -> Batch:
        """A batch of these items, all of one epoch."""
        return self.cut(items, on_device=self.on_device)

    def cut(self, items: list[int], on_device: bool = False) -> Batch:
        """A batch with its patches, or with their places for a device that holds the bank."""
        epoch = items[0] // self.length
        pairs = self.sampler.sample(epoch, np.asarray(items) - epoch * self.length)
        batch = {
            "label": torch.from_numpy(pairs.label),
            "photo": torch.from_numpy(self.sampler.views.photos[pairs.pair1]),
            "pair": torch.from_numpy(pairs.pair1),
            "points1": torch.from_numpy(pairs.frames1[:, :2].astype(np.float32)),
            "points2": torch.from_numpy(pairs.places2.astype(np.float32)),
        }
        if on_device:
            slots1, slots2, frames2 = self.bank.slots1, self.bank.slots2, pairs.frames2
            slots = [slots1[pair] for pair in pairs.pair1] + [slots2[pair] for pair in pairs.pair2]
            batch["images"] = torch.tensor([slot.number for slot in slots])
            frames = np.concatenate([pairs.frames1, frames2]).astype(np.float32)
            batch["frames"] = torch.from_numpy(frames)
            return batch
        images = [self.bank.view1(pair) for pair in pairs.pair1]
        images2, frames2 = self._second_views(pairs)
        frames = np.concatenate([pairs.frames1, frames2])
        batch["patches"] = torch.from_numpy(self.window.patches(images + images2, frames))
        return batch

    def _second_views(self, pairs: PatchPairs) -> tuple[list[np.ndarray], np.ndarray]:
        """Images and frames to cut second patches at; views on the fly are rendered in part."""
        frames = pairs.frames2
        if self.bank.slots2:
            return [self.bank.view2(pair) for pair in pairs.pair2], frames
        reach = self.window.reach(frames)
        images, points = [], []
        for pair, point, distance in zip(pairs.pair2, frames[:, :2], reach, strict=True):
            photo = self.bank.view1(pair)
            image, point_in_part = view2_around(self.bank.pairs[pair], photo, point, distance)
            images.append(image)
            points.append(point_in_part)
        return images, np.column_stack([points, frames[:, 2:]])


@dataclass(eq=False)
class EpochBatches(Sampler[list[int]]):
    """Yields batches of sample indices, in order: samples are random by their key.

    Args:
        length: samples in an epoch.
        batch_size: samples in a batch; the last batch may be smaller.
        epoch: returns the epoch; called when its first batch is drawn.
        devices: processes that share each batch.
        device: index of this process; it gets every ``devices``-th sample.
    """

    length: int
    batch_size: int
    epoch: Callable[[], int]
    devices: int = 1
    device: int = 0

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        first = self.epoch() * self.length
        for start in range(0, self.length, self.batch_size):
            end = min(start + self.batch_size, self.length)
            yield list(range(first + start + self.device, first + end, self.devices))


@pydantic.dataclasses.dataclass(
    eq=False, config=ConfigDict(title="data", extra="forbid", arbitrary_types_allowed=True)
)
class PatchPairDataModule(pl.LightningDataModule):
    """Patch pairs from ``root/pairs_train.json``, split into training and validation by photo.

    There are three validation sets, fixed by default. ``val`` is sampled as the training set, from
    photos that training does not see: half of those held out, where that leaves two or more, since
    what chooses an epoch must not calibrate the bounds on errors. ``val_same_photo`` has the same
    photos, positives through H and negatives from the same photo. ``train_eval`` is sampled as
    ``val`` from the training photos, so that both losses of a run can be compared in evaluation
    mode.

    Args:
        root: the folder that ``prepare`` wrote.
        window: how patches are cut.
        sampling: how pairs are sampled.
        seed: key of the training samples.
        pairs_per_epoch: patch pairs in an epoch.
        batch_size: patch pairs in a batch.
        resample: draw new samples in every epoch.
        validation_share: share of the photos held out for validation.
        validation_pairs: patch pairs in each validation set.
        num_workers: processes that cut patches for training; 0 cuts in the training process.
        squash: (width, height) that every view is resized to before patches are cut; None cuts at
            native size.
        pairs_per_view: patch pairs per epoch and pair of views, on average, instead of
            ``pairs_per_epoch``.
        validation_split: ``"photo"`` holds photos out. ``"sample"`` is the study's flaw: a share of
            the samples of all photos, so that validation shows the training photos.
        validation_resample: draw new validation samples in every epoch, as the study did.
        views: ``"stored"`` keeps both views in the bank; ``"on_the_fly"`` keeps the photographs
            and renders the parts of view 2 that are needed, without the losses of a JPEG file.
        fill_bank: decode all images before training; otherwise each when it is first needed.
        keypoints: detector whose keypoints in view 1, mapped to view 2 by the homography, are the
            centers of the patches; None takes points anywhere. They are detected once and stored
            in the bank. Needed by windows that follow keypoints.
        train_photos: number of photos to train on, the first by their keys; None for all. The
            validation photos stay the same.
        device_bank: keep the bank on the training device and cut patches there. These differ by a
            few gray levels from patches cut on the host, so this is part of a run's identity.

    Raises:
        ValidationError: an option is out of its range.
        HomoregError: options that exclude each other.
    """

    VALIDATION_SETS: ClassVar = ("val", "val_same_photo", "train_eval")

    root: Path
    window: Window
    sampling: PairSampling
    seed: int
    pairs_per_epoch: PositiveInt
    batch_size: PositiveInt
    resample: bool = True
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    validation_pairs: PositiveInt = 2000
    num_workers: NonNegativeInt = 1
    squash: tuple[PositiveInt, PositiveInt] | None = None
    pairs_per_view: PositiveInt | None = None
    validation_split: Literal["photo", "sample"] = "photo"
    validation_resample: bool = False
    views: Literal["stored", "on_the_fly"] = "stored"
    fill_bank: bool = True
    keypoints: Detector | None = None
    train_photos: PositiveInt | None = None
    device_bank: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        if self.window.window != "fixed" and self.keypoints is None:
            raise HomoregError(
                f"patch.window={self.window.window} needs keypoints that it can follow: give "
                f"detectors, {detectors_for(self.window.window)}"
            )
        if self.views == "on_the_fly" and self.squash is not None:
            raise HomoregError("data.views=on_the_fly: data.squash needs data.views=stored")
        if self.device_bank and (self.views != "stored" or not self.fill_bank):
            raise HomoregError(
                "data.device_bank=true needs data.views=stored and data.fill_bank=true"
            )
        self._device_bank: DeviceBank | None = None

    def setup(self, stage: str | None = None) -> None:
        """Open the manifest and its bank (built if it is missing) and split the photos.

        Raises:
            HomoregError: the manifest cannot be used, or shows fewer than four photos.
        """
        if hasattr(self, "train"):
            return
        self.manifest = PairManifest.load(manifest_path(self.root, "train")).require_homographies()
        pairs = self.manifest.pairs
        self._split(pairs)
        bank = PixelBank(self.manifest, self.squash, photos_only=self.views == "on_the_fly")
        if self.fill_bank:
            bank.fill()
        homographies = np.array([squashed_homography(pair, self.squash) for pair in pairs])
        keypoints = self.keypoints and view_keypoints(bank, self.keypoints, homographies)
        views = Views(homographies, bank.sizes1, bank.sizes2, photos_of(pairs), keypoints)

        def dataset(
            members: np.ndarray, sampling: PairSampling, seed: int, length: int
        ) -> PatchPairDataset:
            sampler = patch_pair_sampler(
                views, members, sampling, seed, self.window.support, self.batch_size
            )
            return PatchPairDataset(bank, sampler, length, self.window, self.device_bank)

        self.train = dataset(self.train_members, self.sampling, self.seed, self.pairs_per_epoch)
        hard = replace(
            self.sampling,
            positive_share=0.5,
            same_photo_share=1.0,
            photos_per_batch=None,
            correspondence="homography",
        )
        count = self.validation_pairs
        self.validation = {
            "val": dataset(self.validation_members, self.sampling, VALIDATION_SEED, count),
            "val_same_photo": dataset(self.validation_members, hard, VALIDATION_SEED, count),
            "train_eval": dataset(self.train_members, self.sampling, TRAIN_EVAL_SEED, count),
        }

    def _split(self, pairs: list[Pair]) -> None:
        """Set the pairs of views to train on and to validate on, and the length of an epoch."""
        train = validation = {pair.photo for pair in pairs}
        share = 1 - self.validation_share
        if self.validation_split == "photo":
            held_out = validation_photos(train, self.validation_share)
            tuning, _ = validation_halves(held_out)
            # Negatives take a second photo.
            validation = set(tuning) if len(tuning) > 1 else held_out
            train, share = train - held_out, 1.0
        if self.train_photos:
            train = training_photos(train, self.train_photos)
        self.train_members, self.validation_members = (
            np.flatnonzero([pair.photo in photos for pair in pairs])
            for photos in (train, validation)
        )
        if self.pairs_per_view:
            self.pairs_per_epoch = round(share * self.pairs_per_view * len(self.train_members))

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Tensors also where workers sent arrays."""
        return {name: torch.as_tensor(value) for name, value in batch.items()}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Cut the patches of a batch that came with their places."""
        if "frames" not in batch:
            return batch
        device = batch["label"].device
        if self._device_bank is None or self._device_bank.device != device:
            self._device_bank = DeviceBank(self.train.bank, self.window, device)
        batch["patches"] = self._device_bank.cut(batch.pop("images"), batch.pop("frames"))
        return batch

    def teardown(self, stage: str) -> None:
        """Keep the images that were decoded when they were needed."""
        self.train.bank.sync()

    def train_dataloader(self) -> DataLoader:
        return self._loader(self.train, self.resample, self.num_workers)

    def val_dataloader(self) -> list[DataLoader]:
        sets = [self.validation[name] for name in self.VALIDATION_SETS]
        return [self._loader(dataset, self.validation_resample, 0) for dataset in sets]

    def check_devices(self, devices: int) -> None:
        """Raise HomoregError if batches cannot be divided evenly among the devices."""
        for name in ("batch_size", "pairs_per_epoch", "validation_pairs"):
            value = getattr(self, name)
            if value % devices:
                raise HomoregError(f"data.{name}={value}: give a multiple of the {devices} devices")

    def _loader(self, dataset: PatchPairDataset, resample: bool, workers: int) -> DataLoader:
        # A resumed run draws its first batches before Lightning has restored ``current_epoch``;
        # the number of processed epochs is known by then.
        def epoch() -> int:
            if not (self.trainer and resample):
                return 0
            # Lightning annotates the counter's base class, which lacks ``processed``.
            return self.trainer.fit_loop.epoch_progress.total.processed  # type: ignore[attr-defined]

        ranks = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        # Some launchers (joblib's loky) replace Python's way of starting processes by one that a
        # loader cannot use; workers are forked so that they share the bank.
        forked = workers > 0 and sys.platform == "linux"
        queued = PREFETCHED * workers * 2 * self.batch_size * 3 * self.window.size**2
        return DataLoader(
            dataset,
            sampler=EpochBatches(dataset.length, self.batch_size, epoch, *ranks),
            batch_size=None,  # the dataset returns whole batches
            num_workers=workers,
            prefetch_factor=PREFETCHED if workers else None,
            multiprocessing_context="fork" if forked else None,
            collate_fn=None if fits_shared_memory(queued) else as_arrays,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            # Its own generator, so that the workers' seed is not drawn from dropout's stream.
            generator=torch.Generator(),
        )


def fits_shared_memory(size: int) -> bool:
    """Whether workers can leave batches of ``size`` bytes in shared memory, with room to spare.

    Where it is full, PyTorch loses the batch and waits for it forever. Containers have 64 MB.
    """
    folder = Path("/dev/shm")
    return not folder.is_dir() or 4 * size < shutil.disk_usage(folder).free


def as_arrays(batch: Any) -> dict[str, np.ndarray]:
    """The batch as arrays, which workers send through a pipe instead of through shared memory."""
    return {name: tensor.numpy() for name, tensor in batch.items()}


def squashed_homography(pair: Pair, squash: tuple[int, int] | None) -> np.ndarray:
    """``(3, 3)``, view 1 to view 2, of views that were resized to ``squash``."""
    assert pair.homography is not None  # checked when the manifest was opened
    if squash is None:
        return pair.homography
    return resized_homography(pair.homography, pair.size1, squash, pair.size2, squash)


def validation_photos(photos: set[str], share: float) -> set[str]:
    """The photos held out for validation, the first by their keys.

    Args:
        photos: names of all photos.
        share: of the photos; at least two stay on each side, since negatives need another photo.

    Raises:
        HomoregError: there are fewer than four photos.
    """
    if len(photos) < 4:
        raise HomoregError(
            f"the training pairs show {len(photos)} photos: at least 4 are needed, two for "
            "training and two for validation"
        )
    count = min(max(round(share * len(photos)), 2), len(photos) - 2)
    return set(sorted(photos, key=lambda photo: keyed_seed("validation", photo))[:count])


def validation_halves(photos: set[str]) -> tuple[list[str], list[str]]:
    """The validation photos that choose epochs and ratios, and those that calibrate bounds."""
    ordered = sorted(photos, key=lambda photo: keyed_seed("calibration", photo))
    return ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]


def training_photos(photos: set[str], count: int) -> set[str]:
    """The first photos by their keys, so that a larger number adds photos to a smaller one's.

    Args:
        photos: names of all photos to train on.
        count: how many of them.

    Raises:
        HomoregError: there are fewer.
    """
    if count > len(photos):
        raise HomoregError(
            f"data.train_photos={count}: there are {len(photos)} photos to train on, without "
            "those for validation"
        )
    return set(sorted(photos, key=lambda photo: keyed_seed("training", photo))[:count])
