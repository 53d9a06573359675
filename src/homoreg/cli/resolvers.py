"""Resolvers of ``conf/``: names of folders, and values that fit the network or the hardware."""

import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from homoreg.errors import HomoregError
from homoreg.keyed import keyed_seed

MAX_JOB_NAME = 120
# Always part of a job's name, swept or not: they say which arm of a study it is.
IDENTITY = ("regularizer", "seed")


def register_resolvers() -> None:
    """Register the resolvers of ``conf/`` with OmegaConf; may be called repeatedly."""
    # The jobs of a sweep get the cache of the sweep's own config. So all of them share its folder,
    # and know which keys have one value in the whole sweep.
    register = partial(OmegaConf.register_new_resolver, replace=True)
    register("homoreg.now", lambda form: datetime.now().strftime(form), use_cache=True)
    register("homoreg.given_overrides", lambda _root_: given_overrides(_root_.hydra))
    register("homoreg.constant_keys", constant_keys, use_cache=True)
    register("homoreg.study", study_name)
    register("homoreg.job_name", job_name)
    register("homoreg.choose", choose)
    register("homoreg.precision", default_precision)
    # Hydra warns where a file of conf/ stands for a plugin's config of the same name.
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/")


def study_name(study: Any, otherwise: str) -> str:
    """The name of a sweep's folder: the study's, or ``otherwise`` if it has no name.

    Raises:
        HomoregError: the name is no plain folder.
    """
    if study is None:
        return otherwise
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", str(study)):
        raise HomoregError(f"study={study}: use letters, digits and . _ + - only")
    return str(study)


def given_overrides(hydra: Any) -> list[str]:
    """The overrides of a command as they were written: an interpolation in one may follow the job.

    Args:
        hydra: the ``hydra`` node of a config.
    """
    given = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    assert isinstance(given, list)
    return given


def constant_keys(overrides: Sequence[str]) -> list[str]:
    """The keys of a sweep's overrides that have a single value.

    >>> constant_keys(["regularizer=none,l2", "seed=range(3)", "patch.size=16"])
    ['patch.size']
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [override.key_or_group for override in parsed if not override.is_sweep_override()]


def job_name(overrides: Sequence[str], constant: Sequence[str]) -> str:
    """The name of a job's folder, from the overrides that tell the jobs of a sweep apart.

    Args:
        overrides: the job's own, such as ``["regularizer=l2", "seed=0", "data.root=/photos"]``.
        constant: keys with one value in the whole sweep; they are left out, but for the arm's.

    >>> job_name(["seed=0", "regularizer=l2", "data.root=/photos"], ["data.root"])
    'regularizer-l2+seed-0'
    """
    parts = []
    # The seed stands last, in whatever order the sweep goes through its jobs.
    for override in sorted(overrides, key=lambda text: text.startswith("seed=")):
        key, _, value = override.partition("=")
        if key.lstrip("+~") in constant and key not in IDENTITY:
            continue
        parts.append(f"{_plain(key)}-{_unique(value)}")
    name = "+".join(parts) or "job"
    if len(name) > MAX_JOB_NAME:
        name = f"{name[: MAX_JOB_NAME - 9]}-{keyed_seed(name):016x}"[:MAX_JOB_NAME]
    return name


def _plain(text: str) -> str:
    """The text in characters that need no quoting in a shell or in Hydra."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_")


def _unique(value: str) -> str:
    """The value in plain characters, with a hash where another value could become the same."""
    plain = _plain(value)
    if plain == value or re.fullmatch(r"\[[A-Za-z0-9.,-]*\]", value):
        return plain
    return f"{plain}-{keyed_seed(value) & 0xFFFF:04x}"


def choose(name: str, values: Mapping[str, Any], otherwise: Any) -> Any:
    """The value for a name, or ``otherwise`` if it has none of its own.

    >>> choose("cnn", {"cnn": 40000}, 12000), choose("spatial", {"cnn": 40000}, 12000)
    (40000, 12000)
    """
    return values.get(name, otherwise)


def default_precision(accelerator: str = "auto") -> str:
    """Lightning's precision flag: bfloat16 where the hardware multiplies it, else float32."""
    import torch

    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    if accelerator in ("auto", "cpu") and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "bf16-mixed"
    return "32-true"
