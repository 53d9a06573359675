import re
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from homoreg.errors import HomoregError
from homoreg.hydra_app import compose, conf_dir

FILES = sorted(path.relative_to(conf_dir()) for path in conf_dir().rglob("*.yaml"))
# Where a command's config has the group, so that its interpolations resolve.
COMMAND = {"descriptors": "evaluate"}
# Built by Hydra itself, or only from inside a run.
RESTATING = ("experiment", "correction", "size", "hparams_search")
NOT_INSTANTIATED = ("hydra", "paths", "prepare", "evaluation", *RESTATING)
# A line that states no choice of its own.
SELF_EXPLAINING = re.compile(r"^\s*(_\w+_:|defaults:|- |#|$|[\w.]+:$|[\w]+: \$\{)")


def choice(file: Path) -> tuple[str, str]:
    return file.parent.as_posix(), file.stem


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_option_says_what_it_does(file: Path) -> None:
    if file.parts[0] in RESTATING or file == Path("descriptors/none.yaml"):
        return  # restates options, or has none
    for line in (conf_dir() / file).read_text(encoding="utf-8").splitlines():
        assert "#" in line or SELF_EXPLAINING.match(line), f"{file}: {line}"


@pytest.mark.parametrize("file", [f for f in FILES if len(f.parts) == 1], ids=str)
def test_every_command_s_config_resolves(file: Path, tmp_path: Path) -> None:
    cfg = compose(file.stem, [f"paths.run={tmp_path}"] if file.stem != "report" else [])
    OmegaConf.to_container(cfg, resolve=file.stem != "report", throw_on_missing=False)


@pytest.mark.parametrize("file", [f for f in FILES if len(f.parts) > 1], ids=str)
def test_every_choice_composes_and_builds(file: Path, tmp_path: Path, prepared: Path) -> None:
    group, name = choice(file)
    selected = f"[{name}]" if group in ("descriptors", "estimators") else name
    roots = [f"paths.run={tmp_path}", f"data.root={prepared}"]
    cfg = compose(COMMAND.get(group, "train"), [f"{group}={selected}", *roots])
    OmegaConf.resolve(cfg)
    if group.partition("/")[0] in NOT_INSTANTIATED:
        return
    if name in MACHINE_DEPENDENT:
        with_or_without(cfg[group])
        return
    instantiate(cfg[group])


# What needs a library, a file or a device that may be missing here: built, or refused in one line.
MACHINE_DEPENDENT = (
    *("akaze", "beblid", "daisy", "vgg", "tfeat", "hardnet", "sosnet", "hynet"),
    *("poselib", "hpatches", "gpu", "coco", "folder"),
)


def with_or_without(options: object) -> None:
    try:
        instantiate(options)
    except Exception as error:
        reason = str(error.__cause__ or error)
        known = isinstance(error.__cause__, HomoregError) or "No supported gpu backend" in reason
        assert known, reason
        assert len(reason.splitlines()) == 1


def protocol(*overrides: str) -> dict:
    """A training's config, flat, without what says where things lie."""
    cfg = compose("train", ["paths.run=x", *overrides])
    return flat(OmegaConf.to_container(cfg, resolve=True))


def flat(options: dict, prefix: str = "") -> dict:
    values: dict = {}
    for key, value in options.items():
        inner = flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        values |= inner
    return values


def test_the_corrections_together_undo_every_flaw_of_the_notebook() -> None:
    corrected, notebook = protocol(), protocol("experiment=notebook")
    mended = protocol("experiment=notebook", "correction=all")
    assert protocol("experiment=notebook", "correction=none") == notebook
    left = {key for key in corrected if mended.get(key) != corrected[key]}
    # What is left is how much is trained on what, and how large a window is: the study's choices.
    assert left == {
        *("patch.support", "patch.size", "data.support", "data.size"),
        *("evaluation.patch.support", "evaluation.patch.size", "evaluation.every_n_epochs"),
        *("data.batch_size", "data.pairs_per_view", "data.validation_pairs", "trainer.max_epochs"),
        *("warp.shift", "warp.corner_jitter", "warp.min_overlap"),
        "analysis.protocol",
    } | {key for key in corrected if key.startswith("estimators.magsac.")}


@pytest.mark.parametrize(
    "name", sorted(p.stem for p in (conf_dir() / "correction").glob("*.yaml") if p.stem != "all")
)
def test_each_correction_is_a_part_of_all(name: str) -> None:
    notebook = protocol("experiment=notebook")
    one = protocol("experiment=notebook", f"correction={name}")
    everything = protocol("experiment=notebook", "correction=all")
    changed = {key for key in one | notebook if one.get(key) != notebook.get(key)}
    assert bool(changed) == (name != "none")
    if name != "negatives":
        assert all(everything.get(key) == one.get(key) for key in changed if "patch" not in key)
