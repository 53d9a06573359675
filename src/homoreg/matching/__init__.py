"""Keypoints and matches: detect, match, and tell right from wrong by the true homography."""

from homoreg.matching.correctness import match_errors, repeatable_count
from homoreg.matching.curves import precision_recall, ratio_precision
from homoreg.matching.detection import FastKeypoints, OrbKeypoints, ShiTomasi, SiftKeypoints
from homoreg.matching.nearest import Matches, Metric, RatioMatcher, match_descriptors

__all__ = [
    "FastKeypoints",
    "Matches",
    "Metric",
    "OrbKeypoints",
    "RatioMatcher",
    "ShiTomasi",
    "SiftKeypoints",
    "match_descriptors",
    "match_errors",
    "precision_recall",
    "ratio_precision",
    "repeatable_count",
]
