"""What Slurm is asked for, without a Slurm: scripts, arrays, and mistakes in options."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dlresearch.errors import UserError
from helpers.launch.launches import call, make_repository
from launch.backends.slurm import Slurm
from launch.backends.slurm_script import arrays, ranges, seconds
from launch.job import Job, Run
from launch.on_host import slurm as on_host_slurm
from launch.options import COMMON, read_profile, resolve
from launch.plan import Answer, Tools
from launch.run_folder import RunFolder

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=r-run
#SBATCH --output=/runs/run/launch/slurm-%j.out
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=4:00:00
#SBATCH --partition=gpu
#SBATCH "--constraint=a100&nvlink"
#SBATCH --mail-type=END
#SBATCH --signal=TERM@90
#SBATCH --requeue
#SBATCH --open-mode=append

set -e
module load cuda/12.4
export TFDS_DATA_DIR='/shared/my data'
export JAX_LOCAL_DEVICE_IDS=0,1,2,3
cd -- /runs/run/launch/code/0a1b
exec python3 -m launch.on_host.slurm /runs/run/launch/slurm-{digest}.json 0
"""


def options(**given):
    values = {option.name: option.default for option in (*COMMON, *Slurm.options)}
    return {**values, "python": "python3", **given}


def a_run(folder: Path, **given) -> Job:
    code = folder / "launch/code/0a1b"
    return Job("r-run", folder, (Run(folder, ("train", "it's")),), code, options(**given))


def a_sweep(numbers, at_once=0) -> Job:
    runs = tuple(
        Run(Path(f"/runs/s/runs/{number:04}-abc"), ("train", str(number))) for number in numbers
    )
    return Job("r-s", Path("/runs/s"), runs, Path("/code"), options(), at_once)


def test_the_script_says_what_was_asked_in_slurms_words():
    job = a_run(
        Path("/runs/run"),
        nodes=2,
        gpus_per_node=4,
        cpus_per_task=16,
        memory="64G",
        time="4:00:00",
        partition="gpu",
        constraint="a100&nvlink",
        sbatch=("--mail-type=END",),
        setup=("module load cuda/12.4",),
        env=("TFDS_DATA_DIR=/shared/my data",),
    )
    tasks, script = Slurm().plan(job).files
    digest = tasks.path.stem.removeprefix("slurm-")
    assert script.content == SCRIPT.format(digest=digest)
    assert script.executable and script.path == Path("/runs/run/launch/job.sh")
    assert Slurm().plan(job).commands == (("sbatch", "--parsable", "/runs/run/launch/job.sh"),)
    assert json.loads(tasks.content) == {
        "nodes": 2,
        "tasks_per_node": 1,
        "cpus_per_task": 16,
        "grace": 90,
        "max_restarts": 20,
        "restarts_without_progress": 2,
        "retry_errors": 0,
        "runs": {"0": {"folder": "/runs/run", "command": ["train", "it's"]}},
    }


def test_one_process_a_gpu_needs_no_list_of_devices():
    job = a_run(Path("/runs/run"), gpus_per_node=4, tasks_per_node=4)
    assert "JAX_LOCAL_DEVICE_IDS" not in Slurm().plan(job).files[1].content


def test_a_missing_part_of_a_sweep_is_an_array_by_its_own_numbers():
    plan = Slurm().plan(a_sweep([0, 3, 4, 5, 9], at_once=2))
    assert plan.commands == (
        ("sbatch", "--parsable", "--array=0,3-5,9%2", "/runs/s/launch/job.sh", "0"),
    )
    tasks, script = plan.files
    assert script.content.endswith(
        f'exec python3 -m launch.on_host.slurm {tasks.path} "$((SLURM_ARRAY_TASK_ID + $1))"\n'
    )
    assert "--output=/runs/s/launch/slurm-%A_%a.out" in script.content
    assert json.loads(tasks.content)["runs"]["9"] == {
        "folder": "/runs/s/runs/0009-abc",
        "command": ["train", "9"],
    }
    assert "MaxArraySize=1001" in plan.remarks[0]


def test_a_large_sweep_is_several_arrays_that_share_its_limit():
    plan = Slurm().plan(a_sweep(range(2500), at_once=8))
    assert [command[2:] for command in plan.commands] == [
        ("--array=0-1000%3", "/runs/s/launch/job.sh", "0"),
        ("--array=0-1000%3", "/runs/s/launch/job.sh", "1001"),
        ("--array=0-497%2", "/runs/s/launch/job.sh", "2002"),
    ]
    with pytest.raises(UserError, match="--max_parallel=2: 2500 runs are 3 arrays"):
        list(arrays(a_sweep(range(2500), at_once=2), 1001))


