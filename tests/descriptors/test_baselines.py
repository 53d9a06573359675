"""Baselines on a real photograph, each against the library it comes from, called directly."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from kornia import feature

from homoreg.data.patches import cut_patches
from homoreg.descriptors.baselines import BASELINES, OpenCvDescriptor, baseline_descriptor
from homoreg.descriptors.descriptor import Descriptor
from homoreg.errors import HomoregError
from homoreg.matching import ShiTomasi, match_descriptors

ALWAYS = ["raw_patches", "sift", "rootsift", "orb"]
CONTRIB = {
    "vgg": "VGG_create",
    "beblid": "BEBLID_create",
    "daisy": "DAISY_create",
    "akaze": "AKAZE_create",
}
NETWORKS = {
    "tfeat": feature.TFeat,
    "hardnet": feature.HardNet,
    "sosnet": feature.SOSNet,
    "hynet": feature.HyNet,
}
# The descriptor in the package has windows of its own: tests/descriptors/test_exported.py.
OTHERS = [name for name in BASELINES if name != "homoreg"]
DIMENSIONS = {
    "raw_patches": 3072,
    "orb": 256,
    "vgg": 120,
    "beblid": 512,
    "daisy": 200,
    "akaze": 486,
}


def has_contrib(name: str) -> bool:
    xfeatures2d = getattr(cv2, "xfeatures2d", None)
    return hasattr(cv2, CONTRIB[name]) or hasattr(xfeatures2d, CONTRIB[name])


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def keypoints(photo: np.ndarray) -> np.ndarray:
    return ShiTomasi(max_keypoints=150)(photo)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random weights of each network; HardNet's wrapped as its authors publish them."""
    folder = tmp_path_factory.mktemp("weights")
    files = {}
    for name, network in NETWORKS.items():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            state = network(pretrained=False).state_dict()
        files[name] = folder / f"{name}.pt"
        torch.save({"state_dict": state, "epoch": 9} if name == "hardnet" else state, files[name])
    return files


def build(name: str, weights: dict[str, Path], **options: Any) -> Descriptor:
    if name in CONTRIB and not has_contrib(name):
        pytest.skip("needs opencv-contrib-python")
    if name in NETWORKS:
        options.update(weights=weights[name], device="cpu")
    return baseline_descriptor(name, **options)


@pytest.mark.parametrize("name", OTHERS)
def test_a_row_a_keypoint_and_the_same_each_time(
    name: str, photo: np.ndarray, keypoints: np.ndarray, weights: dict[str, Path]
) -> None:
    baseline = build(name, weights)
    assert isinstance(baseline, Descriptor)
    assert baseline.name == name
    described = baseline.describe(photo, keypoints)
    assert described.shape == (150, DIMENSIONS.get(name, 128))
    assert described.dtype == np.float32
    assert np.isfinite(described).all()
    if baseline.metric == "hamming":
        assert set(np.unique(described)) == {0, 1}
    np.testing.assert_array_equal(build(name, weights).describe(photo, keypoints), described)
    # A keypoint's descriptor does not depend on its neighbors in the list.
    some = [77, 3, 140]
    np.testing.assert_allclose(
        baseline.describe(photo, keypoints[some]), described[some], atol=1e-5
    )


@pytest.mark.parametrize("name", OTHERS)
def test_keypoints_that_cannot_be_described_are_rows_of_nan(
    name: str, photo: np.ndarray, keypoints: np.ndarray, weights: dict[str, Path]
) -> None:
    baseline = build(name, weights)
    mixed = keypoints[:6].copy()
    mixed[1], mixed[4] = (np.nan, 5.0), (7.0, np.inf)
    described = baseline.describe(photo, mixed)
    assert np.isnan(described).all(1).tolist() == [False, True, False, False, True, False]
    good = [0, 2, 3, 5]
    np.testing.assert_allclose(described[good], baseline.describe(photo, mixed[good]), atol=1e-5)
    assert len(baseline.describe(photo, np.empty((0, 2)))) == 0


@pytest.mark.parametrize("name", [*ALWAYS, *CONTRIB])
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (5, 4), (40, 30), (64, 64)])
def test_small_images_can_be_described_up_to_their_corners(
    name: str, size: tuple[int, int], weights: dict[str, Path]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    height, width = size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], float)
    described = build(name, weights).describe(image, corners)
    assert len(described) == 4
    assert (np.isfinite(described).all(1) | np.isnan(described).all(1)).all()


