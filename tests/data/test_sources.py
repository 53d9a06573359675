"""The choice of photos: the study's procedure, scenes kept together, lists obeyed or refused."""

import random
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homoreg.data.images import PhotoError, decode_image
from homoreg.data.sources import CocoSource, FolderSource, SampleSource, Selection, select_photos
from homoreg.errors import HomoregError

NAMES = [f"{i:03d}.jpg" for i in range(60)]


def test_the_studys_procedure() -> None:
    """Its own lines, on a pool that stands for the folder's listing."""
    pool = [f"COCO_train2014_{i * 7:012d}.jpg" for i in range(5000)]
    all_files = sorted(pool)
    random.seed(42)
    random.shuffle(all_files)
    n = 1000
    train_files = all_files[:n]
    eval_files = all_files[n : int(n * 1.2)]
    mixed = random.Random(1).sample(pool, len(pool))
    assert select_photos(mixed, 42, train=1000, eval=200) == (train_files, eval_files)


def test_the_studys_photos() -> None:
    """COCO's training set has 82,783 photos. Of the study's choice the ends are known by name, and
    since the shuffle works on sorted names, places in the pool must be in the order of the names.
    """
    known = {  # place in the study's train_list.txt followed by its eval_list.txt: number of photo
        **dict(enumerate((29586, 356064, 372163, 400729, 333841))),
        **dict(enumerate((217429, 225126, 436410, 473256, 312286), start=1000)),
    }
    pool = [f"{i:06d}" for i in range(82783)]
    chosen = select_photos(pool, 42, train=1000, eval=200)
    places = [int((chosen.train + chosen.eval)[i]) for i in known]
    assert np.argsort(places).tolist() == np.argsort(list(known.values())).tolist()
    # Photo numbers are spread evenly enough over the places to be foretold within one percent.
    assert np.corrcoef(places, list(known.values()))[0, 1] > 0.9999


def test_the_default_split_is_5_to_1_of_all() -> None:
    train, held_out = select_photos(NAMES, 0)
    assert (len(train), len(held_out)) == (50, 10)
    assert sorted(train + held_out) == NAMES
    assert [len(side) for side in select_photos(["a", "b"], 0)] == [1, 1]


@pytest.mark.parametrize(
    ("train", "held_out", "sizes"),
    [
        (10, 5, (10, 5)),
        (10, None, (10, 50)),
        (None, 5, (55, 5)),
        (0, 60, (0, 60)),
        (60, 0, (60, 0)),
    ],
)
def test_counts(train: int | None, held_out: int | None, sizes: tuple[int, int]) -> None:
    selection = select_photos(NAMES, 3, train=train, eval=held_out)
    assert (len(selection.train), len(selection.eval)) == sizes
    assert not set(selection.train) & set(selection.eval)


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (NAMES, {"train": 50, "eval": 11}),
        (NAMES, {"train": 60}),
        (NAMES, {"eval": 60}),
        (["one"], {}),
        ([], {}),
    ],
)
def test_too_few_photos(names: list[str], counts: dict[str, int]) -> None:
    with pytest.raises(HomoregError, match=rf"source's {len(names)} photos"):
        select_photos(names, 0, **counts)


@given(
    scenes=st.lists(st.integers(0, 12), min_size=2, max_size=50),
    seed=st.integers(0, 1000),
    train=st.none() | st.integers(1, 20),
)
def test_a_scene_stays_on_one_side(scenes: list[int], seed: int, train: int | None) -> None:
    names = [f"{number}-{scene}" for number, scene in enumerate(scenes)]

    def scene(name: str) -> str:
        return name.split("-")[1]

    try:
        selection = select_photos(names, seed, train=train, scene=scene)
    except HomoregError:
        return
    assert not {scene(n) for n in selection.train} & {scene(n) for n in selection.eval}
    if train is None:
        assert sorted(selection.train + selection.eval) == sorted(names)
    else:
        assert len(selection.train) == train


def test_one_scene_has_no_other_side() -> None:
    with pytest.raises(HomoregError, match="10 photos of 1 scenes"):
        select_photos(NAMES[:10], 0, scene=lambda name: "here")


