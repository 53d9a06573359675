"""What an evaluation has computed so far, on disk until its tables are written.

A record is what one pair contributes. Its key is a hash of all that it depends on: a killed
evaluation resumes with the pairs that are left, and reuses nothing that was computed with other
options, weights, photographs or code.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import homoreg
from homoreg.evaluation.benchmarks import Benchmark
from homoreg.evaluation.pair import Method, ViewPair, describe_view
from homoreg.evaluation.systems import System
from homoreg.files import append
from homoreg.keyed import keyed_rng
from homoreg.matching import image_key
from homoreg.progress import progress
from homoreg.runs.environment import package_versions

log = logging.getLogger(__name__)


class Journal:
    """Records of pairs in an append-only file, which is removed at the end of the ``with`` block.

    The file stays if the block is left by an exception.

    Args:
        file: of the records; None keeps none.
        options: all of the evaluation's, in plain values.
    """

    def __init__(self, file: Path | None = None, options: Any = None) -> None:
        self.file = file
        self.options = options
        lines = file.read_text("utf-8", "replace").split("\n") if file and file.is_file() else []
        self._records = dict(line.split(" ", 1) for line in lines if " " in line)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None and self.file:
            self.file.unlink(missing_ok=True)

    def evaluate(
        self,
        benchmark: Benchmark,
        descriptors: Sequence[Method],
        evaluate_pair: Callable[[ViewPair], Any],
        *about: Any,
    ) -> Iterator[Any]:
        """Yield ``evaluate_pair(pair)`` for each pair of a benchmark, from the file if it is there.

        Args:
            benchmark: the pairs; all are read, since their content is a part of the keys.
            descriptors: that the records depend on, systems included.
            evaluate_pair: returns a list or a dict of plain values and arrays, which are lists
                when they come from a file.
            about: what else the records depend on, in plain values.
        """
        pairs = progress(benchmark, f"evaluating on {benchmark.name}", total=len(benchmark))
        if self.file is None:
            yield from map(evaluate_pair, pairs)
            return
        outputs = [output_hash(descriptor) for descriptor in descriptors]
        shared = _hash([code_version(), self.options, benchmark.name, outputs, about])
        known = 0
        for pair in pairs:
            views = [image_key(pair.image1), pair.size1, image_key(pair.image2), pair.size2]
            truth = pair.homography.tolist()
            key = _hash([shared, pair.id, pair.photo, pair.group, views, truth])
            record = self._recall(key)
            if record is None:
                text = json.dumps(evaluate_pair(pair), default=lambda array: array.tolist())
                # What a killed process left of a record ends before this one.
                append(self.file, f"\n{key} {text}")
                record = json.loads(text)
            else:
                known += 1
            yield record
        if known:
            message = "benchmark %s: %d of %d pairs were evaluated before"
            log.info(message, benchmark.name, known, len(benchmark))

    def _recall(self, key: str) -> Any:
        """The record of a key; None where it is not there or was not written to its end."""
        with suppress(ValueError):
            return json.loads(self._records.pop(key, ""))
        return None


def output_hash(descriptor: Method) -> str:
    """Hash of the output on an image of noise, which shows weights and options."""
    rng = keyed_rng("output hash")
    if isinstance(descriptor, System):
        image = rng.integers(0, 256, (256, 256, 3), np.uint8)
        return image_key(np.column_stack(descriptor.match(image, image)))
    image = rng.integers(0, 256, (96, 96, 3), np.uint8)
    frames = rng.uniform((0, 0, 1, 0), (95, 95, 8, 360), (32, 4))
    return image_key(describe_view(descriptor, image, frames))


@cache
def code_version() -> str:
    """Hash of the sources of homoreg and of the versions of the libraries that it computes with."""
    sources = sorted(Path(homoreg.__file__).parent.rglob("*.py"))
    return _hash([package_versions(), *(file.read_text("utf-8") for file in sources)])


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