def test_what_waits_reads_what_it_was_submitted_with():
    """Two submissions of one sweep do not overwrite each other's runs."""
    first, second = (Slurm().plan(a_sweep(numbers)).files[0] for numbers in ([0, 1], [1]))
    assert first.path != second.path


@pytest.mark.parametrize(
    ("time", "expected"),
    [("90", 5400), ("1:30", 90), ("4:00:00", 14400), ("2-12", 216000), ("1-0:30", 88200),
     ("1-00:00:05", 86405), ("UNLIMITED", float("inf")), ("0", float("inf"))],
)  # fmt: skip
def test_times_are_those_of_slurm(time, expected):
    assert seconds(time) == expected


def test_ranges_of_numbers():
    assert ranges([7, 0, 1, 2, 5, 8]) == "0-2,5,7-8"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"time": "4h"}, "--time='4h' is no time limit"),
        ({"time": "1:00", "grace": 90}, "--grace=90: a run is asked to save so many seconds"),
        ({"memory": "64 GB"}, "--memory='64 GB' is no size"),
        ({"gpus_per_node": 8, "tasks_per_node": 3}, "one process a GPU \\(8\\) or one a node"),
        ({"sbatch": ("mail-type=END",)}, "is no option; write --sbatch=--NAME=VALUE"),
        ({"sbatch": ("--partition=gpu",)}, "--sbatch=--partition=gpu: give --partition"),
        ({"sbatch": ("-pgpu",)}, "--sbatch=-pgpu: give --partition"),
        ({"sbatch": ("--array=0-3",)}, "python -m launch sweep makes one"),
        ({"sbatch": ("--gpus-per-task=1",)}, "give --gpus_per_node"),
        ({"account": "a\n#SBATCH --qos=high"}, "--account=.*cannot hold such a character"),
    ],
)
def test_a_mistake_in_an_option_is_told_before_anything_is_submitted(given, words):
    with pytest.raises(UserError, match=words) as raised:
        Slurm().check(options(**given))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["back\\slash", "line\nbreak"])
def test_a_folder_that_slurm_cannot_write_to_is_refused(name):
    with pytest.raises(UserError, match=r"--workdir: .*Slurm cannot write output"):
        Slurm().plan(a_run(Path("/runs") / name))


