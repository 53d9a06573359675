"""python -m homoreg.evaluate: finished runs, controls, baselines and systems on a benchmark."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from homoreg.aggregates import summarize
from homoreg.cli import command, given_options
from homoreg.descriptors.descriptor import Descriptor
from homoreg.descriptors.inference import NetworkDescriptor, check_precision, pick_device
from homoreg.descriptors.loading import load_descriptor
from homoreg.descriptors.window import CutPatches, PatchWindow
from homoreg.errors import HomoregError, MissingError, one_line, options_of
from homoreg.evaluation.calibration import Calibration
from homoreg.evaluation.curves import curves_figure
from homoreg.evaluation.figures import pair_figure
from homoreg.evaluation.gallery import write_gallery
from homoreg.evaluation.journal import Journal
from homoreg.evaluation.pair import Method, ViewPair
from homoreg.evaluation.patch_metrics import patch_metrics
from homoreg.evaluation.run import evaluate_into
from homoreg.evaluation.seen import check_unseen
from homoreg.evaluation.shift import shift_figure, shift_response
from homoreg.evaluation.show import print_summary
from homoreg.evaluation.systems import System
from homoreg.evaluation.table import (
    EvaluationProtocol,
    identity,
    write_summary,
)
from homoreg.evaluation.validation import calibrate_on_validation_photos
from homoreg.files import remove_temporary
from homoreg.plotting import arm_styles, save_figure
from homoreg.progress import progress
from homoreg.runs import RunFolder, find_runs
from homoreg.runs.targets import check_targets
from homoreg.study.conditioning import (
    bound_coverage,
    calibration,
    calibration_figure,
    rank_correlation_figure,
    rank_correlations,
)

log = logging.getLogger("homoreg.evaluate")  # __name__ is "__main__" under python -m

# What an evaluation takes from the first run's config, and from where in it, unless the command
# line says otherwise. The window of an evaluation may differ from that of the training.
ADOPTED = {
    "model": "model",
    **{f"patch.{option.name}": f"evaluation.patch.{option.name}" for option in fields(PatchWindow)},
    "precision": "evaluation.precision",
    "seed": "seed",
    "detector": "detector",
    "matcher": "matcher",
    "estimators": "estimators",
    "data.root": "data.root",
    "data.validation_share": "data.validation_share",
    "data.validation_split": "data.validation_split",
}
# Options that hold for every descriptor; a network is built as its own run says.
PROTOCOL = ("detector", "matcher", "estimators")


@command("evaluate")
def main(cfg: DictConfig) -> None:
    for option in ("patch_pairs", "gallery", "reruns", "validation_pairs"):
        if cfg[option] < 0:
            raise HomoregError(f"{option}={cfg[option]}: give 0 or more")
    pick_device(cfg.device)  # one that is not there is refused before anything is read
    check_precision(cfg.precision)
    runs, given = finished_runs(cfg), given_options()
    if runs:
        adopt(cfg, runs, given)
    networks, baselines = load_runs(cfg, runs, given), build_baselines(cfg)
    systems, descriptors = build_systems(cfg), networks + baselines
    methods: list[Method] = [*descriptors, *systems]
    if not methods:
        raise HomoregError(
            "nothing to evaluate: give runs=PATH, descriptors=[NAME] or systems=[NAME]"
        )
    protocol = EvaluationProtocol.from_config(cfg)
    benchmark = instantiate(cfg.benchmark)
    check_unseen(descriptors, benchmark, cfg.allow_seen)
    folder = Path(cfg.paths.run)
    figures = folder / "figures"

    if cfg.pair is not None:
        pair = benchmark.pair(str(cfg.pair))
        file = figures / f"pair_{pair.id.replace('/', '_')}.png"
        if getattr(protocol.estimators[protocol.main_estimator], "max_ratio", None) == "auto":
            calibrated = calibrate_all(cfg, runs, methods, protocol)
        else:
            calibrated = Calibration()  # the one estimator that is drawn needs none
        save_figure(pair_figure(pair, methods, protocol, calibration=calibrated), file)
        log.info("wrote %s", file)
        return

    counts = len(descriptors), len(systems)
    log.info(
        "evaluating %d descriptors and %d systems on %s into %s", *counts, benchmark.name, folder
    )
    remove_temporary(folder, deep=True)
    options = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    del options["paths"], options["study"]
    with Journal(RunFolder(folder).journal, options) as journal:
        calibrated = calibrate_all(cfg, runs, methods, protocol, journal)
        table, details = evaluate_into(
            folder,
            methods,
            benchmark,
            protocol,
            calibrated,
            reruns=cfg.reruns,
            oracle=cfg.oracle,
            journal=journal,
        )
        ratio = getattr(protocol.matcher, "ratio", None)
        curves = curves_figure(details["matching"], f"benchmark {benchmark.name}", ratio)
        save_figure(curves, figures / f"curves_{benchmark.name}.png")
        print_summary(summarize(table), details)
        log.info("wrote %s", folder / "evaluation" / f"{benchmark.name}.csv")

        details |= summarize_conditioning(table, figures)
        if cfg.patch_pairs and descriptors:
            pairs = list(islice(benchmark, cfg.patch_pairs))
            details |= evaluate_patches(descriptors, pairs, protocol, figures)
        write_summary(table, folder / "evaluation", benchmark.name, details)
        if cfg.gallery:
            command = " ".join(["python -m homoreg.evaluate", *HydraConfig.get().overrides.task])
            page = write_gallery(
                table,
                benchmark,
                methods,
                protocol,
                folder / "gallery",
                cfg.gallery,
                command,
                calibrated,
            )
            log.info("wrote %s", page)


def calibrate_all(
    cfg: DictConfig,
    runs: Sequence[RunFolder],
    methods: Sequence[Method],
    protocol: EvaluationProtocol,
    journal: Journal | None = None,
) -> Calibration:
    """Calibrate each run's network on its own validation photos, the others on those of ``cfg``.

    The first ``len(runs)`` of the methods are the runs' networks.
    """
    options = [run.config["data"] for run in runs] + [cfg.data] * (len(methods) - len(runs))
    keys = ("root", "validation_share", "validation_split")
    groups: dict[tuple[Any, ...], list[Method]] = {}
    for data, method in zip(options, methods, strict=True):
        groups.setdefault(tuple(data[key] for key in keys), []).append(method)
    merged = Calibration()
    for values, group in groups.items():
        data = dict(zip(keys, values, strict=True))
        merged |= calibrate_on_validation_photos(
            group, data, cfg.validation_pairs, protocol, journal
        )
    return merged


def summarize_conditioning(table: pd.DataFrame, figures: Path) -> dict[str, list[dict[Any, Any]]]:
    """Which number predicts the true corner error, how well, and how often its bound holds."""
    correlations, calibrated = rank_correlations(table), calibration(table)
    styles = arm_styles(correlations["arm"].unique())
    correlation = rank_correlation_figure(correlations, styles)
    save_figure(correlation, figures / "rank_correlation.png")
    save_figure(calibration_figure(table, styles), figures / "calibration.png")
    return {
        "rank_correlations": correlations.to_dict("records"),
        "calibration": calibrated.to_dict("records"),
        "coverage": bound_coverage(table).to_dict("records"),
    }


def evaluate_patches(
    descriptors: Sequence[Descriptor],
    pairs: Sequence[ViewPair],
    protocol: EvaluationProtocol,
    figures: Path,
) -> dict[str, list[dict[Any, Any]]]:
    """Evaluate descriptors without a homography: corresponding patches, and patches that shift."""
    metrics, responses = [], []
    for descriptor in progress(descriptors, "evaluating patches"):
        metrics.append(patch_metrics(descriptor, pairs, detector=protocol.detector))
        images = (pair.image1 for pair in pairs)
        responses.append(shift_response(descriptor, images, detector=protocol.detector))
    save_figure(shift_figure(responses), figures / "shift_response.png")
    return {"patches": [vars(m) for m in metrics], "shift_response": [vars(r) for r in responses]}


def finished_runs(cfg: DictConfig) -> list[RunFolder]:
    """The runs to evaluate; one that is not trained is named and left out."""
    if cfg.runs is None or cfg.runs == []:
        return []
    runs = find_runs(cfg.runs)
    finished = [run for run in runs if run.trained]
    for run in runs:
        if not run.trained:
            log.warning("%s is left out: its status is %s", run.path, run.status)
    if not finished:
        raise HomoregError(f"runs={cfg.runs}: none of the {len(runs)} runs there is trained")
    return finished


def adopt(cfg: DictConfig, runs: Sequence[RunFolder], given: Collection[str]) -> None:
    """Set in ``cfg`` the first run's options, except those given on the command line."""
    first = OmegaConf.create(runs[0].config)
    for key, place in ADOPTED.items():
        if any(option == key or option.startswith(f"{key}.") for option in given):
            continue
        value = OmegaConf.select(first, place)
        if value is None:  # the run is older than the option
            continue
        check_adopted(key, value, runs[0], cfg.packages)
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
        others = [run.name for run in runs if run.config.get(key) != runs[0].config.get(key)]
        if key in PROTOCOL and others:
            log.warning(
                "all are evaluated with the %s of %s; another had %s",
                key,
                runs[0].name,
                ", ".join(others),
            )


