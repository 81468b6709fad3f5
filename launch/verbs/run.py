"""Start a run: `python -m launch run --config=FILE --workdir=RUN [--backend=slurm] ...`."""

from collections.abc import Sequence

from launch.asked import Asked
from launch.command_line import CONFIG, DETACH, DRY_RUN, WORKDIR, read_line
from launch.plan import Plan, Tools
from launch.prepare import prepare
from launch.run_folder import RunFolder
from launch.starting import start


def main(argv: Sequence[str]) -> int:
    """Start it; on a backend that somebody must stay with, stay, unless --detach is given."""
    line = read_line(argv, (CONFIG, WORKDIR, DRY_RUN, DETACH), __doc__, launches=True)
    tools = Tools()
    words = tuple(word for word in argv if not word.startswith(("--dry_run", "--nodry_run")))
    asked = prepare("run", line, words, tools)
    if line.flags.get("dry_run"):
        plan = asked.backend.plan(asked.job())
        plan = Plan((asked.file(), *plan.files), plan.commands, plan.remarks)
        print("\n".join(with_snapshot(plan, asked).lines()))
        return 0
    folder = RunFolder(asked.folder)
    asked.file().write()
    if asked.snapshot:
        asked.snapshot.copy(folder.launch / "code")
    status = start(asked.backend, asked.job(), tools, detach=line.flags.get("detach", False))
    return status if status >= 0 else 128 - status  # as a shell says it of a signal


def with_snapshot(plan: Plan, asked: Asked) -> Plan:
    """A plan, and what is copied before it."""
    if asked.snapshot is None:
        return plan
    remark = (
        f"{len(asked.snapshot.files)} files of {asked.snapshot.root} are copied to"
        f" {asked.code} (sha256 {asked.snapshot.digest})"
    )
    return Plan(plan.files, plan.commands, (remark, *plan.remarks))
