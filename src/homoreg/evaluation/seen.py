"""Which photographs a run was trained on, so that it is not evaluated on them."""

import logging
from collections.abc import Iterable, Sequence

from homoreg.data.manifest import Pair
from homoreg.descriptors.descriptor import Descriptor
from homoreg.errors import HomoregError
from homoreg.evaluation.benchmarks import Benchmark, ManifestBenchmark
from homoreg.files import write_json
from homoreg.runs.folder import RunFolder

log = logging.getLogger(__name__)


def record_photos(run: RunFolder, pairs: Iterable[Pair]) -> None:
    """Write the photographs of the training pairs, those for validation included."""
    write_json(run.photos_file, photo_keys(pairs))


def photo_keys(pairs: Iterable[Pair]) -> dict[str, str | int]:
    """What identifies each photograph, by its name: the digest of its pixels.

    Where a manifest has none, it is the size of the first view's file in bytes.
    """
    first = {pair.photo: pair for pair in pairs}
    return {photo: pair.pixels or pair.img1.stat().st_size for photo, pair in first.items()}


def check_unseen(descriptors: Sequence[Descriptor], benchmark: Benchmark, allow: bool) -> None:
    """Refuse to evaluate networks on photographs that they were trained on.

    Args:
        descriptors: those that homoreg trained are compared, the one in the package included.
        benchmark: its pairs are compared if they come from a manifest.
        allow: warn instead.

    Raises:
        HomoregError: a photograph of the benchmark is among those of a training.
    """
    if not isinstance(benchmark, ManifestBenchmark):
        return
    held_out = {pair.photo: pair for pair in benchmark.pairs}
    for descriptor in descriptors:
        origin = getattr(descriptor, "origin", None)
        if origin is None:
            continue
        trained_on = (origin.config.get("source") or {}).get("photographs")
        if trained_on is None:
            log.warning("%s does not say which photographs it was trained on", origin.file)
            continue
        digests, sizes = set(trained_on.values()), trained_on.items()
        seen = sorted(
            name
            for name, pair in held_out.items()
            if pair.pixels in digests or (name, pair.img1.stat().st_size) in sizes
        )
        if not seen:
            continue
        message = (
            f"{origin.file} was trained on {len(seen)} of the {len(held_out)} photographs of "
            f"{benchmark.manifest.path}, such as {seen[0]}"
        )
        if not allow:
            raise HomoregError(f"{message}; evaluate on other pairs, or give allow_seen=true")
        log.warning("%s", message)
