"""Runs one process of a run as a task of `srun`.

    srun python -m launch.on_host.slurm_task ATTEMPT COMMAND ...

As `launch.on_host.process`, except that a process which saved (status 75) ends well. srun kills the
others as soon as one ends badly, and they may still be saving.
"""

import os
import sys
from pathlib import Path

from launch.on_host import process
from launch.on_host.records import RESUME_STATUS


def main() -> None:
    """Run the command, and exit as it did."""
    attempt, *command = sys.argv[1:]
    status = process.run(Path(attempt), int(os.environ["SLURM_PROCID"]), command)
    sys.exit(0 if status == RESUME_STATUS else status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
