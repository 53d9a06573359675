"""Provenance of a run's pairs: the source, warp and seed that they were made with."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from homoreg.cli.command import compose, given_options
from homoreg.data.manifest import PairManifest
from homoreg.data.pairs import PairRecipe, prepare_pairs
from homoreg.data.prepared import RECORD, manifest_path
from homoreg.errors import HomoregError
from homoreg.files import reading
from homoreg.options import flatten

log = logging.getLogger(__name__)

RECIPE = ("seed", "jpeg_quality", "store_views")  # of the group ``prepare``


def use_pairs(cfg: DictConfig) -> PairManifest:
    """Prepare the pairs that ``data.root`` lacks, or take those that are there as they are.

    ``source``, ``warp`` and ``prepare`` of ``cfg`` are set to what the pairs were made with. What
    an experiment or the command line asks for must agree with it: that is any option that differs
    from the default of ``train``, or that the command line names.

    Returns:
        The manifest of the training pairs.

    Raises:
        HomoregError: the pairs were made with another warp, source or seed than the one asked for.
    """
    root = Path(cfg.data.root)
    train = manifest_path(root, "train")
    complete = train.is_file() and manifest_path(root, "eval").is_file()
    foreign = train.is_file() and not (root / RECORD).is_file()
    if not complete and not foreign:
        prepare_pairs(instantiate(cfg.source), instantiate(cfg.warp), root, **cfg.prepare)
    manifest = PairManifest.load(train)
    made = made_with(root, manifest)
    asked = dict(flatten(_recipe(cfg)))
    differing = [key for key, value in flatten(made) if asked.get(key) != value]
    if not made:
        log.warning("%s does not say how its pairs were made", train)
    if differing:
        _refuse_other(cfg, differing, dict(flatten(made)), asked)
    if differing or not made:
        _record(cfg, made)
    return manifest


def made_with(root: Path, manifest: PairManifest) -> dict[str, Any]:
    """Seed, warp and source of a folder's pairs, as far as they are known."""
    recipe: dict[str, Any] = {}
    if (root / RECORD).is_file():
        with reading(root / RECORD, "the record of prepare"):
            recipe = dict(json.loads((root / RECORD).read_text(encoding="utf-8")))
    if manifest.warp:
        recipe |= {"warp": manifest.warp, "seed": manifest.seed}
    return recipe


def _recipe(cfg: DictConfig) -> dict[str, Any]:
    options = {key: cfg.prepare[key] for key in RECIPE}
    return PairRecipe(instantiate(cfg.source), instantiate(cfg.warp), **options).record()


def _refuse_other(
    cfg: DictConfig, differing: Iterable[str], made: dict[str, Any], asked: dict[str, Any]
) -> None:
    named = given_options()
    default = dict(flatten(_recipe(compose("train"))))
    for key in differing:
        option = f"prepare.{key}" if key in RECIPE else key
        group = option.partition(".")[0]
        if key not in asked:
            continue
        if OmegaConf.select(cfg, option) is None and asked[key] is not None:
            # warp.repeats: null takes that of the source, which is a default unless it is named.
            was_asked = not named.isdisjoint({option, "source.repeats"})
        else:
            was_named = option in named or (group in named and group != "prepare")
            was_asked = was_named or asked[key] != default.get(key)
        if was_asked:
            raise HomoregError(
                f"data.root={cfg.data.root} holds pairs made with {option}={made[key]}, and "
                f"{asked[key]} is asked for: give another data.root, or replace the pairs with "
                "`python -m homoreg.prepare … prepare.overwrite=true`"
            )


def _record(cfg: DictConfig, made: dict[str, Any]) -> None:
    """Set in ``cfg`` what the pairs were made with; null where that is unknown."""
    OmegaConf.update(cfg, "source", made.get("source"), merge=False, force_add=True)
    OmegaConf.update(cfg, "warp", made.get("warp"), merge=False, force_add=True)
    for key in RECIPE:
        cfg.prepare[key] = made.get(key)
