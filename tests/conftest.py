"""Small real photographs as prepared pairs, and a run trained on them, made once for all tests."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data as photographs

from homoreg.data.images import encode_jpeg
from homoreg.data.manifest import write_manifest
from homoreg.data.warp import Warp, render
from tests.commands import DEBUG, succeed


def small_photos() -> dict[str, np.ndarray]:
    """Eight different views of photographs that scikit-image installs, 240×180 pixels."""
    astronaut, coffee, cat = photographs.astronaut(), photographs.coffee(), photographs.chelsea()
    windows = [astronaut[:256], astronaut[256:], coffee[:200], coffee[200:, :300]]
    windows += [coffee[200:, 300:], cat[:, :220], cat[:, 220:], astronaut[100:400, 100:400]]
    return {
        f"photo_{i}.jpg": cv2.resize(window, (240, 180), interpolation=cv2.INTER_AREA)
        for i, window in enumerate(windows)
    }


def write_pairs(root: Path, split: str, photos: dict[str, np.ndarray], repeats: int) -> None:
    """Pairs of each photo under mild warps, as ``prepare`` writes them."""
    warp = Warp(rotation_deg=10, scale=(0.9, 1.1), shift=0.05, corner_jitter=0.02)
    folder = root / "processed" / split
    folder.mkdir(parents=True)
    pairs = []
    for photo, image in photos.items():
        for repeat in range(repeats):
            size = (image.shape[1], image.shape[0])
            draw = warp.draw(0, photo, repeat, size)
            pair_id = f"{len(pairs) + 1:06d}"
            names = [f"img_{pair_id}.jpg", f"img_{pair_id}_warped.jpg"]
            for name, view in zip(names, (image, render(image, draw.homography)), strict=True):
                (folder / name).write_bytes(encode_jpeg(view, 95))
            img1, img2 = (f"processed/{split}/{name}" for name in names)
            pairs.append(
                {
                    "id": pair_id,
                    "photo": photo,
                    "img1": img1,
                    "img2": img2,
                    "size1": size,
                    "size2": size,
                    "homography": draw.homography.tolist(),
                    "parameters": draw.parameters,
                }
            )
    write_manifest(root / f"pairs_{split}.json", 0, {}, pairs)


def pytest_configure() -> None:
    """One thread for each process that runs tests, and for those that it starts.

    Tests run on all cores at once, and the number of threads is part of what a run computes.
    """
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that parallel workers finish at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``data.root`` with 12 training pairs of six photos and 4 held-out pairs of two others."""
    root = tmp_path_factory.mktemp("prepared")
    photos = list(small_photos().items())
    write_pairs(root, "train", dict(photos[:6]), 2)
    write_pairs(root, "eval", dict(photos[6:]), 2)
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, image in small_photos().items():
        cv2.imwrite(str(folder / name), image[..., ::-1])
    return folder


@pytest.fixture(scope="session")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the options ``DEBUG``; a test that writes into it copies it first."""
    folder = tmp_path_factory.mktemp("trained")
    succeed(folder, "train", *DEBUG, f"data.root={prepared}", "hydra.run.dir=run")
    return folder / "run"
