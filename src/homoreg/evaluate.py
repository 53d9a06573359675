"""python -m homoreg.evaluate: judge finished runs, controls and peers on a benchmark."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from homoreg.descriptors.loading import Descriptor, load_descriptor
from homoreg.errors import HomoregError
from homoreg.evaluation.figures import pair_figure
from homoreg.evaluation.show import print_summary
from homoreg.evaluation.table import (
    EvaluationProtocol,
    evaluate_benchmark,
    summarise,
    write_evaluation,
)
from homoreg.hydra_app import command, one_line
from homoreg.runs import find_runs

log = logging.getLogger(__name__)

# What an evaluation takes from the first run's config, unless the command line says otherwise.
ADOPTED = (
    "model",
    "patch",
    "regularizer",
    "seed",
    "detector",
    "matcher",
    "estimators",
    "data.root",
)


@command("evaluate")
def main(cfg: DictConfig) -> None:
    runs = [] if cfg.runs is None else find_runs(_listed(cfg.runs))
    finished = [run for run in runs if run.status == "done"]
    for run in runs:
        if run.status != "done":
            log.warning("%s is left out: its status is %s", run.path, run.status)
    if runs and not finished:
        raise HomoregError(f"runs={cfg.runs}: none of the {len(runs)} runs there is done")
    if finished:
        adopt(cfg, finished[0].config, HydraConfig.get().overrides.task)

    descriptors = [
        load_descriptor(run.path, checkpoint=cfg.checkpoint or "", device=cfg.device)
        for run in finished
    ]
    descriptors += build_peers(cfg)
    if not descriptors:
        raise HomoregError("there is nothing to judge: give runs=PATH or descriptors=[NAME]")
    protocol = EvaluationProtocol.from_config(cfg)
    benchmark = instantiate(cfg.benchmark)
    folder = Path(cfg.paths.run)

    if cfg.pair is not None:
        pair = benchmark.pair(pair_id(cfg.pair, HydraConfig.get().overrides.task))
        file = folder / "figures" / f"pair_{pair.id}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pair_figure(pair, descriptors, protocol).savefig(file)
        log.info("wrote %s", file)
        return

    table = evaluate_benchmark(descriptors, benchmark, protocol)
    path = write_evaluation(table, folder / "evaluation", benchmark.name)
    print_summary(summarise(table))
    log.info("wrote %s", path)


def _listed(runs: str | ListConfig) -> list[str]:
    return [runs] if isinstance(runs, str) else list(runs)


def adopt(cfg: DictConfig, trained_with: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set in ``cfg`` what a run was trained with, where the command line is silent about it."""
    asked = {override.lstrip("+~").partition("=")[0] for override in overrides}
    stored = OmegaConf.create(trained_with)
    for key in ADOPTED:
        if not any(a == key or a.startswith(f"{key}.") for a in asked):
            OmegaConf.update(cfg, key, OmegaConf.select(stored, key), merge=False, force_add=True)


def build_peers(cfg: DictConfig) -> list[Descriptor]:
    """The peers and controls of ``descriptors``; one that is not to be had is named and left out.

    A peer's key in the config is its name in the tables.
    """
    return list(_available_peers(cfg))


def _available_peers(cfg: DictConfig) -> Iterator[Descriptor]:
    for name in cfg.descriptors:
        try:
            descriptor = instantiate(cfg.descriptors[name])
        except Exception as error:
            reason = one_line(error)
            if isinstance(_cause(error), HomoregError):
                log.warning("descriptor %s is left out: %s", name, reason)
                continue
            raise
        if not callable(getattr(descriptor, "describe", None)):
            raise HomoregError(f"descriptors.{name} has no method describe(image, keypoints)")
        descriptor.name = name
        if not hasattr(descriptor, "metric"):
            descriptor.metric = "l2"
        yield descriptor


def _cause(error: BaseException) -> BaseException:
    """What Hydra's instantiation wraps."""
    return error.__cause__ or error


def pair_id(value: Any, overrides: Sequence[str]) -> str:
    """A pair's id as text: the command line's own, since YAML reads 000001 as a number."""
    typed = [o.partition("=")[2] for o in overrides if o.startswith("pair=")]
    return typed[-1].strip("'\"") if typed else str(value)


if __name__ == "__main__":
    main()
