import numpy as np
import pytest

from homoreg.data.correspondences import (
    OTHER_PHOTO,
    POSITIVE,
    SAME_PHOTO,
    PairSampling,
    Views,
    patch_pair_sampler,
)
from homoreg.data.warp import Warp
from homoreg.errors import HomoregError
from homoreg.geometry import transform_points

SIZE = (480, 320)
WARPS = [Warp().draw(0, f"photo {i // 2}", i % 2, SIZE).homography for i in range(12)]
VIEWS = Views(np.array(WARPS), np.full((12, 2), SIZE), np.full((12, 2), SIZE), np.arange(12) // 2)
MIXED = PairSampling(positive_share=0.4, same_photo_share=0.5, negative_radius_px=30, jitter_px=2.0)


def draw(indices: np.ndarray, sampling: PairSampling = MIXED, seed: int = 3, epoch: int = 1):
    return patch_pair_sampler(VIEWS, np.arange(12), sampling, seed).sample(epoch, indices)


def test_positives_correspond_up_to_the_jitter_and_negatives_do_not() -> None:
    drawn = draw(np.arange(5000))
    truth = np.array(
        [
            transform_points(p[None], VIEWS.homographies[i])[0]
            for p, i in zip(drawn.frames1, drawn.pair1, strict=True)
        ]
    )
    offset = drawn.frames2 - truth
    positive, same = drawn.kind == POSITIVE, drawn.kind == SAME_PHOTO
    assert np.abs(offset[positive]).max() <= 2.0
    assert np.abs(offset[positive]).max() > 1.9
    assert np.linalg.norm(offset[same], axis=1).min() >= 30
    assert (drawn.pair1[same] == drawn.pair2[same]).all()
    other = drawn.kind == OTHER_PHOTO
    assert (VIEWS.photos[drawn.pair1[other]] != VIEWS.photos[drawn.pair2[other]]).all()
    assert (drawn.label == np.where(positive, 1, -1)).all()


def test_the_kinds_come_in_their_shares() -> None:
    kind = draw(np.arange(20000)).kind
    shares = [(kind == k).mean() for k in (POSITIVE, SAME_PHOTO, OTHER_PHOTO)]
    # Four standard errors of a share of 20,000 draws.
    assert shares == pytest.approx([0.4, 0.3, 0.3], abs=0.014)


def test_both_points_lie_in_their_views() -> None:
    drawn = draw(np.arange(5000), PairSampling(jitter_px=0.0))
    for points in (drawn.frames1, drawn.frames2):
        assert (points >= 0).all()
        assert (points <= np.array(SIZE) - 1).all()


def test_a_sample_depends_on_seed_epoch_and_index_alone() -> None:
    whole = draw(np.arange(300))
    part = draw(np.array([299, 7]))
    for name in ("pair1", "frames1", "pair2", "frames2", "kind"):
        assert (getattr(part, name) == getattr(whole, name)[[299, 7]]).all()
    assert (draw(np.arange(300), epoch=2).frames1 != whole.frames1).all()
    assert (draw(np.arange(300), seed=4).frames1 != whole.frames1).all()


def test_one_photo_has_no_other() -> None:
    alone = Views(VIEWS.homographies[:2], VIEWS.sizes1[:2], VIEWS.sizes2[:2], np.zeros(2, int))
    with pytest.raises(HomoregError, match="need more photos, at least two"):
        patch_pair_sampler(alone, np.arange(2), PairSampling(), 0).sample(0, np.arange(50))


def test_views_without_overlap_are_an_error_and_not_a_hang() -> None:
    away = np.array([[1.0, 0, 5000], [0, 1, 0], [0, 0, 1]])
    apart = Views(np.array([away, away]), VIEWS.sizes1[:2], VIEWS.sizes2[:2], np.arange(2))
    with pytest.raises(HomoregError, match="hardly overlap"):
        patch_pair_sampler(apart, np.arange(2), PairSampling(), 0).sample(0, np.arange(5))


def test_the_study_s_way_cuts_whole_windows_at_the_same_coordinates() -> None:
    sampling = PairSampling(jitter_px=5.0, correspondence="same_coordinates")
    sampler = patch_pair_sampler(VIEWS, np.arange(12), sampling, 3, support=128)
    drawn = sampler.sample(1, np.arange(5000))
    for points in (drawn.frames1, drawn.frames2):
        corners = points - 127 / 2
        assert (corners == np.round(corners)).all()
        assert (corners >= 0).all()
        assert (corners + 127 <= np.array(SIZE) - 1).all()
    positive = drawn.kind == POSITIVE
    assert (drawn.pair1[positive] == drawn.pair2[positive]).all()
    steps = (drawn.frames2 - drawn.frames1)[positive]
    assert set(np.unique(steps)) == set(range(-5, 6))
    # So its positives are far from where the homography puts them.
    truth = np.stack(
        [
            transform_points(p[None], VIEWS.homographies[i])[0]
            for p, i in zip(drawn.frames1[positive], drawn.pair1[positive], strict=True)
        ]
    )
    assert np.median(np.linalg.norm(drawn.frames2[positive] - truth, axis=1)) > 20
