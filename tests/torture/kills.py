"""Kills at random moments: nothing is damaged, and the same command ends with the same tables."""

import signal
import time
from pathlib import Path

from tests.torture.commands import Process
from tests.torture.disks import differences
from tests.torture.stages import Stage, damaged_files, results

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def trial(
    stage: Stage,
    number: signal.Signals,
    after_s: float,
    base: Path,
    work: Path,
    expected: dict[str, str],
) -> tuple[bool, list[str]]:
    """Kill a stage after some seconds, start it again; whether it was killed, and the faults."""
    out = work / "out"
    stage.begin(base, work)
    before = results(out)
    command, *arguments = stage.arguments(base)
    process = Process(work, command, *arguments)
    time.sleep(after_s)
    ended = process.poll()
    if ended is None:
        process.kill(number)
        ended = process.wait()
        killed = True
    else:
        killed = False
    faults = [f"damaged: {file}" for file in damaged_files(out)]
    faults += [f"lost: {file}" for file in sorted(before.keys() - results(out).keys())]
    if ended.code == 1:
        faults.append(f"code 1: {ended.text[-1500:]}")
    again = Process(work, command, *arguments).wait()
    if again.code:
        faults.append(f"again: code {again.code}: {again.text[-1500:]}")
    else:
        faults += differences(expected, results(out))
    return killed, faults
