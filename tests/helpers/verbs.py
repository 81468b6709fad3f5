"""Verbs called as a user calls them, in this process or in one of their own."""

import importlib
import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest
from absl import flags

from dlresearch import entry, preemption
from helpers.processes import environment

SMALL = """
from dlresearch.config import component, default_config


def get_config():
    config = default_config()
    config.duration = 4
    config.batch_size = 32
    config.model = component("convnet", widths=(4,), convs_per_stage=1)
    config.data.placement = "resident"
    config.data.preprocess = (component("normalise"),)
    config.data.augmentations = (component("shifted_crop", padding=1),)
    config.optimizer.schedule = component("cosine")
    config.evaluators.test = dict(
        name="classification", source=component("digits", split="test"), every=2, batch_size=359
    )
    config.checkpoint.every = 2
    config.log.every = 2
    return config
"""


@dataclass(frozen=True)
class Answer:
    """What a command left on the terminal."""

    status: int
    out: str
    err: str

    def assert_mistake(self, *fragments: str) -> None:
        """One line on stderr that says what to change, status 2, and no traceback anywhere."""
        assert self.status == 2, self
        assert self.err.startswith("error: ") and self.err.count("\n") == 1, self.err
        assert self.err.endswith("\n") and "Traceback" not in self.out + self.err
        for fragment in fragments:
            assert fragment in self.err


def call(verb: str, *argv: str) -> Answer:
    """`dlresearch VERB ARGV...` in this process, which is left as it was."""
    main = getattr(importlib.import_module(f"dlresearch.{verb}"), verb)
    preemption.reset()
    flags.FLAGS.unparse_flags()
    handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    path = list(sys.path)
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            entry.run(main, [f"dlresearch {verb}", *argv])
    finally:
        sys.path[:] = path
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert isinstance(end.value.code, int)
    return Answer(end.value.code, out.getvalue(), err.getvalue())


def process(module: str, *argv: str, devices: int = 1, stdin: str | None = None) -> Answer:
    """`python -m MODULE ARGV...` with so many devices on CPU, and a text to read."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *argv],
        env=environment(devices) | {"JAX_PLATFORMS": os.environ["JAX_PLATFORMS"]},
        input=stdin,
        capture_output=True,
        text=True,
    )
    return Answer(ended.returncode, ended.stdout, ended.stderr)
