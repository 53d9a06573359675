"""The campaign: ``make torture``, or ``python -m tests.torture [--full] [--only disks,kills,…]``.

Kills, full disks, damaged files, processes in each other's way and hostile matches. Every trial is
drawn from its seed, so that a fault can be repeated. Ends with a table of counts, and with exit
code 1 if there was a fault.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.torture import crowd, disks, fuzz, kills, matches
from tests.torture.commands import call, import_commands
from tests.torture.stages import STAGES, Stage, make_base, results, succeed

PARTS = ("matches", "fuzz", "disks", "kills", "crowd")


@dataclass(frozen=True)
class Counts:
    """How many trials a part has."""

    matches: int
    files: int  # of all kinds together
    disks: int  # of each stage, of either kind
    kills: int  # of all stages together
    crowds: int  # of each stage and number of processes


COUNTS = {
    "smoke": Counts(20, 440, 1, 1, 1),
    "short": Counts(1000, 2000, 2, 18, 1),
    "full": Counts(10_000, 10_000, 20, 50, 2),
}


class Campaign:
    """Runs the parts and keeps what they found."""

    def __init__(self, base: Path, counts: Counts, seed: int, stages: list[str]) -> None:
        self.base = base
        self.counts = counts
        self.random = Random(seed)
        self.seed = seed
        self.stages = [stage for stage in STAGES if stage.name in stages or not stages]
        self.trials: dict[str, int] = {}
        self.faults: list[str] = []
        self._expected: dict[str, tuple[Path, dict[str, str], float]] = {}

    def report(self, what: str, found: Iterable[str], trials: int = 1) -> None:
        """Count trials and print their faults at once."""
        self.trials[what] = self.trials.get(what, 0) + trials
        for fault in found:
            self.faults.append(f"{what}: {fault}")
            print(f"FAULT {what}: {fault}", flush=True)

    def work(self) -> Path:
        """An empty folder for a trial."""
        folder = self.base / "work"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def undisturbed(self, stage: Stage) -> tuple[Path, dict[str, str], float]:
        """What a stage writes when nothing disturbs it, its results, and the seconds it takes."""
        if stage.name not in self._expected:
            folder = self.base / f"undisturbed_{stage.name}"
            stage.begin(self.base, folder)
            started = time.monotonic()
            command, *arguments = stage.arguments(self.base)
            succeed(call(folder, command, *arguments))
            seconds = time.monotonic() - started
            self._expected[stage.name] = folder / "out", results(folder / "out"), seconds
        return self._expected[stage.name]

    def run_matches(self) -> None:
        first = 1_000_000 * self.seed
        self.report("matches", matches.faults(first, self.counts.matches), self.counts.matches)

    def run_fuzz(self) -> None:
        kinds = fuzz.kinds(self.base)
        # Photographs come from anywhere and have the most formats: half of the files.
        each = self.counts.files // (2 * (len(kinds) - 1))
        for kind in kinds:
            count = self.counts.files // 2 if kind.name == "photograph" else each
            for start in range(0, count, 250):
                size = min(250, count - start)
                first = 1_000_000 * self.seed + start
                found = fuzz.batch(kind, first, size, self.base, self.work())
                self.report(f"fuzzed: {kind.name}", found, trials=size)

    def run_disks(self) -> None:
        can_mount = disks.mountable(self.base / "mount")
        if not can_mount:
            print("mounting is not allowed: every disk is a file-size limit")
        for stage in self.stages:
            finished, expected, _ = self.undisturbed(stage)
            for kind in disks.KINDS if can_mount else disks.KINDS[1:]:
                for size in disks.sizes(stage, finished, kind, self.counts.disks, self.random):
                    found = disks.trial(stage, kind, size, self.base, self.work(), expected)
                    self.report(f"{kind}: {stage.name}", (f"{size} bytes: {f}" for f in found))

    def run_kills(self) -> None:
        for number in range(self.counts.kills):
            stage = self.stages[number % len(self.stages)]
            signal_number = kills.SIGNALS[number % len(kills.SIGNALS)]
            _, expected, seconds = self.undisturbed(stage)
            after = self.random.uniform(0, seconds)
            killed, found = kills.trial(
                stage, signal_number, after, self.base, self.work(), expected
            )
            what = signal_number.name if killed else "ended before its kill"
            self.report(f"{what}: {stage.name}", (f"after {after:.2f} s: {f}" for f in found))

    def run_crowd(self) -> None:
        names = [stage.name for stage in self.stages]
        for stage in crowd.stages(names):
            _, expected, _ = self.undisturbed(stage)
            for count in (2, 3):
                for _ in range(self.counts.crowds):
                    _, found = crowd.trial(stage, count, self.base, self.work(), expected)
                    self.report(f"{count} processes: {stage.name}", found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--full", action="store_true", help="an hour or more instead of minutes")
    parser.add_argument("--smoke", action="store_true", help="half a minute: does it run at all?")
    parser.add_argument("--seed", type=int, default=0, help="of all trials")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--stages", default="", help="stages, separated by commas; all by default")
    given = parser.parse_args()
    import_commands()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="homoreg-torture-"))
    stages = [name for name in given.stages.split(",") if name]
    size = "full" if given.full else "smoke" if given.smoke else "short"
    campaign = Campaign(folder, COUNTS[size], given.seed, stages)
    try:
        make_base(folder)
        for part in given.only.split(","):
            started = time.monotonic()
            getattr(campaign, f"run_{part}")()
            print(f"{part}: {time.monotonic() - started:.0f} s", flush=True)
    finally:  # also where it is interrupted
        shutil.rmtree(folder, ignore_errors=True)
        for what, count in campaign.trials.items():
            print(f"{count:6d}  {what}")
        print(f"{sum(campaign.trials.values())} trials, {len(campaign.faults)} faults", flush=True)
    sys.exit(bool(campaign.faults))


if __name__ == "__main__":
    main()