@pytest.mark.parametrize("name", ["raw_patches", "sift", "rootsift", "daisy"])
def test_nothing_can_be_said_of_one_color(name: str, weights: dict[str, Path]) -> None:
    image = np.full((100, 120, 3), (90, 140, 33), np.uint8)
    assert np.isnan(build(name, weights).describe(image, np.array([[50.0, 50.0], [3, 99]]))).all()


@pytest.mark.parametrize("name", OTHERS)
def test_a_shifted_copy_matches_at_the_shift(
    name: str, photo: np.ndarray, keypoints: np.ndarray, weights: dict[str, Path]
) -> None:
    shift = np.array([5, -3])
    moved = cv2.warpAffine(photo, np.float64([[1, 0, 5], [0, 1, -3]]), photo.shape[1::-1])
    inner = keypoints[((keypoints > 60) & (keypoints < 450)).all(1)]
    # Fresh corners of the copy in reverse order, so that neither order nor place gives it away.
    keypoints2 = ShiTomasi(max_keypoints=300)(moved)[::-1]
    baseline = build(name, weights)
    matches = match_descriptors(
        baseline.describe(photo, inner),
        baseline.describe(moved, keypoints2),
        ratio=0.8,
        metric=baseline.metric,
    )
    i, j = matches.indices.T
    assert len(matches) > 0.7 * len(inner)
    assert np.mean(np.all(keypoints2[j] - inner[i] == shift, axis=1)) > 0.8


def test_sift_takes_its_own_scale_and_orientation(photo: np.ndarray) -> None:
    gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    points, expected = cv2.SIFT.create(300, enable_precise_upscale=True).detectAndCompute(
        gray, None
    )
    frames = np.array([(*point.pt, point.size, point.angle) for point in points])
    oriented = baseline_descriptor("sift", window="oriented").describe(photo, frames)
    np.testing.assert_array_equal(oriented, expected)
    upright = baseline_descriptor("sift", window="scaled").describe(photo, frames)
    for point in points:
        point.angle = 0.0
    _, expected = cv2.SIFT.create(enable_precise_upscale=True).compute(gray, points)
    np.testing.assert_array_equal(upright, expected)


@pytest.mark.parametrize(("support", "octave", "layer"), [(16, -1, 2), (40, 0, 3), (64, 1, 2)])
def test_sift_is_opencv_sift(
    photo: np.ndarray, keypoints: np.ndarray, support: int, octave: int, layer: int
) -> None:
    # Lowe's scales: 1.6 · 2^(octave + layer / 3), of which a cell is three.
    assert 3 * 1.6 * 2 ** (octave + layer / 3) == pytest.approx(support / 4, rel=0.25)
    gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    packed = octave & 255 | layer << 8
    points = [cv2.KeyPoint(float(x), float(y), support / 6, 0, 0, packed) for x, y in keypoints]
    _, expected = cv2.SIFT.create(enable_precise_upscale=True).compute(gray, points)
    sift = baseline_descriptor("sift", support=support).describe(photo, keypoints)
    np.testing.assert_array_equal(sift, expected)
    root = baseline_descriptor("rootsift", support=support).describe(photo, keypoints)
    np.testing.assert_allclose(
        root, np.sqrt(expected / np.abs(expected).sum(1)[:, None]), rtol=1e-6
    )
    np.testing.assert_allclose(np.linalg.norm(root, axis=1), 1, rtol=1e-6)


def test_sift_tells_a_turned_patch_from_an_upright_one(photo: np.ndarray) -> None:
    square = photo[:511, :511]
    center = np.array([[255.0, 255.0]])
    sift = baseline_descriptor("rootsift")
    upright, turned = (
        sift.describe(np.ascontiguousarray(i), center) for i in (square, np.rot90(square))
    )
    assert np.linalg.norm(upright - turned) > 0.5


