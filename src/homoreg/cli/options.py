"""The options of a command with their values and comments, as ``--options`` prints them."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from homoreg.options import flatten


def option_lines(cfg: DictConfig, folders: Sequence[Path]) -> Iterator[str]:
    """A line for each option of a composed config, ``key=value  # comment``, in its order.

    A group is headed by its choice and by the names to choose from.

    Args:
        cfg: with Hydra's own config under ``hydra``.
        folders: of configs; the comments are those of their YAML files.
    """
    chosen = {k: v for k, v in cfg.hydra.runtime.choices.items() if not k.startswith("hydra")}
    files = [file for folder in folders for file in sorted(folder.glob("*/*.yaml"))]
    # The file of the choice has the last word; other files explain what it inherits.
    files.sort(key=lambda file: chosen.get(file.parent.name) == file.stem)
    comments: dict[str, str] = {}
    for file in files:
        comments |= {f"{file.parent.name}.{key}": comment for key, comment in _comments(file)}
    comments |= dict(_comments(folders[0] / f"{cfg.hydra.job.config_name}.yaml"))
    options = OmegaConf.to_container(cfg)
    assert isinstance(options, dict)
    del options["hydra"]
    for key in dict.fromkeys([*options, *chosen]):
        names = sorted({f.stem for folder in folders for f in folder.glob(f"{key}/[!_]*.yaml")})
        if names:
            yield f"\n# {key}={_text(chosen.get(key))}  choose {', '.join(names)}"
        for name, leaf in flatten({key: options[key]} if key in options else {}):
            # Choices of a list have a key of their own between the group and the option.
            comment = comments.get(name) or comments.get(f"{key}.{name.rpartition('.')[2]}")
            yield f"{name}={_text(leaf)}" + (f"  # {comment}" if comment else "")


def _comments(file: Path) -> Iterator[tuple[str, str]]:
    """The dotted keys of a YAML file with the comments behind them."""
    path: list[tuple[int, str]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        option = re.match(r"( *)([\w.]+):(?:.*?\s#\s*(.*))?", line)
        if not option:
            continue
        indent = len(option[1])
        path = [(depth, key) for depth, key in path if depth < indent] + [(indent, option[2])]
        if option[3]:
            yield ".".join(key for _, key in path), option[3]


def _text(value: Any) -> str:
    """The value as it would be typed."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("\n...")
