import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from tests.baselines import PROTOCOL, Orb, Pairs, RootSift

from homoreg.data import PairManifest
from homoreg.descriptors.checkpoint import untrained_descriptor
from homoreg.descriptors.window import CutPatches, PatchWindow
from homoreg.errors import HomoregError
from homoreg.evaluation import (
    ManifestBenchmark,
    ViewPair,
    evaluate_benchmark,
    evaluate_manifest,
    read_evaluation,
    summarize,
)
from homoreg.evaluation.table import PairEvaluation, make_table, write_summary, write_table
from homoreg.matching import RatioMatcher, image_key
from homoreg.metrics import COLUMNS

MODEL = {
    "_target_": "homoreg.descriptors.cnn.CnnDescriptor",
    "channels": [8, 8],
    "kernel_sizes": [3, 3],
}


@pytest.fixture(scope="module")
def table(prepared: Path) -> pd.DataFrame:
    network = untrained_descriptor(MODEL, {"support": 32, "size": 16}, seed=0)
    return evaluate_manifest(
        [RootSift(support=32), network], prepared / "pairs_eval.json", PROTOCOL
    )


def test_every_pair_descriptor_and_estimator_has_its_row(table: pd.DataFrame) -> None:
    assert list(table.columns) == list(COLUMNS)
    keys = table[["pair_id", "descriptor", "estimator"]]
    photos = table.groupby("photo")["pair_id"].nunique()
    assert photos.to_dict() == {"photo_6.jpg": 2, "photo_7.jpg": 2}
    assert (table["group"] == "").all()
    assert len(table) == 4 * 2 * 2
    assert not keys.duplicated().any()
    assert set(table["pair_id"]) == {"000001", "000002", "000003", "000004"}


def test_keypoints_are_shared_and_so_are_the_matches_of_a_descriptor(table: pd.DataFrame) -> None:
    by_pair = table.groupby("pair_id")
    assert (by_pair[["keypoints_1", "keypoints_2", "repeatable"]].nunique() == 1).all().all()
    assert (table.groupby(["pair_id", "descriptor"])["match_count"].nunique() == 1).all()


def test_a_table_survives_its_file(table: pd.DataFrame, tmp_path: Path) -> None:
    write_table(table, tmp_path / "eval.csv")
    again = read_evaluation(tmp_path / "eval.csv")
    assert again["pair_id"].tolist() == table["pair_id"].tolist()
    assert (again["regularizer"] == "").all()
    pd.testing.assert_frame_equal(again, table, check_dtype=False)


def test_the_summary_counts_failures_and_lets_them_weigh() -> None:
    rows = [
        dict.fromkeys(COLUMNS, np.nan)
        | {"descriptor": "sift", "regularizer": "", "seed": pd.NA, "estimator": "dlt"}
        | {"group": group, "status": status, "corner_error_px": error}
        | ({"ssim": 0.9, "kappa": 4.0} if error < np.inf else {})
        for group, status, error in (
            ("v", "ok", 1.0),
            ("v", "ok", np.inf),  # it tears the view apart
            ("i", "degenerate", np.inf),
            ("i", "ok", 2.0),
            ("", "ok", 3.0),
        )
    ]
    (entry,) = summarize(pd.DataFrame(rows))
    assert (entry["descriptor"], entry["regularizer"], entry["seed"]) == ("sift", "", None)
    assert entry["failures"] == {"folded": 1, "degenerate": 1}
    assert entry["failure_rate"] == pytest.approx(0.4)
    assert entry["groups"].keys() == {"i", "v"}
    assert entry["groups"]["i"]["failures"] == {"degenerate": 1}
    assert entry["groups"]["v"]["median"]["corner_error_px"] == np.inf
    assert entry["median"]["corner_error_px"] == 3.0
    assert entry["quartile_3"]["kappa"] == np.inf
    assert entry["quartile_1"]["ssim"] == -1.0
    # By hand: up to 10 px the curve rises to 0.6 at 3 px and stays there.
    assert entry["auc"]["10px"] == pytest.approx(100 * (0.5 * 3 * 0.6 + 7 * 0.6) / 10)


