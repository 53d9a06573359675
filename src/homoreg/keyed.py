"""Keyed randomness: every random number is a function of a key that names what it is for.

Nothing here has a state, so neither the number of workers, nor the order in which things are done,
nor a resume after a break can change a draw.
"""

import hashlib

import numpy as np

Key = int | str | float


def keyed_seed(*key: Key) -> int:
    """A seed in [0, 2⁶³) from a key.

    >>> keyed_seed(0, "dropout", 3) == keyed_seed(0, "dropout", 3)
    True
    >>> keyed_seed(0, "dropout", 3) == keyed_seed(0, "dropout", 4)
    False
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def keyed_rng(*key: Key) -> np.random.Generator:
    """A fresh generator for a key, such as ``keyed_rng(seed, photo, repeat)``."""
    return np.random.default_rng(keyed_seed(*key))


def keyed_uniforms(seed: int, indices: np.ndarray, draws: int) -> np.ndarray:
    """Uniform numbers that belong to an index, many indices at once.

    Row ``i`` depends on ``seed`` and ``indices[i]`` alone. Each number is SplitMix64 (Steele, Lea
    and Flood, OOPSLA 2014) at a counter made of index and draw.

    Args:
        seed: from :func:`keyed_seed`, say of ``(seed, epoch)``.
        indices: ``(N,)`` integers ≥ 0.
        draws: how many numbers each index gets.

    Returns:
        ``(N, draws)`` float64 in [0, 1).

    >>> whole = keyed_uniforms(7, np.arange(10), 3)
    >>> bool((keyed_uniforms(7, np.array([4]), 3) == whole[4]).all())
    True
    """
    first = np.asarray(indices, np.uint64)[:, None] * np.uint64(draws)
    counters: np.ndarray = first + np.arange(1, draws + 1, dtype=np.uint64)
    z = np.uint64(seed) + counters * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
