"""Processes on this machine: started together, ended together, and started again."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from helpers.launch.launches import await_state, await_that, call, make_repository, start, status
from helpers.processes import ROOT


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("lab") / "my lab; $(touch x)")


@pytest.mark.cluster
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
    "raise": "process 1 of 3 .*: ZeroDivisionError: made to fail",
    # Names the one that noticed, where the one that hangs has come as far as it.
    "hang": r"no progress for 10 s.*process 1 of 2|process \d of 2 .*: no progress for 10 s",
}


def run_that_fails(repository, workdir, fault, count):
    """Return what `status` says of a run of which one process goes wrong."""
    places = f"saved='{workdir / 'checkpoints'}', mark='{workdir.parent / 'mark'}'"
    source = f"lab:Faulty(split='train', fault='{fault}', {places})"
    answer = call("run", "--config=faulty.py", f"--config.data.source={source}",
                  f"--config.batch_size={12 * count}", f"--workdir={workdir}",
                  f"--processes={count}", "--stall_timeout=10", "--heartbeat_timeout=30",
                  cwd=repository)  # fmt: skip
    assert answer.status not in (0, 2), answer
    (found,) = status(workdir, cwd=repository)
    assert found["state"] == "failed"
    assert re.search(CAUSES[fault], found["detail"]), found
    return answer


@pytest.mark.cluster
@pytest.mark.parametrize(("fault", "count"), [("raise", 3), ("hang", 2)])
def test_status_names_the_first_cause(repository, tmp_path, fault, count):
    run_that_fails(repository, tmp_path / "run", fault, count)


def exit_of_pod(run, error):
    """The exit status of one of two pods in which the trainer fails with an error."""
    command = [sys.executable, "-c", f"import sys; print({'error: ' + error!r}); sys.exit(1)"]
    limits = ("--max_restarts=1", "--restarts_without_progress=1", "--retry_errors=0")
    pod = [sys.executable, "-m", "launch.on_host.pod", f"--run={run}", "--first=1", "--pods=2"]
    done = subprocess.run([*pod, "--total=2", *limits, "--", *command], cwd=ROOT)
    return done.returncode


@pytest.mark.cluster
def test_status_names_the_process_that_was_killed_and_restart_goes_on(repository, tmp_path):
    workdir = tmp_path / "run"
    answer = run_that_fails(repository, workdir, "kill", 2)
    ended = json.loads((workdir / "launch/attempts/1/process-0.json").read_text())
    assert exit_of_pod(tmp_path / "pod", ended["error"]) == 75  # for Kubernetes, a restart
    assert exit_of_pod(tmp_path / "other", "no disk") == 1
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


@pytest.mark.slow
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


@pytest.mark.cluster
def test_a_detached_run_is_followed_cancelled_and_stays_dead(repository, tmp_path):
    workdir = tmp_path / "run"
    answer = call("run", "--config=faulty.py", "--config.duration=1000000", "--detach",
                  f"--workdir={workdir}", cwd=repository)  # fmt: skip
    assert answer.status == 0 and answer.out.count("\n") == 1, answer
    following = start("logs", str(workdir), "--follow", cwd=repository)  # it has no log yet
    await_that(lambda: any((workdir / "checkpoints").glob("[0-9]*")))
    again = call("restart", str(workdir), cwd=repository)
    again.assert_mistake("is running; `cancel` it first")
    assert following.stdout is not None and following.stdout.readline()
    assert call("cancel", str(workdir), cwd=repository).status == 0
    found = await_state(workdir, "cancelled", cwd=repository)  # by then all its processes are gone
    assert "saved at step" in found["detail"]
    out, err = following.communicate(timeout=120)
    assert following.returncode == 0 and "saved" in out, (out, err)
    assert json.loads((workdir / "result.json").read_text())["status"] == "resume"
    assert len(list((workdir / "launch/attempts").iterdir())) == 1
    repeated = call("cancel", str(workdir), cwd=repository)
    assert repeated.status == 0 and "has ended: cancelled" in repeated.out


# Saves when it is told to stop, and has nothing left to do when it starts again.
SAVES = """
import pathlib, signal, sys, time
saved = pathlib.Path(sys.argv[1], "checkpoints/7")
if saved.exists():
    sys.exit(0)
def save(*_):
    saved.mkdir(parents=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
print("begun", flush=True)
time.sleep(3600)
"""


def start_saving(workdir, repository):
    """Start a launcher, and wait until what it runs has begun."""
    command = ("python3", "-c", SAVES, "{workdir}")
    process = start("run", f"--workdir={workdir}", "--", *command, cwd=repository)
    log = workdir / "launch/attempts/1/process-0.log"
    await_that(lambda: log.exists() and "begun" in log.read_text())
    return process


def test_ctrl_c_saves_and_restart_goes_on(repository, tmp_path):
    workdir = tmp_path / "run"
    process = start_saving(workdir, repository)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, (out, err)
    (found,) = status(workdir, cwd=repository)
    assert (found["state"], found["detail"]) == ("stopped", "saved at step 7")
    assert call("restart", str(workdir), cwd=repository).status == 0
    (found,) = status(workdir, cwd=repository)
    assert (found["state"], found["attempt"]) == ("completed", 2)


def test_a_run_outlives_a_killed_launcher_and_is_not_started_twice(repository, tmp_path):
    workdir = tmp_path / "run"
    process = start_saving(workdir, repository)
    process.kill()
    process.communicate()
    (found,) = status(workdir, cwd=repository)
    assert found["state"] == "running"
    call("restart", str(workdir), cwd=repository).assert_mistake("is running")
    call("cancel", str(workdir), cwd=repository)
    await_state(workdir, "cancelled", cwd=repository)


# Says which GPU it got, and keeps it until there is a file.
HOLDS = """
import os, pathlib, sys, time
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
while not pathlib.Path(sys.argv[1], "go").exists():
    time.sleep(0.05)
"""


@pytest.mark.slow
def test_runs_share_gpus_one_at_a_time(repository, tmp_path):
    """Two of three runs fit on two GPUs; the third gets the one that is free first."""
    home = {"HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": "4,7"}
    for name in "abc":
        call("run", "--gpus=1", "--detach", f"--workdir={tmp_path}/{name}", "--", "python3", "-c",
             HOLDS, "{workdir}", cwd=repository, **home)  # fmt: skip

    def said():
        logs = {name: tmp_path / name / "launch/attempts/1/process-0.log" for name in "abc"}
        return {name: log.read_text() for name, log in logs.items() if log.exists()}

    await_that(lambda: sorted(said().values()) == ["4\n", "7\n"])
    first, second = said()
    (third,) = set("abc") - {first, second}
    (waits,) = status(tmp_path / third, cwd=repository, **home)
    assert (waits["state"], waits["detail"]) == ("queued", "waiting for GPUs")
    (tmp_path / second / "go").touch()
    await_that(lambda: said().get(third) == said()[second])
    for name in (first, third):
        (tmp_path / name / "go").touch()
    for name in "abc":
        await_state(tmp_path / name, "completed", cwd=repository, **home)
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
         stubborn + " time.sleep(3600)", cwd=repository)  # fmt: skip
    await_that(lambda: "up" in call("logs", f"{tmp_path}/run", cwd=repository).out)
    call("cancel", f"{tmp_path}/run", cwd=repository)
    await_state(tmp_path / "run", "cancelled", cwd=repository)
    record = json.loads((tmp_path / "run/launch/attempts/1/process-0.json").read_text())
    assert record["exit"] == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(record["pid"], 0)