HOSTILE = [
    'it\'s "quoted"',
    "a; touch x; $(touch x) `touch x`",
    "#hash and %j and %% and \\ back",
    "-leading --output=x",
    "é 中 ~ $HOME",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_user_types_arrives_as_it_was(text, tmp_path):
    """The script is run by bash itself, in place of Slurm, with a Python that prints."""
    show = tmp_path / "show.py"
    show.write_text("import os, sys; print([os.getcwd(), os.environ['X'], sys.argv[1:]])")
    fake = tmp_path / f"py {text.replace('/', '')}"
    fake.write_text(f'#!/bin/bash\nexec {sys.executable} {show} "$@"\n')
    fake.chmod(0o755)
    folder = tmp_path / text.replace("\\", "")
    code = folder / text.replace("\\", "")
    code.mkdir(parents=True)
    run = Run(folder, ("train", text))
    job = Job("r", folder, (run,), code, options(python=str(fake), env=(f"X={text}",)))
    tasks, script = Slurm().plan(job).files
    for file in (tasks, script):
        file.write()
    done = subprocess.run(["bash", str(script.path)], capture_output=True, text=True, check=True)
    expected = [str(code), text, ["-m", "launch.on_host.slurm", str(tasks.path), "0"]]
    assert done.stdout == f"{expected}\n"
    assert json.loads(tasks.path.read_text())["runs"]["0"]["command"] == ["train", text]
    assert not list(Path.cwd().glob("x"))


def test_a_line_of_setup_that_fails_ends_the_job_before_anything_runs(tmp_path):
    job = a_run(tmp_path, setup=("echo one", "no-such-module", "echo two"))
    script = Slurm().plan(job).files[1]
    script.write()
    done = subprocess.run(["bash", str(script.path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (127, "one\n") and "no-such-module" in done.stderr


def test_the_example_of_a_profile_has_options_that_there_are():
    known = (*COMMON, *Slurm.options)
    path = Path(__file__).parents[2] / "launch/profiles/slurm-example.toml"
    profile = read_profile(str(path), {"backend", *(option.name for option in known)})
    values = {name: each.value for name, each in resolve(known, {}, profile, {}).items()}
    Slurm().check(values)
    assert "#SBATCH --account=vision" in Slurm().plan(a_run(Path("/r"), **values)).files[1].content


# --- what Slurm says, from doubles that say it ----------------------------------------------------


AROUND = {
    "PATH": "/nowhere",
    "SBATCH_PARTITION": "mine",
    "SLURM_JOB_ID": "1",
    "SLURM_NTASKS": "8",
    "SLURM_CONF": "/etc/it",
}


@dataclass(frozen=True)
class Said(Tools):
    """Answers by the first word of a command; keeps what was asked."""

    answers: dict[str, str] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)

    def has(self, program):
        return program in self.answers

    def run(self, argv, **_):
        self.asked.append(list(argv))
        self.environments.append(dict(self.environment))
        return Answer(0, self.answers.get(argv[0], ""), "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("12|PENDING|0||Priority|", ("queued", "Priority")),
        ("12|PENDING|2||BeginTime|", ("restarting", "restart 2, BeginTime")),
        ("12|RUNNING|0|n[1-2]|None|", ("running", "on n[1-2]")),
        ("12|COMPLETING|0|n1|None|", ("running", "on n1")),
        ("12|COMPLETED|0|n1|None|", ("ended", "")),
        ("12|OUT_OF_MEMORY|0|n1|OutOfMemory|", ("ended", "Slurm says OUT_OF_MEMORY")),
        ("13|RUNNING|0|n1|None|", ("unknown", "")),
    ],
)
def test_what_squeue_says_of_a_run(tmp_path, line, expected):
    run = RunFolder(tmp_path)
    run.note_submission({"id": "11"})
    run.note_submission({"id": "12"})
    seen = Slurm().look([run], Said(answers={"squeue": f"{line}\n"}))[tmp_path]
    assert (seen.state, seen.detail) == expected


def test_all_runs_are_asked_for_in_one_call(tmp_path):
    runs = [RunFolder(tmp_path / str(number)) for number in range(50)]
    for number, run in enumerate(runs):
        run.note_submission({"id": f"7_{number}"})
    queue = "".join(f"7_{number}|RUNNING|0|n1|None|\n" for number in range(49))
    tools = Said(answers={"squeue": queue, "sacct": "7_49|CANCELLED by 1000\n"})
    seen = Slurm().look(runs, tools)
    assert [each.state for each in seen.values()] == ["running"] * 49 + ["ended"]
    assert [argv[0] for argv in tools.asked] == ["squeue", "sacct"]
    assert "--jobs=7" in tools.asked[0]


def test_a_run_that_was_never_submitted_is_unknown_and_nobody_is_asked(tmp_path):
    tools = Said()
    assert Slurm().look([RunFolder(tmp_path)], tools)[tmp_path].state == "unknown"
    Slurm().cancel([RunFolder(tmp_path)], tools, now=True)
    assert tools.asked == []


def test_options_beat_the_users_environment_and_that_of_a_job_around(tmp_path):
    tools = Said(environment=AROUND, answers={"sbatch": "7\n"})
    Slurm().submit(a_run(tmp_path / "a", partition="gpu"), tools)
    Slurm().submit(a_run(tmp_path / "b"), tools)
    assert tools.environments == [
        {"PATH": "/nowhere", "SLURM_CONF": "/etc/it"},
        {"PATH": "/nowhere", "SLURM_CONF": "/etc/it", "SBATCH_PARTITION": "mine"},
    ]


def test_without_slurm_a_plan_is_shown_and_a_run_is_one_line(tmp_path):
    repository = make_repository(tmp_path / "lab")
    words = ("run", "--backend=slurm", "--nodes=2", f"--workdir={tmp_path}/run", "--nosnapshot")
    shown = call(*words, "--dry_run", "--", "true", cwd=repository, PATH="/usr/bin/nowhere")
    assert shown.status == 0 and "#SBATCH --nodes=2" in shown.out, shown
    assert not (tmp_path / "run").exists()
    refused = call(*words, "--", "true", cwd=repository, PATH="/usr/bin/nowhere")
    refused.assert_mistake("sbatch is not installed here")


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_job_is_not_requeued_once_its_run_is_cancelled(tmp_path, monkeypatch, cancelled):
    """It may be cancelled after its end was judged; Slurm says RUNNING until the job is over."""
    programs = {"squeue": "echo RUNNING", "scontrol": f'echo "$@" > {tmp_path}/asked'}
    for name, does in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    run = RunFolder(tmp_path / "run")
    if cancelled:
        run.note_cancelled()
    on_host_slurm._requeue(run.path)
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == ("" if cancelled else "requeue 12\n")
