"""Every file of ``conf/`` composes, builds what it names and explains its options."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from homoreg.cli import compose
from homoreg.cli.resolvers import job_name
from homoreg.errors import HomoregError
from homoreg.files import conf_dir
from homoreg.options import flatten
from homoreg.study.arms import ORIGINAL_ARMS
from hydra_plugins.homoreg_sweeper.arms import ArmSweeper, with_arms

FILES = sorted(path.relative_to(conf_dir()) for path in conf_dir().rglob("*.yaml"))
COMMANDS = [file.stem for file in FILES if len(file.parts) == 1]
CHOICES = [file for file in FILES if len(file.parts) > 1]
# These groups hold options of other groups, or options that a command reads without instantiating.
PLAIN = {"hydra", "paths", "prepare", "evaluation", "recipe", "patch"}
PLAIN |= {"experiment", "correction", "size", "hparams_search"}
# These need a library, a file or a device that may be missing.
MAY_BE_MISSING = {"akaze", "beblid", "daisy", "vgg", "tfeat", "hardnet", "sosnet", "hynet"}
MAY_BE_MISSING |= {f.stem for f in CHOICES if f.parts[0] == "systems"}
MAY_BE_MISSING |= {"poselib", "hpatches", "gpu", "coco", "folder", "wandb", "mlflow"}
# A key that opens a section, an item, a special key or a reference to another option.
NO_OPTION = re.compile(r"^\s*([#-].*|\{\}|[\w./ -]+:|defaults: .*|_\w+_: .*|[\w.]+: \S*\$\{.*|)$")


@pytest.mark.parametrize("file", [f for f in FILES if "help" not in f.parts], ids=str)
def test_every_option_has_a_comment(file: Path) -> None:
    for line in (conf_dir() / file).read_text("utf-8").splitlines():
        assert " # " in line or NO_OPTION.match(line), line


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_s_config_resolves(command: str, tmp_path: Path) -> None:
    cfg = compose(command, [f"paths.run={tmp_path}"] if command not in ("report", "export") else [])
    OmegaConf.to_container(cfg, resolve=command != "report", throw_on_missing=False)


@pytest.fixture(scope="module")
def composed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, DictConfig]:
    """The resolved config of every choice of every group; a config has one choice of each group."""
    roots = [f"paths.run={tmp_path_factory.mktemp('run')}", f"data.root={prepared}"]
    names: dict[str, list[str]] = {}
    for file in CHOICES:
        names.setdefault(file.parent.as_posix(), []).append(file.stem)
    # Chosen in lists, all of them at once.
    lists = {
        group: f"{group}=[{','.join(names.pop(group))}]"
        for group in ("descriptors", "estimators", "systems")
    }
    # Each by itself, since they change choices of other groups; corrections are composed below.
    del names["correction"]
    together = [group for group in names if group not in PLAIN and not group.startswith("hydra")]
    overrides = [
        [f"{group}={names[group][turn]}" for group in together if turn < len(names[group])]
        for turn in range(max(len(names[group]) for group in together))
    ]
    overrides += [
        [f"{group}={name}"] for group in names.keys() - {*together} for name in names[group]
    ]
    configs = {}
    for chosen in overrides:
        cfg = compose("train", [*chosen, lists["estimators"], *roots])
        OmegaConf.resolve(cfg)
        configs |= dict.fromkeys(chosen, cfg)
    configs["estimators"] = cfg
    cfg = compose("evaluate", [lists["descriptors"], lists["systems"], *roots])
    OmegaConf.resolve(cfg)
    configs |= dict.fromkeys(("descriptors", "systems"), cfg)
    return configs


@pytest.mark.parametrize("file", [f for f in CHOICES if f.parts[0] != "correction"], ids=str)
def test_every_choice_composes_and_builds(file: Path, composed: dict[str, DictConfig]) -> None:
    group, name = file.parent.as_posix(), file.stem
    if group in composed:  # a list, each under its own name
        chosen = composed[group][group].get(name, {})
    else:
        chosen = composed[f"{group}={name}"].get(group)
    if file.parts[0] in PLAIN:
        return
    try:
        instantiate(chosen, _convert_="all")
    except Exception as error:
        reason = error.__cause__ or error
        missing = isinstance(reason, (HomoregError, ModuleNotFoundError))
        assert name in MAY_BE_MISSING, reason
        assert missing, reason
        assert len(str(reason).splitlines()) == 1


def protocol(*overrides: str) -> dict[str, object]:
    """The flat config of a training."""
    cfg = compose("train", ["paths.run=x", *overrides])
    return dict(flatten(OmegaConf.to_container(cfg, resolve=True)))


def differences(first: dict, second: dict) -> set[str]:
    return {key for key in first | second if first.get(key) != second.get(key)}


def test_all_corrections_leave_the_notebook_s_window_and_amount_of_training() -> None:
    corrected = protocol()
    all_corrected = protocol("experiment=notebook", "correction=all")
    left = differences(corrected, all_corrected) - {k for k in corrected if "estimators" in k}
    assert left == {
        *("patch.support", "patch.size", "data.window.support", "data.window.size"),
        *("evaluation.patch.support", "evaluation.patch.size", "evaluation.every_n_epochs"),
        *("data.batch_size", "data.pairs_per_view", "data.validation_pairs", "trainer.max_epochs"),
        *("warp.shift", "warp.corner_jitter", "warp.min_overlap"),
        *("analysis.protocol", "matcher.mutual"),
    }
    assert set(all_corrected) >= {k for k in corrected if k.startswith("estimators.dlt.")}


CORRECTIONS = {
    "none": set(),
    "correspondence": {
        "data.sampling.correspondence",
        "data.sampling.jitter_px",
        "patch.jitter_px",
    },
    "scale": {"data.squash", "evaluation.patch.support", "evaluation.patch.size"},
    "negatives": {"data.sampling.same_photo_share"},
    "keypoints": {"evaluation.patch.keypoint_rounding", "evaluation.patch.border"},
    "input": {"model.normalization"},
    "validation": {"data.validation_split", "data.validation_resample"},
    "solver": {"estimators.dlt", "estimators.dlt_raw"},
    "alignment": {"analysis.error"},
    "conditioning": {"analysis.kappa", "analysis.max_kappa"},
    "failures": {"analysis.drop_failures"},
}


def test_each_correction_changes_its_own_options_and_all_makes_the_same_changes() -> None:
    assert {f.stem for f in CHOICES if f.parts[0] == "correction"} == CORRECTIONS.keys() | {"all"}
    notebook = protocol("experiment=notebook")
    everything = protocol("experiment=notebook", "correction=all")
    changed_by_all: set[str] = set()
    for name, options in CORRECTIONS.items():
        one = protocol("experiment=notebook", f"correction={name}")
        changed = differences(notebook, one)
        assert {re.sub(r"^(estimators\.\w+)\..*", r"\1", key) for key in changed} == options
        if name != "negatives":
            assert {key: one.get(key) for key in changed} == {k: everything.get(k) for k in changed}
            changed_by_all |= changed
    assert differences(notebook, everything) == changed_by_all


def jobs(experiment: str, *overrides: str) -> list[list[str]]:
    """The overrides of the jobs that an experiment's sweep starts."""
    sweeper = compose("train", [f"experiment={experiment}"], hydra_too=True).hydra.sweeper
    assert sweeper._target_.endswith("ArmSweeper")
    swept = [f"{option}={values}" for option, values in sweeper.params.items()]
    parsed = OverridesParser.create().parse_overrides([*swept, *overrides])
    return with_arms(parsed, sweeper.arms)


