"""Disks with room for N bytes at every stage: one line, whole files, and the same command goes on.

Where mounting is allowed the disk is a tmpfs of that size, elsewhere every file is limited to it.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.torture.commands import Ended, Process
from tests.torture.stages import STAGES, Stage, damaged_files, results

KINDS = ("disk", "file limit")


def mountable(folder: Path) -> bool:
    """Whether this process may mount a tmpfs."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = mount(folder, 65536)
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)
    return mounted


def mount(folder: Path, size: int) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """A tmpfs of a gigabyte on ``folder``."""
    folder.mkdir(parents=True)
    assert mount(folder, 2**30)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def resize(folder: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def used(folder: Path) -> int:
    """Bytes of a tmpfs's files, in pages."""
    return sum(-(-file.lstat().st_size // 4096) * 4096 + 4096 for file in folder.rglob("*"))


def sizes(stage: Stage, finished: Path, kind: str, count: int, random: Random) -> list[int]:
    """Numbers of bytes from nothing to a little more than the stage needs, more of the small."""
    files = [file.stat().st_size for file in finished.rglob("*") if file.is_file()]
    largest = used(finished) if kind == "disk" else max(files)
    smallest = 4096 if kind == "disk" else 64
    spread = [(i + random.random()) / count for i in range(count)]
    return [int(smallest * (1.1 * largest / smallest) ** place) for place in spread]


def trial(
    stage: Stage, kind: str, size: int, base: Path, work: Path, expected: dict[str, str]
) -> list[str]:
    """The faults of a stage with room for ``size`` bytes."""
    if kind == "disk":
        with disk(work / "out"):
            return _faults(stage, size, True, base, work, expected)
    return _faults(stage, size, False, base, work, expected)


def _faults(
    stage: Stage, size: int, mounted: bool, base: Path, work: Path, expected: dict[str, str]
) -> list[str]:
    out = work / "out"
    stage.begin(base, work)
    command, *arguments = stage.arguments(base)
    before = results(out)
    if mounted:
        resize(out, used(out) + size)
        first = Process(work, command, *arguments).wait()
    else:
        first = Process(work, command, *arguments, file_limit=size).wait()
    faults = [f"first: {fault}" for fault in judge(first)]
    faults += [f"damaged: {file}" for file in damaged_files(out)]
    lost = before.keys() - results(out).keys()
    faults += [f"lost: {file}" for file in sorted(lost)]
    if mounted:
        resize(out, 2**30)
    second = Process(work, command, *arguments).wait()
    if second.code:
        faults.append(f"again: code {second.code}: {second.text[-1500:]}")
    else:
        faults += differences(expected, results(out))
    return faults


def judge(ended: Ended) -> list[str]:
    """What is wrong with the end of a command that had too little room, or just enough."""
    if ended.code == 0:
        return []
    faults = []
    if ended.code != 2:
        faults.append(f"code {ended.code}")
    if "Traceback" in ended.text:
        faults.append("a traceback")
    if not re.match(r"homoreg: |\d+ jobs?: ", ended.last_line):
        faults.append("no line at the end")
    lines = [line for line in ended.text.splitlines() if line.startswith("homoreg: ")]
    reasons = ("No space left", "File too large", "cannot be written")
    if not any(("/" in line and any(r in line for r in reasons)) for line in lines):
        faults.append("no line with file and reason")
    return [f"{fault}\n{ended.text[-1500:]}" for fault in faults[:1]]


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Results that differ from those of a command that nothing disturbed."""
    names = sorted(expected.keys() | found.keys())
    return [f"differs: {name}" for name in names if expected.get(name) != found.get(name)]


def stages(names: list[str]) -> list[Stage]:
    return [stage for stage in STAGES if stage.name in names or not names]