def test_a_forgotten_column_and_one_that_nobody_knows_are_errors(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    row = table.iloc[0].to_dict()
    make_table([row])
    with pytest.raises(HomoregError, match="has sharpness: register it in homoreg/metrics.py"):
        make_table([row | {"sharpness": 1.0}])
    with pytest.raises(HomoregError, match="a row lacks photo, kappa"):
        make_table([{name: row[name] for name in row if name not in ("kappa", "photo")}])
    table.drop(columns="kappa_correct").to_csv(tmp_path / "older.csv", index=False)
    older = read_evaluation(tmp_path / "older.csv")
    # Not NaN, which would count as the failure of every estimate.
    assert all("kappa_correct" not in entry["median"] for entry in summarize(older))
    table.drop(columns="photo").to_csv(tmp_path / "old.csv")
    with pytest.raises(HomoregError, match=r"old.csv was written by another .* lacks photo"):
        read_evaluation(tmp_path / "old.csv")


def test_a_benchmark_finds_its_pairs(prepared: Path) -> None:
    benchmark = ManifestBenchmark(prepared / "pairs_eval.json", limit=3)
    assert len(benchmark) == 3
    manifest = PairManifest.load(prepared / "pairs_eval.json")
    pair = benchmark.pair("000002")
    assert (pair.homography == manifest.pairs[1].homography).all()
    with pytest.raises(HomoregError, match="pair=000004: .* from 000001 to 000003"):
        benchmark.pair("000004")
    with pytest.raises(HomoregError, match="benchmark.limit=0"):
        ManifestBenchmark(prepared / "pairs_eval.json", limit=0)


def test_binary_descriptors_are_matched_by_their_bits(prepared: Path) -> None:
    table = evaluate_manifest(Orb(), prepared / "pairs_eval.json")
    assert (table["precision_3px"] > 0.3).all()


def test_the_oracle_finds_all_true_matches(prepared: Path, table: pd.DataFrame) -> None:
    benchmark = ManifestBenchmark(prepared / "pairs_eval.json")
    both = evaluate_benchmark(RootSift(support=32), benchmark, PROTOCOL, oracle=True)
    oracle, rootsift = (both[both["descriptor"] == name] for name in ("oracle", "rootsift"))
    assert len(oracle) == len(rootsift) == 4 * 2
    assert (oracle["precision_3px"] == 1).all()
    # A true match is mutual, a repeatable keypoint may share its counterpart.
    assert (oracle["recall_3px"] > 0.9).all()
    assert (oracle["corner_error_px"].to_numpy() < 3).all()
    # Its rows do not depend on what else is evaluated.
    columns = [c for c in COLUMNS if not c.endswith("_ms")]
    expected = table[table["descriptor"] == "rootsift"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rootsift.reset_index(drop=True)[columns], expected[columns])
    renamed = RootSift(support=32)
    renamed.name = "oracle"
    with pytest.raises(HomoregError, match="a descriptor is called oracle"):
        evaluate_benchmark(renamed, benchmark, PROTOCOL, oracle=True)


def test_homographies_the_wrong_way_round_are_warned_of(
    prepared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Inverted(ManifestBenchmark):
        def _read(self, index: int) -> ViewPair:
            pair = super()._read(index)
            return replace(pair, homography=np.linalg.inv(pair.homography))

    for kind, warned in ((ManifestBenchmark, False), (Inverted, True)):
        caplog.clear()
        evaluate_benchmark(RootSift(support=32), kind(prepared / "pairs_eval.json"))
        assert ("from view 2 to view 1" in caplog.text) == warned


def test_two_descriptors_of_one_name_are_refused(prepared: Path) -> None:
    with pytest.raises(HomoregError, match="two descriptors are called rootsift"):
        evaluate_manifest(
            [RootSift(support=32), RootSift(support=64)], prepared / "pairs_eval.json"
        )


def test_recorders_see_every_pair_and_change_nothing(prepared: Path, table: pd.DataFrame) -> None:
    class Count:
        seen: ClassVar[list[tuple[str, str, int]]] = []

        def measure(self, evaluation: PairEvaluation) -> tuple[str, int]:
            matches = evaluation.matches
            assert len(evaluation.match(RatioMatcher(ratio=None)).ratios) >= len(matches.ratios)
            assert (matches.ratios < 0.8).all()
            return evaluation.pair.id, len(matches.errors_px)

        def add(self, model: Mapping[str, Any], measured: tuple[str, int]) -> None:
            self.seen.append((measured[0], model["descriptor"], measured[1]))

    network = untrained_descriptor(MODEL, {"support": 32, "size": 16}, seed=0)
    benchmark = ManifestBenchmark(prepared / "pairs_eval.json")
    again = evaluate_benchmark([RootSift(support=32), network], benchmark, PROTOCOL, [Count()])
    columns = [c for c in COLUMNS if not c.endswith("_ms")]
    pd.testing.assert_frame_equal(again[columns], table[columns])
    rows = table[table["estimator"] == "dlt"]
    expected = rows[["pair_id", "descriptor", "match_count"]].itertuples(index=False, name=None)
    assert Count.seen == list(expected)


def test_a_view_of_several_pairs_is_described_once(prepared: Path) -> None:
    described: list[str] = []

    class Counting:
        name, metric, sift = "counting", "l2", RootSift(support=32)

        def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
            described.append(image_key(image))
            return self.sift.describe(image, keypoints)

    first, second = islice(ManifestBenchmark(prepared / "pairs_eval.json"), 2)
    pairs = [first, replace(second, image1=first.image1), second]
    together = evaluate_benchmark(Counting(), Pairs(pairs), PROTOCOL)
    views = {image_key(image) for pair in pairs for image in (pair.image1, pair.image2)}
    assert sorted(described) == sorted(views)
    alone = [evaluate_benchmark(Counting(), Pairs([pair]), PROTOCOL) for pair in pairs]
    columns = [c for c in COLUMNS if not c.endswith("_ms")]
    pd.testing.assert_frame_equal(together[columns], pd.concat(alone, ignore_index=True)[columns])


def test_a_truth_that_folds_the_view_is_told(caplog: pytest.LogCaptureFixture) -> None:
    gray = np.full((60, 80, 3), 9, np.uint8)
    truth = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 40, 0, 1]])
    table = evaluate_benchmark(RootSift(support=32), Pairs([ViewPair("7", gray, gray, truth)]))
    assert "pair 7: the true homography sends a part of view 1 to infinity" in caplog.text
    assert table["corner_error_px"].tolist() == [np.inf]


