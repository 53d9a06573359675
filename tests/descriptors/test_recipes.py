"""Recipes, and regularizers that choose in other groups: which choice wins."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from homoreg.cli import compose
from homoreg.data import PatchPairDataModule
from homoreg.descriptors.module import DescriptorModule
from homoreg.descriptors.window import PatchWindow
from homoreg.errors import HomoregError, one_line
from homoreg.train import build_module, check_options

STRONG = {
    "model": "spatial",
    "loss": "hardest_in_batch",
    "patch": "scaled",
    "data": "positives",
    "detector@data.keypoints": "sift_dense",
    "optimizer": "adam_fast",
    "scheduler": "cosine",
    "detector": "sift_weak",
    "matcher": "mutual",
}


def choices(*overrides: str) -> dict[str, str]:
    cfg = compose("train", ["paths.run=x", *overrides], hydra_too=True)
    return dict(cfg.hydra.runtime.choices)


def module(*overrides: str) -> DescriptorModule:
    cfg = compose("train", ["paths.run=x", *overrides])
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    return build_module(cfg, config)


def test_the_default_recipe_is_the_study_s() -> None:
    default = choices()
    assert choices("recipe=cosine") == default
    assert (default["model"], default["loss"], default["optimizer"]) == ("cnn", "cosine", "adam")


def test_a_recipe_sets_what_it_names_and_nothing_else() -> None:
    default, strong = choices(), choices("recipe=strong")
    changed = {group for group in default if strong[group] != default[group]}
    assert changed <= {*STRONG, "recipe", "estimators"}
    assert {group: strong[group] for group in STRONG} == STRONG


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("recipe=strong", "model=l2net"), {"model": "l2net", "loss": "hardest_in_batch"}),
        (("recipe=strong", "regularizer=gor"), {"regularizer": "gor", "model": "spatial"}),
        (("recipe=strong", "experiment=notebook"), {"warp": "notebook", "model": "spatial"}),
        (("regularizer=photometric",), {"augmentation": "photometric"}),
        (("recipe=strong", "regularizer=photometric"), {"augmentation": "photometric"}),
        (("regularizer=photometric", "augmentation=none"), {"augmentation": "none"}),
    ],
)
def test_what_the_command_line_and_an_experiment_say_wins(
    overrides: tuple[str, ...], expected: dict[str, str]
) -> None:
    chosen = choices(*overrides)
    assert {group: str(chosen[group]) for group in expected} == expected


def test_decoupled_decay_survives_a_recipe() -> None:
    cfg = compose("train", ["paths.run=x", "recipe=strong", "regularizer=adamw"])
    assert cfg.optimizer.decoupled_weight_decay
    assert cfg.optimizer.weight_decay == 1e-2
    assert cfg.optimizer.lr == 2e-3
    assert cfg.data.sampling.positive_share == 1
    assert (cfg.data.window.window, cfg.evaluation.patch.window) == ("scaled", "scaled")
    assert (cfg.data.keypoints.frame, cfg.detector.frame) == ("scale", "scale")


def test_decoupled_decay_is_refused_where_the_optimizer_couples_it() -> None:
    def optimizer(*overrides: str) -> torch.optim.Optimizer:
        return module("recipe=cosine", *overrides).configure_optimizers()["optimizer"]

    for name in ("adam", "adamw"):
        assert optimizer("regularizer=adamw", f"optimizer={name}").defaults["weight_decay"] == 1e-2
    assert optimizer("regularizer=l2", "optimizer=sgd").defaults["weight_decay"] == 1e-4
    with pytest.raises(HomoregError, match=r"sgd\.SGD couples weight decay .* optimizer=adam"):
        optimizer("regularizer=adamw", "optimizer=sgd")


def test_a_loss_that_needs_negatives_is_refused_where_there_are_none() -> None:
    def loss(*overrides: str) -> torch.nn.Module:
        return module("recipe=strong", *overrides).loss

    with pytest.raises(HomoregError, match=r"CosineEmbeddingLoss compares .*: give data=patch_pa"):
        loss("loss=cosine")
    assert isinstance(loss("loss=cosine", "data=patch_pairs"), torch.nn.CosineEmbeddingLoss)
    assert loss("loss=info_nce").temperature == 0.07


@pytest.mark.parametrize(
    "asked",
    [
        ["patch=scaled"],
        ["patch=oriented"],
        ["recipe=strong", "patch=oriented"],
        ["recipe=strong", "patch=oriented", "detector.frame=orientation"],
    ],
)
def test_windows_that_cannot_follow_the_keypoints_are_refused_with_advice_that_helps(
    asked: list[str], prepared: Path
) -> None:
    def build(*overrides: str) -> tuple[DictConfig, PatchPairDataModule]:
        """As far as ``train`` goes before it opens the pairs."""
        options = [f"data.root={prepared}", "data.fill_bank=false", *overrides]
        cfg = compose("train", options)
        check_options(cfg)
        return cfg, instantiate(cfg.data)

    with pytest.raises(Exception, match=r"patch\.window=") as refused:
        build(*asked)
    advice = one_line(refused.value)
    assert re.match(r"patch.window=(scaled|oriented)\b.* give ", advice)
    cfg, data = build(*asked, *re.findall(r"[\w.@]+=\w+", advice))
    data.setup()
    assert len(data.train.cut(list(range(4)))["patches"]) == 8
    image = data.train.bank.view1(0)
    keypoints = instantiate(cfg.detector)(image)
    assert len(PatchWindow(**cfg.evaluation.patch).cut(image, keypoints).patches)
