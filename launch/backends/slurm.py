"""Slurm: a run is a job, a sweep is an array of them."""

import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlresearch.errors import Failure, UserError, suggest
from launch.backends import Finding, Seen, slurm_script
from launch.backends.slurm_script import is_sweep
from launch.job import Job, Run
from launch.plan import Answer, File, Plan, Tools
from launch.run_folder import RunFolder

_DEFAULT_MAX_ARRAY_SIZE = 1001
# sbatch itself tries again for two minutes where the controller is too busy.
_SUBMIT_SECONDS = 300
_WAITS = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
_GOES_ON = (
    *("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING"),
    *("STAGE_OUT", "RESIZING"),
)


class Slurm:
    """Hands runs to the Slurm of this machine, and asks it how they stand.

    The folder of a run must be where the nodes see it under the same name.
    """

    name = "slurm"
    options = slurm_script.OPTIONS
    arrays = True
    defaults: Mapping[str, Any] = {"python": sys.executable}

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises UserError for options that contradict each other, or that Slurm would not read."""
        slurm_script.check(options)

    def workdir(self, folder: Path, name: str, options: Mapping[str, Any]) -> str:
        """The run's folder."""
        return str(folder)

    def plan(self, job: Job) -> Plan:
        """A batch script, what it reads, and `sbatch`."""
        remarks = ()
        if is_sweep(job):
            remarks = (
                f"arrays for MaxArraySize={_DEFAULT_MAX_ARRAY_SIZE}; what it is here is asked from"
                " scontrol when they are submitted",
            )
        return Plan(_files(job), tuple(_commands(job, _DEFAULT_MAX_ARRAY_SIZE)), remarks)

    def submit(self, job: Job, tools: Tools) -> None:
        """Write the script and hand it over.

        Raises:
          UserError: Slurm does not take it, in its own words.
        """
        size = _max_array_size(tools) if is_sweep(job) else _DEFAULT_MAX_ARRAY_SIZE
        commands = _commands(job, size)
        for file in _files(job):
            file.write()
        tools = replace(tools, environment=_environment(tools.environment, job.options))
        for done, (command, runs) in enumerate(commands.items()):
            answer = tools.run(command, timeout=_SUBMIT_SECONDS, check=False)
            if answer.status != 0:
                taken = f"; {done} of {len(commands)} arrays were taken" if done else ""
                raise UserError(f"sbatch does not take {job.name}: {_words(answer)}{taken}")
            number = answer.out.strip().partition(";")[0]  # NUMBER;CLUSTER where there are several
            for index, run in runs.items():
                name = number if index is None else f"{number}_{index}"
                RunFolder(run.folder).note_submission({"id": name})

    def look(self, runs: Sequence[RunFolder], tools: Tools) -> Mapping[Path, Seen]:
        """What squeue says, and of those that it does not know any more, sacct."""
        names = {run.path: name for run in runs if (name := _job_of(run))}
        found = _queue(names.values(), tools)
        forgotten = [name for name in names.values() if name not in found]
        found.update(_accounting(forgotten, tools))
        unknown = Seen("unknown")
        return {run.path: found.get(names.get(run.path, ""), unknown) for run in runs}

    def cancel(self, runs: Sequence[RunFolder], tools: Tools, *, now: bool) -> None:
        """`scancel`; of what runs, unless `now`, only a SIGTERM to its steps, on which it saves."""
        names = [name for run in runs if (name := _job_of(run))]
        if not names:
            return
        if now:
            tools.run(["scancel", "--quiet", *names], check=False)
            return
        # In this order: what ends and is requeued in between finds that it is cancelled.
        tools.run(["scancel", "--quiet", "--state=RUNNING", "--signal=TERM", *names], check=False)
        tools.run(["scancel", "--quiet", "--state=PENDING", *names], check=False)

    def fetch(self, run: RunFolder, tools: Tools) -> None:
        """All of it is here."""

    def doctor(self, options: Mapping[str, Any], tools: Tools) -> Iterator[Finding]:
        """Whether Slurm is here, and what it would say to a job with these options."""
        missing = [name for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
                   if not tools.has(name)]  # fmt: skip
        if missing:
            yield Finding(
                False, f"{', '.join(missing)} not on PATH", "is this a login node of the cluster?"
            )
            return
        configuration = tools.run(["scontrol", "show", "config"], check=False)
        if configuration.status != 0:
            yield Finding(False, f"Slurm does not answer: {_words(configuration)}")
            return
        settings = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", configuration.out, re.MULTILINE))
        yield Finding(True, f"Slurm {settings.get('SLURM_VERSION', '')} answers")
        yield _partition(options["partition"], tools)
        yield _test(options, tools)
        wait = re.search(r"cred_expire=(\d+)", settings.get("AuthInfo", ""))
        yield Finding(True, f"a run that starts again waits {wait[1] if wait else 120} s at least")
        accounting = not settings.get("AccountingStorageType", "").endswith(("none", "(null)"))
        kept = settings.get("MinJobAge", "300 sec")
        yield Finding(
            True,
            "accounting is on: `sacct` knows jobs of the past"
            if accounting
            else f"accounting is off: Slurm forgets a job {kept} after its end, then its folder"
            " tells",
        )
        if options["nodes"] * options["tasks_per_node"] > 1:
            yield _resolves(tools)