def test_details_go_into_the_summary(table: pd.DataFrame, tmp_path: Path) -> None:
    write_summary(table, tmp_path, "eval", {"matching": [{"mma": {"1px": 0.5}}]})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["benchmark"] == "eval"
    assert summary["matching"] == [{"mma": {"1px": 0.5}}]
    assert [entry["estimator"] for entry in summary["entries"]] == ["dlt", "magsac"] * 2


def test_networks_of_one_window_see_patches_that_were_cut_once(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[PatchWindow] = []
    cut = PatchWindow.cut

    def counted(self: PatchWindow, image: np.ndarray, keypoints: np.ndarray) -> CutPatches:
        windows.append(self)
        return cut(self, image, keypoints)

    monkeypatch.setattr(PatchWindow, "cut", counted)
    networks = [
        untrained_descriptor(MODEL, {"support": support, "size": 16}, seed=seed)
        for seed, support in enumerate((32, 24, 32))
    ]
    for seed, network in enumerate(networks):
        network.seed = seed
    benchmark = ManifestBenchmark(prepared / "pairs_eval.json", limit=1)
    together = evaluate_benchmark(networks, benchmark)
    # Both views of the pair by each of the two windows.
    assert windows == [PatchWindow(32, 16)] * 2 + [PatchWindow(24, 16)] * 2
    apart = pd.concat([evaluate_benchmark(network, benchmark) for network in networks])
    kept = [column for column in together if not column.endswith("_ms")]
    pd.testing.assert_frame_equal(
        together[kept], apart[kept].reset_index(drop=True), check_exact=True
    )
    # What it costs to describe includes the cutting, whoever had it done.
    assert (together["describe_ms"] > 0).all()
