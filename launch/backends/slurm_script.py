"""The batch script of a Slurm job, and what it is given to read."""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlresearch.errors import UserError
from launch.job import Job, Run
from launch.options import Option, environment
from launch.plan import File

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<clock>\d+(?::\d+){0,2})")
_MEMORY = re.compile(r"\d+[KMGTkmgt]?")

OPTIONS = (
    Option("nodes", int, 1, "Nodes of a run.", lower=1),
    Option("tasks_per_node", int, 1, "Processes of a run on each node: one, which has all of its"
           " GPUs, or one a GPU.", lower=1),
    Option("gpus_per_node", int, None, "GPUs on each node.", lower=1),
    Option("cpus_per_task", int, None, "CPUs of each process.", lower=1),
    Option("memory", str, None, "Memory on each node, such as 64G; 0 is all of it."),
    Option("time", str, None, "Time limit: minutes, hours:minutes:seconds or days-hours. A run that"
           " reaches it saves and goes on in the queue."),
    Option("partition", str, None, "Partition to run in."),
    Option("account", str, None, "Account to charge."),
    Option("qos", str, None, "Quality of service."),
    Option("constraint", str, None, "Features that the nodes must have."),
    Option("reservation", str, None, "Reservation to run in."),
    Option("exclude", str, None, "Nodes not to run on."),
    Option("sbatch", tuple, (), "An option for sbatch, as it is: --sbatch=--mail-type=END; may be"
           " given again."),
)  # fmt: skip

_OURS = {
    "nodes": "nodes",
    "tasks_per_node": "ntasks-per-node",
    "gpus_per_node": "gpus-per-node",
    "cpus_per_task": "cpus-per-task",
    "memory": "mem",
    "time": "time",
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "reservation": "reservation",
    "exclude": "exclude",
}
# What cannot be given as it is, and why not.
_TAKEN = {
    **{words: f"give --{name}" for name, words in _OURS.items()},
    "N": "give --nodes",
    "c": "give --cpus_per_task",
    "t": "give --time",
    "p": "give --partition",
    "A": "give --account",
    "q": "give --qos",
    "C": "give --constraint",
    "x": "give --exclude",
    "ntasks": "give --nodes and --tasks_per_node",
    "n": "give --nodes and --tasks_per_node",
    "gpus-per-task": "JAX needs to see all GPUs of the node; give --gpus_per_node",
    "signal": "give --grace",
    "job-name": "the launcher finds the job by it",
    "J": "the launcher finds the job by it",
    "output": "it goes into the folder of the run",
    "o": "it goes into the folder of the run",
    "error": "it goes into the folder of the run",
    "e": "it goes into the folder of the run",
    "array": "python -m launch sweep makes one",
    "a": "python -m launch sweep makes one",
    "requeue": "it is given always",
    "no-requeue": "--max_restarts=0 keeps a run from starting again",
    "open-mode": "output is always appended",
    "wrap": "give the command after --",
    "parsable": "it is given always",
    "wait": "sbatch would not come back",
    "W": "sbatch would not come back",
    "test-only": "python -m launch doctor does that",
}


def check(options: Mapping[str, Any]) -> None:
    """Raises UserError for options that contradict each other, or that Slurm would not read."""
    tasks, gpus = options["tasks_per_node"], options["gpus_per_node"]
    if gpus is not None and tasks not in (1, gpus):
        raise UserError(
            f"--tasks_per_node={tasks} with --gpus_per_node={gpus}: JAX wants one process a GPU"
            f" ({gpus}) or one a node (1)"
        )
    if options["memory"] is not None and not _MEMORY.fullmatch(options["memory"]):
        raise UserError(f"--memory={options['memory']!r} is no size; such as 64G")
    if options["time"] is not None and seconds(options["time"]) <= options["grace"]:
        raise UserError(
            f"--grace={options['grace']}: a run is asked to save so many seconds before"
            f" --time={options['time']} is over, which would be at once"
        )
    for word in options["sbatch"]:
        if not re.match(r"--?[A-Za-z]", word):
            raise UserError(f"--sbatch={word!r} is no option; write --sbatch=--NAME=VALUE")
        long = word.startswith("--")
        name = word.removeprefix("--").partition("=")[0] if long else word[1]
        if name in _TAKEN:
            raise UserError(f"--sbatch={word}: {_TAKEN[name]}")
    for name, value in options.items():
        for each in value if isinstance(value, tuple) else (value,):
            if name in {*_OURS, "sbatch"} and isinstance(each, str) and not each.isprintable():
                raise UserError(f"--{name}={each!r}: a #SBATCH line cannot hold such a character")


def seconds(time: str) -> float:
    """A time limit in Slurm's way: minutes, minutes:seconds, hours:minutes:seconds, days-hours,
    days-hours:minutes, days-hours:minutes:seconds.

    Raises:
      UserError: it is none.
    """
    if time.lower() in ("infinite", "unlimited"):
        return float("inf")
    found = _TIME.fullmatch(time)
    if not found:
        raise UserError(f"--time={time!r} is no time limit; such as 90 (minutes), 4:00:00 or 2-12")
    parts = [int(part) for part in found["clock"].split(":")]
    if found["days"] is not None:
        units = (3600, 60, 1)
        return int(found["days"]) * 86400 + sum(p * u for p, u in zip(parts, units, strict=False))
    units = {1: (60,), 2: (60, 1), 3: (3600, 60, 1)}[len(parts)]
    return sum(part * unit for part, unit in zip(parts, units, strict=True)) or float("inf")


