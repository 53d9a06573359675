"""The folder of configs, and files that are complete or absent: written aside, then renamed."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from homoreg.errors import HomoregError

TEMPORARY = ".writing-"  # how the names of half-written files begin


def conf_dir() -> Path:
    """The folder of configs: inside the package in a wheel, beside ``src/`` in a checkout."""
    package = Path(__file__).resolve().parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parents[1] / "conf"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in ``path``'s folder (same suffix); on success it becomes ``path``.

    Raises:
        OSError: it cannot be written; names ``path``, which a write to a full disk does not.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Under a unique name in every process and thread, and with the mode that open() would give.
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}{path.suffix}")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        # On disk before its name is: a power cut leaves the old file or the new one.
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno and error.filename in (None, temporary, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):  # a folder that cannot be written
            temporary.unlink()


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Turn any error while a file is read and parsed into one line.

    Args:
        path: of the file.
        what: what the file should be, for the message.

    Raises:
        HomoregError: names the file.
    """
    try:
        yield
    except HomoregError:
        raise
    except Exception as error:  # damaged content makes a reader fail in any way
        reason = error.strerror if isinstance(error, OSError) else None
        text = " ".join((reason or f"{type(error).__name__}: {error}").split())
        raise HomoregError(f"{path} is missing, damaged or not {what}: {text[:200]}") from error


def append(path: Path, text: str) -> None:
    """Append UTF-8 text to a file.

    Raises:
        OSError: it cannot be written; names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        error.filename = str(path)
        raise


def remove_temporary(folder: Path, *, deep: bool = False) -> None:
    """Delete what killed processes have left half-written in a folder, and below it if deep."""
    for file in (folder.rglob if deep else folder.glob)(f"{TEMPORARY}*"):
        file.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON atomically; infinities become ``Infinity`` as Python's reader expects."""
    write_text(path, json.dumps(value, indent=1) + "\n")
