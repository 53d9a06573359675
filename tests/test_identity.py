"""What belongs to a run's identity: every option of the composed config, one by one."""

from copy import deepcopy
from functools import reduce
from operator import getitem
from typing import Any

import pytest
from omegaconf import OmegaConf

from homoreg.cli import compose
from homoreg.options import flatten
from homoreg.runs.identity import (
    READING,
    TRAINING,
    placed,
    reading_options,
    training_options,
)

# Groups with options of several kinds: each option stands in a table by its own name.
MIXED = ("data", "trainer", "evaluation", "callbacks")


def resolved(*overrides: str) -> dict[str, Any]:
    cfg = compose("train", ["paths.run=x", "callbacks=early_stopping", *overrides])
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def test_every_option_is_placed_and_counts_only_where_it_should() -> None:
    config = resolved("augmentation=photometric", "estimators=[dlt,magsac]", "benchmark=hpatches")
    training, reading = training_options(config), reading_options(config)
    tables = {*TRAINING, *READING} - {*MIXED}
    for option, _ in flatten(config):
        kind = placed(option)
        assert kind, f"{option} stands in no table of homoreg.runs.identity"
        if kind in ("training", "reading") and option.partition(".")[0] in MIXED:
            assert any(option == e or option.startswith(f"{e}.") for e in tables), (
                f"{option} stands in homoreg.runs.identity only with its whole group"
            )
        other = deepcopy(config)
        *groups, key = option.split(".")
        reduce(getitem, groups, other)[key] = ["another value"]
        assert (training_options(other) != training) == (kind == "training"), option
        assert (reading_options(other) != reading) == (kind == "reading"), option


@pytest.mark.parametrize("option", ["estimators=[lmeds]", "detector=fast", "matcher=ratio"])
def test_what_the_best_weights_are_selected_by_is_part_of_the_identity(option: str) -> None:
    assert training_options(resolved(option)) == training_options(resolved())
    monitor = "callbacks.best_checkpoint.monitor=val/corner_error_px"
    assert training_options(resolved(monitor, option)) != training_options(resolved(monitor))


def test_how_a_network_is_compiled_counts_where_it_is_compiled() -> None:
    mode = "trainer.compile_mode=reduce-overhead"
    networks = [resolved(), resolved(mode), resolved("trainer.compile=true")]
    plain, ignored, compiled = map(training_options, networks)
    assert plain == ignored != compiled
    assert training_options(resolved("trainer.compile=true", mode)) != compiled


def test_the_notebook_s_corrections_are_seven_networks() -> None:
    corrections = (
        *("none", "correspondence", "scale", "negatives", "keypoints", "input", "validation"),
        *("solver", "alignment", "conditioning", "failures", "all"),
    )
    networks = [
        str(training_options(resolved("experiment=notebook", f"correction={name}")))
        for name in corrections
    ]
    assert len(set(networks)) == 7
