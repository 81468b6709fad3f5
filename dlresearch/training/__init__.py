"""The trainer: state, step, loop, checkpoints, and what a run writes down."""

from dlresearch.training.console import say
from dlresearch.training.evaluate import evaluate_checkpoint
from dlresearch.training.loop import train
from dlresearch.training.result import Result, summary
from dlresearch.training.setup import Setup
from dlresearch.training.workdir import Workdir, open_workdir, sole_writer

__all__ = [
    "Result",
    "Setup",
    "Workdir",
    "evaluate_checkpoint",
    "open_workdir",
    "say",
    "sole_writer",
    "summary",
    "train",
]
