"""Baselines, descriptors that a trained network is compared with, by name.

``conf/descriptors`` has a file for each: descriptors of others, raw patches, and the trained
descriptor that comes with the package.
"""

from typing import Any

import hydra
from omegaconf import OmegaConf

from homoreg.descriptors.baselines.kornia_networks import KorniaDescriptor
from homoreg.descriptors.baselines.opencv import Akaze, OpenCvDescriptor, Sift
from homoreg.descriptors.baselines.raw_patches import RawPatches
from homoreg.descriptors.descriptor import Descriptor
from homoreg.errors import HomoregError
from homoreg.files import conf_dir

_FILES = {file.stem: file for file in sorted((conf_dir() / "descriptors").glob("*.yaml"))}
# "untrained" depends on the model of a run.
BASELINES = tuple(name for name in _FILES if name not in ("none", "untrained"))


def baseline_descriptor(
    name: str, device: str | None = None, window: str = "fixed", **options: Any
) -> Descriptor:
    """A baseline as ``conf/descriptors`` defines it, on a window of 64 pixels by default.

    Args:
        name: the name of its file.
        device: where a network runs; CUDA if available by default.
        window: ``"fixed"``, ``"scaled"`` or ``"oriented"`` with the keypoint, for those that can.
        options: replace those of the file.

    Raises:
        HomoregError: no baseline has this name, or its library or weights are missing.

    >>> baseline_descriptor("orb").metric
    'hamming'
    """
    if name not in BASELINES:
        raise HomoregError(f"there is no baseline {name!r}; give one of {', '.join(BASELINES)}")
    # The defaults of the command that evaluates baselines resolve the file's interpolations.
    defaults = OmegaConf.load(conf_dir() / "evaluate.yaml")
    chosen = {"device": device, "patch": {"window": window}}
    merged = OmegaConf.merge(defaults, chosen, OmegaConf.load(_FILES[name]))
    config: Any = OmegaConf.to_container(OmegaConf.select(merged, name), resolve=True)
    return hydra.utils.get_object(config.pop("_target_"))(**config | options)


__all__ = [
    "BASELINES",
    "Akaze",
    "KorniaDescriptor",
    "OpenCvDescriptor",
    "RawPatches",
    "Sift",
    "baseline_descriptor",
]
