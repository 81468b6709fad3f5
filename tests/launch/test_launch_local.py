"""Processes on this machine: started together, ended together, and started again."""

import json
import os
import re
import signal
import time

import pytest
from helpers.launch.launches import await_state, await_that, call, make_repository, start, status


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("lab") / "my lab; $(touch x)")


def test_several_processes_train_one_run(repository, tmp_path):
    """Also where folders have names that a shell would take apart."""
    workdir = tmp_path / 'it\'s a "run"; $HOME & more'
    answer = call("run", "--config=digits.py", f"--workdir={workdir}", "--processes=2",
                  "--config.seed=3", cwd=repository)  # fmt: skip
    assert answer.status == 0, answer
    assert "process 0 of 2" in answer.out and "completed at step 4" in answer.out
    result = json.loads((workdir / "result.json").read_text())
    assert result["status"] == "completed" and result["seed"] == 3
    (found,) = status(workdir, cwd=repository)
    assert (found["state"], found["step"], found["attempt"]) == ("completed", 4, 1)
    one = call("logs", str(workdir), "--process=1", cwd=repository)
    assert one.status == 0 and "completed" not in one.out
    everything = call("logs", str(workdir), "--process=all", "--lines=2", cwd=repository).out
    assert everything.count("[0] ") == 2 and everything.count("[1] ") <= 2
    assert not (repository / "x").exists()
    again = call("restart", str(workdir), cwd=repository)
    again.assert_mistake("has completed; there is nothing to go on with")


