"""Options of nested groups under dotted names."""

from collections.abc import Iterator, Mapping
from typing import Any


def flatten(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Options of nested groups under dotted names; an empty group is a value.

    >>> dict(flatten({"patch": {"size": 32}, "seed": 0}))
    {'patch.size': 32, 'seed': 0}
    """
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
