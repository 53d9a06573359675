"""Aligning photographs whose homography is known, and telling where there is none."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tests.conftest import small_photos

from homoreg import HomoregError, align_images
from homoreg.alignment import Aligner, Alignment, load_aligner
from homoreg.alignment.aligner import NOT_CALIBRATED
from homoreg.alignment.loading import _stored_bound
from homoreg.alignment.verdict import agreeing, doubt, failure, second_plane
from homoreg.data.images import as_rgb
from homoreg.data.warp import render
from homoreg.descriptors.checkpoint import build_network
from homoreg.evaluation.calibration import ENOUGH_PAIRS, Bound, Calibration
from homoreg.evaluation.pair import PointMatches
from homoreg.geometry import (
    Estimator,
    conditioning,
    corner_error_rms,
    resized_homography,
    transform_points,
)
from homoreg.matching import RatioMatcher

PHOTOS = list(small_photos().values())
TRUTH = np.array([[0.97, -0.12, 14.0], [0.11, 1.02, -9.0], [1.5e-4, -8e-5, 1.0]])
SIZE = (240, 180)


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return load_aligner()


@pytest.fixture(scope="module")
def aligned(aligner: Aligner) -> Alignment:
    return aligner(PHOTOS[0], render(PHOTOS[0], TRUTH))


def test_a_known_homography_is_found(aligned: Alignment) -> None:
    assert corner_error_rms(aligned.homography, TRUTH, SIZE) < 1
    assert aligned.homography is not None
    assert aligned.homography[2, 2] == 1
    assert (aligned.status, aligned.warnings) == ("aligned", ())
    assert aligned.verdict.startswith("aligned to ")
    distances = transform_points(aligned.points1, TRUTH) - aligned.points2
    assert np.median(np.linalg.norm(distances, axis=1)) < 0.5


@pytest.mark.parametrize("turn_deg", [90, 180, 270])
def test_a_photograph_on_its_side_is_aligned_after_a_quarter_turn(turn_deg: int) -> None:
    """The homography is for the photograph as given."""
    turned = np.rot90(render(PHOTOS[0], TRUTH), -turn_deg // 90)
    (x, y), half = (SIZE[0] - 1, SIZE[1] - 1), turn_deg == 180
    corners = [(0, 0), (x, 0), (x, y), (0, y)] if half else [(0, 0), (y, 0), (y, x), (0, x)]
    # Turned clockwise, what was at the top left is then at the top right.
    corners = np.roll(corners, -turn_deg // 90, axis=0)
    clockwise = cv2.getPerspectiveTransform(
        np.float32([(0, 0), (x, 0), (x, y), (0, y)]), np.float32(corners)
    )
    found = load_aligner("rootsift")(PHOTOS[0], turned)
    assert found.size2 == turned.shape[1::-1]
    assert corner_error_rms(found.homography, clockwise @ TRUTH, SIZE) < 0.2
    assert found.verdict.endswith(f" px; photograph 2 is turned clockwise by {turn_deg} degrees")
    assert found.to_dict()["turn_deg"] == turn_deg


def test_turning_is_tried_only_where_it_is_needed(aligner: Aligner) -> None:
    views = [aligner.describe(photo) for photo in (PHOTOS[0], render(PHOTOS[0], TRUTH), PHOTOS[2])]
    asked: list[int] = []

    def align(second: int) -> Alignment:
        view = views[second]
        recorded = replace(view, descriptors=lambda deg: asked.append(deg) or view.descriptors(deg))
        return aligner.align(views[0], recorded)

    assert (align(1).status, asked) == ("aligned", [0])
    failed = align(2)
    assert asked == [0, 0, 90, 180, 270]
    assert (failed.status, failed.turn_deg) == ("failed", 0)


def test_the_stored_bound_is_of_these_steps_and_weights() -> None:
    aligner = load_aligner("rootsift")
    found = aligner(PHOTOS[0], render(PHOTOS[0], TRUTH))
    assert corner_error_rms(found.homography, TRUTH, SIZE) <= found.bound_90_px < 3
    assert found.verdict == f"aligned to within {max(found.bound_90_px, 0.1):.2g} px"
    assert "validation pairs" in found.calibration
    for other in ({"matcher": RatioMatcher(0.9)}, {"estimator": Estimator("ransac")}):
        assert load_aligner("rootsift", **other).bound is None
    assert load_aligner("sift").bound is None


def test_the_bound_of_the_descriptor_in_the_package_is_of_its_weights(aligner: Aligner) -> None:
    """Other weights need another measurement: python -m benchmarks.alignment."""
    assert aligner.bound is not None
    assert aligner.bound.pairs >= ENOUGH_PAIRS
    changed = replace(aligner.descriptor.origin, file=Path(__file__))
    assert _stored_bound("homoreg", SimpleNamespace(origin=changed), aligner.steps) is None


def test_json_holds_what_the_errors_were_computed_from(aligned: Alignment) -> None:
    stored = json.loads(json.dumps(aligned.to_dict(), allow_nan=False))
    assert list(stored)[:2] == ["status", "verdict"]
    points1, points2 = np.array(stored["points1"]), np.array(stored["points2"])
    assert stored["inliers"] == len(points1) == len(points2) <= stored["agreeing"]
    numbers = conditioning(points1, points2, stored["homography"], stored["size1"])
    np.testing.assert_allclose(numbers.corner_covariances, stored["corner_covariances_px2"])
    assert numbers.predicted_corner_error_px == pytest.approx(stored["predicted_corner_error_px"])
    assert np.shape(stored["covariance"]) == (9, 9)
    assert stored["matcher"] == "RatioMatcher(ratio=0.8, mutual=True)"


def test_large_photographs_are_reduced_and_the_result_is_for_the_full_ones(
    aligner: Aligner, aligned: Alignment
) -> None:
    large1 = cv2.resize(PHOTOS[0], (960, 720), interpolation=cv2.INTER_NEAREST)
    large2 = cv2.resize(render(PHOTOS[0], TRUTH), (480, 360), interpolation=cv2.INTER_NEAREST)
    found = replace(aligner, max_side_px=240)(large1, large2)
    assert (found.size1, found.size2) == ((960, 720), (480, 360))
    assert (found.working_size1, found.working_size2) == (SIZE, SIZE)
    # Reduced by areas, the photographs are those of `aligned` again.
    expected = resized_homography(aligned.homography, SIZE, (960, 720), SIZE, (480, 360))
    assert corner_error_rms(found.homography, expected, (960, 720)) < 1e-6
    assert found.predicted_corner_error_px == pytest.approx(
        2 * aligned.predicted_corner_error_px, rel=0.02
    )
    full = conditioning(found.points1, found.points2, found.homography, found.size1)
    assert found.predicted_corner_error_px == pytest.approx(
        full.predicted_corner_error_px, rel=0.02
    )
    with pytest.raises(HomoregError, match=r"^max_side_px=10: give 64"):
        load_aligner("sift", max_side_px=10)


def test_files_of_any_kind_are_aligned(tmp_path: Path) -> None:
    gray = PHOTOS[1].mean(2).astype(np.uint8)
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "gray_16_bit.png")
    seen = np.dstack([render(PHOTOS[1], TRUTH), np.full(SIZE[::-1], 255, np.uint8)])
    Image.fromarray(seen).save(tmp_path / "alpha.png")
    turned = Image.fromarray(PHOTOS[1]).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90° clockwise
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    for first in ("gray_16_bit.png", "turned.jpg"):
        found = align_images(tmp_path / first, str(tmp_path / "alpha.png"), "sift")
        assert found.status == "aligned"
        assert found.size1 == SIZE
        assert corner_error_rms(found.homography, TRUTH, SIZE) < 1.5


def test_arrays_of_any_kind_are_the_same_photograph() -> None:
    photo = PHOTOS[2]
    gray = photo[..., 0]
    opaque = np.dstack([photo, np.full(SIZE[::-1], 255, np.uint8)])
    for same in (photo, photo.astype(np.uint16) << 8, opaque):
        np.testing.assert_array_equal(as_rgb(same, "image1"), photo)
    for same in (gray, gray[..., None], gray.astype(np.uint16) * 257):
        np.testing.assert_array_equal(as_rgb(same, "image1"), np.dstack([gray] * 3))
    clear = as_rgb(np.zeros((2, 2, 4), np.uint8), "image1")
    assert (clear == 255).all()
    for wrong in (photo / 255, photo[..., :2], np.empty((0, 3, 3), np.uint8), np.uint8(3)):
        with pytest.raises(HomoregError, match=r"^image2 is \(.*; give \(H, W\) gray"):
            as_rgb(np.asarray(wrong), "image2")


def test_photographs_that_share_nothing_fail(aligner: Aligner) -> None:
    views = [aligner.describe(photo) for photo in PHOTOS[:4]]
    for first, second in ((0, 2), (1, 3), (2, 1), (3, 0)):
        found = aligner.align(views[first], views[second])
        assert found.status == "failed"
        assert found.homography is None
        stored = found.to_dict()
        assert stored["homography"] is stored["bound_90_px"] is stored["covariance"] is None
        assert "matches" in found.verdict


@pytest.mark.parametrize(
    ("image1", "image2", "reason"),
    [
        (np.zeros((40, 60), np.uint8), PHOTOS[0], "photograph 1 has no keypoints"),
        (PHOTOS[0], np.zeros((1, 1, 3), np.uint8), "photograph 2 has no keypoints"),
        (PHOTOS[0], PHOTOS[1][:30, :30], "there are only "),
    ],
)
def test_photographs_without_content_fail(
    image1: np.ndarray, image2: np.ndarray, reason: str
) -> None:
    found = align_images(image1, image2, "sift")
    assert found.verdict.startswith(f"failed, because {reason}")
    assert math.isnan(found.predicted_corner_error_px)


def test_two_planes_are_parallax() -> None:
    near = np.array([[1.0, 0, 30], [0, 1, 4], [0, 0, 1]])
    seen = render(PHOTOS[3], np.eye(3) + np.outer([4, 0, 0], [0, 0, 1]))
    seen[:, 150:] = render(PHOTOS[3], near)[:, 150:]
    found = align_images(PHOTOS[3], seen, "sift")
    assert found.status == "aligned"
    (warning,) = found.warnings
    assert warning.startswith("parallax: ")
    assert align_images(PHOTOS[3], render(PHOTOS[3], near), "sift").warnings == ()


def random_matches(count: int, right: int, homography: np.ndarray) -> PointMatches:
    """``count`` matches of which the first ``right`` follow a homography, 0.3 px off."""
    rng = np.random.default_rng(count)
    points1, points2 = rng.uniform(0, [640, 480], (2, count, 2))
    points2[:right] = transform_points(points1[:right], homography)
    points2[:right] += rng.normal(scale=0.3, size=(right, 2))
    return PointMatches(points1, points2, np.full(count, 0.5))


@pytest.mark.parametrize(
    ("count", "right", "reason"),
    [
        (3, 3, "there are only 3 matches"),
        (40, 0, "of 40 matches agree, as in photographs without overlap"),
        (200, 15, "only 15 of 200 matches agree"),
        (40, 20, ""),
    ],
)
def test_matches_must_agree_more_than_by_chance(count: int, right: int, reason: str) -> None:
    matches = random_matches(count, right, TRUTH)
    used = slice(0, right) if right else slice(None)
    estimate = Estimator("dlt")(matches.points1[used], matches.points2[used])
    agree = int(agreeing(matches, estimate.homography).sum())
    found = failure(matches, estimate, agree, (640, 480))
    assert reason in found
    assert bool(found) == bool(reason)


def test_matches_on_a_line_or_a_homography_that_folds_fail() -> None:
    line = np.column_stack([np.arange(20.0), np.arange(20.0)])
    matches = PointMatches(line, line, np.zeros(20))
    estimate = Estimator("magsac")(line, line)
    assert failure(matches, estimate, 0, (640, 480)) == (
        "the 20 matches do not determine a homography"
    )
    fold = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 320, 0, 1]])
    matches = random_matches(20, 20, fold)
    estimate = Estimator("dlt")(matches.points1, transform_points(matches.points1, fold))
    assert "through infinity" in failure(matches, estimate, 20, (640, 480))


def test_few_matches_or_a_large_error_are_doubts() -> None:
    assert doubt(9, 1.0, 500.0) == "only 9 matches agree"
    assert doubt(50, 12.0, 500.0) == "the corners are known only to within 12 px"
    assert "how accurate" in doubt(50, math.nan, 500.0)
    assert doubt(50, 4.0, 500.0) == ""


def test_a_second_plane_needs_matches_of_its_own() -> None:
    shift = np.array([[1.0, 0, 40], [0, 1, 0], [0, 0, 1]])
    one, other = random_matches(60, 50, np.eye(3)), random_matches(30, 30, shift)
    both = PointMatches(
        np.vstack([one.points1, other.points1]),
        np.vstack([one.points2, other.points2]),
        np.zeros(90),
    )
    magsac = Estimator("magsac")
    assert second_plane(both, np.eye(3), magsac) >= 30
    assert second_plane(one, np.eye(3), magsac) == 0


def test_a_run_aligns_with_its_own_steps_and_calibration(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    aligner = load_aligner(run)
    assert repr(aligner.steps.matcher) == "RatioMatcher(ratio=0.9, mutual=False)"
    assert aligner.steps.estimator == Estimator("ransac", refit_px=1.0)
    assert aligner.factor == 2.5
    assert aligner.name == str(run)
    assert load_aligner(run, checkpoint="best").bound is None
    other = load_aligner(run, estimator=Estimator("ransac"))
    assert other.bound is None
    blank = np.zeros((50, 50), np.uint8)
    assert other(blank, blank).calibration == NOT_CALIBRATED
    (run / "evaluation" / "calibration.json").write_text('{"entries": [{}]}')
    with pytest.raises(HomoregError, match="calibration.json is damaged"):
        load_aligner(run)
    (run / "evaluation" / "calibration.json").unlink()
    assert load_aligner(run).bound is None


def write_run(folder: Path) -> Path:
    """A run folder as training leaves it, with untrained weights."""
    model = {"_target_": "homoreg.descriptors.cnn.CnnDescriptor", "channels": [8, 16]}
    model["kernel_sizes"] = [3, 3]
    patch = {"support": 32, "size": 16}
    ransac = {"_target_": "homoreg.geometry.Estimator", "method": "ransac", "refit_px": 1.0}
    config = {
        "model": model,
        "patch": patch,
        "network": "cnn",
        "regularizer": {"name": "l2"},
        "seed": 0,
        "detector": {"_target_": "homoreg.matching.ShiTomasi"},
        "matcher": {"_target_": "homoreg.matching.RatioMatcher", "ratio": 0.9},
        "estimators": {
            "dlt": {"_target_": "homoreg.geometry.Estimator", "max_ratio": "auto"},
            "ransac": ransac,
        },
        "evaluation": {"checkpoint": "last", "patch": patch},
    }
    network = build_network(model, seed=0)
    stored = {"state_dict": {f"network.{k}": v for k, v in network.state_dict().items()}}
    for which in ("last", "best"):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        torch.save(stored | {"homoreg": {}}, folder / "checkpoints" / f"{which}.ckpt")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    key = "cnn l2 0", "ransac"
    Calibration({}, {key: Bound(2.5, 80, 20)}).write(folder / "evaluation", None, None, {})
    return folder
