"""How long it takes until a run whose processes fail comes to a clear end, or recovers.

    python benchmarks/faults.py --out=docs/results/faults.json

Several local processes (CPU, gloo) train one run; something happens to one of them. Measured is
the time from then until the last process has ended, and noted how they ended and what they said.
The network cut needs the right to make network namespaces, the full disk that to mount a tmpfs.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

OUT = flags.DEFINE_string("out", None, "File for the figures.")
ONLY = flags.DEFINE_string("only", "", "Scenarios whose name holds this text.")

HEARTBEAT = 10
STALL = 5
_START_SECONDS = 120.0
_END_SECONDS = 90.0


@dataclass
class Outcome:
    """What came of a fault.

    Attributes:
      seconds: from the fault to the end of the last process.
      statuses: of the processes, negative for a signal.
      said: the first line on the error, of a process that could tell.
      step: of the newest checkpoint.
      resumed: whether the same command then went on from that step.
    """

    seconds: float
    statuses: list[int]
    said: str
    step: int | None = None
    resumed: bool | None = None


@dataclass
class Processes:
    """A run of several processes, each with a log of its own."""

    folder: Path
    count: int = 3
    config: Path = field(init=False)

    def __post_init__(self) -> None:
        from helpers.training.small_runs import regression_config, write_config

        config = regression_config()
        config.duration = "1000000 steps"
        config.batch_size, config.accumulate = 12, 1
        config.data.source.name = "helpers.training.toy_sources:Faulty"
        config.data.placement = "streamed"
        config.evaluators = {}
        config.log.every, config.log.tensorboard = "5 steps", False
        config.checkpoint.every = "100000 steps"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = write_config(config, self.folder / "config.json")
        self.workdir = self.folder / "run"
        self.started: list[subprocess.Popen] = []

    def start(
        self,
        *settings: str,
        faults: Mapping[int, str] | None = None,
        address: str | None = None,
        prefixes: Sequence[Sequence[str]] = (),
    ) -> None:
        """Start all, and wait until they train."""
        from helpers.processes import environment, free_port

        self.started = []
        for number in range(self.count):
            command = [
                *(prefixes[number] if prefixes else ()),
                sys.executable,
                "-m",
                "dlresearch.train",
                f"--config={self.config}",
                f"--workdir={self.workdir}",
                f"--heartbeat_timeout={HEARTBEAT}",
                *settings,
            ]
            if self.count > 1:
                address = address or f"localhost:{free_port()}"
                command += [
                    f"--coordinator_address={address}",
                    f"--num_processes={self.count}",
                    f"--process_id={number}",
                ]
            variables = environment() | {"TOY_FAULT": (faults or {}).get(number, "")}
            with self.log(number).open("w") as log:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT
                )
            self.started.append(process)
        if not faults:
            self.wait_for_steps()

    def log(self, number: int) -> Path:
        return self.folder / f"log.{number}"

    def wait_for_steps(self) -> None:
        """Until steps were recorded since the start."""
        metrics = self.workdir / "metrics.jsonl"
        before = metrics.read_text().count("\n") if metrics.exists() else 0
        until = time.monotonic() + _START_SECONDS
        while not metrics.exists() or metrics.read_text().count("\n") < before + 3:
            ended = [process.poll() for process in self.started]
            if time.monotonic() > until or any(status is not None for status in ended):
                logs = "\n".join(self.log(i).read_text() for i in range(self.count))
                self.kill()
                raise RuntimeError(f"the run did not start: {ended}\n{logs}")
            time.sleep(0.02)

    def end(self, since: float) -> Outcome:
        """Wait until all have ended."""
        while any(process.poll() is None for process in self.started):
            if time.time() - since > _END_SECONDS:
                self.kill()
                raise RuntimeError(f"no end within {_END_SECONDS:.0f} s: {self.said()}")
            time.sleep(0.01)
        return Outcome(time.time() - since, [p.wait() for p in self.started], self.said())

    def said(self) -> str:
        """The line on what happened; JAX's own where there is none of ours."""
        logs = [self.log(number).read_text() for number in range(self.count)]
        for pattern in (r"^error: .*", r".*: saved step .*", r"UNAVAILABLE: .*(?:\n.*)?"):
            found = [match[0] for log in logs for match in re.finditer(pattern, log, re.MULTILINE)]
            if found:
                return " ".join(
                    found[0].replace(str(self.folder), "DIR").replace(f"{ROOT}/", "").split()
                )
        return ""

    def kill(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()

    def newest(self) -> int | None:
        """The step of the newest checkpoint."""
        names = [path.name for path in (self.workdir / "checkpoints").glob("*")]
        return max((int(name) for name in names if name.isdecimal()), default=None)

    def resumes(self, *settings: str) -> bool:
        """Whether the same command goes on from the newest checkpoint."""
        step = self.newest()
        self.start(*settings)
        self.kill()
        return f"resuming from step {step}" in self.log(0).read_text()


def signalled(folder: Path, victim: int, number: signal.Signals) -> Outcome:
    """One of three processes gets a signal."""
    processes = Processes(folder)
    processes.start()
    since = time.time()
    processes.started[victim].send_signal(number)
    if number == signal.SIGSTOP:  # a frozen host: ended by hand once the others are gone
        others = [p for i, p in enumerate(processes.started) if i != victim]
        while any(p.poll() is None for p in others) and time.time() - since < _END_SECONDS:
            time.sleep(0.01)
        seconds = time.time() - since
        processes.started[victim].kill()
        outcome = processes.end(since)
        outcome.seconds = seconds
        return outcome
    outcome = processes.end(since)
    outcome.step = processes.newest()
    if outcome.statuses == [75] * 3:
        outcome.resumed = processes.resumes()
    return outcome


def at_fault(folder: Path, fault: str, *settings: str) -> Outcome:
    """The data of process 1 raises, or never comes; timed from the last recorded step."""
    processes = Processes(folder)
    processes.start(*settings, faults={1: fault})
    outcome = processes.end(time.time())
    outcome.seconds = time.time() - (processes.workdir / "metrics.jsonl").stat().st_mtime
    return outcome


def full_disk(folder: Path) -> Outcome:
    """Saving finds no room; afterwards there is some again."""
    with mounted(folder / "small", "4m") as small:
        processes = Processes(folder, count=2)
        processes.workdir = small / "run"
        often = "--config.checkpoint.every=20 steps"
        processes.start(often)
        while processes.newest() is None:
            time.sleep(0.01)
        filler = small / "filler"
        with filler.open("wb", buffering=0) as file:
            since = time.time()
            try:
                while True:
                    file.write(bytes(2**16))
            except OSError:
                pass
        outcome = processes.end(since)
        outcome.step = processes.newest()
        filler.unlink()
        outcome.resumed = processes.resumes(often)
    return outcome


def network_cut(folder: Path) -> Outcome:
    """Two hosts, and the link between them goes down."""
    with two_hosts() as (prefixes, address, cut):
        processes = Processes(folder, count=2)
        processes.start(address=address, prefixes=prefixes)
        since = time.time()
        cut()
        return processes.end(since)


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A disk that is small. Raises CalledProcessError where mounting is not allowed."""
    folder.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        check=True,
        capture_output=True,
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def two_hosts() -> Iterator[tuple[list[list[str]], str, Callable[[], None]]]:
    """Two network namespaces with a link: command prefixes, an address of the first, and a cut.

    Raises CalledProcessError where that is not allowed.
    """

    def ip(arguments: str) -> None:
        subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)

    names = [f"dl{os.getpid()}a", f"dl{os.getpid()}b"]
    addresses = ["10.213.7.1", "10.213.7.2"]
    try:
        for name in names:
            ip(f"netns add {name}")
        ip(f"link add va netns {names[0]} type veth peer name vb netns {names[1]}")
        for name, end, address in zip(names, ("va", "vb"), addresses, strict=True):
            ip(f"-n {name} addr add {address}/24 dev {end}")
            ip(f"-n {name} link set {end} up")
            ip(f"-n {name} link set lo up")
            # gloo advertises the address its host name has.
            hosts = Path("/etc/netns") / name
            hosts.mkdir(parents=True)
            (hosts / "hosts").write_text(f"{address} {os.uname().nodename}\n127.0.0.1 localhost\n")
        prefixes = [["ip", "netns", "exec", name] for name in names]
        yield prefixes, f"{addresses[0]}:12345", lambda: ip(f"-n {names[1]} link set vb down")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


SCENARIOS: Mapping[str, Callable[[Path], Outcome]] = {
    "a worker is killed": lambda folder: signalled(folder, 1, signal.SIGKILL),
    "the coordinator is killed": lambda folder: signalled(folder, 0, signal.SIGKILL),
    "a worker freezes": lambda folder: signalled(folder, 1, signal.SIGSTOP),
    "an exception in one process": lambda folder: at_fault(folder, "raise"),
    "a hang in one process": lambda folder: at_fault(folder, "hang", f"--stall_timeout={STALL}"),
    "SIGTERM to one process": lambda folder: signalled(folder, 2, signal.SIGTERM),
    "SIGUSR1 to the coordinator": lambda folder: signalled(folder, 0, signal.SIGUSR1),
    "a full disk while saving": full_disk,
    "the network between two hosts is cut": network_cut,
}


def main(_: list[str]) -> None:
    from dlresearch.training.workdir import device_name

    figures = {}
    for name, scenario in SCENARIOS.items():
        if ONLY.value not in name:
            continue
        folder = Path(tempfile.mkdtemp())
        try:
            outcome = scenario(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        figures[name] = asdict(outcome)
        print(f"{name}: {outcome}", flush=True)
    if OUT.value:
        content = {
            "device": device_name(),
            "heartbeat_timeout": HEARTBEAT,
            "stall_timeout": STALL,
            "scenarios": figures,
        }
        Path(OUT.value).write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
