"""Arms look the same on every page, and differ without color."""

from hypothesis import given
from hypothesis import strategies as st

from homoreg.plotting import OTHERS, PALETTE, arm_styles

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
