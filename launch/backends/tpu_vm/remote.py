"""What is copied to the workers, and the lines of shell that they are sent.

No word of the user is in those lines: it is in job.json, which is copied.

    ~/.dlresearch/NAME/job.json  code-HASH/  kit/  attempts/N/process-I.{json,log,pid}
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import launch
from launch.job import Job
from launch.options import environment
from launch.plan import File, write_at_once
from launch.snapshot import archive

SUMS = "SHA256SUMS"


def folder(name: str) -> str:
    """Of a run, below the home of each worker."""
    return f".dlresearch/{name}"


def job_file(job: Job) -> File:
    """job.json: all that a worker has to know."""
    (run,) = job.runs
    root = code_root(job.code)
    content = {
        "code": f"code-{root.name}",
        "inside": os.path.relpath(job.code, root),
        "command": run.command,
        "python": job.options["python"],
        "env": environment(job.options["env"]),
        "setup": job.options["setup"],
        "install": job.options["install"],
        "workdir": workdir(job),
    }
    return File(here(job) / "job.json", json.dumps(content, indent=2) + "\n")


def workdir(job: Job) -> str:
    """Where the trainer writes, on the workers."""
    return job.options["remote_workdir"].replace("{name}", job.name)


def here(job: Job) -> Path:
    """Where what is copied lies before."""
    return job.folder / "launch" / "tpu_vm"


def code_root(code: Path) -> Path:
    """The snapshot that commands run in, or below."""
    inner = [each for each in (code, *code.parents) if each.parent.name == "code"]
    return next((each for each in inner if each.parent.parent.name == "launch"), code)


def files(job: Job) -> list[str]:
    """What is copied to each worker; `write_files` makes it."""
    names = ("job.json", f"code-{code_root(job.code).name}.tar.gz", "kit.tar.gz", SUMS)
    return [str(here(job) / name) for name in names]


def write_files(job: Job) -> None:
    """Make them, except for job.json, which the plan has."""
    job_json, code, kit, sums = (Path(name) for name in files(job))
    root = code_root(job.code)
    _write(code, archive(root, _below(root)))
    package = Path(launch.__file__).parent
    kit_files = ("launch/__init__.py", *(f"launch/on_host/{p.name}" for p in _on_host(package)))
    _write(kit, archive(package.parent, kit_files))
    digests = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"
        for path in (job_json, code, kit)
    ]
    write_at_once(sums, "\n".join(digests) + "\n")


def results(folder: Path) -> str:
    """Where the small files of the workdir are put, packed."""
    return str(folder / "launch" / "tpu_vm" / "results.tar")


def greet(job: Job) -> str:
    """The first command: the connection works, and there is a folder to copy to."""
    return f"mkdir -p {folder(job.name)}"


def unpack(job: Job, attempt: int) -> str:
    """Check what was copied, and unpack it, the code once. An attempt of that number was that of
    another run, on a node that was kept.
    """
    code = f"code-{code_root(job.code).name}"
    return (
        f"cd {folder(job.name)} && sha256sum --check --quiet {SUMS}"
        " && rm -rf kit && mkdir kit && tar -xzf kit.tar.gz -C kit"
        f" && {{ test -d {code} || {{ rm -rf part && mkdir part"
        f" && tar -xzf {code}.tar.gz -C part && mv part {code}; }}; }} && rm -rf attempts/{attempt}"
    )


def ask_started(name: str, attempt: int) -> str:
    """Whether an attempt was started on a worker, which may have nothing of ours yet."""
    there, not_there = (f"echo 'launch: {{\"started\": {word}}}'" for word in ("true", "false"))
    return f"if test -d {folder(name)}/attempts/{attempt}; then {there}; else {not_there}; fi"


def call(name: str, verb: str, *flags: str, **numbers: Any) -> str:
    """Ask `launch.on_host.tpu_vm` on a worker."""
    words = [verb, *flags, *(f"--{key}={value}" for key, value in numbers.items())]
    return f"cd {folder(name)} && PYTHONPATH=kit python3 -m launch.on_host.tpu_vm {' '.join(words)}"


def _below(root: Path) -> list[str]:
    found = [path for path in root.rglob("*") if path.is_symlink() or path.is_file()]
    return sorted(str(path.relative_to(root)) for path in found if "__pycache__" not in path.parts)


def _on_host(package: Path) -> list[Path]:
    return sorted((package / "on_host").glob("*.py"))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
