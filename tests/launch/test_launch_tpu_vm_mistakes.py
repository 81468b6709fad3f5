"""What keeps a run from starting on TPU VMs is said in one line, and nothing is left that costs."""

import re
import subprocess
import sys

import pytest

from helpers.launch.tpu_runs import ASLEEP, command, options
from launch.job import job_name

REFUSALS = [
    ("RESOURCE_EXHAUSTED: Quota limit 'TPUV5sLitepodPerProject' has been exceeded.", "quota"),
    ("PERMISSION_DENIED: Cloud TPU API has not been used in project 12.", "services enable"),
    ("NOT_FOUND: Location us-west4-z is not found", "--zone"),
    ("INVALID_ARGUMENT: Cloud TPU received a bad request", "--accelerator_type"),
    ("You do not currently have an active account selected.", "gcloud auth login"),
]


@pytest.mark.parametrize(("said", "hint"), REFUSALS, ids=[hint for _, hint in REFUSALS])
def test_what_google_refuses_is_one_line(cloud, launch, tmp_path, said, hint):
    error = f"ERROR: (gcloud.compute.tpus.queued-resources.create) {said}\n- '@type': ErrorInfo"
    cloud.fail("queued-resources create", status=1, error=error)
    answer = launch("run", *options(cloud), f"--workdir={tmp_path / 'run'}", *command("1"))
    answer.assert_mistake(said.rstrip("."), hint)
    assert cloud.resources() == {}


def test_nodes_that_cannot_be_had_are_no_endless_wait(cloud, launch, tmp_path):
    cloud.change(becomes="FAILED", why_failed="The zone has no capacity: quota exceeded")
    answer = launch("run", *options(cloud), f"--workdir={tmp_path / 'run'}", *command("1"))
    assert answer.status == 1 and answer.err.count("\n") == 1
    assert "could not be had: The zone has no capacity" in answer.err
    assert cloud.resources() == {}


def test_a_gcloud_that_only_fails_is_no_endless_wait(cloud, launch, tmp_path):
    cloud.fail("queued-resources describe", status=1, error="ERROR: (gcloud) broken", times=99)
    answer = launch("run", *options(cloud), f"--workdir={tmp_path / 'run'}", *command("1"))
    assert answer.status == 1 and answer.err == "error: gcloud: broken\n"


@pytest.mark.parametrize(
    ("flags", "fault", "said"),
    [
        (["--remote_workdir=~/runs/{name}"], None,
         "~/runs/{name} of worker 1 of {name} is not the folder that worker 0 of {name} has"),
        (["--install=echo no package; false"], None, "`install` failed with status 1: no pack"),
        (["--setup=mount-the-disk"], None, "`setup` failed with status 127: .*mount-the-disk"),
        ([], dict(containing="sha256sum", worker=1, status=1, error="checksum did NOT match"),
         "worker 1 of {name}: unpacking what was copied: checksum did NOT match"),
        ([], dict(containing="mkdir", status=255, times=999, error="ERROR: Permission denied"),
         "worker 0 of {name} is out of reach for 1 s: Permission denied"),
    ],
    ids=["workdir", "install", "setup", "checksum", "ssh"],
)  # fmt: skip
def test_workers_that_cannot_start_are_deleted(cloud, launch, tmp_path, flags, fault, said):
    if fault:
        cloud.fail("tpu-vm ssh", **fault)
    workdir = tmp_path / "run"
    answer = launch("run", *options(cloud, unreachable_seconds=1), *flags, f"--workdir={workdir}",
                    *command("1"))  # fmt: skip
    assert answer.status in (1, 2) and answer.err.count("\n") == 1, answer
    assert re.search(said.replace("{name}", job_name(workdir)), answer.err), answer.err
    assert cloud.resources() == {}


@pytest.mark.slow
def test_whoever_still_holds_the_tpu_is_ended_and_named(cloud, launch, tmp_path):
    device, lock = tmp_path / "tpu/dev/accel0", tmp_path / "tpu/tmp/libtpu_lockfile"
    for path in (device, lock):
        path.parent.mkdir(parents=True)
        path.touch()
    holding = [sys.executable, "-c", f"import time; file = open({str(device)!r}); {ASLEEP}"]
    with subprocess.Popen(holding, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        answer = launch("run", *options(cloud), f"--workdir={tmp_path / 'run'}", *command("1"))
    assert answer.status == 0 and holder.returncode == -15
    assert re.search(
        rf"worker [01] of \S+: ended {holder.pid} \(.*python.*\), which held", answer.out
    )
    assert not lock.exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"zone": ""}, "--zone is missing"),
        ({"accelerator_type": ""}, "--accelerator_type is missing"),
        ({"accelerator_type": "v9-8"}, "--runtime_version=IMAGE is needed"),
        ({"remote_workdir": "runs/x"}, "begins with neither / nor ~/"),
        ({"labels": "vision"}, "'vision' is not NAME=VALUE"),
        ({"project": "my project"}, "has a space in it"),
        ({"spot": "true", "reserved": "true"}, "exclude each other"),
        ({"snapshot": "false"}, "the workers have no code"),
        ({"slices": "0"}, "0 is less than 1"),
        ({"partition": "tpu"}, "--partition is an option of slurm"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_options_that_cannot_be_are_one_line(cloud, launch, tmp_path, changed, said):
    flags = options(cloud, **changed)
    launch("run", *flags, f"--workdir={tmp_path / 'run'}", *command("1")).assert_mistake(said)
    assert cloud.calls() == []


@pytest.mark.slow
def test_doctor_says_what_is_missing(cloud, launch, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    flags = [flag for flag in options(cloud) if "project" not in flag]
    answer = launch("doctor", *flags)
    assert answer.status == 1
    for line in ("ok       gcloud is installed", "missing  logged in: `gcloud auth login`",
                 "missing  a project: --project=NAME", "missing  an ssh key"):  # fmt: skip
        assert line in answer.out
    cloud.change(account="me@lab.org", project="my-project")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/google_compute_engine").touch()
    answer = launch("doctor", *flags)
    assert answer.status == 0 and "ok       the TPU API answers for us-west4-a" in answer.out
    monkeypatch.setenv("PATH", "/usr/sbin")
    assert "missing  gcloud is installed: https://" in launch("doctor", *flags).out
