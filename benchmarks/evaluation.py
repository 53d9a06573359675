"""Evaluating pairs: homoreg and the original code, and four networks and one."""

import numpy as np
import pandas as pd

from benchmarks.measure import Ratio, Row, Session, in_turns, rows, seconds
from benchmarks.study_evaluation import study_row
from homoreg.cli import compose
from homoreg.descriptors.checkpoint import build_network
from homoreg.descriptors.inference import NetworkDescriptor
from homoreg.descriptors.window import PatchWindow
from homoreg.evaluation import EvaluationProtocol, ManifestBenchmark, evaluate_benchmark
from homoreg.geometry import Estimator, corner_error
from homoreg.matching import RatioMatcher, ShiTomasi

# Window and patch. Both ways cut patches as the original did, so that their rows can be compared.
SETTINGS = {"original: 64 px": (64, 64), "default: 32 px of 64 px": (64, 32)}
STUDY, ONE, FOUR = "original code, one network", "homoreg, one network", "homoreg, four networks"
SHARE = "homoreg, four networks, each"


def measure(session: Session) -> list[Row]:
    limit, corners, repeats = session.pick((3, 500, 3), (1, 60, 1))
    benchmark = ManifestBenchmark(session.root / "pairs_eval.json", limit=limit)
    return [
        row
        for setting, window in SETTINGS.items()
        for row in compare(setting, *window, benchmark, corners, repeats)
    ]


def compare(
    setting: str,
    support: int,
    size: int,
    benchmark: ManifestBenchmark,
    corners: int,
    repeats: int,
) -> list[Row]:
    """Measure both on the same pairs, after checking that their rows agree."""
    networks = [network(seed, support, size) for seed in range(4)]
    solver = {"dlt_raw": Estimator("dlt_raw")}
    protocol = EvaluationProtocol(ShiTomasi(corners), RatioMatcher(), solver)

    def study() -> list[dict]:
        return [
            study_row(networks[0].network, pair, support, size, corners) for pair in benchmark.pairs
        ]

    def own(count: int) -> pd.DataFrame:
        return evaluate_benchmark(networks[:count], benchmark, protocol)

    check_equal(study(), own(1), benchmark)
    measured = in_turns(
        {
            STUDY: lambda: seconds(study) / len(benchmark),
            ONE: lambda: seconds(lambda: own(1)) / len(benchmark),
            FOUR: lambda: seconds(lambda: own(4)) / len(benchmark),
        },
        repeats,
    )
    measured[SHARE] = [value / 4 for value in measured[FOUR]]
    faster = Ratio(STUDY, "× as fast as the original code", inverted=True)
    ratios = {ONE: [faster], FOUR: [Ratio(ONE, "× the time of one")], SHARE: [faster]}
    return rows("evaluation", setting, "s a pair", measured, ratios)


def network(seed: int, support: int, size: int) -> NetworkDescriptor:
    """The original network, untrained: weights do not affect the time."""
    model = compose("train", ["experiment=notebook"]).model
    window = PatchWindow(support, size, keypoint_rounding="truncate", border="drop")
    return NetworkDescriptor(build_network(model, seed), window, "cnn", seed=seed)


def check_equal(theirs: list[dict], own: pd.DataFrame, benchmark: ManifestBenchmark) -> None:
    """Raise if the two do not give the same rows up to rounding."""
    for row, (_, line), pair in zip(theirs, own.iterrows(), benchmark.pairs, strict=True):
        error = corner_error(row["homography"], pair.homography, pair.size1)
        row = row | {"corner_error_px": error}
        assert row["match_count"] == line["match_count"], (pair.id, row, line)
        for column in ("kappa_notebook", "corner_error_px", "rmse_notebook_gray"):
            message = f"pair {pair.id}: {column}"
            np.testing.assert_allclose(row[column], line[column], rtol=1e-4, err_msg=message)
