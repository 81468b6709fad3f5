"""Worker processes live as long as the run, and no longer."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.processes import environment

RUN = """
import sys, multiprocessing
from helpers.data.data_pieces import Counting
from dlresearch.data import TrainingOrder, stream

if __name__ == "__main__":
    batches = stream(Counting(), [], TrainingOrder(10, 0, 5), start_step=0,
                     rows=slice(None), workers=1, prefetch=1)
    next(batches)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    sys.stdin.readline()
    for _ in range(5):
        next(batches)
    print("read", flush=True)
    sys.stdin.readline()
    batches.close()
"""


@pytest.fixture
def run(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    yield process
    process.kill()
    process.communicate()


def alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def await_end(pids):
    """Wait until none of them is alive."""
    deadline = time.monotonic() + 120
    while any(map(alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_workers_end_with_a_run_that_was_killed(run):
    pids = [int(pid) for pid in run.stdout.readline().split()]
    assert pids and all(map(alive, pids))
    run.kill()
    run.wait()
    await_end(pids)


@pytest.mark.slow
def test_workers_outlive_the_signal_that_tells_the_run_to_save(run):
    pids = [int(pid) for pid in run.stdout.readline().split()]
    for pid in pids:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            os.kill(pid, number)
    run.stdin.write("\n")
    run.stdin.flush()
    assert run.stdout.readline() == "read\n"
    run.stdin.write("\n")
    run.stdin.flush()
    assert run.wait(timeout=120) == 0
    await_end(pids)
