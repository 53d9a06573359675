"""Pictures of the runs: what the network was trained on, one pair of all runs, best and worst."""

import re

from homoreg.study.arms import protocol_label
from homoreg.study.data import StudyData
from homoreg.study.document import Part, Picture, Section

PAIR = re.compile(r"pair_(best|worst)_(.+)")


def pictures(study: StudyData) -> Section | None:
    runs = {str(record["run"]): record for record in study.done.to_dict("records")}
    parts: list[Part] = []
    for run, files in study.pictures.items():
        record = runs[run]
        model = (
            f"{record['arm']}, {protocol_label(record['protocol'])}, seed {record['seed']} ({run})"
        )
        for file in files:
            pair = PAIR.fullmatch(file.stem)
            shown = file.stem.replace("_", " ").capitalize()
            what = f"{pair[1].capitalize()} pair, {pair[2]}" if pair else shown
            name = re.sub(r"[^\w.+-]+", "_", f"{run}_{file.stem}")
            parts.append(Picture(name, f"{what}: {model}", file))
    return Section("pictures", "Pairs as pictures", parts) if parts else None