CAUSES = {
    "kill": "process 1 on .* was killed by SIGKILL",
    "raise": "process 1 of {count} .*: ZeroDivisionError: made to fail",
    # Names the one that noticed, where the one that hangs has come as far as it.
    "hang": (
        r"no progress for 20 s.*process 1 of {count}|process \d of {count} .*: no progress for 20 s"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("fault", CAUSES)
def test_status_names_the_first_cause_and_restart_goes_on(repository, tmp_path, fault, count):
    workdir = tmp_path / "run"
    mark = tmp_path / "mark"
    stall = ["--stall_timeout=20"] if fault == "hang" else []
    source = f"lab:Faulty(split='train', fault='{fault}', mark='{mark}')"
    answer = call("run", "--config=faulty.py", f"--config.data.source={source}",
                  f"--workdir={workdir}", f"--processes={count}", *stall,
                  "--heartbeat_timeout=30", cwd=repository)  # fmt: skip
    assert answer.status not in (0, 2), answer
    (found,) = status(workdir, cwd=repository)
    assert found["state"] == "failed"
    assert re.search(CAUSES[fault].format(count=count), found["detail"]), found
    names = [path.name for path in (workdir / "checkpoints").iterdir()]
    saved = [int(name) for name in names if name.isdecimal()]
    assert saved, answer
    again = call("restart", str(workdir), cwd=repository)
    assert again.status == 0, again
    assert f"resuming from step {max(saved)}" in again.out
    (found,) = status(workdir, cwd=repository)
    assert (found["state"], found["attempt"]) == ("completed", 2)


def test_what_saved_is_started_again_but_not_for_ever_without_progress(repository, tmp_path):
    """Here the command saves nothing: two restarts, then it is given up."""
    answer = call("run", f"--workdir={tmp_path}/run", "--", "python3", "-c", "exit(75)",
                  cwd=repository)  # fmt: skip
    assert answer.status == 75, answer
    (found,) = status(tmp_path / "run", cwd=repository)
    assert (found["state"], found["attempt"]) == ("stopped", 3)


PROGRESS = """
import pathlib, sys
saved = pathlib.Path(sys.argv[1], "checkpoints")
done = len(list(saved.glob("*")))
(saved / str(done + 1)).mkdir(parents=True)
sys.exit(75 if done < 4 else 0)
"""


def test_restarts_with_progress_go_on_to_the_end(repository, tmp_path):
    answer = call("run", f"--workdir={tmp_path}/run", "--", "python3", "-c", PROGRESS, "{workdir}",
                  cwd=repository)  # fmt: skip
    assert answer.status == 0, answer
    (found,) = status(tmp_path / "run", cwd=repository)
    assert (found["state"], found["attempt"]) == ("completed", 5)
    limited = call("run", f"--workdir={tmp_path}/two", "--max_restarts=1", "--", "python3", "-c",
                   PROGRESS, "{workdir}", cwd=repository)  # fmt: skip
    assert limited.status == 75, limited
    (found,) = status(tmp_path / "two", cwd=repository)
    assert (found["state"], found["attempt"]) == ("stopped", 2)


@pytest.mark.parametrize("exit", [2, 1])
def test_errors_are_not_tried_again_unless_asked(repository, tmp_path, exit):
    """A mistake, status 2, never is."""
    command = ("--", "python3", "-c", f"import sys; print('error: bad luck'); sys.exit({exit})")
    for flags, attempts in (((), 1), (("--retry_errors=2",), 3 if exit == 1 else 1)):
        workdir = tmp_path / f"run{len(flags)}"
        answer = call("run", f"--workdir={workdir}", *flags, *command, cwd=repository)
        assert answer.status == exit
        (found,) = status(workdir, cwd=repository)
        assert (found["state"], found["attempt"]) == ("failed", attempts)
        assert found["detail"].endswith(": bad luck")


def test_a_detached_run_is_followed_cancelled_and_stays_dead(repository, tmp_path):
    workdir = tmp_path / "run"
    answer = call("run", "--config=faulty.py", "--config.duration=1000000", "--detach",
                  f"--workdir={workdir}", cwd=repository)  # fmt: skip
    assert answer.status == 0 and answer.out.count("\n") == 1, answer
    await_that(lambda: any((workdir / "checkpoints").glob("[0-9]*")))
    again = call("restart", str(workdir), cwd=repository)
    again.assert_mistake("is running; `cancel` it first")
    following = start("logs", str(workdir), "--follow", cwd=repository)
    time.sleep(1)
    assert call("cancel", str(workdir), cwd=repository).status == 0
    found = await_state(workdir, "cancelled", cwd=repository)
    assert "saved at step" in found["detail"]
    out, err = following.communicate(timeout=30)
    assert following.returncode == 0 and "saved" in out, (out, err)
    assert json.loads((workdir / "result.json").read_text())["status"] == "resume"
    time.sleep(1)
    assert len(list((workdir / "launch/attempts").iterdir())) == 1
    repeated = call("cancel", str(workdir), cwd=repository)
    assert repeated.status == 0 and "has ended: cancelled" in repeated.out


def test_ctrl_c_saves_and_restart_goes_on(repository, tmp_path):
    workdir = tmp_path / "run"
    process = start("run", "--config=faulty.py", "--config.duration=1000000",
                    f"--workdir={workdir}", cwd=repository)  # fmt: skip
    await_that(lambda: any((workdir / "checkpoints").glob("[0-9]*")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, (out, err)
    (found,) = status(workdir, cwd=repository)
    assert found["state"] == "stopped" and "saved at step" in found["detail"]


def test_a_run_outlives_a_killed_launcher_and_is_not_started_twice(repository, tmp_path):
    workdir = tmp_path / "run"
    process = start("run", "--config=faulty.py", "--config.duration=1000000",
                    f"--workdir={workdir}", cwd=repository)  # fmt: skip
    await_that(lambda: any((workdir / "checkpoints").glob("[0-9]*")))
    process.kill()
    process.communicate()
    (found,) = status(workdir, cwd=repository)
    assert found["state"] == "running"
    call("restart", str(workdir), cwd=repository).assert_mistake("is running")
    call("cancel", str(workdir), cwd=repository)
    await_state(workdir, "cancelled", cwd=repository)


def test_runs_share_gpus_one_at_a_time(repository, tmp_path):
    """Each says which it got and when; two of three runs fit on two GPUs."""
    text = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], time.time()); time.sleep(2)"
    text += "; print('until', time.time())"
    home = {"HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": "4,7"}
    for name in "abc":
        call("run", "--gpus=1", "--detach", f"--workdir={tmp_path}/{name}", "--", "python3", "-c",
             text, cwd=repository, **home)  # fmt: skip
    spans = {"4": [], "7": []}
    for name in "abc":
        await_state(tmp_path / name, "completed", cwd=repository, **home)
        lines = call("logs", str(tmp_path / name), cwd=repository, **home).out.split()
        spans[lines[0]].append((float(lines[1]), float(lines[3])))
    assert sorted(map(len, spans.values())) == [1, 2]
    first, second = sorted(max(spans.values(), key=len))
    assert first[1] <= second[0]
    call("run", "--gpus=3", f"--workdir={tmp_path}/d", "--", "true", cwd=repository,
         **home).assert_mistake("--gpus=3: this machine has 2")  # fmt: skip


def test_setup_lines_and_variables_come_before_the_command(repository, tmp_path):
    answer = call("run", f"--workdir={tmp_path}/run", "--setup=export A='from setup'",
                  "--env=B=$HOME; exit 3", "--", "python3", "-c",
                  "import os; print(os.environ['A'], '|', os.environ['B'])",
                  cwd=repository)  # fmt: skip
    assert answer.status == 0 and "from setup | $HOME; exit 3" in answer.out, answer
    failing = call("run", f"--workdir={tmp_path}/two", "--setup=false", "--", "true",
                   cwd=repository)  # fmt: skip
    assert failing.status == 1


def test_processes_that_ignore_the_request_are_killed_after_the_grace(repository, tmp_path):
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True);"
    call("run", f"--workdir={tmp_path}/run", "--detach", "--grace=1", "--", "python3", "-c",
         stubborn + " time.sleep(100)", cwd=repository)  # fmt: skip
    await_that(lambda: "up" in call("logs", f"{tmp_path}/run", cwd=repository).out)
    begin = time.monotonic()
    call("cancel", f"{tmp_path}/run", cwd=repository)
    await_state(tmp_path / "run", "cancelled", cwd=repository)
    assert time.monotonic() - begin < 15
    record = json.loads((tmp_path / "run/launch/attempts/1/process-0.json").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(record["pid"], 0)
