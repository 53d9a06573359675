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
    write_json(run.photos_file, photo_sizes(pairs))


def photo_sizes(pairs: Iterable[Pair]) -> dict[str, int]:
    """The size in bytes of each photograph's first view, by the photograph's name.

    A name and a size identify a photograph well enough, and cost nothing to read.
    """
    files = {pair.photo: pair.img1 for pair in pairs}
    return {photo: file.stat().st_size for photo, file in files.items()}


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
    held_out = photo_sizes(benchmark.pairs).items()
    for descriptor in descriptors:
        origin = getattr(descriptor, "origin", None)
        if origin is None:
            continue
        trained_on = (origin.config.get("source") or {}).get("photographs")
        if trained_on is None:
            log.warning("%s does not say which photographs it was trained on", origin.file)
            continue
        seen = sorted(name for name, _ in held_out & trained_on.items())
        if not seen:
            continue
        message = (
            f"{origin.file} was trained on {len(seen)} of the {len(held_out)} photographs of "
            f"{benchmark.manifest.path}, such as {seen[0]}"
        )
        if not allow:
            raise HomoregError(f"{message}; evaluate on other pairs, or give allow_seen=true")
        log.warning("%s", message)
