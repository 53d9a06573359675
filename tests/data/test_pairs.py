"""Prepare: what it writes, that it can be interrupted and repeated, and what it refuses."""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from PIL import Image
from scipy.ndimage import map_coordinates
from skimage.data import astronaut, chelsea, coffee
from tests.commands import run

from homoreg.cli import compose
from homoreg.data.images import read_image
from homoreg.data.manifest import PairManifest
from homoreg.data.pairs import prepare_pairs
from homoreg.data.sheets import write_pair_sheet
from homoreg.data.sources import FolderSource, select_photos
from homoreg.data.warp import Warp
from homoreg.errors import HomoregError
from homoreg.files import TEMPORARY

SEED = 42
SMALL = Warp(repeats=2)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)


@pytest.fixture(scope="module", autouse=True)
def no_sheets() -> Iterator[None]:
    """The sheet takes most of the time and has a test of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("homoreg.data.pairs.write_pair_sheet", lambda path, *_: path.touch())
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pieces of real photographs, 200×160, two of them PNG, in two folders."""
    root = tmp_path_factory.mktemp("photos")
    pieces = [
        image[y : y + 160, x : x + 200]
        for image in (astronaut(), coffee(), chelsea())
        for y in (0, 140)
        for x in (0, 200)
    ]
    for number, piece in enumerate(pieces):
        suffix = "png" if number < 2 else "jpg"
        save(root / ("one" if number % 2 else "two") / f"{number:02d}.{suffix}", piece)
    return root