def test_orb_is_opencv_orb_on_the_image_itself(photo: np.ndarray) -> None:
    gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    keypoints = ShiTomasi(max_keypoints=100)(photo)
    inner = keypoints[((keypoints >= 31) & (keypoints < 481)).all(1)]
    points = [cv2.KeyPoint(float(x), float(y), 31, 0) for x, y in inner]
    kept, expected = cv2.ORB.create().compute(gray, points)
    assert len(kept) == len(inner)
    # Whole pixels and no reduction: ORB's own level 0.
    described = OpenCvDescriptor("orb", "ORB_create", support=31).describe(photo, inner)
    np.testing.assert_array_equal(described, np.unpackbits(expected, axis=1, bitorder="little"))


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "rootsift"])
def test_a_descriptor_sees_its_window_and_not_beyond(
    name: str, photo: np.ndarray, weights: dict[str, Path]
) -> None:
    center = np.array([[250.0, 250.0]])
    baseline = build(name, weights, support=64)
    before = baseline.describe(photo, center)

    def changed_outside(radius: int) -> float:
        image = 255 - photo
        window = slice(250 - radius, 251 + radius)
        image[window, window] = photo[window, window]
        return float(
            np.linalg.norm(baseline.describe(image, center) - before) / np.linalg.norm(before)
        )

    # Pooling and blur reach beyond the window, at most by as much again (SIFT's soft bins, DAISY).
    assert changed_outside(16) > 0.03
    assert changed_outside(96) == pytest.approx(0, abs=1e-6)


def test_raw_patches_compare_by_normalized_correlation(
    photo: np.ndarray, keypoints: np.ndarray
) -> None:
    f, g = baseline_descriptor("raw_patches", support=40, size=20).describe(photo, keypoints[:2])
    patches = cut_patches(photo, keypoints[:2], support=40, size=20)
    correlation = cv2.matchTemplate(*patches, cv2.TM_CCOEFF_NORMED).item()
    assert np.sum((f - g) ** 2) == pytest.approx(2 - 2 * correlation, rel=1e-4)
    brighter = np.clip(photo // 2 + 30, 0, 255).astype(np.uint8)
    np.testing.assert_allclose(
        baseline_descriptor("raw_patches", support=40, size=20).describe(brighter, keypoints[:1])[
            0
        ],
        f,
        atol=0.005,
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_agree_with_kornia(
    name: str, photo: np.ndarray, keypoints: np.ndarray, weights: dict[str, Path]
) -> None:
    network = NETWORKS[name](pretrained=False).eval()
    state = torch.load(weights[name], weights_only=True)
    network.load_state_dict(state.get("state_dict", state))
    patches = cut_patches(photo, keypoints, support=64, size=32)
    gray = np.stack(
        [cv2.cvtColor(patch / np.float32(255), cv2.COLOR_RGB2GRAY) for patch in patches]
    )
    with torch.inference_mode():
        expected = network(torch.from_numpy(gray)[:, None]).numpy()
    described = build(name, weights).describe(photo, keypoints)
    np.testing.assert_allclose(described, expected, atol=1e-4)


@pytest.mark.parametrize("name", CONTRIB)
def test_a_missing_library_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, CONTRIB[name], raising=False)
    monkeypatch.delattr(cv2, "xfeatures2d", raising=False)
    with pytest.raises(HomoregError, match="install opencv-contrib-python") as caught:
        baseline_descriptor(name)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_given_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(HomoregError, match=r"descriptors\.tfeat\.weights is not set"):
        baseline_descriptor("tfeat")
    with pytest.raises(HomoregError, match=r"nowhere\.pt: there is no such file"):
        baseline_descriptor("tfeat", weights=tmp_path / "nowhere.pt")


class NotData:
    """Stands for code in a pickle: loading it would run whatever it names."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must never run",)


@pytest.mark.parametrize("content", ["text", "empty", "code", "tensor", "another network"])
def test_weights_that_cannot_be_used_are_one_line(
    content: str, tmp_path: Path, weights: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "weights.pt"
    if content in ("text", "empty"):
        file.write_text("not weights\n" if content == "text" else "")
    elif content == "another network":
        file = weights["hardnet"]
    else:
        torch.save(NotData() if content == "code" else torch.zeros(3), file)
    with pytest.raises(HomoregError, match=file.name) as caught:
        baseline_descriptor("tfeat", weights=file)
    assert "\n" not in str(caught.value)
    assert "this must never run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in OTHERS if name not in CONTRIB])
def test_an_impossible_window_is_named(name: str) -> None:
    with pytest.raises(HomoregError, match=rf"descriptors\.{name}\.support=3:"):
        baseline_descriptor(name, support=3)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(HomoregError, match=r"'superpoint'.*orb, .*rootsift, sift"):
        baseline_descriptor("superpoint")
