"""What was chosen on validation pairs, and how it is applied and recorded."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from homoreg.errors import HomoregError
from homoreg.files import write_json
from homoreg.geometry import Estimator

COVERAGE = 0.9
# With fewer calibration pairs a bound is flagged.
ENOUGH_PAIRS = 50
Key = tuple[str, str]  # a descriptor's label and an estimator's name


@dataclass(frozen=True)
class Bound:
    """``factor · predicted_corner_error_px`` bounds the RMS corner error.

    Attributes:
        factor: infinite where there are too few pairs.
        pairs: with an estimate, that it was calibrated on.
        photos: of these pairs.
    """

    factor: float
    pairs: int
    photos: int

    @property
    def is_small(self) -> bool:
        return self.pairs < ENOUGH_PAIRS

    def in_words(self) -> str:
        """What the bound rests on."""
        if math.isinf(self.factor):
            return f"no bound: {self.pairs} validation pairs are too few"
        pairs = f"{self.pairs} validation pairs"
        return f"calibrated on {pairs}, planar warps of {self.photos} photographs"


@dataclass(frozen=True)
class Calibration:
    """Ratios and bounds for each descriptor and estimator of one detector and matcher."""

    max_ratios: Mapping[Key, float] = field(default_factory=dict)
    bounds: Mapping[Key, Bound] = field(default_factory=dict)

    def estimators(
        self, descriptor: str, estimators: Mapping[str, Estimator]
    ) -> dict[str, Estimator]:
        """Estimators with the ratios of a descriptor, given by its label."""
        ratios = {name: self.max_ratios.get((descriptor, name)) for name in estimators}
        return {
            name: estimator if ratios[name] is None else replace(estimator, max_ratio=ratios[name])
            for name, estimator in estimators.items()
        }

    def factors(self, descriptor: str, estimators: Iterable[str]) -> dict[str, float]:
        """The factors of the bounds by estimator; NaN where none was calibrated."""
        bounds = {name: self.bounds.get((descriptor, name)) for name in estimators}
        return {name: bound.factor if bound else math.nan for name, bound in bounds.items()}

    def __or__(self, other: "Calibration") -> "Calibration":
        """Both together, for different descriptors."""
        return Calibration({**self.max_ratios, **other.max_ratios}, {**self.bounds, **other.bounds})

    def entries(self) -> list[dict[str, Any]]:
        """One entry for each descriptor and estimator, in plain values."""
        entries = []
        for key in dict.fromkeys([*self.max_ratios, *self.bounds]):
            bound = self.bounds.get(key)
            entry: dict[str, Any] = {"descriptor": key[0], "estimator": key[1]}
            entry["max_ratio"] = self.max_ratios.get(key)
            if bound:
                entry |= {"factor": bound.factor, "pairs": bound.pairs, "photos": bound.photos}
                entry["small"] = bound.is_small
            entries.append(entry)
        return entries

    def write(
        self, folder: Path, detector: Any, matcher: Any, estimators: Mapping[str, Any]
    ) -> None:
        """Write ``calibration.json`` into an evaluation's folder, with all options of the steps."""
        content = {"coverage": COVERAGE, "detector": repr(detector), "matcher": repr(matcher)}
        chosen = {name: repr(estimator) for name, estimator in estimators.items()}
        content |= {"estimators": chosen, "entries": self.entries()}
        write_json(folder / "calibration.json", content)

    @classmethod
    def read(cls, file: Path) -> "Calibration":
        """Read what :meth:`write` wrote.

        Raises:
            HomoregError: the file is damaged.
        """
        ratios: dict[Key, float] = {}
        bounds: dict[Key, Bound] = {}
        try:
            for entry in json.loads(file.read_text(encoding="utf-8"))["entries"]:
                key = entry["descriptor"], entry["estimator"]
                if entry["max_ratio"] is not None:
                    ratios[key] = entry["max_ratio"]
                if "factor" in entry:
                    bounds[key] = Bound(entry["factor"], entry["pairs"], entry["photos"])
        except (ValueError, KeyError, TypeError) as error:
            raise HomoregError(f"{file} is damaged: {error}") from error
        return cls(ratios, bounds)
