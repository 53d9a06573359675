"""Run a command of homoreg as a user does, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def run(folder: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m homoreg.<command>`` in ``folder``, to its end."""
    return subprocess.run(
        [sys.executable, "-m", f"homoreg.{command}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        check=False,
    )


def succeed(folder: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same, for a command that must end with 0."""
    ended = run(folder, command, *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended
