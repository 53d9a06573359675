"""A manifest is read as it was written, or refused in one line that says what is wrong."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from homoreg.data.manifest import PairManifest, write_manifest
from homoreg.errors import HomoregError

H = [[1.1, 0.02, -3.7], [-0.1, 0.9, 12.0], [1e-5, -2e-5, 1.0]]


def entry(number: int, homography: Any = H) -> dict[str, Any]:
    return {
        "id": f"{number:06d}",
        "photo": f"photo {number}.jpg",
        "img1": f"processed/train/img_{number:06d}.jpg",
        "img2": f"processed/train/img_{number:06d}_warped.jpg",
        "size1": [64, 48],
        "size2": [32, 24],
        "homography": homography,
        "parameters": {"rotation_deg": 3.5, "occlusion_box": None},
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the images of two pairs."""
    folder = tmp_path / "data" / "processed" / "train"
    folder.mkdir(parents=True)
    for number in (1, 2):
        Image.new("RGB", (64, 48)).save(folder / f"img_{number:06d}.jpg")
        Image.new("RGB", (32, 24)).save(folder / f"img_{number:06d}_warped.jpg")
    return tmp_path / "data"


def write(root: Path, content: Any) -> Path:
    path = root / "pairs_train.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def whole() -> dict[str, Any]:
    return {"version": 1, "seed": 42, "warp": {}, "pairs": [entry(1), entry(2)]}


def test_what_is_written_is_read(root: Path) -> None:
    path = root / "pairs_train.json"
    write_manifest(path, 7, {"shift": 0.15}, [entry(1), entry(2, None)])
    manifest = PairManifest.load(path)
    assert (manifest.seed, manifest.warp, len(manifest)) == (7, {"shift": 0.15}, 2)
    pair = manifest.pairs[0]
    assert (pair.id, pair.photo) == ("000001", "photo 1.jpg")
    assert pair.img1 == root / "processed/train/img_000001.jpg"
    assert pair.img1.is_file()
    assert pair.img2.is_file()
    assert (pair.size1, pair.size2) == ((64, 48), (32, 24))
    assert pair.homography is not None
    assert pair.homography.dtype == np.float64
    assert pair.homography.tolist() == H
    assert pair.parameters["rotation_deg"] == 3.5
    assert manifest.pairs[1].homography is None
    assert json.loads(path.read_text())["pairs"] == [entry(1), entry(2, None)]


def test_an_empty_manifest(root: Path) -> None:
    path = root / "pairs_eval.json"
    write_manifest(path, 7, {}, [])
    assert PairManifest.load(path).require_homographies().pairs == []


def test_the_hash_follows_the_content_and_not_the_place(root: Path) -> None:
    first = PairManifest.load(write(root, whole())).hash
    moved = root.rename(root.parent / "elsewhere")
    assert PairManifest.load(moved / "pairs_train.json").hash == first
    changed = whole()
    changed["pairs"][1]["homography"][0][2] += 1e-9
    assert PairManifest.load(write(moved, changed)).hash != first


def test_a_relative_path_of_the_manifest(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, whole())
    monkeypatch.chdir(root)
    assert PairManifest.load("pairs_train.json").pairs[0].img1.is_absolute()


