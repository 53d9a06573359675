"""Configs in run folders and checkpoints: only modules of known packages are built from them.

A file from elsewhere can name any ``_target_``, and importing or calling it may run code, read a
pickle or write a file. Configs that the user writes or chooses are not restricted.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import hydra

from homoreg.errors import HomoregError

MODULE_PACKAGES = ("homoreg", "torch.nn", "torchvision", "kornia")
PACKAGES_VARIABLE = "HOMOREG_PACKAGES"


def trusted_packages(packages: Sequence[str] = ()) -> tuple[str, ...]:
    """The packages that the caller and the environment variable ``HOMOREG_PACKAGES`` name."""
    named = os.environ.get(PACKAGES_VARIABLE, "").split(",")
    return (*packages, *(name.strip() for name in named if name.strip()))


def packages_of(config: Any) -> list[str]:
    """The packages that the targets of a config lie in, for one that the user chose.

    >>> packages_of({"_target_": "mine.Net", "norm": {"_target_": "torch.nn.ReLU"}})
    ['mine', 'torch']
    """
    targets = [value["_target_"] for value in _nested(config) if _is_built(value)]
    return sorted({str(target).partition(".")[0] for target in targets})


def instantiate_untrusted(
    config: Mapping[str, Any],
    base: type,
    where: str,
    packages: Sequence[str] = (),
    known: Sequence[str] = MODULE_PACKAGES,
) -> Any:
    """Build the object that a file describes, if every ``_target_`` in it is allowed.

    The arguments are those of :func:`check_targets`.

    Raises:
        HomoregError: see :func:`check_targets`; or the object cannot be built, for example
            because it would download weights.
    """
    check_targets(config, base, where, packages, known)
    try:
        with _no_downloads(where):
            built = hydra.utils.instantiate(config)
    except Exception as error:  # any error that the constructor raises
        reason = " ".join(str(error.__cause__ or error).split())
        named = reason if reason.startswith(where) else f"{where} cannot be built: {reason}"
        raise HomoregError(named) from error
    if not isinstance(built, base):
        raise HomoregError(f"{where} describes a {type(built).__name__}, not a {base.__name__}")
    return built


def check_targets(
    config: Any,
    base: type,
    where: str,
    packages: Sequence[str] = (),
    known: Sequence[str] = MODULE_PACKAGES,
) -> None:
    """Refuse a config that names anything but classes of known packages.

    Args:
        config: as Hydra's ``instantiate`` takes it, of plain values.
        base: class that every target must derive from, except those of ``packages``.
        where: the file and option, for the error message.
        packages: further packages that the user trusts, whatever their targets are.
        known: packages whose classes are allowed.

    Raises:
        HomoregError: a target outside these packages (it is not imported) or of another kind, or
            an interpolation.
    """
    trusted = trusted_packages(packages)
    for value in _nested(config):
        if isinstance(value, str) and "${" in value:
            raise HomoregError(f"{where}: {value!r} is an interpolation and is not resolved")
        if _is_built(value):
            _check_target(value["_target_"], base, where, trusted, known)


def _nested(value: Any) -> Iterator[Any]:
    """A value and all that it contains."""
    yield value
    if isinstance(value, Mapping):
        for inner in (*value.keys(), *value.values()):
            yield from _nested(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _nested(inner)


def _is_built(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _check_target(
    target: Any, base: type, where: str, trusted: Sequence[str], known: Sequence[str]
) -> None:
    def within(name: str, packages: Sequence[str]) -> bool:
        return any(name.startswith(f"{package}.") for package in packages)

    # Decided by the name alone, since importing a module runs it.
    if isinstance(target, str) and within(target, trusted):
        return
    if not isinstance(target, str) or not within(target, known):
        package = str(target).partition(".")[0]
        raise HomoregError(
            f"{where} names {target}, which is not loaded from a file: only classes of "
            f"{', '.join(known)} are. If you trust it, give packages=[{package}] or set "
            f"{PACKAGES_VARIABLE}={package}"
        )
    try:
        found = hydra.utils.get_object(target)
    except Exception as error:  # Hydra raises whatever the import raised
        reason = " ".join(str(error).split())
        raise HomoregError(f"{where} names {target}, which cannot be imported: {reason}") from error
    # A module's attributes reach beyond its package, so the class itself is looked at again.
    own_name = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    if not (isinstance(found, type) and issubclass(found, base) and within(own_name, known)):
        raise HomoregError(
            f"{where} names {target}, which is not a {base.__name__} class and is not called"
        )


_building: ContextVar[str] = ContextVar("_building", default="")
_hooked = False


@contextmanager
def _no_downloads(where: str) -> Iterator[None]:
    """Refuse connections and processes in the block: some networks fetch weights when built."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_refuse)  # stays for the whole process, there is no way to remove it
        _hooked = True
    token = _building.set(where)
    try:
        yield
    finally:
        _building.reset(token)


def _refuse(event: str, _: Any) -> None:
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn")):
        where = _building.get()
        if where:
            raise HomoregError(
                f"{where} would download weights or start a program and is not built; the network "
                "must be one that takes its weights from the checkpoint"
            )
