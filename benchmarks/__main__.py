"""``python -m benchmarks``: measure the speed of homoreg on this machine and write a table.

Each comparison runs in its own process, on pairs of the embedded photographs or of a folder.
Nothing else should run on the machine.
"""

import argparse
import importlib
import tempfile
from datetime import datetime
from pathlib import Path

from rich.console import Console

from benchmarks.measure import Row, Session
from benchmarks.photos import prepare
from benchmarks.table import machine, print_table, write_table
from homoreg.errors import HomoregError

COMPARISONS = ("training", "evaluation", "stages", "growth", "startup", "quality")


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("comparisons", nargs="*", help=f"of {', '.join(COMPARISONS)}; default all")
    parser.add_argument("--photos", help="folder of photographs; default: the embedded ones")
    parser.add_argument("--out", default="benchmarks/results", help="folder for the table")
    parser.add_argument("--quick", action="store_true", help="measure almost nothing, as a test")
    asked = parser.parse_args()
    unknown = set(asked.comparisons) - set(COMPARISONS)
    if unknown:
        parser.error(f"there is no comparison {', '.join(sorted(unknown))}")

    console = Console()
    heading = machine()
    if asked.quick:
        heading["size"] = "quick: the numbers are meaningless"
    table: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        root, scratch = Path(folder, "data"), Path(folder, "scratch")
        try:
            prepare(root, asked.photos)
        except HomoregError as error:
            parser.error(str(error))
        scratch.mkdir()
        session = Session(root, scratch, asked.quick)
        for comparison in asked.comparisons or COMPARISONS:
            measure = importlib.import_module(f"benchmarks.{comparison}").measure
            measured = session.alone(measure, session)
            print_table(measured, console)
            table += measured
    stem = Path(asked.out) / datetime.now().strftime("%Y-%m-%d")
    write_table(table, heading, stem)
    console.print(f"wrote {stem}.md and {stem}.csv")


if __name__ == "__main__":
    main()
