"""Shift response: whether a descriptor remembers what it saw, and forgets where."""

from functools import partial

from homoreg.study import seed_figures
from homoreg.study.arms import shift_table
from homoreg.study.document import Part, Plate, Section
from homoreg.study.gathered import Gathered


def shift_response(study: Gathered) -> Section | None:
    if not len(study.shifts):
        return None
    curves = shift_table(study.shifts)
    parts: list[Part] = [
        Plate(
            f"shift{suffix}",
            f"{label}Similarity of a descriptor to itself δ pixels further on: mean cosine, over "
            "points of held-out pictures and directions, of an arm's n runs, with the 95 % t "
            "interval over them. A curve that stays high tells what is there but not where. Right: "
            "the similarity of points in different pictures, which is what a curve can fall to. "
            "The runs one by one: `tables/shift_runs.csv`.",
            "shift",
            partial(seed_figures.shift_curves, own, study.styles),
        )
        for _, suffix, label, own in study.drawn(curves)
    ]
    frames = {"shift": curves, "shift_runs": study.shifts}
    return Section("shift", "Shift response", parts, frames)
