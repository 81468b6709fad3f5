"""Go on with runs that have ended: `python -m launch restart RUN ... [--detach]`."""

from collections.abc import Sequence

from dlresearch.errors import UserError
from launch.asked import recorded_job
from launch.command_line import DETACH, folder_called, read_line
from launch.look import look, one_run
from launch.plan import Tools
from launch.starting import start


def main(argv: Sequence[str]) -> int:
    """With the same command, code and options, from the newest checkpoint."""
    line = read_line(argv, (DETACH,), __doc__, words="RUN")
    if len(line.words) != 1:
        raise UserError("name the folder of one run; a sweep goes on with `sweep`, said again")
    run = one_run(folder_called(line.words[0]))
    tools = Tools()
    standing = look([run], tools)[run.path]
    if not standing.is_final:
        raise UserError(f"{run.path} is {standing.state}; `cancel` it first to start it anew")
    if standing.state == "completed":
        raise UserError(f"{run.path} has completed; there is nothing to go on with")
    backend, job = recorded_job(run)
    run.forget_the_end()
    return start(backend, job, tools, detach=line.flags.get("detach", False))
