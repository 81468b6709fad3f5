"""Evaluators of features, the protocols of self-supervised learning."""

from dlresearch.evaluation.self_supervised.features import FeaturesEvaluator
from dlresearch.evaluation.self_supervised.few_shot import FewShotEvaluator
from dlresearch.evaluation.self_supervised.knn import KNNEvaluator
from dlresearch.evaluation.self_supervised.linear_probe import LinearProbeEvaluator
from dlresearch.evaluation.self_supervised.representation import RepresentationEvaluator

__all__ = [
    "FeaturesEvaluator",
    "FewShotEvaluator",
    "KNNEvaluator",
    "LinearProbeEvaluator",
    "RepresentationEvaluator",
]
