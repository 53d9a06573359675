"""The sequences of HPatches, Oxford and OpenCV, in made trees of small real photographs."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as photographs
from tests.baselines import RootSift

from homoreg.errors import HomoregError
from homoreg.evaluation import HPatchesBenchmark, evaluate_benchmark, summarize
from homoreg.evaluation.hpatches import find_pairs, read_homography
from homoreg.geometry import transform_points

PHOTO = cv2.resize(photographs.astronaut(), (320, 240), interpolation=cv2.INTER_AREA)
TRUTHS = {
    2: np.array([[0.97, -0.05, 12.0], [0.04, 1.02, -7.0], [3e-5, -2e-5, 1.0]]),
    3: np.array([[1.03, 0.03, -9.0], [-0.05, 0.98, 8.0], [-4e-5, 1e-5, 1.0]]),
}
XML = """<?xml version="1.0"?>
<opencv_storage>
<H12 type_id="opencv-matrix">
  <rows>3</rows> <cols>3</cols> <dt>d</dt>
  <data> {} </data></H12>
</opencv_storage>
"""


def write_sequence(
    folder: Path, image: str = "{}.ppm", text: str = "H_1_{}", shape: str = "{}"
) -> None:
    folder.mkdir(parents=True)
    views = {1: PHOTO}
    for n, truth in TRUTHS.items():
        views[n] = cv2.warpPerspective(PHOTO, truth, (320, 240), borderMode=cv2.BORDER_REFLECT)
        numbers = "\n".join(" ".join(map(repr, row)) for row in truth.tolist())
        (folder / text.format(n)).write_text(shape.format(numbers))
    for n, view in views.items():
        cv2.imwrite(str(folder / image.format(n)), view[..., ::-1])


@pytest.mark.parametrize(
    ("image", "text", "shape"),
    [
        ("{}.ppm", "H_1_{}", "{}"),
        ("{}.png", "H_1_{}", "{}\n"),
        ("img{}.ppm", "H1to{}p", "{}"),
        ("graf{}.png", "H1to{}p.xml", XML),
        ("graf0{}.png", "H1to{}p.txt", "{}"),
    ],
)
def test_every_layout_gives_the_same_pairs(
    tmp_path: Path, image: str, text: str, shape: str
) -> None:
    write_sequence(tmp_path / "set" / "v_graf", image, text, shape)
    for root, name in ((tmp_path / "set", "v_graf"), (tmp_path / "set" / "v_graf", "v_graf")):
        benchmark = HPatchesBenchmark(root)
        assert [pair.id for pair in benchmark] == [f"{name}/1_2", f"{name}/1_3"]
        pair = benchmark.pair(f"{name}/1_3")
        assert (pair.homography == TRUTHS[3]).all()
        assert (pair.image1 == PHOTO).all()
        assert pair.size2 == (320, 240)


def test_light_and_viewpoint_are_summarized_apart(tmp_path: Path) -> None:
    for name in ("i_day", "v_wall", "v_graf"):
        write_sequence(tmp_path / name)
    benchmark = HPatchesBenchmark(tmp_path)
    assert len(benchmark) == 6
    table = evaluate_benchmark(RootSift(support=32), benchmark)
    assert table["pair_id"].tolist()[::2] == ["i_day/1_2", "v_graf/1_2", "v_wall/1_2"]
    (entry,) = summarize(table)
    assert entry["pairs"] == 6
    assert {name: part["pairs"] for name, part in entry["groups"].items()} == {"i": 2, "v": 4}
    assert table["photo"].tolist()[::2] == ["i_day", "v_graf", "v_wall"]
    light = table[table["group"] == "i"]
    assert entry["groups"]["i"]["median"]["kappa"] == light["kappa"].median()


def test_a_resized_pair_keeps_its_truth(tmp_path: Path) -> None:
    """Blobs painted at points that match by H are found where the resized H says."""
    centers = np.array([[200.0, 180.0], [1100.0, 300.0], [400.0, 760.0], [1000.0, 900.0]])
    truth = np.array([[1.05, 0.06, -40.0], [-0.04, 0.93, 55.0], [2e-5, -3e-5, 1.0]])
    folder = tmp_path / "v_blobs"
    folder.mkdir()
    # Sizes whose shrinking does not come out even, and differs between the views and axes.
    for name, size, points in (
        ("1.png", (1283, 1021), centers),
        ("2.png", (1391, 1117), transform_points(centers, truth)),
    ):
        cv2.imwrite(str(folder / name), blobs(points, size))
    np.savetxt(folder / "H_1_2", truth)
    pair = HPatchesBenchmark(tmp_path).pair("v_blobs/1_2")
    assert (min(pair.size1), min(pair.size2)) == (480, 480)
    found1, found2 = peaks(pair.image1), peaks(pair.image2)
    assert transform_points(found1, pair.homography) == pytest.approx(found2, abs=0.02)
    # The same without the half pixels, and with one scale for both views, is clearly off.
    plain = np.diag([480 / 1117, 480 / 1117, 1]) @ truth @ np.diag([1021 / 480, 1021 / 480, 1])
    assert np.abs(transform_points(found1, plain) - found2).max() > 0.1


def blobs(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Gaussian spots with their centers at exact subpixel places."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    spots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 12**2)) for px, py in points]
    return np.round(255 * np.sum(spots, axis=0)).astype(np.uint8)


def peaks(image: np.ndarray) -> np.ndarray:
    """Centers of gravity ``(4, 2)`` of the spots, from the top."""
    gray = image[..., 0].astype(np.float64)
    _, labels = cv2.connectedComponents((gray > 2).astype(np.uint8))
    x, y = np.meshgrid(np.arange(gray.shape[1]), np.arange(gray.shape[0]))
    weights = [gray * (labels == k) for k in range(1, 5)]
    return np.array([[(w * x).sum() / w.sum(), (w * y).sum() / w.sum()] for w in weights])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not a 3×3 matrix"),
        ("1 0 0 0 1 0 0", "not a 3×3 matrix"),
        ("a b c\n0 1 0\n0 0 1", "not a 3×3 matrix"),
        ("1 0 0\n0 1 0\n0 0 nan", "finite"),
        ("1 2 3\n2 4 6\n0 0 1", "invertible"),
    ],
)
def test_a_malformed_matrix_is_named(tmp_path: Path, content: str, reason: str) -> None:
    for name, text in (("H_1_2", content), ("H1to2p.xml", XML.format(content))):
        (tmp_path / name).write_text(text)
        with pytest.raises(HomoregError, match=f"{name}: .*{reason}"):
            read_homography(tmp_path / name)


def test_an_xml_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "H1to2p.xml").write_text("<opencv_storage>")
    with pytest.raises(HomoregError, match="H1to2p.xml: not a 3×3 matrix"):
        read_homography(tmp_path / "H1to2p.xml")


def test_what_is_missing_or_unclear_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "v_graf"
    write_sequence(folder)
    (folder / "H_1_3").rename(folder / "kept")
    with pytest.raises(HomoregError, match="3.ppm has no homography: H_1_3 is missing"):
        HPatchesBenchmark(tmp_path)
    (folder / "kept").rename(folder / "H_1_3")
    (folder / "3.ppm").rename(folder / "kept")
    with pytest.raises(HomoregError, match="v_graf: there is no image 3"):
        HPatchesBenchmark(tmp_path)
    (folder / "kept").rename(folder / "3.ppm")
    (folder / "3.png").write_bytes(b"")
    with pytest.raises(HomoregError, match="v_graf: 3.png or 3.ppm?"):
        HPatchesBenchmark(tmp_path)
    (folder / "3.png").unlink()
    for n in (1, 2, 3):
        (folder / f"left0{n}.png").write_bytes(b"")
    with pytest.raises(HomoregError, match="Leave one series"):
        HPatchesBenchmark(tmp_path)


def test_a_sequence_without_homographies_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_sequence(tmp_path / "v_whole")
    write_sequence(tmp_path / "v_lost")
    for file in (tmp_path / "v_lost").glob("H*"):
        file.unlink()
    assert {pair.sequence for pair in find_pairs(tmp_path)} == {"v_whole"}
    assert "left out 1 folders with numbered images and no homography" in caplog.text


def test_other_images_in_the_folder_do_no_harm(tmp_path: Path) -> None:
    write_sequence(tmp_path / "v_graf")
    (tmp_path / "v_graf" / "box.png").write_bytes(b"")
    (tmp_path / "v_graf" / "left01.png").write_bytes(b"")
    assert len(HPatchesBenchmark(tmp_path)) == 2


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    write_sequence(tmp_path / "v_graf")
    (tmp_path / "v_graf" / "2.ppm").write_bytes(b"P6 nothing")
    benchmark = HPatchesBenchmark(tmp_path)
    with pytest.raises(HomoregError, match="2.ppm"):
        benchmark.pair("v_graf/1_2")
    assert benchmark.pair("v_graf/1_3").size1 == (320, 240)


def test_impossible_options_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(HomoregError, match="benchmark.root is not set"):
        HPatchesBenchmark(None)
    with pytest.raises(HomoregError, match="there is no such folder"):
        HPatchesBenchmark(tmp_path / "nowhere")
    with pytest.raises(HomoregError, match="no sequence there"):
        HPatchesBenchmark(tmp_path)
    with pytest.raises(HomoregError, match="benchmark.short_side=0"):
        HPatchesBenchmark(tmp_path, short_side=0)
    with pytest.raises(HomoregError, match="benchmark.limit=0"):
        HPatchesBenchmark(tmp_path, limit=0)
    write_sequence(tmp_path / "v_graf")
    assert len(HPatchesBenchmark(tmp_path, limit=1)) == 1
    with pytest.raises(HomoregError, match="pair=v_graf/1_9: .* from v_graf/1_2 to v_graf/1_3"):
        HPatchesBenchmark(tmp_path).pair("v_graf/1_9")
