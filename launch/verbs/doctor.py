"""What would keep a run from starting: `python -m launch doctor [--backend=slurm] ...`."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlresearch.errors import Failure, UserError, one_line
from launch.backends import Backend, Finding
from launch.command_line import choose, read_line
from launch.options import environment
from launch.plan import Tools


def main(argv: Sequence[str]) -> int:
    """Print what was found; status 1 where something is missing."""
    line = read_line(argv, (), __doc__, launches=True)
    backend, chosen = choose(line)
    options = {name: each.value for name, each in chosen.items()}
    fine = True
    for finding in _findings(backend, options, Tools()):
        fine &= finding.ok
        hint = f": {finding.hint}" if finding.hint and not finding.ok else ""
        print(f"{'ok     ' if finding.ok else 'missing'}  {finding.what}{hint}")
    return 0 if fine else 1


def _findings(backend: Backend, options: Mapping[str, Any], tools: Tools) -> Iterator[Finding]:
    git = tools.has("git")
    yield Finding(git, "git, for snapshots", "install it, or give --nosnapshot")
    if git:
        inside = tools.run(["git", "rev-parse", "--show-toplevel"], check=False).status == 0
        yield Finding(inside, "a git repository around this folder", "or give --nosnapshot")
    environment(options["env"])
    if options["python"] == sys.executable:  # the run's is another machine's otherwise
        probe = "import dlresearch, jax; print(jax.__version__)"
        try:
            said = tools.run([options["python"], "-c", probe], check=False)
            yield Finding(said.status == 0, f"{options['python']} has dlresearch and JAX"
                          f" {said.out.strip()}", said.reason)  # fmt: skip
        except (UserError, Failure) as error:
            yield Finding(False, options["python"], one_line(error))
    try:
        yield from backend.doctor(options, tools)
    except (UserError, Failure) as error:
        yield Finding(False, backend.name, one_line(error))
