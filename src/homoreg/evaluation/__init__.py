"""Evaluation of descriptors, and of whole systems, by the homographies that they support."""

from homoreg.aggregates import corner_error_auc, summarize
from homoreg.evaluation.benchmarks import ManifestBenchmark
from homoreg.evaluation.hpatches import HPatchesBenchmark
from homoreg.evaluation.pair import ViewPair, evaluate_pair
from homoreg.evaluation.systems import System
from homoreg.evaluation.table import (
    EvaluationProtocol,
    evaluate_benchmark,
    evaluate_manifest,
    read_evaluation,
)

__all__ = [
    "EvaluationProtocol",
    "HPatchesBenchmark",
    "ManifestBenchmark",
    "System",
    "ViewPair",
    "corner_error_auc",
    "evaluate_benchmark",
    "evaluate_manifest",
    "evaluate_pair",
    "read_evaluation",
    "summarize",
]
