"""Keypoints and matches: detect, match, and tell correct matches from wrong ones by the truth."""

from homoreg.matching.correctness import match_errors, repeatable_count, true_matches
from homoreg.matching.detection import (
    CachedDetector,
    Detector,
    FastKeypoints,
    OrbKeypoints,
    ShiTomasi,
    SiftKeypoints,
    cached_detector,
    detect,
    image_key,
)
from homoreg.matching.nearest import Matches, RatioMatcher, match_descriptors
from homoreg.matching.ranking import (
    average_precision,
    precision_at_recall,
    precision_recall,
    ratio_precision,
)

__all__ = [
    "CachedDetector",
    "Detector",
    "FastKeypoints",
    "Matches",
    "OrbKeypoints",
    "RatioMatcher",
    "ShiTomasi",
    "SiftKeypoints",
    "average_precision",
    "cached_detector",
    "detect",
    "image_key",
    "match_descriptors",
    "match_errors",
    "precision_at_recall",
    "precision_recall",
    "ratio_precision",
    "repeatable_count",
    "true_matches",
]
