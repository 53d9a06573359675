"""Training on a detector's keypoints: detected once, carried through H, drawn by photos."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from homoreg.data import PairManifest, PatchPairDataModule
from homoreg.data.bank import PixelBank
from homoreg.data.correspondences import POSITIVE, SAME_PHOTO, PairSampling
from homoreg.data.keypoints import MIN_KEYPOINTS, detector_key, view_keypoints
from homoreg.data.patches import Window
from homoreg.errors import HomoregError
from homoreg.geometry.frames import transform_frames
from homoreg.matching import ShiTomasi, SiftKeypoints

SIFT = SiftKeypoints(300, contrast_threshold=0.01, frame="orientation")
SAMPLING = PairSampling(
    positive_share=0.6,
    same_photo_share=0.5,
    photos_per_batch=3,
    jitter_px=1.5,
    jitter_scale=0.5,
    jitter_deg=20.0,
)


@pytest.fixture
def root(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("*.bank"))
    return tmp_path / "data"


def module(root: Path, **options: object) -> PatchPairDataModule:
    defaults: dict = {
        "window": Window(32, 16, "oriented", 5.0),
        "sampling": SAMPLING,
        "keypoints": SIFT,
        "validation_pairs": 60,
    }
    data = PatchPairDataModule(
        root, seed=5, pairs_per_epoch=120, batch_size=24, **defaults | options
    )
    data.setup()
    return data


def test_positives_are_the_detector_s_keypoints_carried_through_h(root: Path) -> None:
    data = module(root)
    drawn = data.train.sampler.sample(0, np.arange(120))
    for i, pair in enumerate(drawn.pair1):
        frame = drawn.frames1[i]
        assert (SIFT(data.train.bank.view1(pair)) == frame).all(1).any()
        carried = transform_frames(frame[None], data.manifest.pairs[pair].homography)[0]
        assert drawn.places2[i] == pytest.approx(carried[:2])
        if drawn.kind[i] == POSITIVE:
            assert np.abs(drawn.frames2[i, :2] - carried[:2]).max() <= 1.5
            assert abs(np.log2(drawn.frames2[i, 2] / carried[2])) <= 0.5
            assert abs((drawn.frames2[i, 3] - carried[3] + 180) % 360 - 180) <= 20
        elif drawn.kind[i] == SAME_PHOTO:
            assert drawn.pair2[i] == pair
            assert np.linalg.norm(drawn.frames2[i, :2] - carried[:2]) >= 16
    assert set(drawn.kind) == {0, 1, 2}


def test_corresponding_windows_look_alike(root: Path) -> None:
    """Scale and orientation are carried the right way round: wrong ones look different."""
    exact = replace(SAMPLING, positive_share=1.0, jitter_px=0.0, jitter_scale=0.0, jitter_deg=0.0)

    def correlation(window: str) -> float:
        data = module(root, window=Window(32, 16, window, 8.0), sampling=exact)
        batch = next(iter(data.train_dataloader()))
        first, second = batch["patches"].float().mean(-1).flatten(1).chunk(2)
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]))

    assert correlation("oriented") > 0.9
    # The views of these pairs are turned by up to ten degrees.
    assert correlation("oriented") > correlation("scaled")


def test_a_batch_is_drawn_evenly_from_a_few_photos(root: Path) -> None:
    data = module(root)
    batches = list(data.train_dataloader())
    assert len({tuple(sorted(set(batch["photo"].tolist()))) for batch in batches}) > 1
    for batch in batches:
        photos, counts = np.unique(batch["photo"], return_counts=True)
        assert len(photos) == len(np.unique(batch["pair"])) == 3  # one pair of views of each
        assert (counts == 8).all()
        assert [data.train.sampler.views.photos[pair] for pair in batch["pair"]] == batch[
            "photo"
        ].tolist()
    # A function of (seed, epoch, index), whatever part of a batch is asked for.
    whole, part = (
        data.train.sampler.sample(0, np.arange(120)),
        data.train.sampler.sample(0, np.array([77, 30])),
    )
    assert (part.frames2 == whole.frames2[[77, 30]]).all()
    assert (part.pair2 == whole.pair2[[77, 30]]).all()
    uniform = module(root, keypoints=None, window=Window(32, 16))
    assert all(len(set(b["photo"].tolist())) == 3 for b in uniform.train_dataloader())


def test_points_of_a_batch_are_true_correspondences(root: Path) -> None:
    for data in (module(root), module(root, keypoints=None, window=Window(32, 16))):
        for batch in data.train_dataloader():
            pairs = [data.manifest.pairs[pair] for pair in batch["pair"]]
            places = transform_frames(
                batch["points1"].double().numpy(), np.array([pair.homography for pair in pairs])
            )
            assert np.abs(batch["points2"].numpy() - places).max() < 1e-3
            assert batch["points2"].dtype == torch.float32


@pytest.mark.parametrize("options", [{}, {"device_bank": True}, {"views": "on_the_fly"}])
def test_workers_change_nothing_and_keypoints_are_detected_once(root: Path, options: dict) -> None:
    def batches(workers: int) -> list[dict]:
        data = module(root, num_workers=workers, **options)
        return [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]

    for one, two in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)
    stored = list(root.glob("*.bank/keypoints.*.npz"))
    assert len(stored) == 1
    before = stored[0].stat().st_mtime_ns
    module(root, **options)
    assert stored[0].stat().st_mtime_ns == before
    stored[0].write_bytes(b"damaged")
    for one, two in zip(batches(0), batches(1), strict=True):
        assert torch.equal(one["patches"], two["patches"])


def test_on_the_fly_and_device_cut_nearly_the_same_windows(root: Path) -> None:
    stored = next(iter(module(root).train_dataloader()))
    for options in ({"device_bank": True}, {"views": "on_the_fly"}):
        data = module(root, **options)
        other = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
        assert (other["label"] == stored["label"]).all()
        assert (other["patches"].int() - stored["patches"].int()).abs().float().mean() <= 2


def test_a_key_follows_class_code_options_and_nothing_else() -> None:
    assert detector_key(SIFT) == detector_key(replace(SIFT))
    assert detector_key(SIFT) != detector_key(replace(SIFT, max_keypoints=7))
    assert detector_key(SIFT) != detector_key(ShiTomasi(300))
    assert detector_key(np.asarray) != detector_key(np.atleast_2d)


def test_keypoints_without_scale_serve_fixed_windows_alone(root: Path) -> None:
    data = module(root, keypoints=ShiTomasi(), window=Window(32, 16))
    assert data.train.sampler.sample(0, np.arange(20)).frames2.shape == (20, 2)
    with pytest.raises(HomoregError, match="the keypoints have no scale"):
        list(module(root, keypoints=ShiTomasi()).train_dataloader())
    with pytest.raises(HomoregError, match="patch.window=oriented needs keypoints"):
        module(root, keypoints=None)


class OpenCvKeypoints:
    def __call__(self, image: np.ndarray) -> tuple[cv2.KeyPoint, ...]:
        return (cv2.KeyPoint(1.0, 2.0, 3.0),)


def test_detectors_that_find_little_or_something_else(root: Path) -> None:
    manifest = PairManifest.load(root / "pairs_train.json")
    homographies = np.array([pair.homography for pair in manifest.pairs])
    bank = PixelBank(manifest)
    some = view_keypoints(
        bank, lambda image: np.full((int(image[0, 0, 0]) % 2 * 20, 2), 90.0), homographies
    )
    assert set(some.counts) == {0, 20}
    unknown = np.where(np.eye(20, 3, dtype=bool), np.nan, 90.0)
    most = view_keypoints(bank, lambda image: unknown, homographies)
    assert set(most.counts) == {17}
    assert (most.frames == 90).all()
    assert (some.counts[some.usable(np.arange(12))] >= MIN_KEYPOINTS).all()
    with pytest.raises(HomoregError, match="data.keypoints: no two views share"):
        view_keypoints(bank, lambda image: np.empty((0, 2)), homographies).usable(np.arange(12))
    opencv: Any = OpenCvKeypoints()
    named = r"^data\.keypoints\._target_=\S*test_keypoints\.OpenCvKeypoints returned a tuple; give"
    with pytest.raises(HomoregError, match=named):
        view_keypoints(bank, opencv, homographies)


def test_fewer_photos_train_and_the_same_validate(root: Path) -> None:
    def split(count: int | None) -> tuple[set[str], set[str]]:
        data = module(root, train_photos=count)
        photos = np.array([pair.photo for pair in data.manifest.pairs])
        return set(photos[data.train_members]), set(photos[data.validation_members])

    (everything, validation), (two, validation2), (three, validation3) = map(split, (None, 2, 3))
    assert (len(two), len(three), len(everything)) == (2, 3, 4)
    assert two < three < everything
    assert validation == validation2 == validation3
    with pytest.raises(HomoregError, match="data.train_photos=5: there are 4 photos"):
        split(5)