@pytest.fixture(scope="module")
def fresh(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run writes; not to be touched."""
    root = tmp_path_factory.mktemp("fresh") / "data"
    prepare_pairs(FolderSource(str(photos)), SMALL, root, SEED)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_what_is_written(fresh: Path, photos: Path) -> None:
    names = [p.relative_to(photos).as_posix() for p in photos.rglob("*.*")]
    chosen = select_photos(names, SEED)
    assert (fresh / "train_list.txt").read_text().splitlines() == chosen.train
    assert (fresh / "eval_list.txt").read_text().splitlines() == chosen.eval
    assert json.loads((fresh / "skipped.json").read_text()) == []
    for side, photos_of_side in zip(("train", "eval"), chosen, strict=True):
        content = json.loads((fresh / f"pairs_{side}.json").read_text())
        assert (content["version"], content["seed"]) == (1, SEED)
        assert content["warp"]["scale"] == [0.8, 1.2]
        assert [p["id"] for p in content["pairs"]] == [
            f"{i + 1:06d}" for i in range(2 * len(photos_of_side))
        ]
        assert [p["photo"] for p in content["pairs"]] == [n for n in photos_of_side for _ in (0, 1)]
        for pair in PairManifest.load(fresh / f"pairs_{side}.json").require_homographies().pairs:
            for path, size in ((pair.img1, pair.size1), (pair.img2, pair.size2)):
                assert Image.open(path).size == size == (200, 160)


def test_a_jpeg_is_kept_byte_for_byte(fresh: Path, photos: Path) -> None:
    pairs = PairManifest.load(fresh / "pairs_train.json").pairs
    kept = [p.img1.read_bytes() == (photos / p.photo).read_bytes() for p in pairs]
    assert kept == [p.photo.endswith(".jpg") for p in pairs]


@pytest.mark.parametrize("max_side", [None, 120])
def test_view_2_is_view_1_under_the_stored_homography(
    photos: Path, tmp_path: Path, max_side: int | None
) -> None:
    warp = Warp(occlusion_probability=0, blur_probability=0)
    source = FolderSource(str(photos), max_side=max_side)
    prepare_pairs(source, warp, tmp_path / "data", SEED)
    for side in ("train", "eval"):
        for pair in PairManifest.load(tmp_path / "data" / f"pairs_{side}.json").pairs:
            view1, view2 = read_image(pair.img1), read_image(pair.img2)
            height, width = view1.shape[:2]
            assert max(width, height) == (max_side or 200)
            assert pair.homography is not None
            # Where each pixel of view 1 shows up in view 2, read there by SciPy.
            y, x = np.mgrid[:height, :width]
            x2, y2, w = np.tensordot(pair.homography, np.stack([x, y, np.ones_like(x)]), 1)
            x2, y2 = x2 / w, y2 / w
            seen = (x2 >= 0) & (x2 <= width - 1) & (y2 >= 0) & (y2 <= height - 1)
            back = map_coordinates(view2[:, :, 1].astype(float), [y2, x2], order=1)
            assert seen.mean() > 0.29
            assert np.median(np.abs(back - view1[:, :, 1])[seen]) <= 4


def test_run_twice_it_changes_nothing(photos: Path, fresh: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in fresh.rglob("*") if p.name != ".prepare.lock"}
    prepare_pairs(FolderSource(str(photos)), SMALL, fresh, SEED)
    prepare_pairs(FolderSource(str(photos)), SMALL, fresh, SEED, overwrite=True)
    after = {p: p.stat().st_mtime_ns for p in fresh.rglob("*") if p.name != ".prepare.lock"}
    assert after == before


def test_the_number_of_workers_changes_nothing(photos: Path, fresh: Path, tmp_path: Path) -> None:
    for workers in (1, 7):
        root = tmp_path / str(workers)
        prepare_pairs(FolderSource(str(photos)), SMALL, root, SEED, workers=workers)
        assert contents(root) == contents(fresh)


def test_a_photo_more_changes_no_other_pair(photos: Path, fresh: Path, tmp_path: Path) -> None:
    more = tmp_path / "photos"
    for gray, path in enumerate(photos.rglob("*.*")):
        save(more / path.relative_to(photos), np.full((160, 200, 3), gray, np.uint8))
    save(more / "one" / "another.jpg", np.full((160, 200, 3), 99, np.uint8))
    prepare_pairs(FolderSource(str(more)), SMALL, tmp_path / "data", SEED)

    def drawn(root: Path) -> dict[tuple[str, int], dict]:
        sides = (PairManifest.load(root / f"pairs_{s}.json").pairs for s in ("train", "eval"))
        return {(p.photo, p.parameters["repeat"]): p.parameters for ps in sides for p in ps}

    known, grown = drawn(fresh), drawn(tmp_path / "data")
    assert len(grown) == len(known) + 2
    assert all(grown[key] == known[key] for key in known)


def test_an_interrupted_run_goes_on(photos: Path, fresh: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    source = FolderSource(str(photos))
    reads = itertools.count()
    read = source.store.read

    def stopped(name: str) -> bytes:
        if next(reads) == 17:  # each photo is read once before pairs are made
            raise KeyboardInterrupt
        return read(name)

    source.store.read = stopped  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        prepare_pairs(source, SMALL, root, SEED, workers=1)
    done = {p.name: p.stat().st_mtime_ns for p in (root / "processed").rglob("*.jpg")}
    assert 0 < len(done) < len(list((fresh / "processed").rglob("*.jpg")))
    assert not list(root.glob("pairs_*.json"))
    (root / "processed" / "train" / f"{TEMPORARY}half.jpg").write_bytes(b"left by a kill")
    prepare_pairs(FolderSource(str(photos)), SMALL, root, SEED)
    assert contents(root) == contents(fresh)
    kept = [p for p in (root / "processed").rglob("*.jpg") if p.name in done]
    assert {p.name: p.stat().st_mtime_ns for p in kept if p.parent.name == "train"} == done


def test_what_was_lost_is_made_again(photos: Path, fresh: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    prepare_pairs(FolderSource(str(photos)), SMALL, root, SEED)
    for lost in ("processed/train/img_000004_warped.jpg", "processed/eval/img_000001.jpg"):
        (root / lost).unlink()
    (root / "processed/train/img_000001.jpg").write_bytes(b"")
    (root / "processed/train/img_000003_warped.jpg").write_bytes(b"damaged")
    prepare_pairs(FolderSource(str(photos)), SMALL, root, SEED)
    assert contents(root) == contents(fresh)


def test_photos_that_changed_under_their_names_are_seen(
    photos: Path, fresh: Path, tmp_path: Path
) -> None:
    copy, root = tmp_path / "photos", tmp_path / "data"
    shutil.copytree(photos, copy)
    prepare_pairs(FolderSource(str(copy)), SMALL, root, SEED)
    name = (root / "train_list.txt").read_text().split()[0]
    Image.new("RGB", (200, 150), "red").save(copy / name)
    with pytest.raises(HomoregError, match="from other photos of the same names"):
        prepare_pairs(FolderSource(str(copy)), SMALL, root, SEED)
    prepare_pairs(FolderSource(str(copy)), SMALL, root, SEED, overwrite=True)
    assert contents(root)["pairs_train.json"] != contents(fresh)["pairs_train.json"]


def test_a_copy_under_another_name_is_on_no_other_side(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copies, root = tmp_path / "photos", tmp_path / "data"
    copies.mkdir()
    names = [path for path in sorted(photos.rglob("*")) if path.suffix in (".jpg", ".png")][:4]
    for path in names:
        with Image.open(path) as image:
            image.convert("RGB").save(
                copies / f"{path.stem}.png"
            )  # the same pixels in another file
        shutil.copy(copies / f"{path.stem}.png", copies / f"{path.stem} (1).png")
    prepare_pairs(FolderSource(str(copies)), Warp(repeats=1), root, SEED)
    assert "4 photos are copies of another" in caplog.text
    sides = [PairManifest.load(root / f"pairs_{side}.json").pairs for side in ("train", "eval")]
    pixels = [pair.pixels for pairs in sides for pair in pairs]
    assert len(pixels) == len(set(pixels)) == 4
    listed = [tmp_path / "train.txt", tmp_path / "eval.txt"]
    for file, name in zip(
        listed, (f"{names[0].stem}.png", f"{names[0].stem} (1).png"), strict=True
    ):
        file.write_text(name)
    lists = {"train_list": str(listed[0]), "eval_list": str(listed[1])}
    caplog.clear()
    prepare_pairs(FolderSource(str(copies), **lists), SMALL, tmp_path / "listed", SEED)
    assert "1 photos are copies of another" in caplog.text
    assert "used, since a list names them" in caplog.text
    assert len(PairManifest.load(tmp_path / "listed" / "pairs_eval.json").pairs) == 2


def test_other_options_refuse_and_overwrite(photos: Path, fresh: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    source = FolderSource(str(photos))
    prepare_pairs(FolderSource(str(photos), max_side=100), SMALL, root, SEED)
    made = contents(root)
    smaller = FolderSource(str(photos), max_side=100)
    for other, warp, seed, line in (
        (smaller, Warp(repeats=2, shift=0.3), SEED, "warp.shift=0.15, not 0.3"),
        (smaller, SMALL, 43, "seed=42, not 43"),
        (source, SMALL, SEED, "source.max_side=100, not 640"),
        (FolderSource(str(photos / "one"), max_side=100), SMALL, SEED, "source.place="),
    ):
        with pytest.raises(HomoregError, match=line) as caught:
            prepare_pairs(other, warp, root, seed)
        assert "prepare.overwrite=true" in str(caught.value)
        assert contents(root) == made
    prepare_pairs(source, SMALL, root, SEED, overwrite=True)
    assert contents(root) == contents(fresh)


def test_other_photos_refuse(photos: Path, fresh: Path, tmp_path: Path) -> None:
    copy, root = tmp_path / "photos", tmp_path / "data"
    shutil.copytree(photos, copy)
    shutil.copytree(fresh, root)
    record = (root / "prepare.json").read_text().replace(str(photos), str(copy))
    (root / "prepare.json").write_text(record)
    save(copy / "new.jpg", chelsea())
    with pytest.raises(HomoregError, match="prepared from another list of photos"):
        prepare_pairs(FolderSource(str(copy)), SMALL, root, SEED)
    prepare_pairs(FolderSource(str(copy)), SMALL, root, SEED, overwrite=True)
    assert len(PairManifest.load(root / "pairs_train.json")) == 22


def test_pairs_of_unknown_origin_are_left_alone(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs_train.json").write_text("[]")
    with pytest.raises(HomoregError, match=r"holds pairs without prepare\.json"):
        prepare_pairs(FolderSource(str(photos)), SMALL, tmp_path, SEED)
    assert (tmp_path / "pairs_train.json").read_text() == "[]"


def test_bad_photos_are_skipped_and_listed(photos: Path, fresh: Path, tmp_path: Path) -> None:
    copy = tmp_path / "photos"
    chosen = (fresh / "train_list.txt").read_text().splitlines()
    bad = {chosen[0]: b"", chosen[3]: None, chosen[4]: b"no photo"}
    for path in photos.rglob("*.*"):
        name = path.relative_to(photos).as_posix()
        data = bad.get(name, path.read_bytes())
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(path.read_bytes()[:-3000] if data is None else data)
    root = tmp_path / "data"
    prepare_pairs(FolderSource(str(copy)), SMALL, root, SEED)

    skipped = json.loads((root / "skipped.json").read_text())
    assert [(s["side"], s["photo"], s["retry"]) for s in skipped] == [
        ("train", name, False) for name in bad
    ]
    assert [s["reason"].split(": ")[1].split(" (")[0] for s in skipped] == [
        "the file is empty",
        "damaged image",
        "not an image that can be read",
    ]
    # The others are what they would have been, under the same ids, and none has moved up.
    assert (root / "train_list.txt").read_text().splitlines() == chosen
    expected = json.loads((fresh / "pairs_train.json").read_text())["pairs"]
    made = json.loads((root / "pairs_train.json").read_text())["pairs"]
    assert made == [pair for pair in expected if pair["photo"] not in bad]
    # Skipping is a result as well: the next run has nothing to do.
    before = (root / "pairs_train.json").stat().st_mtime_ns
    prepare_pairs(FolderSource(str(copy)), SMALL, root, SEED)
    assert (root / "pairs_train.json").stat().st_mtime_ns == before


def test_nothing_but_bad_photos(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "photos" / f"{number}.png", np.full((20, 20, 3), number, np.uint8))
    with pytest.raises(HomoregError, match=r"none of the 5 photos for train .*20×20 pixels") as e:
        prepare_pairs(FolderSource(str(tmp_path / "photos")), SMALL, tmp_path / "data", SEED)
    assert "\n" not in str(e.value)
    assert len(json.loads((tmp_path / "data" / "skipped.json").read_text())) == 5


def test_a_side_may_be_empty(photos: Path, tmp_path: Path) -> None:
    prepare_pairs(FolderSource(str(photos), train=0), SMALL, tmp_path, SEED)
    assert len(PairManifest.load(tmp_path / "pairs_train.json")) == 0
    assert len(PairManifest.load(tmp_path / "pairs_eval.json")) == 24


def test_impossible_folders(photos: Path, tmp_path: Path) -> None:
    source = FolderSource(str(photos))
    (tmp_path / "file").touch()
    with pytest.raises(HomoregError, match=r"lies inside source\.root"):
        prepare_pairs(source, SMALL, photos / "data", SEED)
    with pytest.raises(HomoregError, match="file: File exists"):
        prepare_pairs(source, SMALL, tmp_path / "file", SEED)


def test_the_sheet_shows_the_pairs(fresh: Path, tmp_path: Path) -> None:
    manifest = PairManifest.load(fresh / "pairs_train.json")
    write_pair_sheet(tmp_path / "pairs.png", manifest, SEED)
    with Image.open(tmp_path / "pairs.png") as sheet:
        assert sheet.width > 1000
        pixels = np.asarray(sheet.convert("RGB"))
    # Photographs, and not a white page with axes.
    assert (pixels < 250).all(axis=2).mean() > 0.3


@pytest.mark.parametrize(
    ("warp", "repeats"), [(Warp(), 3), (Warp(repeats=2), 2)], ids=["source", "warp"]
)
def test_the_source_recommends_a_number_of_views(
    photos: Path, tmp_path: Path, warp: Warp, repeats: int
) -> None:
    prepare_pairs(FolderSource(str(photos), repeats=3), warp, tmp_path, SEED)
    assert len(PairManifest.load(tmp_path / "pairs_eval.json")) == 2 * repeats
    assert json.loads((tmp_path / "prepare.json").read_text())["warp"]["repeats"] == repeats


def test_the_default_config_is_the_default_of_the_class() -> None:
    warp = instantiate(compose("prepare", ["source=folder"]).warp)
    for option, value in vars(Warp()).items():
        assert getattr(warp, option) == value


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    for arguments, line in (
        (["source=folder", "source.root=none"], "there is no such folder"),
        (["warp.shift=wide"], "warp.shift=wide"),
    ):
        refused = run(tmp_path, "prepare", *arguments)
        assert refused.returncode == 2
        assert line in refused.stderr
        assert refused.stderr.strip().count("\n") == 0
