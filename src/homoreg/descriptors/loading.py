"""Loading of descriptors by name, from a run folder or from a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from homoreg.descriptors.baselines import BASELINES, baseline_descriptor
from homoreg.descriptors.checkpoint import trained_descriptor
from homoreg.descriptors.descriptor import Descriptor
from homoreg.descriptors.exported import exported_descriptor
from homoreg.descriptors.inference import check_precision
from homoreg.errors import HomoregError
from homoreg.files import reading
from homoreg.runs import RunFolder, find_runs


def load_descriptor(
    source: str | Path,
    *,
    checkpoint: str = "",
    device: str | None = None,
    packages: Sequence[str] = (),
    window: str = "fixed",
    precision: str = "",
) -> Descriptor:
    """A descriptor by its name, from a run folder, from a checkpoint or from an exported file.

    Args:
        source: ``"homoreg"``, the trained descriptor that comes with the package; ``"sift"``,
            ``"rootsift"``, ``"orb"``, … as in ``conf/descriptors``;
            ``"multirun/…/regularizer-l2+seed-0"``; ``"….ckpt"``; or the ``"….safetensors"`` that
            ``python -m homoreg.export`` wrote.
        checkpoint: ``"last"`` or ``"best"`` of a run; by default the one that its evaluation used.
        device: where a network runs; CUDA if available by default.
        packages: packages whose classes and functions a run or checkpoint may name besides the
            modules of homoreg, torch.nn, torchvision and kornia. The environment variable
            ``HOMOREG_PACKAGES`` names more, separated by commas.
        window: of a baseline that can choose: ``"fixed"``, ``"scaled"`` with the keypoint, or
            ``"oriented"`` as well. A trained descriptor has its own.
        precision: of a run's network, ``"32-true"`` or ``"bf16-mixed"``, see
            :class:`~homoreg.descriptors.inference.NetworkDescriptor`; by default the one that its
            evaluation used. All other networks compute in float32.

    Returns:
        The descriptor; a trained one has the detector and the matcher that it was trained for as
        ``detector`` and ``matcher``.

    Raises:
        HomoregError: there is no such baseline, run or file, or it cannot be used.

    >>> load_descriptor("homoreg").detector
    SiftKeypoints(max_keypoints=500, contrast_threshold=0.02, frame='scale')
    """
    path = Path(source)
    if str(source) in BASELINES:
        return baseline_descriptor(str(source), device, window)
    if path.is_dir():
        run = run_at(path)
        with reading(run.config_file, "a run's config"):
            which = checkpoint or run.config["evaluation"]["checkpoint"]
            # The window of the evaluation may differ from that of the training.
            config = run.config | {"patch": run.config["evaluation"]["patch"]}
            precision = precision or run.config["evaluation"].get("precision", "32-true")
        config["source"] = _source(run, which)
        descriptor = trained_descriptor(run.checkpoint(which), config, device, packages)
        descriptor.precision = check_precision(precision)
        return descriptor
    if path.is_file() and path.suffix == ".safetensors":
        return exported_descriptor(path, device, packages)
    if path.suffix == ".onnx":
        raise HomoregError(f"{source}: ONNX is for other programs; give a run or .safetensors")
    if path.is_file():
        return trained_descriptor(path, None, device, packages)
    if path.suffix or len(path.parts) > 1:
        raise HomoregError(f"{source}: there is no such run or file")
    raise HomoregError(
        f"there is no descriptor, run or file {str(source)!r}; the names are {', '.join(BASELINES)}"
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


def _source(run: RunFolder, checkpoint: str) -> dict[str, Any]:
    """What identifies a run's weights, for the metadata of an exported file."""
    recorded = ("training_hash", "manifest_hash", "git_revision")
    return {
        "run": run.name,
        "checkpoint": checkpoint,
        **{key: run.record[key] for key in recorded if key in run.record},
        "photographs": run.training_photos,
    }
