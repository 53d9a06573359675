"""The declared dependencies are those that are used, and a wheel works from any folder."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_imports import imported

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
USED_EXTRAS = ("sweep", "cluster", "export")  # the others are for working on homoreg itself
# Imported only if the user has installed it; an error names it otherwise. A test of that error
# imports the second.
OPTIONAL = {"poselib", "a_library_that_nobody_has"}


def requirements(*lists: list[str]) -> dict[str, Requirement]:
    parsed = [Requirement(line) for lines in lists for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def locked() -> dict[str, Requirement]:
    text = (REPOSITORY / "requirements.lock").read_text("utf-8")
    return requirements([line for line in text.splitlines() if line and line[0] != "#"])


@cache
def distributions() -> dict[str, set[str]]:
    """The installed distributions that have each module; looking them up takes a second."""
    found = packages_distributions()
    return {module: {canonicalize_name(name) for name in names} for module, names in found.items()}


@pytest.mark.parametrize(
    ("folders", "extras"),
    [(["src", "conf"], USED_EXTRAS), (["tests", "benchmarks", "docs"], EXTRAS)],
    ids=["package", "development"],
)
def test_every_import_is_declared(folders: list[str], extras: Iterable[str]) -> None:
    """Of all Python files, and of what the configs instantiate."""
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.*")]
    trees = [ast.parse(path.read_text("utf-8")) for path in files if path.suffix == ".py"]
    roots = {name.split(".")[0] for tree in trees for name in imported(tree)}
    for path in files:
        if path.suffix == ".yaml":
            roots |= set(re.findall(r"_target_: (\w+)", path.read_text("utf-8")))
    own = {"homoreg", "hydra_plugins", "tests", "benchmarks"}
    others = roots - set(sys.stdlib_module_names) - own - OPTIONAL
    declared = requirements(PROJECT["dependencies"], *(EXTRAS[name] for name in extras)).keys()
    assert {m for m in others if not distributions().get(m, set()) & declared} == set()


def test_every_declared_dependency_is_used() -> None:
    """Imported, named by a config, or holding the photographs of ``source=sample``."""
    files = [*REPOSITORY.glob("src/**/*.py"), *REPOSITORY.glob("conf/**/*.yaml")]
    words = set(re.findall(r"\w+", " ".join(path.read_text("utf-8") for path in files)))
    used = set().union(*(names for module, names in distributions().items() if module in words))
    plugins = {"hydra-optuna-sweeper"}  # chosen by name: override /hydra/sweeper: optuna
    declared = requirements(PROJECT["dependencies"], *(EXTRAS[name] for name in USED_EXTRAS)).keys()
    assert declared - used - plugins == set()


def test_the_lock_pins_what_pyproject_needs_and_nothing_else() -> None:
    pinned = locked()
    assert all(str(pin.specifier).startswith("==") and not pin.url for pin in pinned.values())
    needed = requirements(PROJECT["dependencies"], *EXTRAS.values())
    reached: set[str] = set()
    waiting = list(needed.values())
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{requirement} is not in requirements.lock"
        version = str(pinned[name].specifier).removeprefix("==")
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement}: {version}"
        )
        if (key := f"{name}{sorted(requirement.extras)}") not in reached:
            reached |= {key, name}
            for line in requires(name) or ():
                inner = Requirement(line)
                extras = requirement.extras or {""}
                if not inner.marker or any(inner.marker.evaluate({"extra": e}) for e in extras):
                    waiting.append(inner)
    assert pinned.keys() - reached == set()


@pytest.mark.slow
def test_a_wheel_works_without_the_checkout(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    configs = {p.relative_to(REPOSITORY / "conf") for p in REPOSITORY.glob("conf/**/*.yaml")}
    packaged = installed / "homoreg" / "conf"
    assert {p.relative_to(packaged) for p in packaged.rglob("*.yaml")} == configs
    shipped = {p.suffix for p in (installed / "homoreg").rglob("*") if p.is_file()}
    assert {".py", ".yaml", ".j2", ".typed", ".safetensors"} <= shipped
    assert next(installed.glob("*.dist-info/licenses/LICENSE")).is_file()

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = "import homoreg, homoreg.files as f; print(homoreg.__file__); print(f.conf_dir())"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=elsewhere, env=environment, check=True,
        capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    assert found == [str(installed / "homoreg" / "__init__.py"), str(packaged)]
    subprocess.run(
        [sys.executable, "-m", "homoreg.prepare", "warp.repeats=1"], cwd=elsewhere,
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    assert (elsewhere / "data" / "pairs_train.json").is_file()
