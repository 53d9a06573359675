"""Pictures of the runs: what the network was shown, and the best and the worst pairs."""

import re

from homoreg.study.document import Part, Picture, Section
from homoreg.study.gathered import Gathered
from homoreg.study.tables import PROTOCOLS

JUDGED = re.compile(r"pair_(best|worst)_(.+)")


def pictures(study: Gathered) -> Section | None:
    runs = {str(record["run"]): record for record in study.done.to_dict("records")}
    parts: list[Part] = []
    for run, files in study.pictures.items():
        record = runs[run]
        protocol = PROTOCOLS[record["protocol"]]
        who = f"{record['arm']}, {protocol}, seed {record['seed']} ({run})"
        for file in files:
            judged = JUDGED.fullmatch(file.stem)
            what = f"{judged[1].capitalize()} pair, {judged[2]}" if judged else _plain(file.stem)
            name = re.sub(r"[^\w.+-]+", "_", f"{run}_{file.stem}")
            parts.append(Picture(name, f"{what}: {who}", file))
    return Section("pictures", "Pairs as pictures", parts) if parts else None


def _plain(stem: str) -> str:
    return stem.replace("_", " ").capitalize()
