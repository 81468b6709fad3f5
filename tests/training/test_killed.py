"""A process that is killed or told to stop, and started again, ends as one that never was.

`benchmarks/survival.py` does the same many times over.
"""

import random
import signal
import time

import pytest

from dlresearch import preemption
from dlresearch.training.records import read_records
from helpers.training.small_runs import (
    assert_same_run,
    classification_config,
    regression_config,
    start,
    write_config,
)

CONFIGS = {"classification": classification_config, "regression": regression_config}


@pytest.mark.cluster
@pytest.mark.parametrize("name", CONFIGS)
def test_killed_run_resumes_bit_identically(name, tmp_path):
    """kill -9, three times in one run, at random instants from start-up to the last save."""
    config = CONFIGS[name]()
    config.duration = "400 steps"
    config.checkpoint.every = "10 steps"
    path = write_config(config, tmp_path / "config.json")
    began = time.monotonic()
    assert start(path, tmp_path / "straight").wait() == 0
    whole = time.monotonic() - began
    instants = random.Random(0)
    for _ in range(3):
        process = start(path, tmp_path / "killed")
        time.sleep(instants.uniform(0.4, 1.0) * whole)
        process.kill()
        process.wait()
    assert start(path, tmp_path / "killed").wait() == 0
    assert_same_run(tmp_path / "straight", tmp_path / "killed")
    lines = (tmp_path / "killed/metrics.jsonl").read_text().splitlines()
    assert len(lines) == len(read_records(tmp_path / "killed/metrics.jsonl"))


@pytest.mark.cluster
@pytest.mark.parametrize("awaited", ["compiling a step", "step 5/"])
def test_sigterm_saves_and_says_resume(tmp_path, awaited):
    config = classification_config()
    config.duration = "300 steps"
    path = write_config(config, tmp_path / "config.json")
    process = start(path, tmp_path / "run")
    assert process.stdout is not None
    for line in process.stdout:
        if awaited in line:
            break
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait() == preemption.RESUME_STATUS
    assert start(path, tmp_path / "run").wait() == 0
