"""Descriptors that others made, and controls: what a trained network is held against.

Each is a class that meets :class:`~homoreg.descriptors.loading.Descriptor`, built from options
alone; ``conf/descriptors`` has a file for each.
"""

from typing import Any

from homoreg.descriptors.loading import Descriptor
from homoreg.descriptors.peers.classical import Orb, RootSift, Sift
from homoreg.descriptors.peers.contrib import Akaze, Beblid, Daisy, Vgg120
from homoreg.descriptors.peers.controls import RawPatches
from homoreg.descriptors.peers.networks import HardNet, HyNet, SosNet, TFeat
from homoreg.errors import HomoregError

PEERS: dict[str, type] = {
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


def peer_descriptor(name: str, **options: Any) -> Descriptor:
    """A peer by its name, with the options of its class.

    Raises:
        HomoregError: no peer has this name, or its library or weights are missing.

    >>> peer_descriptor("orb").metric
    'hamming'
    """
    if name not in PEERS:
        raise HomoregError(f"there is no descriptor {name!r}; give one of {', '.join(PEERS)}")
    return PEERS[name](**options)


__all__ = ["PEERS", "peer_descriptor", *(peer.__name__ for peer in PEERS.values())]
