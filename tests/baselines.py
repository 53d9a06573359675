"""Baselines that tests evaluate, on a window of their own."""

from functools import partial

from homoreg.descriptors.baselines import RawPatches, baseline_descriptor

RootSift = partial(baseline_descriptor, "rootsift")
Orb = partial(baseline_descriptor, "orb")

__all__ = ["Orb", "RawPatches", "RootSift"]