def check_adopted(key: str, value: Any, run: RunFolder, packages: Sequence[str]) -> None:
    """HomoregError for an option of a run that would build something other than it should."""
    where = f"{run.config_file}: {key}"
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    if key in PROTOCOL:
        check_targets(plain, object, where, packages, ("homoreg.matching", "homoreg.geometry"))
    else:
        check_targets(plain, nn.Module, where, packages)


def load_runs(
    cfg: DictConfig, runs: Sequence[RunFolder], given: Collection[str] = ()
) -> list[Descriptor]:
    """The networks of the runs; those of one arm and seed get their run's folder as a name.

    Args:
        cfg: of the command.
        runs: finished ones.
        given: options on the command line; those of ``patch`` hold in the place of the runs' own.

    Raises:
        HomoregError: a network cannot be loaded, or is not made for the patches asked for.
    """
    loaded = [
        load_descriptor(
            run.path,
            checkpoint=cfg.checkpoint or "",
            device=cfg.device,
            packages=cfg.packages,
            precision=cfg.precision,
        )
        for run in runs
    ]
    patch = {key: value for key, value in cfg.patch.items() if f"patch.{key}" in given}
    if patch:
        for run, descriptor in zip(runs, loaded, strict=True):
            set_patch(cast(NetworkDescriptor, descriptor), patch, run)
    identities = [identity(descriptor) for descriptor in loaded]
    for run, descriptor, who in zip(runs, loaded, identities, strict=True):
        if identities.count(who) > 1:
            descriptor.name = f"{descriptor.name} {run.path.parent.name}/{run.name}"
    return loaded


