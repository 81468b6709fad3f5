"""The trainer: state, step, loop, checkpoints, and what a run writes down."""

from dlresearch.training.artifacts import write_files
from dlresearch.training.console import say
from dlresearch.training.evaluate import evaluate_checkpoint
from dlresearch.training.generate import learned
from dlresearch.training.loop import train
from dlresearch.training.result import Result, summary
from dlresearch.training.setup import Setup
from dlresearch.training.workdir import Workdir, open_workdir, sole_writer

__all__ = [
    "Result",
    "Setup",
    "Workdir",
    "evaluate_checkpoint",
    "learned",
    "open_workdir",
    "say",
    "sole_writer",
    "summary",
    "train",
    "write_files",
]