def broken(path: str, value: Any) -> dict[str, Any]:
    """A manifest with one thing changed, or left out where the value is ``...``."""
    content = copy.deepcopy(whole())
    place: Any = content
    *keys, last = (int(k) if k.isdigit() else k for k in path.split("."))
    for key in keys:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "Invalid JSON"),
        ('{"version": 1, "pairs": [', "Invalid JSON"),
        ("null", "not a manifest of pairs"),
        ("7", "not a manifest of pairs"),
        (broken("version", 2), "at version: "),
        (broken("version", ...), "at version: Field required"),
        (broken("pairs", ...), "at pairs: Field required"),
        (broken("pairs", {}), "at pairs: "),
        (broken("pairs.1.img2", ...), r"at pairs\[1\]\.img2: Field required"),
        (broken("pairs.1.photo", ...), r"at pairs\[1\]\.photo: Field required"),
        (broken("pairs.0.id", 1), r"at pairs\[0\]\.id: Input should be a valid string"),
        (broken("pairs.0.size1", [0, 5]), r"at pairs\[0\]\.size1\[0\]: "),
        (broken("pairs.0.size1", [5]), r"at pairs\[0\]\.size1"),
        (broken("pairs.0.homography", [[1, 0], [0, 1]]), r"at pairs\[0\]\.homography"),
        (broken("pairs.0.homography.1.2", "3"), r"at pairs\[0\]\.homography\[1\]\[2\]: "),
        (broken("pairs.0.homography.1.2", float("nan")), r"\[1\]\[2\]: .*finite"),
        (broken("pairs.0.homography.1.2", float("inf")), r"\[1\]\[2\]: .*finite"),
        (broken("pairs.1.homography", np.zeros((3, 3)).tolist()), "pair 000002 is singular"),
        (broken("pairs.1.homography", np.ones((3, 3)).tolist()), "pair 000002 is singular"),
        (broken("pairs.1.id", "000001"), "two pairs have the id 000001"),
        (broken("pairs.1.img2", "processed/train/no.jpg"), "000002 names .*no.jpg, which is miss"),
        (broken("pairs.1.img2", "nowhere/no.jpg"), "000002 names .*, which is missing"),
        (broken("pairs.1.img1", "../outside.jpg"), "000002 names .*outside the manifest's folder"),
        (broken("pairs.1.img1", "processed/../../outside.jpg"), "outside the manifest's folder"),
        (broken("pairs.1.img1", ".."), "outside the manifest's folder|which is missing"),
        (broken("pairs.1.img1", "/etc/hostname"), "outside the manifest's folder"),
        (broken("pairs.1.img1", "/vmlinuz"), "outside the manifest's folder"),
        ([{"id": "1", "img1": "a.jpg"}], r"at \[0\]\.img2: Field required"),
        ([{"id": "1", "img1": "a.jpg", "img2": "b.jpg"}], "names a.jpg, which is missing"),
    ],
)
def test_a_bad_manifest_is_one_line(root: Path, content: Any, line: str) -> None:
    (root.parent / "outside.jpg").touch()
    path = write(root, content)
    with pytest.raises(HomoregError, match=line) as caught:
        PairManifest.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(HomoregError, match=r"none\.json is missing"):
        PairManifest.load(tmp_path / "none.json")


def test_a_pair_without_homography_is_refused_where_one_is_needed(root: Path) -> None:
    for content in (broken("pairs.1.homography", ...), broken("pairs.1.homography", None)):
        manifest = PairManifest.load(write(root, content))
        with pytest.raises(HomoregError, match="pair 000002 has no homography"):
            manifest.require_homographies()
    manifest = PairManifest.load(write(root, whole()))
    assert manifest.require_homographies() is manifest


@pytest.mark.parametrize("start", ["data/", "", "/project/somebody/study/data/", "./data/"])
def test_the_notebooks_bare_list(root: Path, start: str) -> None:
    """Its paths start at the folder it was run in, wherever that was."""
    entries = [
        {
            key: start + entry(n)[key] if key != "id" else f"{n:06d}"
            for key in ("id", "img1", "img2")
        }
        for n in (1, 2)
    ]
    manifest = PairManifest.load(write(root, entries))
    pair = manifest.pairs[1]
    assert pair.img2 == root / "processed/train/img_000002_warped.jpg"
    assert (pair.size1, pair.size2) == ((64, 48), (32, 24))
    assert pair.homography is None
    with pytest.raises(HomoregError, match="has no homography"):
        manifest.require_homographies()


def test_images_may_lie_behind_a_link(root: Path) -> None:
    """A big disk elsewhere, linked to from the folder."""
    disk = root.parent / "disk"
    (root / "processed").rename(disk)
    (root / "processed").symlink_to(disk)
    assert len(PairManifest.load(write(root, whole()))) == 2
