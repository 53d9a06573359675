"""``python -m benchmarks.alignment``: the bounds of ``homoreg.align``, and how often it is right.

    python -m homoreg.prepare source=folder source.root=PHOTOS source.train=250 source.eval=50 \\
        warp.repeats=6 data.root=ROOT
    python -m benchmarks.alignment ROOT --measure src/homoreg/alignment/bounds.json
    python -m benchmarks.alignment ROOT

The first run measures the factor of each descriptor's bound on one pair of each training
photograph. The second one prints a table of the held-out photographs: their pairs, and pairs of two
different ones. The descriptors must not have been trained on either.
"""

import argparse
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from homoreg.alignment import Aligner, Alignment, load_aligner
from homoreg.alignment.aligner import DescribedView
from homoreg.alignment.loading import weights_hash
from homoreg.evaluation import ManifestBenchmark, ViewPair
from homoreg.evaluation.calibration import COVERAGE
from homoreg.files import write_json
from homoreg.geometry import conformal_factor, corner_error, corner_error_rms
from homoreg.keyed import keyed_rng
from homoreg.progress import progress

CLOSE_PX = 3.0  # a pair whose corner error is smaller should be called aligned


Views = dict[str, DescribedView]  # view 1 of each photograph, which its pairs share


def align_pairs(aligner: Aligner, pairs: Iterable[ViewPair], views: Views) -> pd.DataFrame:
    """A row for each pair with a known homography; adds view 1 to the views."""
    rows = []
    for pair in progress(list(pairs), f"aligning by {aligner.name}"):
        if pair.photo not in views:
            views[pair.photo] = aligner.describe(pair.image1)
        found = aligner.align(views[pair.photo], aligner.describe(pair.image2))
        errors = {
            "error_px": corner_error(found.homography, pair.homography, pair.size1),
            "rms_px": corner_error_rms(found.homography, pair.homography, pair.size1),
        }
        rows.append(row(found) | errors)
    return pd.DataFrame(rows)


def align_unrelated(aligner: Aligner, views: Views, count: int) -> pd.DataFrame:
    """A row for each of ``count`` pairs of different photographs."""
    known = list(views.values())
    rng = keyed_rng("unrelated photographs", 0)
    drawn = [rng.choice(len(known), 2, replace=False) for _ in range(count)]
    return pd.DataFrame([row(aligner.align(known[i], known[j])) for i, j in drawn])


def row(found: Alignment) -> dict[str, Any]:
    return {
        "status": found.status,
        "matches": len(found.matches1),
        "agreeing": found.agreeing,
        "predicted_px": found.predicted_corner_error_px,
        "bound_px": found.bound_90_px,
        "parallax": bool(found.warnings),
    }


def measure_bound(aligner: Aligner, training: ManifestBenchmark, photos: int) -> dict[str, Any]:
    """An entry of ``bounds.json``, from one pair of each of so many photographs."""
    first = {pair.photo: pair.id for pair in reversed(training.pairs)}
    pairs = [training.pair(pair_id) for pair_id in sorted(first.values())[:photos]]
    table = align_pairs(aligner, pairs, {})
    known = table[np.isfinite(table["predicted_px"])]
    return {
        "descriptor": aligner.name,
        "weights": weights_hash(aligner.descriptor),
        "steps": aligner.steps.as_text(),
        "factor": conformal_factor(known["rms_px"], known["predicted_px"], COVERAGE),
        "pairs": len(known),
        "photos": len(known),
    }


def summarize(pairs: pd.DataFrame, unrelated: pd.DataFrame) -> dict[str, Any]:
    close = pairs[pairs["error_px"] < CLOSE_PX]
    known = pairs[np.isfinite(pairs["predicted_px"])]
    return {
        "pairs": len(pairs),
        "closer than 3 px": len(close),
        "of these aligned, %": 100 * (close["status"] == "aligned").mean(),
        "aligned, yet 3 px off or more": int(
            ((pairs["status"] == "aligned") & (pairs["error_px"] >= CLOSE_PX)).sum()
        ),
        "fewest agreeing matches": int(close["agreeing"].min()),
        "within the bound, %": 100 * (known["rms_px"] <= known["bound_px"]).mean(),
        "median true / predicted": (known["rms_px"] / known["predicted_px"]).median(),
        "warned of parallax": int(pairs["parallax"].sum()),
        "unrelated pairs": len(unrelated),
        "of these aligned": int((unrelated["status"] == "aligned").sum()),
        "of these uncertain": int((unrelated["status"] == "uncertain").sum()),
        "most agreeing matches": int(unrelated["agreeing"].max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.alignment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("root", type=Path, help="folder that homoreg.prepare wrote")
    parser.add_argument("--descriptors", nargs="+", default=["homoreg", "rootsift"])
    parser.add_argument("--measure", type=Path, help="measure the bounds and write this file")
    parser.add_argument("--photos", type=int, default=250, help="at most so many for a bound")
    parser.add_argument("--pairs", type=int, default=300, help="of the held-out photographs")
    parser.add_argument("--unrelated", type=int, default=300, help="pairs of two photographs")
    asked = parser.parse_args()
    aligners = [load_aligner(name) for name in asked.descriptors]
    if asked.measure:
        training = ManifestBenchmark(asked.root / "pairs_train.json")
        entries = [measure_bound(aligner, training, asked.photos) for aligner in aligners]
        write_json(asked.measure, {"coverage": COVERAGE, "entries": entries})
        return
    held_out = ManifestBenchmark(asked.root / "pairs_eval.json")
    every = max(1, len(held_out) // asked.pairs)
    table = {}
    for aligner in aligners:
        views: Views = {}
        pairs = align_pairs(aligner, islice(held_out, 0, None, every), views)
        table[aligner.name] = summarize(pairs, align_unrelated(aligner, views, asked.unrelated))
    print(pd.DataFrame(table).round(2).to_string())


if __name__ == "__main__":
    main()