# --- submitting -----------------------------------------------------------------------------------


def _files(job: Job) -> tuple[File, File]:
    tasks = slurm_script.task_file(job)
    return tasks, slurm_script.script(job, tasks)


def _commands(job: Job, max_array_size: int) -> dict[tuple[str, ...], Mapping[int | None, Run]]:
    """Each call of sbatch, with the runs it submits by their number in the array."""
    path = str(job.folder / "launch" / "job.sh")
    if not is_sweep(job):
        return {("sbatch", "--parsable", path): {None: job.runs[0]}}
    commands: dict[tuple[str, ...], Mapping[int | None, Run]] = {}
    for begin, runs, at_once in slurm_script.arrays(job, max_array_size):
        elements: dict[int | None, Run] = {number - begin: run for number, run in runs.items()}
        array = slurm_script.ranges([number - begin for number in runs])
        array += f"%{at_once}" if at_once else ""
        command = ("sbatch", "--parsable", f"--array={array}", path, str(begin))
        commands[command] = elements
    return commands


def _max_array_size(tools: Tools) -> int:
    found = re.search(
        r"^MaxArraySize\s*=\s*(\d+)", tools.run(["scontrol", "show", "config"]).out, re.MULTILINE
    )
    size = int(found[1]) if found else _DEFAULT_MAX_ARRAY_SIZE
    if size < 2:
        raise UserError("this Slurm has no arrays (MaxArraySize), which a sweep needs")
    return size


def _environment(environment: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, str]:
    """Without what would beat the script's own #SBATCH lines, or is of the job we may be in."""
    inside = "SLURM_JOB_ID" in environment
    ours = {request.lstrip("-").partition("=")[0] for request in slurm_script.requests(options)}
    beats = {f"SBATCH_{name.upper().replace('-', '_')}" for name in ours}
    beats |= {"SBATCH_TIMELIMIT"} if "time" in ours else set()
    beats |= {"SBATCH_MEM_PER_NODE"} if "mem" in ours else set()
    beats |= {
        *("SBATCH_JOB_NAME", "SBATCH_OUTPUT", "SBATCH_ERROR", "SBATCH_ARRAY_INX"),
        *("SBATCH_OPEN_MODE", "SBATCH_NO_REQUEUE", "SBATCH_REQUEUE", "SBATCH_SIGNAL"),
        "SBATCH_WAIT",
    }
    return {
        name: value
        for name, value in environment.items()
        if name not in beats and not (inside and name.startswith("SLURM_") and name != "SLURM_CONF")
    }


def _words(answer: Answer) -> str:
    """All that a command of Slurm's said was wrong, on one line."""
    lines = (answer.err or answer.out).splitlines()
    said = [re.sub(r"^\w+: (error: )?", "", line.strip()) for line in lines if line.strip()]
    return "; ".join(dict.fromkeys(said)) or f"status {answer.status}"


# --- looking --------------------------------------------------------------------------------------


def _job_of(run: RunFolder) -> str | None:
    """Its job, or its element of an array, as Slurm calls it: 12 or 12_3."""
    submissions = run.submissions()
    return submissions[-1]["id"] if submissions else None


