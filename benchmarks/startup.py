"""Startup time of the commands, and the share of imports."""

import subprocess
import sys

from benchmarks.measure import Ratio, Row, Session, in_turns, milliseconds, rows

COMMANDS = ("prepare", "train", "evaluate", "report")
LIGHTNING = "import lightning.pytorch"


def measure(session: Session) -> list[Row]:
    def python(*arguments: str) -> None:
        """A new process in an empty folder."""
        subprocess.run(
            [sys.executable, *arguments], cwd=session.scratch, check=True, capture_output=True
        )

    repeats = session.pick(2, 1)
    commands = session.pick(COMMANDS, COMMANDS[:1])
    statements = ["pass", LIGHTNING, *(f"import homoreg.{name}" for name in commands)]
    imports = {name: milliseconds(lambda name=name: python("-c", name)) for name in statements}
    starts = {
        f"homoreg.{name} --cfg job": milliseconds(
            lambda name=name: python("-m", f"homoreg.{name}", "--cfg", "job")
        )
        for name in commands
    }
    measured = in_turns(imports | starts, repeats)
    ratios = {
        name: [Ratio(LIGHTNING, "× importing Lightning")] for name in measured if "homoreg" in name
    }
    return rows("startup", "a process from start to end", "ms", measured, ratios)
