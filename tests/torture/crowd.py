"""Two and three processes on one ``data.root``, one study, one run."""

from pathlib import Path

from tests.torture.commands import Ended, Process
from tests.torture.disks import differences
from tests.torture.stages import STAGES, Stage, damaged_files, results

# Stages whose processes share a folder, and what the second one may be told.
SHARED = ("prepare", "bank", "fit", "evaluation", "sweep")
REFUSED = "is being written by process"


def trial(
    stage: Stage, count: int, base: Path, work: Path, expected: dict[str, str]
) -> tuple[int, list[str]]:
    """Start a stage several times at once; how many were refused, and the faults."""
    out = work / "out"
    stage.begin(base, work)
    command, *arguments = stage.arguments(base)
    if stage.name == "bank":  # runs of their own on one data.root
        lines = [[*arguments, f"hydra.run.dir=out/run{n}"] for n in range(count)]
    else:
        lines = [arguments] * count
    ends = [process.wait() for process in [Process(work, command, *line) for line in lines]]
    faults = [fault for ended in ends for fault in _judge(ended)]
    # Processes of one sweep share its jobs, and each names those that another one was at.
    if stage.name != "sweep" and all(ended.code for ended in ends):
        faults.append("every process was refused")
    faults += [f"damaged: {file}" for file in damaged_files(out)]
    again = Process(work, command, *lines[0]).wait()
    if again.code:
        faults.append(f"again: code {again.code}: {again.text[-1500:]}")
    if stage.name == "bank":
        for n in range(count):
            found = results(out / f"run{n}")
            same = {k.removeprefix("run/"): v for k, v in expected.items() if k[:4] == "run/"}
            faults += differences(same, found)
    else:
        faults += differences(expected, results(out))
    return sum(ended.code != 0 for ended in ends), faults


def _judge(ended: Ended) -> list[str]:
    if ended.code == 0 and "Traceback" not in ended.text:
        return []
    if ended.code == 2 and REFUSED in ended.text and "Traceback" not in ended.text:
        return []
    return [f"code {ended.code}: {ended.text[-1500:]}"]


def stages(names: list[str]) -> list[Stage]:
    return [s for s in STAGES if s.name in SHARED and (s.name in names or not names)]
