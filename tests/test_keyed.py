import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from homoreg.keyed import keyed_rng, keyed_seed, keyed_uniforms


def splitmix64(seed: int, counter: int) -> int:
    """Independent statement in Python's integers (Steele, Lea and Flood, 2014)."""
    mask = 2**64 - 1
    z = (seed + (counter + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_the_first_outputs_are_those_of_the_published_generator() -> None:
    # Seed 0 of the reference implementation begins e220a8397b1dcdaf, 6e789e6aa1b965f4.
    assert [splitmix64(0, i) for i in (0, 1)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40), st.integers(1, 9))
def test_uniforms_agree_with_the_generator_in_integers(seed: int, index: int, draws: int) -> None:
    row = keyed_uniforms(seed, np.array([index]), draws)[0]
    expected = [(splitmix64(seed, index * draws + d) >> 11) / 2**53 for d in range(draws)]
    assert row.tolist() == expected


def test_keys_of_other_kinds_differ() -> None:
    seeds = {keyed_seed(*key) for key in [(0, 1), (1, 0), ("0", 1), (0, "1"), (0,), (0.0, 1)]}
    assert len(seeds) == 6
    assert keyed_rng(1, "a").random() == keyed_rng(1, "a").random()
