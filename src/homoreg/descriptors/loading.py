"""From a name, a run folder or a checkpoint to a descriptor."""

from collections.abc import Sequence
from pathlib import Path

from homoreg.descriptors.baselines import BASELINES, baseline_descriptor
from homoreg.descriptors.checkpoint import trained_descriptor
from homoreg.descriptors.descriptor import Descriptor
from homoreg.errors import HomoregError
from homoreg.runs import RunFolder, find_runs


def load_descriptor(
    source: str | Path,
    *,
    checkpoint: str = "",
    device: str | None = None,
    packages: Sequence[str] = (),
) -> Descriptor:
    """A descriptor by the name of a baseline, from a run folder, or from a checkpoint.

    Args:
        source: ``"sift"``, ``"rootsift"``, ``"orb"``, … as in ``conf/descriptors``;
            ``"multirun/…/regularizer-l2+seed-0"``; or ``"….ckpt"``.
        checkpoint: ``"last"`` or ``"best"`` of a run; by default the one that its evaluation used.
        device: where a network runs; CUDA if available by default.
        packages: packages whose classes and functions a run or checkpoint may name beside the
            modules of homoreg, torch.nn, torchvision and kornia. The environment variable
            ``HOMOREG_PACKAGES`` names more, separated by commas.

    Raises:
        HomoregError: there is no such baseline, run or file, or it cannot be used.
    """
    path = Path(source)
    if str(source) in BASELINES:
        return baseline_descriptor(str(source))
    if path.is_dir():
        run = run_at(path)
        # The window of the evaluation may differ from that of the training.
        config = run.config | {"patch": run.config["evaluation"]["patch"]}
        which = checkpoint or run.config["evaluation"]["checkpoint"]
        return trained_descriptor(run.checkpoint(which), config, device, packages)
    if path.is_file():
        return trained_descriptor(path, None, device, packages)
    if path.suffix == ".ckpt" or len(path.parts) > 1:
        raise HomoregError(f"{source}: there is no such run or checkpoint")
    raise HomoregError(
        f"there is no descriptor, run or checkpoint {str(source)!r}; the baselines are "
        f"{', '.join(BASELINES)}"
    )


def run_at(path: Path) -> RunFolder:
    """The run in a folder; HomoregError for a sweep's folder, with its runs, and for any other."""
    run = RunFolder(path)
    if run.config_file.is_file():
        return run
    try:
        names = [found.name for found in find_runs(path)]
    except HomoregError:
        raise HomoregError(f"{path} is not a run folder: it has no config.yaml") from None
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    raise HomoregError(f"{path} is a sweep of {len(names)} runs; give one of them: {shown}")