def _of(names: Sequence[str]) -> str:
    return ",".join(dict.fromkeys(name.partition("_")[0] for name in names))


def _queue(names: Any, tools: Tools) -> dict[str, Seen]:
    """What squeue knows, which is also what has ended in the last minutes."""
    names = list(names)
    if not names:
        return {}
    answer = tools.run(
        [
            *("squeue", "--noheader", "--array", "--states=all", f"--jobs={_of(names)}"),
            "--Format=JobArrayID:|,State:|,RestartCnt:|,NodeList:|,Reason:|",
        ],
        check=False,
    )
    if answer.status != 0:
        if "Invalid job id" in answer.err:  # the only one asked for is forgotten
            return {}
        raise Failure(f"squeue does not tell how jobs stand: {_words(answer)}")
    found = {}
    for line in answer.out.splitlines():
        name, state, restarts, nodes, reason = (word.strip() for word in line.split("|")[:5])
        found[name] = _seen(state, int(restarts or 0), nodes, reason)
    return found


def _accounting(names: Sequence[str], tools: Tools) -> dict[str, Seen]:
    """What sacct knows of jobs that squeue has forgotten; nothing where accounting is off."""
    if not names or not tools.has("sacct"):
        return {}
    answer = tools.run(
        [
            *("sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID,State"),
            f"--jobs={_of(names)}",
        ],
        check=False,
    )
    if answer.status != 0:
        return {}
    rows = [line.split("|") for line in answer.out.splitlines() if "|" in line]
    return {name: _seen(state.split()[0], 0, "", "") for name, state, *_ in rows if state}


def _seen(state: str, restarts: int, nodes: str, reason: str) -> Seen:
    reason = "" if reason in ("None", "(null)") else reason
    if state in _WAITS:
        if restarts:
            return Seen("restarting", ", ".join(filter(None, [f"restart {restarts}", reason])))
        return Seen("queued", reason)
    if state in _GOES_ON:
        return Seen("running", f"on {nodes}" if nodes else "")
    return Seen("ended", "" if state == "COMPLETED" else f"Slurm says {state}")


# --- doctor ---------------------------------------------------------------------------------------


def _partition(name: str | None, tools: Tools) -> Finding:
    answer = tools.run(["sinfo", "--noheader", "--format=%P|%a|%l"], check=False)
    if answer.status != 0:
        return Finding(False, f"sinfo lists no partitions: {_words(answer)}")
    rows = dict(line.split("|", 1) for line in answer.out.splitlines() if "|" in line)
    names = {row.rstrip("*"): rest for row, rest in rows.items()}
    default = next((row.rstrip("*") for row in rows if row.endswith("*")), None)
    chosen = name or default
    if chosen is None:
        return Finding(False, "no partition is the default here", "give --partition=NAME")
    missing = [each for each in chosen.split(",") if each not in names]
    if missing:
        return Finding(False, f"no partition {missing[0]}", suggest(missing[0], names))
    available, limit = names[chosen.split(",")[0]].split("|")
    return Finding(available == "up", f"partition {chosen} is {available}, time limit {limit}")


def _test(options: Mapping[str, Any], tools: Tools) -> Finding:
    """Slurm's own verdict on what would be asked for; nothing is submitted."""
    requests = slurm_script.requests(options)
    answer = tools.run(["sbatch", "--test-only", *requests, "--wrap=true"], check=False)
    said = _words(answer)
    if answer.status == 0:
        return Finding(True, f"sbatch would take it: {said}")
    return Finding(False, f"sbatch would not take it: {said}", "change the options that it names")


def _resolves(tools: Tools) -> Finding:
    """Processes find the first node of a run by its name."""
    names = tools.run(["sinfo", "--noheader", "--Node", "--format=%N"], check=False).out.split()
    for name in sorted(set(names))[:8]:
        try:
            socket.getaddrinfo(name, None)
        except OSError:
            return Finding(
                False,
                f"node {name} has no address here",
                "processes of a run find each other by the name of its first node: the nodes need"
                " it in DNS or /etc/hosts",
            )
    return Finding(True, f"names of nodes have addresses: {', '.join(sorted(set(names))[:3])}")
