"""The backend: its options, its plan, and how its runs stand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlresearch.errors import UserError
from launch.asked import recorded_job
from launch.backends import Finding, Seen
from launch.backends.staying import detach, is_held, only_one, told_to_stop
from launch.backends.tpu_vm import remote
from launch.backends.tpu_vm.bring import bring
from launch.backends.tpu_vm.doctor import findings
from launch.backends.tpu_vm.gcloud import Place, Unanswered, runtime_version
from launch.backends.tpu_vm.nodes import LOST, Nodes, node_names
from launch.backends.tpu_vm.supervise import ACTIVE, Stay
from launch.backends.tpu_vm.workers import Workers
from launch.console import say as say_it
from launch.job import Job
from launch.options import Option
from launch.plan import Plan, Tools
from launch.run_folder import RunFolder


class TpuVm:
    """One process a worker; JAX on a TPU VM finds the others by itself."""

    name = "tpu_vm"
    options = (
        Option("project", str, None, "Google Cloud project; without it, that of gcloud's"
               " configuration."),
        Option("zone", str, None, "Zone of the TPUs, such as us-west4-a."),
        Option("accelerator_type", str, None, "Type and size, such as v5litepod-16."),
        Option("runtime_version", str, None, "Image of the workers; without it, Google's for the"
               " type."),
        Option("spot", bool, False, "Cheaper nodes that Google may take away; the run goes on when"
               " it has new ones."),
        Option("reserved", bool, False, "Nodes of a reservation."),
        Option("slices", int, 1, "Nodes of the run: several make a multislice.", lower=1),
        Option("valid_until", str, None, "How long to wait for nodes, such as 6h; without it, for"
               " ever."),
        Option("network", str, None, "VPC network."),
        Option("subnetwork", str, None, "Part of the network."),
        Option("internal_ip", bool, False, "Nodes without external addresses; this machine must be"
               " in their network."),
        Option("service_account", str, None, "Whom the workers act as."),
        Option("labels", tuple, (), "NAME=VALUE on the nodes' bill; may be given again."),
        Option("remote_workdir", str, "~/runs/{name}", "Where the trainer writes, on the workers;"
               " on storage that all of them mount where there are several. {name} is that of the"
               " job."),
        Option("install", tuple, (), "A line of shell that is run once on each new node, in the"
               " folder of the code; may be given again."),
        Option("keep", bool, False, "Do not delete the nodes at the end."),
        Option("poll_seconds", float, 15.0, "Between two looks at the workers.", lower=0.05),
        Option("unreachable_seconds", float, 900.0, "After which a worker that does not answer is"
               " given up, and new nodes are asked for.", lower=1.0),
    )  # fmt: skip
    arrays = False
    defaults: Mapping[str, Any] = {"python": "python3"}

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises UserError for options that contradict each other or are missing."""
        for name, example in (("zone", "us-west4-a"), ("accelerator_type", "v5litepod-8")):
            if not options[name]:
                raise UserError(f"--{name} is missing, such as --{name}={example}")
        for name in ("zone", "project", "network", "subnetwork", "service_account"):
            if options[name] and (options[name].split() != [options[name]]):
                raise UserError(f"--{name}: {options[name]!r} has a space in it")
        if options["spot"] and options["reserved"]:
            raise UserError("--spot and --reserved exclude each other; give one")
        if not options["snapshot"]:
            raise UserError("--nosnapshot: the workers have no code but the snapshot of it")
        if not options["remote_workdir"].startswith(("/", "~/")):
            where = options["remote_workdir"]
            raise UserError(f"--remote_workdir: {where!r} begins with neither / nor ~/")
        for label in options["labels"]:
            if "=" not in label or "," in label:
                raise UserError(f"--labels: {label!r} is not NAME=VALUE")
        runtime_version(options)

    def workdir(self, folder: Path, name: str, options: Mapping[str, Any]) -> str:
        """On the workers."""
        return options["remote_workdir"].replace("{name}", name)

    def plan(self, job: Job) -> Plan:
        """The first attempt, as it goes where nothing goes wrong."""
        place = Place.of(job.options)
        node = node_names(job.name, job.options["slices"])[0]
        where, one = remote.folder(job.name), {"attempt": 1}

        def call(verb: str, worker: int | str = "I", **numbers: Any) -> tuple[str, ...]:
            text = remote.call(job.name, verb, **numbers, process=worker)
            return place.ssh(node, worker, text)

        commands = (
            place.create(job.name, job.options),
            place.describe(job.name),
            place.describe_node(node),
            place.ssh(node, "I", remote.greet(job)),
            place.copy_to(node, "I", remote.files(job), where),
            place.ssh(node, "I", remote.unpack(job, 1)),
            call("install"),
            call("mark", 0, **one),
            call("see", **one),
            call("clear"),
            call("start", **one),
            call("poll", **one, offset=0, metrics="0:0"),
            call("collect", 0),
            place.copy_from(node, 0, f"{where}/results.tar", remote.results(job.folder)),
            place.delete(job.name),
        )
        remarks = [
            "for I = 0, 1, ... of all workers, whose number gcloud tells when the node is there",
            f"describe and poll come again every {job.options['poll_seconds']:g} s",
            f"{', '.join(Path(name).name for name in remote.files(job)[1:])} are made of the code"
            " and of launch/on_host",
        ]
        if job.options["slices"] > 1:
            remarks.append(f"likewise for the other {job.options['slices'] - 1} of the slices")
        if job.options["keep"]:
            commands = commands[:-1]
        return Plan((remote.job_file(job),), commands, tuple(remarks))

    def submit(self, job: Job, tools: Tools) -> None:
        """Start somebody to stay with the run, who outlives this process."""
        for run in job.runs:
            detach(RunFolder(run.folder))

    def supervise(self, job: Job, tools: Tools, say: Callable[[str], None]) -> int:
        """From asking for the nodes to deleting them."""
        with only_one(RunFolder(job.folder)), told_to_stop() as told:
            remote.job_file(job).write()
            remote.write_files(job)
            return Stay(job, tools, say, told).to_the_end()

    def look(self, runs: Sequence[RunFolder], tools: Tools) -> Mapping[Path, Seen]:
        """Google's word on the nodes, and whether somebody stays with each run."""
        return {run.path: _look(run, tools) for run in runs}

    def cancel(self, runs: Sequence[RunFolder], tools: Tools, *, now: bool) -> None:
        """Whoever stays with a run sees that it is cancelled; where nobody does, we do."""
        for run in runs:
            _, job = recorded_job(run)
            if not is_held(run):
                with only_one(run):
                    Stay(job, tools, say_it, ()).end(now=now)
            elif now and (workers := _workers(run, job, tools)):
                workers.call("stop", "--kill", attempt=run.attempts()[-1].number)

    def fetch(self, run: RunFolder, tools: Tools) -> None:
        """What is new on the workers, where nobody stays with the run who does so anyway."""
        _, job = recorded_job(run)
        if is_held(run) or _is_over(run) or not (workers := _workers(run, job, tools)):
            return
        if workers.lost() is None:
            bring(workers, run, run.attempts()[-1].folder)

    def doctor(self, options: Mapping[str, Any], tools: Tools) -> Iterator[Finding]:
        """Whether gcloud is there, and may be used."""
        return findings(options, tools)


