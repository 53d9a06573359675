"""Arms look the same on every page, and differ without color."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from skimage import data as photographs
from skimage.color import deltaE_ciede2000, rgb2lab

from homoreg.files import conf_dir
from homoreg.plotting import FIXED, OTHERS, PALETTE, arm_styles, save_figure, save_image

REGULARIZERS = sorted(path.stem for path in (conf_dir() / "regularizer").glob("*.yaml"))
names = st.lists(st.sampled_from(sorted(FIXED)) | st.text(max_size=5))

# What a dichromat sees of a linear RGB color (Machado et al., IEEE TVCG 2009, severity 1).
DICHROMATS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


def test_styles_differ_without_color():
    for feature in ("color", "marker", "linestyle", "hatch"):
        assert len({getattr(style, feature) for style in PALETTE}) == len(PALETTE)


@pytest.mark.parametrize("vision", DICHROMATS)
def test_colors_of_the_regularizers_differ_for_everybody(vision: str):
    srgb = np.array([to_rgb(arm_styles([arm])[arm].color) for arm in REGULARIZERS])
    seen = np.clip(srgb**2.2 @ DICHROMATS[vision].T, 0, 1) ** (1 / 2.2)
    lab = rgb2lab(seen[None])[0]
    differences = deltaE_ciede2000(lab[:, None], lab[None])
    # A difference of 2 is just noticeable.
    assert differences[~np.eye(len(lab), dtype=bool)].min() > 12


@given(names)
def test_every_arm_has_a_style_that_does_not_depend_on_the_order(arms: list[str]):
    styles = arm_styles(arms)
    assert set(styles) == set(arms)
    assert styles == arm_styles(reversed(arms))
    others = set(arms) - set(FIXED)
    assert len({styles[arm] for arm in others}) == min(len(others), len(OTHERS))


@given(names)
def test_regularizers_keep_their_styles_whatever_else_is_shown(arms: list[str]):
    styles = arm_styles([*arms, *REGULARIZERS])
    assert {arm: styles[arm] for arm in REGULARIZERS} == {arm: FIXED[arm] for arm in REGULARIZERS}


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
