"""Evaluators: from predictions over a set of examples to named numbers, and files."""

from dlresearch.evaluation.classification import ClassificationEvaluator
from dlresearch.evaluation.evaluator import Evaluator, Finding, Gathered, Predict, Summed
from dlresearch.evaluation.probabilities import ProbabilitiesEvaluator
from dlresearch.evaluation.regression import RegressionEvaluator
from dlresearch.evaluation.views import OverViews, Views

__all__ = [
    "ClassificationEvaluator",
    "Evaluator",
    "Finding",
    "Gathered",
    "OverViews",
    "Predict",
    "ProbabilitiesEvaluator",
    "RegressionEvaluator",
    "Summed",
    "Views",
]
