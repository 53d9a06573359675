"""An option that is unknown, out of its range, or excluded by another one is named in one line."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from homoreg.data import PatchPairDataModule
from homoreg.data.correspondences import PairSampling
from homoreg.data.pairs import prepare_pairs
from homoreg.data.patches import Window
from homoreg.data.sources import FolderSource
from homoreg.data.warp import Warp
from homoreg.descriptors.losses import HardestInBatch, InfoNce
from homoreg.descriptors.regularizers import Regularizer
from homoreg.descriptors.window import PatchWindow
from homoreg.errors import HomoregError, one_line
from homoreg.geometry import Estimator
from homoreg.matching import FastKeypoints, OrbKeypoints, RatioMatcher, ShiTomasi, SiftKeypoints
from homoreg.study.analysis import Analysis

DATA = partial(
    PatchPairDataModule, Path("data"), Window(), PairSampling(), 0, pairs_per_epoch=9, batch_size=3
)
PREPARE = partial(prepare_pairs, FolderSource("photos"), Warp(), "data", 0)
WRONG: list[tuple[Callable[..., Any], str, dict[str, list[Any]]]] = [
    (Window, "patch", {"size": [4], "support": [1], "scale_factor": [0.0], "window": ["round"]}),
    (
        PairSampling,
        "data.sampling",
        {"correspondence": ["same"], "positive_share": [0.0], "same_photo_share": [1.5]},
    ),
    (
        DATA,
        "data",
        {"batch_size": [0], "validation_share": [1.0], "num_workers": [-1]}
        | {"validation_split": ["pair"], "squash": [[256]]},
    ),
    (FolderSource, "source", {"train": [-1], "eval": ["many"], "min_side": [1.5]}),
    (
        Warp,
        "warp",
        {"rotation_deg": [-1, float("nan")], "scale": [[1.2, 0.8], [0, 1], 1.0], "repeats": [0]}
        | {"occlusion_size": [[0.1, 1.1]], "blur_kernel": [[4], []], "border": ["wrap"]},
    ),
    (PREPARE, "prepare", {"jpeg_quality": [0], "workers": [0]}),
    (PatchWindow, "evaluation.patch", {"keypoint_rounding": ["round"], "border": ["reflect"]}),
    (
        ShiTomasi,
        "detector",
        {"max_keypoints": [0], "quality_level": [0.0, 1.5]}
        | {"min_distance_px": [-1], "block_size_px": [0]},
    ),
    (SiftKeypoints, "detector", {"max_keypoints": [0], "contrast_threshold": [-0.1]}),
    (OrbKeypoints, "detector", {"max_keypoints": [0], "fast_threshold": [0]}),
    (FastKeypoints, "detector", {"max_keypoints": [0], "fast_threshold": [256]}),
    (HardestInBatch, "loss", {"margin": [0]}),
    (InfoNce, "loss", {"temperature": [0], "negative_radius_px": [-1]}),
    (
        partial(Regularizer, name="mine"),
        "Regularizer",
        {"weight_decay": [-1], "dropout": [1.0, -0.1]},
    ),
    (Analysis, "analysis", {"kappa": ["dop"]}),
    (RatioMatcher, "matcher", {"ratio": [0.0, -1.0, 1.5, float("nan")]}),
    (
        Estimator,
        "Estimator",
        {"method": ["ransack"], "threshold_px": [0, float("nan")], "confidence": [1]}
        | {"max_iterations": [0], "refit_px": [float("inf"), "automatic"], "refit_rounds": [0]}
        | {"seed": [-1], "max_ratio": [0, 1.1, "best"]},
    ),
]


@pytest.mark.parametrize(("make", "group", "options"), WRONG, ids=lambda value: str(value)[:20])
def test_a_wrong_value_and_an_unknown_option(
    make: Callable[..., Any], group: str, options: dict[str, list[Any]]
) -> None:
    for option, values in (options | {"nothing": [1]}).items():
        for value in values:
            with pytest.raises(ValidationError) as caught:
                make(**{option: value})
            assert one_line(caught.value).startswith(f"{group}.{option}"), value


@pytest.mark.parametrize(
    ("make", "options", "line"),
    [
        (DATA, {"views": "on_the_fly", "squash": [64, 64]}, "data.views="),
        (DATA, {"device_bank": True, "fill_bank": False}, "data.device_bank="),
        (FolderSource, {"train_list": "a.txt"}, "source.train_list and source.eval_list go toget"),
    ],
)
def test_options_that_do_not_go_together(
    make: Callable[..., Any], options: dict[str, Any], line: str
) -> None:
    with pytest.raises(HomoregError, match=line):
        make(**options)
