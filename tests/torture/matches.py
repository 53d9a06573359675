"""Random match sets of every kind through every estimator and conditioning number."""

import warnings
from collections.abc import Iterator

from tests.geometry.test_random_matches import INSTALLED, check


def faults(first: int, count: int) -> Iterator[str]:
    """The match sets of ``count`` seeds that crash an estimator or give impossible numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(first, first + count):
            for method in INSTALLED:
                try:
                    check(seed, method)
                except Exception as error:
                    yield f"seed {seed}, {method}: {type(error).__name__}: {error}"
