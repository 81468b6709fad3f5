"""From a command line to what is asked for, with every mistake found that can be found here."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlresearch.config import load, validate
from dlresearch.errors import UserError
from launch.asked import Asked
from launch.backends import Backend
from launch.command_line import TRAIN_FLAGS, Line, choose, folder_called
from launch.job import job_name
from launch.options import environment
from launch.plan import Tools
from launch.run_folder import RunFolder, make_room
from launch.snapshot import Snapshot, take


def prepare(verb: str, line: Line, argv: Sequence[str], tools: Tools) -> Asked:
    """What a line asks for, in a folder that is free for it.

    Nothing is written but the folder itself, and that not with --dry_run.

    Raises:
      UserError: whatever can be known to fail.
    """
    backend, chosen = choose(line)
    options = {name: each.value for name, each in chosen.items()}
    environment(options["env"])
    if "workdir" not in line.flags:
        raise UserError("--workdir=FOLDER is missing: the folder of the run")
    folder = folder_called(line.flags["workdir"])
    if not line.flags.get("dry_run"):
        make_room(folder)
    check_free(RunFolder(folder), verb)
    here = Path.cwd()
    snapshot = take(here, tools, leave_out=[folder]) if options["snapshot"] else None
    code = RunFolder(folder).launch / "code" / snapshot.name if snapshot else here
    if snapshot:
        code = code / snapshot.inside if snapshot.inside != "." else code
    return Asked(
        verb=verb,
        folder=folder,
        backend=backend,
        options=chosen,
        command=command_of(verb, line, backend, folder, options, snapshot),
        code=code,
        snapshot=snapshot,
        argv=(verb, *argv),
        more={},
    )


def check_free(folder: RunFolder, verb: str) -> None:
    """Raises UserError where something else lives in a folder."""
    if folder.is_ours:
        before = folder.asked()["verb"]
        if before != verb:
            raise UserError(f"--workdir: {folder.path} is that of a {before}; take another one")
        if verb == "run":
            raise UserError(
                f"--workdir: a run was launched in {folder.path} already; `restart` goes on with it"
            )
        return
    if not folder.path.is_dir():
        return
    content = {path.name for path in folder.path.iterdir()} - {"launch", ".lock"}
    # A run that was trained without a launch goes on.
    if content and "config.json" not in content:
        raise UserError(f"--workdir: {folder.path} is neither empty nor the folder of a run")


def command_of(
    verb: str,
    line: Line,
    backend: Backend,
    folder: Path,
    options: Mapping[str, Any],
    snapshot: Snapshot | None,
) -> tuple[str, ...]:
    """The command of a run; of a sweep, what its runs share, without a folder.

    Raises:
      UserError: neither an experiment nor a command is given, both are, or the experiment has a
        mistake.
    """
    workdir = backend.workdir(folder, job_name(folder), options)
    if line.command:
        if "config" in line.flags or line.overrides:
            raise UserError("--config belongs to training, and a command follows `--`; give one")
        return tuple(word.replace("{workdir}", workdir) for word in line.command)
    if "config" not in line.flags:
        raise UserError("--config=FILE is missing, or a command after `--`")
    experiment = line.flags["config"]
    validate(load(experiment, list(line.overrides)))
    if snapshot:
        _check_paths(experiment, line.overrides, snapshot)
    more = [f"--{name}={line.flags[name]}" for name in TRAIN_FLAGS if name in line.flags]
    return (
        options["python"],
        "-m",
        "dlresearch.train",
        f"--config={experiment}",
        *(f"--config.{path}={text}" for path, text in line.overrides),
        *more,
        *([f"--workdir={workdir}"] if verb == "run" else []),
    )


def _check_paths(experiment: str, overrides: Sequence[tuple[str, str]], snapshot: Snapshot) -> None:
    """Raises UserError for what is found from here and would not be from the snapshot."""
    file = experiment.split(":")[0]
    given = [("config", file), *((f"config.{path}", text) for path, text in overrides)]
    for name, text in given:
        if os.path.isabs(text) or not text.strip() or not os.path.lexists(text):
            continue
        if not snapshot.holds(text):
            raise UserError(
                f"--{name}: {text} is here, but not in the snapshot that will run (git ignores it,"
                " or it is outside of the repository); give an absolute path, or --nosnapshot"
            )
