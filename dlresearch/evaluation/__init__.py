"""Evaluators: from predictions over a set of examples to named numbers."""

from dlresearch.evaluation.classification import ClassificationEvaluator
from dlresearch.evaluation.evaluator import Evaluator, Predict, Summed
from dlresearch.evaluation.regression import RegressionEvaluator

__all__ = ["ClassificationEvaluator", "Evaluator", "Predict", "RegressionEvaluator", "Summed"]
