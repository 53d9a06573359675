"""Shift response: whether a descriptor tells where it is, beside what is there."""

from functools import partial

from homoreg.study import seed_figures
from homoreg.study.data import StudyData
from homoreg.study.document import Figure, Part, Section
from homoreg.study.tables import shift_table


def shift_response(study: StudyData) -> Section | None:
    if not len(study.shifts):
        return None
    curves = shift_table(study.shifts)
    parts: list[Part] = [
        Figure(
            f"shift{suffix}",
            f"{label}Similarity of a descriptor with itself δ pixels away: mean cosine over points "
            "of held-out photos and directions, of an arm's n runs, with the 95 % t interval over "
            "them. A descriptor whose curve stays high cannot be localized. Right: the similarity "
            "of points in different photos, the level that a curve can fall to. The runs one by "
            "one: `tables/shift_runs.csv`.",
            "shift",
            partial(seed_figures.shift_curves, own, study.styles),
        )
        for _, suffix, label, own in study.drawn(curves)
    ]
    frames = {"shift": curves, "shift_runs": study.shifts}
    return Section("shift", "Shift response", parts, frames)