def _look(run: RunFolder, tools: Tools) -> Seen:
    _, job = recorded_job(run)
    history, held = run.attempts(), is_held(run)
    if not held and _is_over(run):
        return Seen("ended")
    if not held and not history and not run.submissions():
        return Seen("unknown")
    try:
        word = Nodes(job.name, job.options, tools, say_it).state().word
    except Unanswered as silence:
        return Seen("running" if history else "queued", str(silence))
    alone = f"nobody stays with it: `python -m launch supervise {run.path}`"
    if word == ACTIVE and not held:
        return Seen("running", alone)
    if word in LOST:
        state = "restarting" if history else "queued"
        return Seen(state, "waiting for new nodes") if held else Seen("ended", f"nodes: {word}")
    if word == ACTIVE and history and not _is_over(run):
        number = history[-1].number
        return Seen("running", f"attempt {number}" if number > 1 else "")
    detail = word if held else f"{word}, {alone}"
    return Seen("restarting" if history else "queued", detail)


def _is_over(run: RunFolder) -> bool:
    """Whether the end of its newest attempt is written down."""
    history = run.attempts()
    return bool(history and history[-1].processes) and history[-1].exit is not None


def _workers(run: RunFolder, job: Job, tools: Tools) -> Workers | None:
    """Those of the newest attempt, from what was written down then."""
    noted = [each for each in run.submissions() if "members" in each]
    if not noted or not run.attempts():
        return None
    nodes = Nodes(job.name, job.options, tools, say_it)

    def lost() -> str | None:
        try:
            return nodes.lost()
        except Unanswered as silence:
            return str(silence)

    return Workers(
        name=job.name,
        members=[(str(node), int(worker)) for node, worker in noted[-1]["members"]],
        place=nodes.place,
        tools=tools,
        say=say_it,
        lost=lost,
        stops=lambda: True,
        patience=0.0,
        pause=0.0,
    )
