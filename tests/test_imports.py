"""Imports go one way, and the packages that only compute know no framework."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "homoreg"

# What a part of homoreg may import of homoreg, beside itself.
SHARED = {"errors", "files", "keyed", "metrics", "options", "plotting", "progress"}
MAY_IMPORT = {
    **dict.fromkeys(SHARED, SHARED),
    "aggregates": SHARED,
    "geometry": {"errors", "keyed"},
    "matching": {"errors", "geometry"},
    "data": SHARED | {"geometry"},
    "runs": SHARED,
    "descriptors": SHARED | {"data", "runs"},
    "evaluation": SHARED | {"aggregates", "geometry", "matching", "data", "descriptors", "runs"},
    "alignment": SHARED | {"geometry", "matching", "data", "descriptors", "evaluation", "runs"},
    "study": SHARED | {"aggregates", "geometry"},
    "cli": SHARED | {"data", "descriptors", "runs"},
}
# Import everything, imported by nothing.
COMMANDS = {"align", "prepare", "train", "evaluate", "report", "export"}
COMPUTING = {"geometry", "matching", "study"}
FRAMEWORKS = {"torch", "torchmetrics", "lightning", "kornia", "hydra", "omegaconf"}


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): ast.parse(path.read_text("utf-8")) for path in SOURCE.rglob("*.py")}


def imported(tree: ast.AST) -> set[str]:
    """Dotted names of everything imported anywhere in a module, also inside functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(module: str) -> str:
    """``geometry`` of ``homoreg.geometry.robust``."""
    return (module.split(".") + [""])[1]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    names = imported(MODULES[module])
    parts = {part(name) for name in names & MODULES.keys()} - {part(module), ""}
    assert not parts & COMMANDS
    if part(module) not in COMMANDS | {""}:
        assert parts <= MAY_IMPORT[part(module)]
    if part(module) in COMPUTING:
        assert not {name.split(".")[0] for name in names} & FRAMEWORKS


def test_no_module_and_no_package_imports_itself_by_way_of_others() -> None:
    # The root package loads its API on first use and is left out.
    edges = {m: (imported(MODULES[m]) & MODULES.keys()) - {m, "homoreg"} for m in MODULES}
    TopologicalSorter(edges).prepare()
    packages: dict[str, set[str]] = {}
    for module, names in edges.items():
        own = part(module)
        packages.setdefault(own, set()).update({part(name) for name in names} - SHARED - {own})
    TopologicalSorter(packages).prepare()
