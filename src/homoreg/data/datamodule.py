"""Batches of patch pairs for training and validation."""

import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, validate_call
from torch.utils.data import DataLoader, Dataset, Sampler

from homoreg.data.bank import PixelBank, photos_of
from homoreg.data.correspondences import PairSampling, PatchPairs, Views, sample_patch_pairs
from homoreg.data.device import DeviceBank
from homoreg.data.keypoints import Detector, view_keypoints
from homoreg.data.manifest import Pair, PairManifest
from homoreg.data.patches import Window
from homoreg.data.views import view2_around
from homoreg.errors import HomoregError
from homoreg.geometry import resized_homography
from homoreg.keyed import keyed_seed

log = logging.getLogger(__name__)

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


class PatchPairDataset(Dataset):
    """Batches of patch pairs: sample ``i`` of epoch ``e`` is item ``e · length + i``.

    Args:
        bank: pixels.
        views: geometry of the bank's pairs.
        members: ``(P,)`` indices of the pairs to draw from.
        sampling: options.
        seed: with epoch and index, the key of a sample.
        length: samples in an epoch.
        batch_size: samples in a batch.
        window: how patches are cut.

    Attributes:
        on_device: return the patches' places instead of patches, for the training device to cut.
    """

    on_device = False

    def __init__(
        self,
        bank: PixelBank,
        views: Views,
        members: np.ndarray,
        sampling: PairSampling,
        seed: int,
        length: int,
        batch_size: int,
        window: Window,
    ) -> None:
        self.bank = bank
        self.bank_photos = views.photos
        self.members = members
        self.views = Views(
            views.homographies[members],
            views.sizes1[members],
            views.sizes2[members],
            views.photos[members],
            views.keypoints and views.keypoints.of(members),
        )
        self.sampling = sampling
        self.seed = seed
        self.length = length
        self.batch_size = batch_size
        self.window = window

    def __len__(self) -> int:
        return self.length

    def sample(self, epoch: int, indices: np.ndarray) -> PatchPairs:
        """Where the patches lie; pair indices are the bank's."""
        drawn = sample_patch_pairs(
            self.views,
            self.sampling,
            self.seed,
            epoch,
            indices,
            self.window.support,
            self.batch_size,
        )
        return replace(drawn, pair1=self.members[drawn.pair1], pair2=self.members[drawn.pair2])

    def __getitem__(self, items: list[int]) -> Batch:
        """A batch of these items, all of one epoch."""
        return self.cut(items, on_device=self.on_device)

    def cut(self, items: list[int], on_device: bool = False) -> Batch:
        """A batch with its patches, or with their places for a device that holds the bank."""
        epoch = items[0] // self.length
        pairs = self.sample(epoch, np.asarray(items) - epoch * self.length)
        batch = {
            "label": torch.from_numpy(pairs.label),
            "photo": torch.from_numpy(self.bank_photos[pairs.pair1]),
            "pair": torch.from_numpy(pairs.pair1),
            "points1": torch.from_numpy(pairs.frames1[:, :2].astype(np.float32)),
            "points2": torch.from_numpy(pairs.places2.astype(np.float32)),
        }
        if on_device:
            images1 = [self.bank.slots1[pair].number for pair in pairs.pair1]
            images2 = [self.bank.slots2[pair].number for pair in pairs.pair2]
            frames = np.concatenate([pairs.frames1, pairs.frames2])
            batch["images"] = torch.tensor(images1 + images2)
            batch["frames"] = torch.from_numpy(frames.astype(np.float32))
            return batch
        images = [self.bank.view1(pair) for pair in pairs.pair1]
        second_images, second_frames = self._second_views(pairs)
        frames = np.concatenate([pairs.frames1, second_frames])
        batch["patches"] = torch.from_numpy(self.window.patches(images + second_images, frames))
        return batch

    def _second_views(self, pairs: PatchPairs) -> tuple[list[np.ndarray], np.ndarray]:
        """Images and frames to cut second patches at; views on the fly are rendered in part."""
        frames = pairs.frames2
        if self.bank.slots2:
            return [self.bank.view2(pair) for pair in pairs.pair2], frames
        parts = [
            view2_around(self.bank.pairs[pair], self.bank.view1(pair), point, reach)
            for pair, point, reach in zip(
                pairs.pair2, frames[:, :2], self.window.reach(frames), strict=True
            )
        ]
        places = np.array([point for _, point in parts])
        return [image for image, _ in parts], np.column_stack([places, frames[:, 2:]])


