"""The commands of homoreg in forked processes, which need no seconds to import torch."""

import fcntl
import importlib
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

COMMANDS = ("prepare", "train", "evaluate", "report", "align", "export")
TIMEOUT_S = 120.0
PIPE_BYTES = 2**20


@dataclass(frozen=True)
class Ended:
    """A process at its end: exit code (negative for a signal), and both outputs."""

    code: int
    text: str

    @property
    def last_line(self) -> str:
        lines = self.text.strip().splitlines()
        return lines[-1] if lines else ""


class Process:
    """``python -m homoreg.<command>`` in ``folder``, at once.

    Args:
        folder: where it runs.
        command: name of the command.
        arguments: overrides.
        file_limit: bytes that a file may grow to, as on a full disk or under a quota.
        user: number of the user to become, who may not write everywhere.
    """

    def __init__(
        self,
        folder: Path,
        command: str,
        *arguments: str,
        file_limit: int | None = None,
        user: int | None = None,
    ) -> None:
        module = importlib.import_module(f"homoreg.{command}")
        sys.stdout.flush()
        sys.stderr.flush()
        # A pipe, since the limit would cut a log as well; large, since not all are read at once.
        self.output, output = os.pipe()
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self.output, False)
        self.text = b""
        self.pid = os.fork()
        if self.pid:
            os.close(output)
            return
        code = 1
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.chdir(folder)
            os.dup2(output, 1)
            os.dup2(output, 2)
            # Of their own: the parent's may be files, in which one can seek.
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            sys.argv = [command, *arguments]
            if file_limit is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, hard))
            if user is not None:
                os.setuid(user)
            module.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the command, SIGKILL to its workers as well."""
        send = os.killpg if number == signal.SIGKILL else os.kill
        send(self.pid, number)

    def poll(self) -> Ended | None:
        """How it ended; None while it runs."""
        done, status = os.waitpid(self.pid, os.WNOHANG)
        self._read()
        return self._ended(os.waitstatus_to_exitcode(status)) if done else None

    def _read(self) -> None:
        # A worker that outlives its command keeps the pipe open: what is there is all.
        with suppress(BlockingIOError):
            while part := os.read(self.output, PIPE_BYTES):
                self.text += part

    def _ended(self, code: int, remark: str = "") -> Ended:
        os.close(self.output)
        return Ended(code, self.text.decode(errors="replace") + remark)

    def wait(self, timeout_s: float = TIMEOUT_S) -> Ended:
        """Wait for its end; a process that hangs is killed, and ends with a text that says so."""
        deadline = time.monotonic() + timeout_s
        while (ended := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self._read()
                return self._ended(-9, f"\nno end in {timeout_s} s")
            time.sleep(0.01)
        return ended


def call(folder: Path, command: str, *arguments: str, **limits: int | None) -> Ended:
    """A command, to its end."""
    return Process(folder, command, *arguments, **limits).wait()


def import_commands() -> None:
    """Once, before processes are forked."""
    os.environ |= {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    for command in COMMANDS:
        importlib.import_module(f"homoreg.{command}")
    importlib.import_module("homoreg.evaluation.figures")


def copy_tree(source: Path, target: Path) -> None:
    """With everything in it, links as links."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