def requests(options: Mapping[str, Any]) -> Iterator[str]:
    """What is asked of Slurm, as options of sbatch."""
    for name, words in _OURS.items():
        if options[name] is not None:
            yield f"--{words}={options[name]}"
    yield from options["sbatch"]


def is_sweep(job: Job) -> bool:
    """Whether its runs are an array."""
    return len(job.runs) != 1 or job.runs[0].folder != job.folder


def indices(runs: Sequence[Run]) -> dict[int, Run]:
    """Runs by their number in the sweep, by which their folders begin; else by their place."""
    numbers = [re.match(r"\d+", run.folder.name) for run in runs]
    named = [int(number[0]) for number in numbers if number]
    if len(set(named)) == len(runs):
        return dict(zip(named, runs, strict=True))
    return dict(enumerate(runs))


def task_file(job: Job) -> File:
    """What the batch script reads: each run by its number, and the rules for starting again.

    Its name follows from what is in it. A run that starts again reads it again, and by then there
    may have been another submission of the same sweep.
    """
    options = job.options
    keep = (
        *("nodes", "tasks_per_node", "cpus_per_task", "grace"),
        *("max_restarts", "restarts_without_progress", "retry_errors"),
    )
    runs = indices(job.runs) if is_sweep(job) else {0: job.runs[0]}
    content = json.dumps(
        {
            **{name: options[name] for name in keep},
            "runs": {
                number: {"folder": str(run.folder), "command": run.command}
                for number, run in runs.items()
            },
        },
        indent=1,
    )
    digest = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return File(job.folder / "launch" / f"slurm-{digest}.json", f"{content}\n")


def script(job: Job, tasks: File) -> File:
    """job.sh.

    Raises:
      UserError: Slurm cannot be told the name of the folder.
    """
    options = job.options
    lines = ["#!/bin/bash"]
    given = [
        f"--job-name={job.name}",
        f"--output={_output(job)}",
        *requests(options),
        # Of the job's steps, not with `B:` of this script: srun would kill what it is told to end.
        f"--signal=TERM@{options['grace']}",
        "--requeue",
        "--open-mode=append",
    ]
    lines += [f"#SBATCH {_directive(each)}" for each in given]
    lines += ["", "set -e", *options["setup"]]
    variables = environment(options["env"])
    if (options["gpus_per_node"] or 1) > 1 and options["tasks_per_node"] == 1:
        # Else JAX takes one GPU a process: the one of the process's number on its node.
        ids = ",".join(map(str, range(options["gpus_per_node"])))
        variables.setdefault("JAX_LOCAL_DEVICE_IDS", ids)
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    python, read = shlex.quote(options["python"]), shlex.quote(str(tasks.path))
    number = '"$((SLURM_ARRAY_TASK_ID + $1))"' if is_sweep(job) else "0"
    lines += [
        f"cd -- {shlex.quote(str(job.code))}",
        f"exec {python} -m launch.on_host.slurm {read} {number}",
    ]
    return File(job.folder / "launch" / "job.sh", "\n".join(lines) + "\n", executable=True)


def arrays(job: Job, max_array_size: int) -> Iterator[tuple[int, dict[int, Run], int]]:
    """The arrays of a sweep: what to add to an element's number, the runs of each by that sum, and
    how many of them may go on at once (0: all).

    Slurm numbers the elements of an array from 0 to `max_array_size` - 1.

    Raises:
      UserError: there are more arrays than runs may go on at once.
    """
    groups: dict[int, dict[int, Run]] = {}
    for number, run in sorted(indices(job.runs).items()):
        begin = number // max_array_size * max_array_size
        groups.setdefault(begin, {})[number] = run
    if 0 < job.max_parallel < len(groups):
        raise UserError(
            f"--max_parallel={job.max_parallel}: {len(job.runs)} runs are {len(groups)} arrays of"
            f" at most {max_array_size} here (MaxArraySize), of which each runs one at a time at"
            " least"
        )
    for place, (begin, runs) in enumerate(groups.items()):
        share = (job.max_parallel + len(groups) - 1 - place) // len(groups)
        yield begin, runs, share


def ranges(numbers: Sequence[int]) -> str:
    """As Slurm writes them: 0-2,5,7-8."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][-1] == number - 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ",".join("-".join(map(str, each)) for each in found)


def _output(job: Job) -> str:
    folder = str(job.folder / "launch")
    if "\\" in folder or not folder.isprintable():
        raise UserError(
            f"--workdir: {folder!r} has a character in it that Slurm cannot write output to;"
            " choose another name"
        )
    name = "slurm-%A_%a.out" if is_sweep(job) else "slurm-%j.out"
    return f"{folder.replace('%', '%%')}/{name}"


def _directive(option: str) -> str:
    """As sbatch reads it from a script, where a blank ends a word and `#` begins a comment."""
    if re.fullmatch(r"[\w./=@%,:+-]+", option):
        return option
    return '"' + re.sub(r'(["\\])', r"\\\1", option) + '"'
