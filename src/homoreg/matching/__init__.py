"""Keypoints and matches: detect, match, and tell correct matches from wrong ones by the truth."""

from homoreg.matching.correctness import match_errors, repeatable_count, true_matches
from homoreg.matching.detection import (
    CachedDetector,
    Detector,
    FastKeypoints,
    OrbKeypoints,
    ShiTomasi,
    SiftKeypoints,
    cached,
    detect,
    image_key,
)
from homoreg.matching.nearest import Matches, RatioMatcher, match_descriptors

__all__ = [
    "CachedDetector",
    "Detector",
    "FastKeypoints",
    "Matches",
    "OrbKeypoints",
    "RatioMatcher",
    "ShiTomasi",
    "SiftKeypoints",
    "cached",
    "detect",
    "image_key",
    "match_descriptors",
    "match_errors",
    "repeatable_count",
    "true_matches",
]