def set_patch(descriptor: NetworkDescriptor, patch: Mapping[str, Any], run: RunFolder) -> None:
    """Cut a network's patches in another way than its run did.

    Raises:
        HomoregError: the network gives other descriptors of patches of that size, or none.
    """
    own = descriptor.window
    descriptor.window = replace(own, **patch)
    sizes = {own.size, descriptor.window.size}
    if len(sizes) == 1:
        return
    blank = (CutPatches(np.zeros((1, s, s, 3), np.uint8), np.ones(1, bool)) for s in sizes)
    try:
        lengths = {descriptor.describe_patches(cut).shape[1] for cut in blank}
    except (RuntimeError, ValueError):  # of torch, for a shape that does not fit
        lengths = set()
    if len(lengths) != 1:
        raise HomoregError(
            f"patch.size={descriptor.window.size}: the network of {run.path} takes patches of "
            f"{own.size} px only"
        )


def build_baselines(cfg: DictConfig) -> list[Descriptor]:
    """The baselines and controls of ``descriptors``; one that is missing is named and left out.

    A baseline's key in the config is its name in the tables; its metric is L2 by default.
    """
    baselines = []
    for name, baseline in _available(cfg, "descriptors"):
        if not callable(getattr(baseline, "describe", None)):
            raise HomoregError(f"descriptors.{name} has no method describe(image, keypoints)")
        baseline.name = name
        if not hasattr(baseline, "metric"):
            baseline.metric = "l2"
        baselines.append(baseline)
    return baselines


def build_systems(cfg: DictConfig) -> list[System]:
    """The systems of ``systems``, by their keys; one that is missing is named and left out."""
    systems = []
    for name, matcher in _available(cfg, "systems"):
        if not callable(matcher):
            raise HomoregError(f"systems.{name} cannot be called with two images")
        systems.append(System(name, matcher))
    return systems


def _available(cfg: DictConfig, group: str) -> Iterator[tuple[str, Any]]:
    """Names and objects of a group; those with a missing library or file are named and left out."""
    for name, options in (cfg.get(group) or {}).items():
        try:
            with options_of(f"{group}.{name}"):
                built = instantiate(options)
        except Exception as error:
            reason = error.__cause__ or error  # Hydra wraps what a constructor raises
            if not isinstance(reason, (MissingError, ImportError)):
                raise
            log.warning("%s %s is left out: %s", group.removesuffix("s"), name, one_line(reason))
            continue
        yield str(name), built


if __name__ == "__main__":
    main()
