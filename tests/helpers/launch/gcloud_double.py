"""A `gcloud` that has no cloud behind it: workers are folders, and commands really run in them.

Tests put it on PATH. It knows the commands that the TPU VM backend uses, refuses flags that the
real one does not have, keeps the state of queued resources and nodes in a folder, and fails when it
is told to.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FOLDER = "GCLOUD_DOUBLE"
_MACHINE = "GCLOUD_DOUBLE_MACHINE"

# What the real one (528.0.0) takes, of those flags that concern us.
_FLAGS = {
    "queued-resources create": """node-id node-count node-prefix accelerator-type runtime-version
        spot reserved valid-until-duration network subnetwork internal-ips service-account labels
        async""",
    "queued-resources describe": "",
    "queued-resources delete": "force async",
    "tpu-vm describe": "",
    "tpu-vm ssh": "worker command internal-ip strict-host-key-checking ssh-flag",
    "tpu-vm scp": "worker recurse internal-ip strict-host-key-checking scp-flag",
}
_EVERYWHERE = ["zone", "project", "quiet", "format"]


class Cloud:
    """The cloud behind the double; `folder` holds all of it.

    `shared` is what workers may mount: it outlives every node.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    def install(self, workers: int, **environment: str) -> dict[str, str]:
        """Make the cloud, with so many workers a node, and a `gcloud` that asks it.

        Args:
          environment: of the commands on the workers, where {worker} is filled in.

        Returns:
          The environment in which it is found.
        """
        for name in ("bin", "queued", "nodes", "machines", "shared"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name, words in (("gcloud", f'-S "{__file__}"'), ("python3", "-S")):
            program = self.folder / "bin" / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            program.chmod(0o755)
        self.change(workers=workers, environment=environment, polls_until_active=0, faults=[])
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, _FOLDER: str(self.folder)}

    def settings(self) -> dict[str, Any]:
        return json.loads((self.folder / "settings.json").read_text())

    def change(self, **settings: Any) -> None:
        path = self.folder / "settings.json"
        before = self.settings() if path.exists() else {}
        _write(path, {**before, **settings})

    def fail(self, command: str, *, status: int, error: str = "", times: int = 1, **where: Any):
        """Have the next calls of a command fail, those with worker=1 or containing="text" only."""
        with self.locked():
            fault = {"command": command, "status": status, "error": error, "times": times, **where}
            self.change(faults=[*self.settings()["faults"], fault])

    def calls(self, command: str = "") -> list[list[str]]:
        """The arguments of all calls so far, of one command or of all."""
        path = self.folder / "argv.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [argv for line in lines if command in " ".join((argv := json.loads(line))[2:4])]

    def machine(self, node: str, worker: int) -> Path:
        """The home folder of a worker."""
        return self.folder / "machines" / node / str(worker)

    def resources(self) -> dict[str, str]:
        """Queued resources by name, and their states."""
        files = sorted((self.folder / "queued").glob("*.json"))
        return {path.stem: json.loads(path.read_text())["state"] for path in files}

    def preempt(self, name: str) -> None:
        """As Google does with a spot node: its machines are switched off, their disks are lost."""
        resource = _read(self.folder / "queued" / f"{name}.json")
        _write(self.folder / "queued" / f"{name}.json", {**resource, "state": "SUSPENDED"})
        for node in resource["nodes"]:
            _write(self.folder / "nodes" / f"{node}.json", {"state": "PREEMPTED"})
            self.switch_off(node)

    def switch_off(self, node: str = "", worker: int | None = None) -> None:
        """Kill what runs on the machines of a node, or on all, and lose their disks."""
        folder = self.folder / "machines"
        folder = folder / node if node else folder
        folder = folder if worker is None else folder / str(worker)
        self.kill(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def kill(self, folder: Path) -> None:
        """What runs on machines below a folder."""
        for pid in self.processes(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self, folder: Path) -> list[int]:
        """Of the machines below a folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with contextlib.suppress(OSError):
                variables = (entry / "environ").read_bytes().split(b"\0")
                machine = [v.partition(b"=")[2] for v in variables if v.startswith(_KEY)]
                if machine and f"{machine[0].decode()}/".startswith(f"{folder}/"):
                    found.append(int(entry.name))
        return found

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


_KEY = f"{_MACHINE}=".encode()


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def _end(command: str, code: str, message: str, status: int = 1) -> None:
    where = f"gcloud.compute.tpus.{command.replace(' ', '.')}"
    sys.exit(print(f"ERROR: ({where}) {code}: {message}", file=sys.stderr) or status)


def main(cloud: Cloud, argv: list[str]) -> None:
    """One call."""
    with cloud.locked(), (cloud.folder / "argv.jsonl").open("a") as file:
        file.write(json.dumps(argv) + "\n")
    if argv[:1] == ["config"]:  # `gcloud config get project`
        print(cloud.settings().get(argv[-1].rpartition("/")[2], "(unset)"))
        return
    command = " ".join(argv[2:4])
    if argv[:2] != ["compute", "tpus"] or command not in _FLAGS:
        sys.exit(f"ERROR: (gcloud) Invalid choice: {command!r}")
    words, flags = _parse(command, argv[4:])
    with cloud.locked():
        _fail_if_told(cloud, command, words, flags)
        if command == "queued-resources create":
            return _create(cloud, command, words[0], flags)
        if command == "queued-resources describe":
            return _describe(cloud, command, words[0])
        if command == "queued-resources delete":
            return _delete(cloud, command, words[0], flags)
        node = words[0] if command != "tpu-vm scp" else _remote(words)[0]
        path = cloud.folder / "nodes" / f"{node}.json"
        if not path.exists():
            _end(command, "NOT_FOUND", f"Resource 'projects/p/nodes/{node}' was not found")
        state = _read(path)["state"]
        if command == "tpu-vm describe":
            endpoints = [{"ipAddress": "127.0.0.1"}] * cloud.settings()["workers"]
            return print(json.dumps({"state": state, "networkEndpoints": endpoints}))
        if state != "READY":
            _end(command, "unusable", f"TPU in state {state} cannot be used")
    if command == "tpu-vm ssh":
        sys.exit(_ssh(cloud, node, flags))
    return _scp(cloud, words, flags)


def _parse(command: str, rest: list[str]) -> tuple[list[str], dict[str, str]]:
    known = [*_FLAGS[command].split(), *_EVERYWHERE]
    words, flags = [], {}
    for word in rest:
        if not word.startswith("--"):
            words.append(word)
            continue
        name, _, value = word[2:].partition("=")
        if name not in known:
            _end(command, "unrecognized arguments", word, 2)
        flags[name] = value
    if not words or not flags.get("zone"):
        _end(command, "INVALID_ARGUMENT", "a name and --zone are needed", 2)
    return words, flags


def _fail_if_told(cloud: Cloud, command: str, words: list[str], flags: dict[str, str]) -> None:
    faults = cloud.settings()["faults"]
    for fault in faults:
        if fault["command"] != command or fault["times"] == 0:
            continue
        if str(fault.get("worker", flags.get("worker"))) != flags.get("worker", "None"):
            continue
        if fault.get("containing", "") not in flags.get("command", ""):
            continue
        fault["times"] -= 1
        cloud.change(faults=faults)
        if fault["error"]:
            print(fault["error"], file=sys.stderr)
        sys.exit(fault["status"])


def _create(cloud: Cloud, command: str, name: str, flags: dict[str, str]) -> None:
    path = cloud.folder / "queued" / f"{name}.json"
    if path.exists():
        _end(command, "ALREADY_EXISTS", f"Resource 'projects/p/queuedResources/{name}' exists")
    count = int(flags.get("node-count", 1))
    nodes = [f"{flags.get('node-prefix')}-{i}" for i in range(count)] if count > 1 else []
    nodes = nodes or [flags["node-id"]]
    _write(path, {"state": "WAITING_FOR_RESOURCES", "nodes": nodes, "polls": 0})


def _describe(cloud: Cloud, command: str, name: str) -> None:
    path, settings = cloud.folder / "queued" / f"{name}.json", cloud.settings()
    if not path.exists():
        _end(command, "NOT_FOUND", f"Resource 'projects/p/queuedResources/{name}' was not found")
    resource = _read(path)
    if resource["state"] == "WAITING_FOR_RESOURCES":
        resource["polls"] += 1
        if resource["polls"] > settings["polls_until_active"]:
            resource["state"] = settings.get("becomes", "ACTIVE")
            for node in resource["nodes"] if resource["state"] == "ACTIVE" else ():
                _write(cloud.folder / "nodes" / f"{node}.json", {"state": "READY"})
                for worker in range(settings["workers"]):
                    cloud.machine(node, worker).mkdir(parents=True)
        _write(path, resource)
    state = {"state": resource["state"]}
    if resource["state"] == "FAILED":
        state["failedData"] = {"error": {"message": settings["why_failed"]}}
    print(json.dumps({"name": name, "state": state}))
    if resource["state"] == "DELETING":
        path.unlink()


def _delete(cloud: Cloud, command: str, name: str, flags: dict[str, str]) -> None:
    path = cloud.folder / "queued" / f"{name}.json"
    if not path.exists():
        _end(command, "NOT_FOUND", f"Resource 'projects/p/queuedResources/{name}' was not found")
    resource = _read(path)
    if resource["state"] == "ACTIVE" and "force" not in flags:
        _end(command, "FAILED_PRECONDITION", f"{name} has nodes")
    for node in resource["nodes"]:
        (cloud.folder / "nodes" / f"{node}.json").unlink(missing_ok=True)
        cloud.switch_off(node)
    _write(path, {**resource, "state": "DELETING"})


def _ssh(cloud: Cloud, node: str, flags: dict[str, str]) -> int:
    workers = cloud.settings()["workers"]
    asked = range(workers) if flags["worker"] == "all" else map(int, flags["worker"].split(","))
    started = []
    for worker in asked:
        home = cloud.machine(node, worker)
        given = cloud.settings()["environment"]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "USER": "someone",
            "LANG": "C.UTF-8",
            _MACHINE: str(home),
            **{name: value.format(worker=worker) for name, value in given.items()},
        }
        print(f"SSH: Attempting to connect to worker {worker}...", file=sys.stderr)
        command = ["bash", "-c", flags["command"]]
        started.append(subprocess.Popen(command, cwd=home, env=environment))
    return max(process.wait() for process in started)


def _remote(words: list[str]) -> tuple[str, str]:
    """The node and the path of the one word that is not local."""
    remote = next(word for word in words if ":" in word.partition("/")[0])
    node, _, path = remote.partition(":")
    return node, path


def _scp(cloud: Cloud, words: list[str], flags: dict[str, str]) -> None:
    node, path = _remote(words)
    remote = cloud.machine(node, int(flags["worker"])) / path
    if ":" in words[-1].partition("/")[0]:
        if not remote.is_dir():
            sys.exit(print(f"scp: {path}: No such file or directory", file=sys.stderr) or 1)
        for word in words[:-1]:
            shutil.copy(word, remote)
    elif remote.exists():
        shutil.copy(remote, words[-1])
    else:
        sys.exit(print(f"scp: {path}: No such file or directory", file=sys.stderr) or 1)


if __name__ == "__main__":
    main(Cloud(Path(os.environ[_FOLDER])), sys.argv[1:])
