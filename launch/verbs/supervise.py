"""Stay with a run that nobody stays with: `python -m launch supervise RUN`."""

from collections.abc import Sequence

from dlresearch.errors import UserError
from launch.asked import recorded_job
from launch.backends import Supervisor
from launch.command_line import folder_called, read_line
from launch.console import say
from launch.plan import Tools
from launch.run_folder import RunFolder


def main(argv: Sequence[str]) -> int:
    """Until it ends; its status."""
    line = read_line(argv, (), __doc__, words="RUN")
    if len(line.words) != 1:
        raise UserError("name the folder of one run")
    backend, job = recorded_job(RunFolder(folder_called(line.words[0])))
    if not isinstance(backend, Supervisor):
        raise UserError(f"nobody needs to stay with a run on {backend.name}")
    status = backend.supervise(job, Tools(), say)
    say(f"ended with status {status}")
    return status
