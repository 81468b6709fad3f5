"""Runs on TPU VMs whose connections drop and whose nodes are lost."""

import json
import re

import pytest

from helpers.launch.launches import await_that, compilation_variables
from helpers.launch.tpu_runs import background, command, options, status
from helpers.processes import free_port
from launch.job import job_name


@pytest.mark.slow
def test_a_connection_that_drops_is_no_failure(cloud, launch, tmp_path):
    """At any moment: while it is prepared, started, and watched."""
    for verb in ("mkdir", "sha256sum", " install", " start", " collect"):
        cloud.fail("tpu-vm ssh", status=255, error="ERROR: (gcloud) [ssh] 255", containing=verb)
    cloud.fail("tpu-vm ssh", status=255, times=4, worker=1, containing=" poll")
    cloud.fail("tpu-vm scp", status=255, times=2)
    cloud.fail("queued-resources describe", status=1, error="ERROR: (gcloud) UNAVAILABLE: later")
    workdir = tmp_path / "run"
    answer = launch("run", *options(cloud), f"--workdir={workdir}", *command("print('once')"))
    assert answer.status == 0, answer
    assert "worker 1 of" in answer.out and "is not reached" in answer.out
    logs = [path.read_text() for path in (workdir / "launch/attempts").rglob("*.log")]
    assert logs == ["once\n", "once\n"]
    assert all(fault["times"] == 0 for fault in cloud.settings()["faults"])


RESUMES = """
import pathlib, sys, time
steps = pathlib.Path(sys.argv[1], "checkpoints")
if (steps / "7").exists():
    print("goes on from 7")
else:
    (steps / "7").mkdir(parents=True, exist_ok=True)
    time.sleep(3600)
"""


@pytest.mark.parametrize("how", ["preempted", "vanished"])
@pytest.mark.slow
def test_lost_nodes_are_asked_for_again_and_the_run_goes_on(cloud, launch, tmp_path, how):
    workdir = tmp_path / "run"
    name = job_name(workdir)

    def lose():
        await_that(lambda: (workdir / "launch/newest_checkpoint").exists())
        if how == "preempted":
            cloud.preempt(name)
        else:  # Google keeps no trace of it
            cloud.switch_off(name)
            (cloud.folder / f"nodes/{name}.json").unlink()
            (cloud.folder / f"queued/{name}.json").unlink()

    join = background(lose)
    answer = launch("run", *options(cloud), "--spot", f"--workdir={workdir}",
                    *command(RESUMES, "{workdir}"))  # fmt: skip
    join()
    assert answer.status == 0, answer
    assert f"{name} {'was preempted' if how == 'preempted' else 'is gone'}" in answer.out
    assert len(cloud.calls("queued-resources create")) == 2
    logs = (workdir / "launch/attempts/2").glob("*.log")
    assert [path.read_text() for path in logs] == ["goes on from 7\n"] * 2
    assert cloud.resources() == {}


@pytest.mark.slow
def test_a_machine_that_never_answers_again_is_given_up(cloud, launch, tmp_path):
    """Google may say that it is well."""
    workdir = tmp_path / "run"

    def break_it():
        await_that(lambda: (workdir / "launch/newest_checkpoint").exists())
        cloud.fail("tpu-vm ssh", status=255, times=10_000, worker=1)
        await_that(lambda: len(cloud.calls("queued-resources create")) == 2)
        cloud.change(faults=[])

    join = background(break_it)
    answer = launch("run", *options(cloud, unreachable_seconds=1), f"--workdir={workdir}",
                    *command(RESUMES, "{workdir}"))  # fmt: skip
    join()
    assert answer.status == 0, answer
    assert re.search(r"worker 1 of \S+ has been out of reach for \d+ s", answer.out)


def join_by_environment(cloud):
    """In place of what JAX asks on a TPU VM; trains on CPU."""
    joined = {
        **compilation_variables(),
        "JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": "{worker}",
    }
    cloud.change(environment={**cloud.settings()["environment"], **joined})


@pytest.mark.cluster
def test_two_workers_train_one_run_which_goes_on_on_new_nodes_after_a_preemption(
    cloud, launch, tmp_path
):
    join_by_environment(cloud)
    workdir = tmp_path / "run"
    note = workdir / "launch/newest_checkpoint"

    def lose():
        await_that(note.exists)
        cloud.preempt(job_name(workdir))

    join = background(lose)
    answer = launch("run", *options(cloud), "--spot", f"--workdir={workdir}", "--config=faulty.py",
                    "--config.seed=3")  # fmt: skip
    join()
    assert answer.status == 0, answer
    assert "process 0 of 2" in answer.out and "completed at step 80" in answer.out
    lost = int((workdir / "launch/attempts/2/step").read_text())
    assert lost >= 8
    again = (workdir / "launch/attempts/2/process-0.log").read_text()
    resumed = re.search(r"resuming from step (\d+)", again)
    assert resumed and int(resumed[1]) >= lost, again
    steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").open()]
    assert steps == list(range(2, 81, 2))
    result = json.loads((workdir / "result.json").read_text())
    assert (result["status"], result["step"], result["seed"]) == ("completed", 80, 3)
    assert json.loads((workdir / "config.json").read_text())["seed"] == 3
    found = status(launch, workdir)
    assert (found["state"], found["step"]) == ("completed", 80)
