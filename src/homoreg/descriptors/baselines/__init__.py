"""Descriptors that others made, and controls: what a trained network is held against.

Each is a class that meets :class:`~homoreg.descriptors.loading.Descriptor`, built from options
alone; ``conf/descriptors`` has a file for each.
"""

from typing import Any

from homoreg.descriptors.baselines.classical import Orb, RootSift, Sift
from homoreg.descriptors.baselines.contrib import Akaze, Beblid, Daisy, Vgg120
from homoreg.descriptors.baselines.controls import RawPatches
from homoreg.descriptors.baselines.networks import HardNet, HyNet, SosNet, TFeat
from homoreg.descriptors.loading import Descriptor
from homoreg.errors import HomoregError

BASELINES: dict[str, type] = {
    "raw_patches": RawPatches,
    "sift": Sift,
    "rootsift": RootSift,
    "orb": Orb,
    "vgg": Vgg120,
    "beblid": Beblid,
    "daisy": Daisy,
    "akaze": Akaze,
    "tfeat": TFeat,
    "hardnet": HardNet,
    "sosnet": SosNet,
    "hynet": HyNet,
}


def baseline_descriptor(name: str, **options: Any) -> Descriptor:
    """A baseline by its name, with the options of its class.

    Raises:
        HomoregError: no baseline has this name, or its library or weights are missing.

    >>> baseline_descriptor("orb").metric
    'hamming'
    """
    if name not in BASELINES:
        raise HomoregError(f"there is no descriptor {name!r}; give one of {', '.join(BASELINES)}")
    return BASELINES[name](**options)


__all__ = [
    "BASELINES",
    "baseline_descriptor",
    *(baseline.__name__ for baseline in BASELINES.values()),
]
