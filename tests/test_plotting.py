"""Arms look the same on every page, and differ without color."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from skimage import data as photographs

from homoreg.plotting import OTHERS, PALETTE, arm_styles, save_figure, save_image

names = st.lists(st.sampled_from(["none", "l2", "dropout", "hybrid"]) | st.text(max_size=5))


def test_styles_differ_without_color():
    for feature in ("color", "marker", "linestyle", "hatch"):
        assert len({getattr(style, feature) for style in PALETTE}) == len(PALETTE)


@given(names)
def test_every_arm_has_a_style_that_does_not_depend_on_the_order(arms: list[str]):
    styles = arm_styles(arms)
    assert set(styles) == set(arms)
    assert styles == arm_styles(reversed(arms))
    others = set(arms) - {"none", "l2", "dropout", "hybrid"}
    assert len({styles[arm] for arm in others}) == min(len(others), len(OTHERS))


@given(names, st.sampled_from(["none", "l2", "dropout", "hybrid"]))
def test_original_arms_keep_their_style_whatever_else_is_shown(arms: list[str], arm: str):
    assert arm_styles([*arms, arm])[arm] == arm_styles([arm])[arm]


@contextmanager
def files_of(size: int) -> Iterator[None]:
    """Files may grow to so many bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("kind", ["jpg", "png", "svg"])
def test_a_picture_is_whole_or_an_error(tmp_path: Path, kind: str) -> None:
    picture = tmp_path / f"picture.{kind}"
    figure = Figure()
    figure.add_subplot().imshow(photographs.cat())

    def save() -> None:
        if kind == "jpg":
            save_image(Image.fromarray(photographs.cat()), picture)
        else:
            save_figure(figure, picture)

    save()
    size = picture.stat().st_size
    picture.unlink()
    # All but its last bytes: Pillow takes a short write for a complete one.
    with files_of(size - 20), pytest.raises(OSError, match="File too large"):
        save()
    assert not list(tmp_path.iterdir())
