"""Run a command of homoreg as a user types it: in a process of its own, or in this one."""

import contextlib
import importlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

Ended = subprocess.CompletedProcess[str]

# Seconds instead of minutes; everything else is the default.
SMALL = [
    "data.pairs_per_epoch=192",
    "data.batch_size=64",
    "data.validation_pairs=64",
    "patch.size=16",
    "patch.support=32",
    "evaluation.subset=2",
    "evaluation.figure_pairs=1",
    "trainer.enable_progress_bar=false",
]
# The same pipeline with a batch an epoch.
DEBUG = ["experiment=debug", "trainer.max_epochs=2", "trainer.enable_progress_bar=false"]
TIMES = ["describe_ms", "match_ms", "estimate_ms"]


def run_alone(folder: Path, command: str, *arguments: str) -> Ended:
    """``python -m homoreg.<command>`` in ``folder``, to its end."""
    return subprocess.run(
        [sys.executable, "-m", f"homoreg.{command}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        check=False,
    )


def run(
    folder: Path, command: str, *arguments: str, main: Callable[[], None] | None = None
) -> Ended:
    """The same without a process, which saves the seconds that torch takes to import.

    Args:
        folder: where the command runs.
        command: its name.
        arguments: what follows on the command line.
        main: of a command that is not homoreg's own.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    main = main or importlib.import_module(f"homoreg.{command}").main
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch.object(sys, "argv", [command, *arguments]),
        patch.dict(os.environ, COLUMNS="200"),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    # Hydra leaves its log handlers behind; the next command's output is not theirs.
    root.handlers[:], root.level = handlers, level
    return subprocess.CompletedProcess([command, *arguments], code, out.getvalue(), err.getvalue())


def succeed(folder: Path, command: str, *arguments: str) -> Ended:
    """A command that must end with 0."""
    ended = run(folder, command, *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended
