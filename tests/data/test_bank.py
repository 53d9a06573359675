import pickle
import shutil
import signal
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from homoreg.data import Pair, PairManifest, read_image
from homoreg.data import bank as bank_module
from homoreg.data.bank import ON_DISK, WRITTEN, PixelBank
from homoreg.errors import HomoregError


@pytest.fixture
def root(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("*.bank"))
    return tmp_path / "data"


def flags(bank: PixelBank) -> bytes:
    return (bank.path / "done").read_bytes()


def test_it_is_built_once_and_travels_to_workers_without_its_pixels(root: Path) -> None:
    manifest = PairManifest.load(root / "pairs_train.json")
    bank = PixelBank(manifest)
    bank.fill()
    pixels = np.array(bank.view2(3))
    for pair in manifest.pairs:
        pair.img1.write_bytes(b"")
    again = PixelBank(manifest)
    again.fill()
    assert (again.view2(3) == pixels).all()
    sent = pickle.dumps(bank)
    assert len(sent) < 10_000
    assert (pickle.loads(sent).view2(3) == pixels).all()


def test_a_changed_manifest_gets_a_new_bank_and_the_old_one_goes(root: Path) -> None:
    file = root / "pairs_train.json"
    first = PixelBank(PairManifest.load(file)).path
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))
    second = PixelBank(PairManifest.load(file)).path
    assert first != second
    assert sorted(root.glob("*.bank")) == [second]


def test_an_image_of_another_size_than_the_manifest_says_is_named(root: Path) -> None:
    manifest = PairManifest.load(root / "pairs_train.json")
    shutil.copy(manifest.pairs[0].img1, root / "spare.jpg")
    text = (root / "pairs_train.json").read_text().replace("[240, 180]", "[180, 240]", 1)
    (root / "pairs_train.json").write_text(text)
    with pytest.raises(HomoregError, match=r"img_000001.jpg has 240×180 pixels"):
        PixelBank(PairManifest.load(root / "pairs_train.json")).fill()


def test_an_image_that_cannot_be_decoded_is_named_and_the_rest_is_kept(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = PairManifest.load(root / "pairs_train.json")
    broken = manifest.pairs[2].img2
    assert broken is not None
    content = broken.read_bytes()
    broken.write_bytes(b"not an image")
    with pytest.raises(HomoregError, match="img_000003_warped"):
        PixelBank(manifest).fill(workers=1)
    broken.write_bytes(content)
    caplog.set_level("INFO")
    bank = PixelBank(manifest)
    bank.fill()
    assert "decoded 24 images" not in caplog.text  # what was done before the error stays done
    assert (bank.view2(2) == read_image(broken)).all()


def test_it_can_be_read_before_it_is_filled(root: Path) -> None:
    manifest = PairManifest.load(root / "pairs_train.json")
    bank = PixelBank(manifest)
    for i, pair in enumerate(manifest.pairs):
        assert (bank.view2(i) == read_image(pair.img2)).all()
        assert flags(bank).count(WRITTEN) == i + 1  # those that were needed
    for i, pair in enumerate(manifest.pairs):
        assert (bank.view1(i) == read_image(pair.img1)).all()


def _fill(path: Path) -> None:
    PixelBank(PairManifest.load(path)).fill(workers=2)


def test_several_processes_build_one_bank(root: Path) -> None:
    path = root / "pairs_train.json"
    processes = [get_context("spawn").Process(target=_fill, args=(path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    manifest = PairManifest.load(path)
    bank = PixelBank(manifest)
    assert flags(bank) == bytes([ON_DISK]) * 24
    for i, pair in enumerate(manifest.pairs):
        assert (bank.view2(i) == read_image(pair.img2)).all()


def test_shards_are_of_bounded_size_and_hold_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_module, "SHARD_BYTES", 400_000)
    manifest = PairManifest.load(root / "pairs_train.json")
    bank = PixelBank(manifest)
    bank.fill()
    shards = [file for file in bank.path.iterdir() if file.name != "done"]
    assert len(shards) == 8  # three images of 129,600 bytes each
    assert max(file.stat().st_size for file in shards) <= 400_000
    everything = bank.pixels()
    for i, (start, width, height) in enumerate(bank.places(bank.slots2)):
        pixels = everything[start : start + 3 * width * height].reshape(height, width, 3)
        assert (pixels == read_image(manifest.pairs[i].img2)).all()


def test_an_image_that_could_not_be_written_whole_is_not_noted(root: Path) -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    bank = PixelBank(PairManifest.load(root / "pairs_train.json"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # Room for half of the first image, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (240 * 180 * 3 // 2, limits[1]))
    try:
        with pytest.raises(HomoregError, match=r"\.bank: cannot be written"):
            bank.view1(0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not any(flags(bank))
    assert (bank.view1(0) == read_image(bank.pairs[0].img1)).all()


def test_what_another_process_has_decoded_is_not_decoded_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = PixelBank(PairManifest.load(root / "pairs_train.json"))
    other = PixelBank(PairManifest.load(root / "pairs_train.json"))
    read = bank_module.read_view1

    def read_while_the_other_is_at_work(pair: Pair) -> np.ndarray:
        monkeypatch.setattr(bank_module, "read_view1", read)
        other.fill()
        monkeypatch.setattr(bank_module, "read_view1", fail)
        monkeypatch.setattr(bank_module, "read_view2", fail)
        return read(pair)

    def fail(pair: Pair) -> np.ndarray:
        raise AssertionError(f"pair {pair.id} was decoded twice")

    monkeypatch.setattr(bank_module, "read_view1", read_while_the_other_is_at_work)
    one.fill(workers=1)
    assert flags(one) == bytes([ON_DISK]) * 24


def test_pixels_that_a_power_cut_lost_are_decoded_again(root: Path) -> None:
    manifest = PairManifest.load(root / "pairs_train.json")
    bank = PixelBank(manifest)
    truth = [np.array(bank.view1(pair)) for pair in (0, 2)]
    assert flags(bank).count(WRITTEN) == 2
    shard = bank.path / "000"
    # What was written and not synced is back to zeros, under its flags.
    shard.write_bytes(bytes(shard.stat().st_size))
    bank = PixelBank(manifest)
    assert (bank.view1(0) == truth[0]).all()
    bank.fill()
    assert flags(bank) == bytes([ON_DISK]) * 24
    assert (bank.view1(2) == truth[1]).all()
    # A shard that is not whole.
    shard.write_bytes(shard.read_bytes()[:-1])
    assert (PixelBank(manifest).view1(0) == truth[0]).all()


def test_a_complete_bank_is_read_where_nothing_can_be_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = PairManifest.load(root / "pairs_train.json")
    bank = PixelBank(manifest)
    bank.fill()
    pixels = np.array(bank.view1(0))
    opened = Path.open

    def read_only(path: Path, mode: str = "r", **options: object) -> object:
        if mode != "rb":
            raise OSError(30, "Read-only file system", str(path))
        return opened(path, mode, **options)

    monkeypatch.setattr(Path, "open", read_only)
    bank = PixelBank(manifest)
    bank.fill()
    bank.sync()
    assert (bank.view1(0) == pixels).all()
    with pytest.raises(HomoregError, match=r"\.bank: cannot be written \(Read-only"):
        PixelBank(manifest, squash=(64, 48))
