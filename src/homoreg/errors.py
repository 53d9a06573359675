"""The error that a user can cause and correct, and one line for any error."""

import errno
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

# What a file system may refuse: no room, no permission, no such place.
FILE_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    errno.ENAMETOOLONG,
}


class HomoregError(Exception):
    """One line that names the file, field or option at fault and the remedy.

    The commands print it without a traceback and end with exit code 2; inside a sweep the job
    fails and the others go on.
    """


class MissingError(HomoregError):
    """What the machine lacks for a choice: a library, or a file of weights.

    An evaluation goes on without that choice.
    """


def exit_with(error: BaseException) -> NoReturn:
    """End the process: one line and 2 for a user's error, the traceback and 1 for a bug."""
    if _users_error(error) is None:
        traceback.print_exception(error)
        sys.exit(1)
    text = one_line(error)
    for link in _chain(error):
        traceback.clear_frames(link.__traceback__)  # ends the progress bars that they hold
    try:
        print(f"homoreg: {text}", file=sys.stderr)
        sys.stdout.flush()
    except OSError:  # a log on the full disk: the line is lost, but the exit code stays
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(2)


def one_line(error: BaseException) -> str:
    """What went wrong, on one line: the message of the cause that the user can correct."""
    from hydra.errors import HydraException, OverrideParseException
    from pydantic import ValidationError

    cause = _users_error(error)
    if cause is None:
        text = f"{type(error).__name__}: {error}"
    elif isinstance(cause, ValidationError):
        problem = cause.errors()[0]
        where = ".".join([cause.title, *map(str, problem["loc"])])
        text = f"{where}: {problem['msg']} (given: {problem.get('input')!r})"
    elif isinstance(cause, OverrideParseException):
        text = f"{cause.override} is not understood{_quoting_hint(cause.override)}"
    elif isinstance(cause, HydraException):
        text = _hydra_message(cause)
    elif isinstance(cause, OSError):
        where = cause.filename2 or cause.filename or _output_folder()
        text = f"{where}: {cause.strerror}"
    else:
        text = str(cause)
    return " ".join(text.split())


@contextmanager
def options_of(place: str) -> Iterator[None]:
    """Name a wrong option by its place in the config.

    A class names its options alike wherever the config has it.

    Args:
        place: of the options, such as ``"systems.aliked"``.
    """
    from hydra.errors import HydraException
    from pydantic import ValidationError

    try:
        yield
    except (HydraException, ValidationError) as error:
        cause = _users_error(error)
        if not isinstance(cause, ValidationError):
            raise
        raise HomoregError(one_line(cause).replace(cause.title, place, 1)) from error


def _output_folder() -> str:
    """Where the command writes, for an error of the system that names no file."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else "a file"


def _users_error(error: BaseException) -> BaseException | None:
    """The error of the chain that a user can correct; ours before the frameworks'."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from pydantic import ValidationError

    chain = list(_chain(error))
    for kinds in ((HomoregError, ValidationError), (HydraException, OmegaConfBaseException)):
        for link in chain:
            if isinstance(link, kinds):
                return link
    for link in chain:
        if isinstance(link, OSError) and link.errno in FILE_ERRORS:
            return link
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes; a chain may contain a cycle."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _hydra_message(error: BaseException) -> str:
    """Hydra's message without its hints for programmers, with its cause."""
    text = str(error)
    if option := re.match(r"Could not override '([^']+)'", text):
        return f"unknown option '{option[1]}': --options lists the options"
    if choice := re.search(r"find '([^']+)'\s+Available options in '.*':([^:]+)\n", text):
        group, _, name = choice[1].rpartition("/")
        return f"{group}={name}: there is no such choice; choose {', '.join(choice[2].split())}"
    if sweep := re.match(r"Ambiguous value for argument '(.+?)'", text):
        return (
            f"{sweep[1]} names several values: add -m for a job with each, write a list as [a,b]"
            f"{_quoting_hint(sweep[1], 'and quote a value with a comma')}"
        )
    text = re.sub(r",? set (the )?env\S* var\S* HYDRA_FULL_ERROR\S*( to see[^.\n]*\.?)?", "", text)
    text = text.replace("full_key:", "in the option group")
    if error.__cause__ is not None and str(error.__cause__) not in text:
        text += f": {error.__cause__}"
    return text


def _quoting_hint(override: str, hint: str = "quote it") -> str:
    """How to quote the value of an override for Hydra and the shell; empty if it would not help."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = override.partition("=")
    quote = "'" if '"' in value else '"'
    quoted = f"{key}={quote}{value}{quote}"
    try:
        OverridesParser.create().parse_override(quoted)
    except HydraException:
        return ""
    return f"; {hint}: {shlex.quote(quoted)}" if equals else ""