def test_the_sample_is_real_photographs_and_one_stereo_pair() -> None:
    source = SampleSource()
    names = source.store.names()
    assert names is not None
    assert len(names) == 10
    assert len({source.scene(name) for name in names}) == 9
    for name in names:
        image = decode_image(source.read(name), name)
        assert min(image.shape[:2]) >= 300
    for seed in range(20):
        sides = source.select(seed)
        assert ("motorcycle_left.png" in sides.train) == ("motorcycle_right.png" in sides.train)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of files that are not read here, only listed."""
    root = tmp_path / "photos"
    for name in (
        "b.JPG",
        "a.png",
        "trip/one.webp",
        "trip/day 2/two.tiff",
        "trip/day 2/drei-ü.bmp",
        "notes.txt",
        ".hidden.jpg",
        ".cache/thumb.jpg",
        "line\nbreak.jpg",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def test_a_tree_of_images(tree: Path) -> None:
    source = FolderSource(str(tree))
    names = source.store.names()
    assert names is not None
    assert sorted(names) == [
        "a.png",
        "b.JPG",
        "trip/day 2/drei-ü.bmp",
        "trip/day 2/two.tiff",
        "trip/one.webp",
    ]
    assert source.read("trip/one.webp") == b"trip/one.webp"


def test_folders_behind_links_are_seen_once_and_other_formats_are_counted(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = FolderSource(str(tree)).store.names()
    assert names is not None
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "photos").symlink_to(tree)
    (linked / "again").symlink_to(linked)  # leads back above
    (linked / "a.HEIC").write_bytes(b"heic")
    (linked / "b.gif").write_bytes(b"gif")
    found = FolderSource(str(linked)).store.names()
    assert found is not None
    assert sorted(found) == sorted(f"photos/{name}" for name in names)
    assert "left out images of other formats: 1 .heic, 1 .gif" in caplog.text.replace(
        "1 .gif, 1 .heic", "1 .heic, 1 .gif"
    )


def test_folders_as_scenes(tree: Path) -> None:
    source = FolderSource(str(tree), scene_folders=True)
    assert source.scene("trip/day 2/two.tiff") == source.scene("trip/day 2/drei-ü.bmp")
    assert source.scene("trip/one.webp") != source.scene("a.png")
    for seed in range(10):
        train, held_out = source.select(seed)
        assert ("a.png" in train) == ("b.JPG" in train)
        assert len(train) + len(held_out) == 5


def test_a_photo_that_went_away(tree: Path) -> None:
    source = FolderSource(str(tree))
    source.select(0)
    (tree / "a.png").unlink()
    with pytest.raises(PhotoError, match=r"^a\.png: cannot be read"):
        source.read("a.png")


def test_no_folder_no_photos(tmp_path: Path) -> None:
    for root, line in (
        (None, "source.root is not set"),
        (str(tmp_path / "none"), "there is no such folder"),
        (str(tmp_path), "no photographs"),
    ):
        with pytest.raises(HomoregError, match=line):
            FolderSource(root).select(0)


def listed(path: Path, names: list[str]) -> str:
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    root = tmp_path / "flat"
    root.mkdir()
    for name in NAMES:
        (root / name).touch()
    return root


def test_names_are_the_pool(flat: Path, tmp_path: Path) -> None:
    pool = listed(tmp_path / "names.txt", NAMES[5:25])
    selection = FolderSource(str(flat), names=pool, train=8, eval=4).select(1)
    assert selection == select_photos(NAMES[5:25], 1, train=8, eval=4)


def test_lists_are_obeyed_in_their_order(flat: Path, tmp_path: Path) -> None:
    train = listed(tmp_path / "t.txt", [NAMES[9], NAMES[3]])
    held_out = tmp_path / "e.txt"
    held_out.write_bytes("\ufeff004.jpg\r\n\r\n".encode())  # as an editor on Windows saves it
    selection = FolderSource(str(flat), train_list=train, eval_list=str(held_out)).select(1)
    assert selection == Selection([NAMES[9], NAMES[3]], ["004.jpg"])


@pytest.mark.parametrize(
    ("train", "held_out", "line"),
    [
        (["000.jpg", "x.jpg", "y.jpg"], ["001.jpg"], r"t\.txt: 2 of 3 photos .*: x\.jpg, y\.jpg$"),
        (["000.jpg"], ["v", "w", "x", "y"], r"e\.txt: 4 of 4 photos .*: v, w, x, …$"),
        (["000.jpg", "000.jpg"], ["001.jpg"], r"t\.txt: 000\.jpg is listed twice"),
        (["000.jpg"], ["001.jpg", "000.jpg"], r"e\.txt: 000\.jpg shows the same scene as 000\.jpg"),
    ],
)
def test_lists_that_cannot_be_obeyed(
    flat: Path, tmp_path: Path, train: list[str], held_out: list[str], line: str
) -> None:
    lists = {
        "train_list": listed(tmp_path / "t.txt", train),
        "eval_list": listed(tmp_path / "e.txt", held_out),
    }
    with pytest.raises(HomoregError, match=line):
        FolderSource(str(flat), **lists).select(0)


def test_a_missing_or_binary_list(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x99")
    for name in ("none.txt", "binary"):
        with pytest.raises(HomoregError, match="cannot be read as a list of names"):
            FolderSource(str(flat), names=str(tmp_path / name)).select(0)


COCO = [f"COCO_train2014_{i:012d}.jpg" for i in (9, 25, 30, 34)]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "train2014.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.mkdir("train2014")
        for name in COCO:
            file.writestr(f"train2014/{name}", name.encode() * 500)
        file.writestr("__MACOSX/train2014/._" + COCO[0], b"junk")
        file.writestr("annotations/captions.json", b"{}")
    return path


def test_coco_in_a_zip_is_coco_in_a_folder(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "coco")
    zipped = CocoSource(str(archive), train=2, eval=1)
    for root in (tmp_path / "coco", tmp_path / "coco" / "train2014"):
        folder = CocoSource(str(root), train=2, eval=1)
        assert folder.select(42) == zipped.select(42) == select_photos(COCO, 42, train=2, eval=1)
        assert all(folder.read(name) == zipped.read(name) for name in COCO)


def test_a_zip_is_read_from_many_threads(archive: Path) -> None:
    source = CocoSource(str(archive))
    wanted = COCO * 100
    with ThreadPoolExecutor(8) as pool:
        for name, data in zip(wanted, pool.map(source.read, wanted), strict=True):
            assert data == name.encode() * 500


def test_a_damaged_member_and_a_damaged_zip(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[data.index(COCO[1].encode() * 2) + 40] ^= 1
    archive.write_bytes(data)
    source = CocoSource(str(archive))
    with pytest.raises(PhotoError, match="damaged in the archive"):
        source.read(COCO[1])
    assert source.read(COCO[2])
    archive.write_bytes(data[:5000])
    with pytest.raises(HomoregError, match="not a whole zip archive"):
        CocoSource(str(archive)).select(0)


def test_files_that_would_take_all_memory_are_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr("bomb.jpg", b"small")
    # The directory of the archive claims more than the file has.
    content = bytearray(bomb.read_bytes())
    size = content.rindex(b"PK\x01\x02") + 24
    content[size : size + 4] = (2**31).to_bytes(4, "little")
    bomb.write_bytes(content)
    with pytest.raises(PhotoError, match="bomb.jpg: 2147 MB, more than"):
        CocoSource(str(bomb)).read("bomb.jpg")
    sparse = tmp_path / "sparse" / "sparse.jpg"
    sparse.parent.mkdir()
    with sparse.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(PhotoError, match="sparse.jpg: 1099512 MB"):
        FolderSource(str(sparse.parent)).read("sparse.jpg")


def test_two_photos_of_one_name(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(f"val2014/{COCO[0]}", b"another")
    with pytest.raises(HomoregError, match=f"two photographs are called {COCO[0]}"):
        CocoSource(str(archive)).select(0)


def test_a_download_needs_names() -> None:
    with pytest.raises(HomoregError, match=r"give source\.names"):
        CocoSource().select(42)