class EpochBatches(Sampler[list[int]]):
    """Yields batches of sample indices, in order: samples are random by their key.

    Args:
        length: samples in an epoch.
        batch_size: samples in a batch; the last batch may be smaller.
        epoch: returns the epoch; called when its first batch is drawn.
        devices: processes that share each batch.
        device: index of this process; it gets every ``devices``-th sample.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        epoch: Callable[[], int],
        devices: int = 1,
        device: int = 0,
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.epoch = epoch
        self.devices = devices
        self.device = device

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        first = self.epoch() * self.length
        for start in range(0, self.length, self.batch_size):
            end = min(start + self.batch_size, self.length)
            yield list(range(first + start + self.device, first + end, self.devices))


class PatchPairDataModule(pl.LightningDataModule):
    """Patch pairs from ``root/pairs_train.json``, split into training and validation by photo.

    There are three validation sets, fixed by default. ``val`` is sampled as the training set, from
    photos that training does not see. ``val_same_photo`` has the same photos, positives through H
    and negatives from the same photo. ``train_eval`` is sampled as ``val`` from the training
    photos, so that both losses of a run can be compared in evaluation mode.

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
        keypoints: detector whose keypoints in view 1, carried to view 2 by the homography, are the
            places of the patches; None takes places anywhere. They are detected once and kept with
            the bank. Needed by windows that follow keypoints.
        train_photos: number of photos to train on, the first by their keys; None for all. The
            validation photos stay the same.
        device_bank: keep the bank on the training device and cut patches there. They differ by up
            to two gray levels from those cut on the host: part of a run's identity.
    """

    VALIDATION_SETS = ("val", "val_same_photo", "train_eval")

    @validate_call(config=ConfigDict(title="data", arbitrary_types_allowed=True))
    def __init__(
        self,
        root: Path,
        window: Window,
        sampling: PairSampling,
        seed: int,
        pairs_per_epoch: PositiveInt,
        batch_size: PositiveInt,
        resample: bool = True,
        validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        validation_pairs: PositiveInt = 2000,
        num_workers: NonNegativeInt = 1,
        squash: tuple[PositiveInt, PositiveInt] | None = None,
        pairs_per_view: PositiveInt | None = None,
        validation_split: Literal["photo", "sample"] = "photo",
        validation_resample: bool = False,
        views: Literal["stored", "on_the_fly"] = "stored",
        fill_bank: bool = True,
        keypoints: Detector | None = None,
        train_photos: PositiveInt | None = None,
        device_bank: bool = False,
    ) -> None:
        super().__init__()
        if window.window != "fixed" and keypoints is None:
            raise HomoregError(
                f"patch.window={window.window} needs keypoints with a scale: give a detector, such "
                "as detector@data.keypoints=sift"
            )
        if views == "on_the_fly" and squash is not None:
            raise HomoregError("data.views=on_the_fly: data.squash needs data.views=stored")
        if device_bank and (views != "stored" or not fill_bank):
            raise HomoregError(
                "data.device_bank=true needs data.views=stored and data.fill_bank=true"
            )
        self.root = root
        self.window = window
        self.sampling = sampling
        self.seed = seed
        self.pairs_per_epoch = pairs_per_epoch
        self.batch_size = batch_size
        self.resample = resample
        self.validation_share = validation_share
        self.validation_pairs = validation_pairs
        self.num_workers = num_workers
        self.squash = squash
        self.pairs_per_view = pairs_per_view
        self.validation_split = validation_split
        self.validation_resample = validation_resample
        self.views = views
        self.fill_bank = fill_bank
        self.device_bank = device_bank
        self.keypoints = keypoints
        self.train_photos = train_photos
        self._device_bank: DeviceBank | None = None

    def setup(self, stage: str | None = None) -> None:
        """Open the manifest and its bank (built if it is missing) and split the photos.

        Raises:
            HomoregError: the manifest cannot be used, or shows fewer than four photos.
        """
        if hasattr(self, "train"):
            return
        self.manifest = PairManifest.load(self.root / "pairs_train.json")
        self.manifest.require_homographies()
        pairs = self.manifest.pairs
        everyone = np.arange(len(pairs))
        self.train_members = self.validation_members = everyone
        if self.validation_split == "photo":
            chosen = validation_photos({p.photo for p in pairs}, self.validation_share)
            held_out = np.array([pair.photo in chosen for pair in pairs])
            self.train_members, self.validation_members = everyone[~held_out], everyone[held_out]
        if self.train_photos:
            chosen = training_photos(
                {pairs[m].photo for m in self.train_members}, self.train_photos
            )
            kept = [pairs[member].photo in chosen for member in self.train_members]
            self.train_members = self.train_members[kept]
        if self.pairs_per_view:
            share = 1.0 if self.validation_split == "photo" else 1 - self.validation_share
            self.pairs_per_epoch = round(share * self.pairs_per_view * len(self.train_members))
        bank = PixelBank(self.manifest, self.squash, photos_only=self.views == "on_the_fly")
        if self.fill_bank:
            bank.fill()
        homographies = np.array([squashed_homography(pair, self.squash) for pair in pairs])
        keypoints = None
        if self.keypoints is not None:
            keypoints = view_keypoints(bank, self.keypoints, homographies)
        views = Views(homographies, bank.sizes1, bank.sizes2, photos_of(pairs), keypoints)

        def dataset(
            members: np.ndarray, sampling: PairSampling, seed: int, length: int
        ) -> PatchPairDataset:
            return PatchPairDataset(
                bank, views, members, sampling, seed, length, self.batch_size, self.window
            )

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
        batches = self._batches(self.pairs_per_epoch, self.resample)
        return self._loader(self.train, batches, self.num_workers)

    def val_dataloader(self) -> list[DataLoader]:
        batches = self._batches(self.validation_pairs, self.validation_resample)
        return [self._loader(self.validation[name], batches, 0) for name in self.VALIDATION_SETS]

    def check_devices(self, devices: int) -> None:
        """Raise HomoregError if batches cannot be divided evenly among the devices."""
        for name in ("batch_size", "pairs_per_epoch", "validation_pairs"):
            value = getattr(self, name)
            if value % devices:
                raise HomoregError(f"data.{name}={value}: give a multiple of the {devices} devices")

    def _batches(self, length: int, resample: bool) -> EpochBatches:
        devices, device = 1, 0
        if self.trainer:
            devices, device = self.trainer.world_size, self.trainer.global_rank
        return EpochBatches(length, self.batch_size, self._epoch(resample), devices, device)

    def _epoch(self, resample: bool) -> Callable[[], int]:
        """A function that returns the epoch to sample: the trainer's, or always the first."""

        # A resumed run draws its first batches before Lightning has restored ``current_epoch``;
        # the number of processed epochs is known by then.
        def epoch() -> int:
            if not (self.trainer and resample):
                return 0
            # Lightning annotates the counter's base class, which lacks ``processed``.
            return self.trainer.fit_loop.epoch_progress.total.processed  # type: ignore[attr-defined]

        return epoch

    def _loader(self, dataset: PatchPairDataset, batches: EpochBatches, workers: int) -> DataLoader:
        dataset.on_device = self.device_bank
        # Some launchers (joblib's loky) replace Python's way of starting processes by one that a
        # loader cannot use; workers are forked so that they share the bank.
        forked = workers > 0 and sys.platform == "linux"
        queued = PREFETCHED * workers * 2 * self.batch_size * 3 * self.window.size**2
        return DataLoader(
            dataset,
            sampler=batches,
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

    Where it is full, PyTorch loses the batch and waits for it for ever. Containers have 64 MB.
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
    """The photos held out for validation: those with the smallest keys.

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
