import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from homoreg.data import PairManifest, read_image
from homoreg.data.bank import PixelBank, bank_path
from homoreg.errors import HomoregError


@pytest.fixture
def root(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("*.bank"))
    return tmp_path / "data"


def test_the_bank_holds_each_decoded_image(root: Path) -> None:
    manifest = PairManifest.load(root / "pairs_train.json")
    bank = PixelBank(manifest)
    for i, pair in enumerate(manifest.pairs):
        assert (bank.view1(i) == read_image(pair.img1)).all()
        assert (bank.view2(i) == read_image(pair.img2)).all()


def test_it_is_built_once_and_travels_to_workers_without_its_pixels(root: Path) -> None:
    manifest = PairManifest.load(root / "pairs_train.json")
    bank = PixelBank(manifest)
    pixels = np.array(bank.view2(3))
    for pair in manifest.pairs:
        pair.img1.write_bytes(b"")
    again = PixelBank(manifest)
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
        PixelBank(PairManifest.load(root / "pairs_train.json"))


def test_an_image_that_cannot_be_decoded_leaves_no_bank(root: Path) -> None:
    manifest = PairManifest.load(root / "pairs_train.json")
    manifest.pairs[2].img2.write_bytes(b"not an image")
    with pytest.raises(HomoregError, match="img_000003_warped"):
        PixelBank(manifest)
    assert not bank_path(manifest).exists()
    assert not list(root.glob(".*"))
