"""View 2 rendered from the photograph is the view 2 that was stored."""

from pathlib import Path

import numpy as np
import pytest

from homoreg.data import PairManifest, PatchPairDataModule, cut_patches, read_image
from homoreg.data.correspondences import PairSampling
from homoreg.data.manifest import Pair
from homoreg.data.pairs import prepare_pairs
from homoreg.data.patches import Window
from homoreg.data.sources import FolderSource
from homoreg.data.views import read_view1, read_view2, view2_around
from homoreg.data.warp import Warp
from homoreg.errors import HomoregError
from homoreg.evaluation import ManifestBenchmark

# Everything that a warp can do, in every pair.
WARP = Warp(occlusion_probability=1.0, blur_probability=1.0, repeats=2)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same pairs of the same photos, with all views stored and with those of training not."""
    from PIL import Image
    from tests.conftest import small_photos

    folder = tmp_path_factory.mktemp("photos")
    for name, image in small_photos().items():
        Image.fromarray(image).save(folder / name, quality=95)
    stored, rendered = (tmp_path_factory.mktemp(name) for name in ("stored", "rendered"))
    source = FolderSource(str(folder), train=6, eval=2)
    prepare_pairs(source, WARP, stored, 42)
    prepare_pairs(source, WARP, rendered, 42, store_views=False)
    return stored, rendered


def manifests(roots: tuple[Path, Path]) -> list[PairManifest]:
    return [PairManifest.load(root / "pairs_train.json") for root in roots]


def test_only_the_training_side_goes_without(roots: tuple[Path, Path]) -> None:
    stored, rendered = manifests(roots)
    assert all(pair.img2 is None for pair in rendered.pairs)
    assert not list((roots[1] / "processed" / "train").glob("*_warped.jpg"))
    assert all(p.img2 for p in PairManifest.load(roots[1] / "pairs_eval.json").pairs)
    for one, two in zip(stored.pairs, rendered.pairs, strict=True):
        assert (one.homography == two.homography).all()


def test_rendered_views_are_the_stored_ones_up_to_jpeg(roots: tuple[Path, Path]) -> None:
    for one, two in zip(*(manifest.pairs for manifest in manifests(roots)), strict=True):
        difference = np.abs(read_view2(one).astype(int) - read_view2(two))
        assert np.median(difference) <= 2
    benchmark = ManifestBenchmark(manifests(roots)[1])
    assert (benchmark.pair("000003").image2 == read_view2(benchmark.pairs[2])).all()


@pytest.mark.parametrize("support", [16, 63, 64])
def test_a_part_of_the_view_gives_the_patches_of_the_whole(
    roots: tuple[Path, Path], support: int
) -> None:
    rng = np.random.default_rng(0)
    pair: Pair
    for pair in manifests(roots)[1].pairs:
        photo, whole = read_view1(pair), read_view2(pair)
        points = rng.uniform(-1, np.array(pair.size2), (30, 2))
        expected = cut_patches(whole, points, support=support, size=16)
        for point, patch in zip(points, expected, strict=True):
            part, place = view2_around(pair, photo, point, support / 2)
            found = cut_patches(part, place[None], support=support, size=16)[0]
            # OpenCV computes a warp's coordinates in steps of 1/32 px, from other origins here.
            assert np.abs(found.astype(int) - patch).max() <= 12
            assert np.abs(found.astype(int) - patch).mean() <= 0.5


def batches(root: Path, **options: object) -> list[dict]:
    data = PatchPairDataModule(
        root, Window(32, 16), PairSampling(), seed=1, pairs_per_epoch=96, batch_size=48, **options
    )
    data.setup()
    loader = data.train_dataloader()
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


def test_on_the_fly_gives_the_samples_of_the_stored_pairs(roots: tuple[Path, Path]) -> None:
    stored, rendered = roots
    for one, two in zip(
        batches(stored), batches(rendered, views="on_the_fly", num_workers=0), strict=True
    ):
        assert (one["label"] == two["label"]).all()
        first, second = one["patches"].int().chunk(2)
        rendered_first, rendered_second = two["patches"].int().chunk(2)
        assert (first == rendered_first).all()
        difference = (second - rendered_second).abs().float()
        assert difference.median() <= 2
        assert difference.mean() <= 3
    assert not list(rendered.glob("pairs_train.*[0-9a-f].bank"))


def test_a_device_that_holds_the_bank_cuts_the_same_patches(roots: tuple[Path, Path]) -> None:
    for one, two in zip(batches(roots[0]), batches(roots[0], device_bank=True), strict=True):
        assert (one["label"] == two["label"]).all()
        assert (one["patches"].int() - two["patches"].int()).abs().max() <= 1


def test_decoding_when_needed_gives_the_same_samples(roots: tuple[Path, Path]) -> None:
    for bank in roots[0].glob("*.bank"):
        (bank / "done").write_bytes(bytes((bank / "done").stat().st_size))
    lazy = batches(roots[0], fill_bank=False)
    for one, two in zip(batches(roots[0]), lazy, strict=True):
        assert (one["patches"] == two["patches"]).all()


def test_a_pair_without_its_view_must_say_how_to_make_it(
    roots: tuple[Path, Path], tmp_path: Path
) -> None:
    text = (roots[1] / "pairs_train.json").read_text().replace('"occlusion_box"', '"box"', 1)
    (roots[1] / "broken.json").write_text(text)
    with pytest.raises(HomoregError, match="pair 000001 has neither img2"):
        PairManifest.load(roots[1] / "broken.json")
    assert read_image(roots[1] / "processed" / "train" / "img_000001.jpg").size