def test_a_screening_is_a_list_of_arms_under_each_recipe_and_seed() -> None:
    found = jobs("screening")
    names = {job_name(job, ["experiment"]) for job in found}
    assert len(names) == len(found) == 3 * 2 * 32
    assert "recipe-strong+regularizer-l2+regularizer.weight_decay-1e-3+seed-0" in names
    doses: dict[str, list[list[str]]] = {}
    for job in found:
        regularizer, *dose = [o for o in job if not o.startswith(("seed=", "recipe="))]
        if "seed=0" in job and "recipe=cosine" in job and "train_photos" not in str(dose):
            doses.setdefault(regularizer.removeprefix("regularizer="), []).append(dose)
    assert doses.keys() == {file.stem for file in FILES if file.parts[0] == "regularizer"}
    assert {name for name, own in doses.items() if len(own) != 3} == {"none"}


def test_options_of_the_command_line_leave_out_the_arms_that_set_them() -> None:
    found = jobs("screening", "regularizer=none,l2", "seed=0")
    assert [sorted(job) for job in found] == [
        sorted([f"recipe={recipe}", f"regularizer={arm}", "seed=0"])
        for recipe in ("cosine", "strong")
        for arm in ("none", "l2")
    ]
    assert len(jobs("screening", "data.train_photos=20", "seed=0")) == 2 * 28


def test_a_study_has_the_arms_of_its_contrasts_and_of_the_claims() -> None:
    contrasts = compose("train", ["experiment=study"]).analysis.contrasts
    compared = {name for contrast in contrasts for name in (contrast.arm, contrast.against)}
    arms = {override for job in jobs("study") for override in job if "regularizer=" in override}
    assert {f"regularizer={name}" for name in {*compared, *ORIGINAL_ARMS}} <= arms
    assert len(jobs("study")) == 16 * 2 * len(arms)


def test_a_sweep_composes_each_override_beforehand_and_not_every_job() -> None:
    tried: list[list[str]] = []
    sweeper = object.__new__(ArmSweeper)  # Hydra may have loaded the base class again
    sweeper.config = OmegaConf.create()
    loader = SimpleNamespace(
        load_sweep_config=lambda master_config, sweep_overrides: tried.append(sweep_overrides)
    )
    context: Any = SimpleNamespace(config_loader=loader)
    sweeper.hydra_context = context
    everything = jobs("study")
    sweeper.validate_batch_is_legal(everything)
    assert {option for job in tried for option in job} == {o for job in everything for o in job}
    assert len(tried) < len(everything) / 5
