"""The commands of docs/scale.md, as they stand there."""

import subprocess
import sys

import pytest

from helpers.pages import TWO_STEPS, commands, run_command
from helpers.processes import ROOT, environment, free_port

PAGE = "docs/scale.md"


def test_a_mesh_that_is_not_there_is_checked():
    (check,) = (command for command in commands(PAGE) if command[1] == "check")
    assert "needs the 8 devices" in run_command(check, ROOT)


@pytest.mark.cluster
def test_two_processes_train_one_run(tmp_path):
    started = []
    replaced = {
        "--coordinator_address": f"localhost:{free_port()}",
        "--workdir": str(tmp_path),
    }
    for _, verb, *flags in (command for command in commands(PAGE) if command[1] == "train"):
        given = dict(flag.split("=", 1) for flag in flags) | replaced
        command = [f"{name}={value}" for name, value in given.items()]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", f"dlresearch.{verb}", *command, TWO_STEPS],
                cwd=ROOT,
                env=environment(),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert "process 0 of 2 (flags or environment)" in outputs[0]
    assert "completed at step 2 " in outputs[0]
