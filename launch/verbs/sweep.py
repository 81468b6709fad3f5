"""Start many runs of one experiment, or the rest of them: `python -m launch sweep --config=FILE
--workdir=SWEEP --sweep='optimizer.learning_rate=1e-3,3e-4; seed=range(3)' --max_parallel=4`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlresearch.errors import UserError
from launch.asked import Asked
from launch.backends.staying import detach, only_one
from launch.command_line import CONFIG, DETACH, DRY_RUN, WORKDIR, Line, read_line
from launch.options import Option
from launch.plan import Tools
from launch.prepare import prepare
from launch.run_folder import RunFolder
from launch.sweeps.check import Checker
from launch.sweeps.file import from_file
from launch.sweeps.going import Going
from launch.sweeps.grammar import grid, space
from launch.sweeps.points import Sweep, points_of
from launch.sweeps.samplers import DIRECTIONS, KINDS, PRUNERS, SearchOptions
from launch.sweeps.search import Search
from launch.verbs.run import with_snapshot

OPTIONS = (
    CONFIG,
    WORKDIR,
    DRY_RUN,
    DETACH,
    Option("sweep", tuple, (), "What changes from run to run; again for more runs."),
    Option("sweep_file", str, None, "A Python file whose sweep() yields the settings of each run."),
    Option("max_parallel", int, 1, "Runs that may be going on at once.", lower=1),
    Option("objective", str, None, "The metric that runs are compared by, such as test/accuracy."),
    Option("direction", str, "maximize", "What is better.", choices=DIRECTIONS),
    Option(
        "search",
        str,
        None,
        "Draw settings instead of all.",
        choices=KINDS,
    ),
    Option("trials", int, 20, "Runs of a search.", lower=1),
    Option("search_seed", int, 0, "Of what is drawn."),
    Option("prune", str, "none", "End runs that are behind.", choices=PRUNERS),
    Option("retry", bool, False, "Start failed and cancelled runs again, too."),
    Option("vectorised", bool, False, "All runs in one process, by jax.vmap; see docs."),
)
_DEFAULTS = {option.name: option.default for option in OPTIONS}


def main(argv: Sequence[str]) -> int:
    """Start what is missing; status 0 once all runs have completed."""
    line = read_line(argv, OPTIONS, __doc__, launches=True)
    chosen = {**_DEFAULTS, **line.flags}
    tools = Tools()
    words = tuple(w for w in argv if not w.startswith(("--dry_run", "--nodry_run", "--detach")))
    asked = prepare("sweep", line, words, tools)
    if chosen["dry_run"]:
        plan = _going(asked, line, chosen, tools).plan()
        print("\n".join(with_snapshot(plan, asked).lines()))
        return 0
    with only_one(RunFolder(asked.folder)):  # two would start the same runs
        going = _going(asked, line, chosen, tools)
        going.write()
        if going.is_handed_over or not chosen["detach"]:
            return going.run()
    detach(RunFolder(asked.folder), ("sweep", *words))
    return 0


def _going(asked: Asked, line: Line, chosen: dict[str, Any], tools: Tools) -> Going:
    """The sweep, every point of which has been checked."""
    if line.command:
        raise UserError("a sweep is one of an experiment: give --config, and no command after `--`")
    if bool(chosen["sweep"]) == bool(chosen["sweep_file"]):
        raise UserError("--sweep or --sweep_file is missing" if not chosen["sweep"] else
                        "give --sweep or --sweep_file, not both")  # fmt: skip
    for flag in ("trials", "search_seed", "prune"):
        if flag in line.flags and not chosen["search"]:
            raise UserError(
                f"--{flag} belongs to a search; add --search=random, halton or bayesian"
            )
    checker = Checker(asked.command)
    search = None
    if chosen["search"]:
        if chosen["sweep_file"] or chosen["vectorised"]:
            other = "--sweep_file" if chosen["sweep_file"] else "--vectorised"
            raise UserError(f"--search draws one run after another, which {other} does not go with")
        if chosen["objective"] is None or "direction" not in line.flags:
            raise UserError(
                "a search needs --objective=METRIC and --direction=maximize or minimize"
            )
        options = SearchOptions(
            kind=chosen["search"],
            trials=chosen["trials"],
            objective=chosen["objective"],
            direction=chosen["direction"],
            seed=chosen["search_seed"],
            prune=chosen["prune"],
        )
        drawn_from = space(chosen["sweep"])
        checker.check_space(drawn_from, chosen["objective"])
        sweep = Sweep(asked.command, (), options.record("; ".join(chosen["sweep"]))).continued(
            asked.folder
        )
        if not chosen["dry_run"]:
            search = Search(asked.folder, sweep, drawn_from, options, checker)
    else:
        texts = (
            from_file(Path(chosen["sweep_file"]).expanduser())
            if chosen["sweep_file"]
            else grid(chosen["sweep"])
        )
        points = points_of(texts)
        checker.check_points(points, chosen["objective"])
        sweep = Sweep(asked.command, points).continued(asked.folder)
    return Going(asked, sweep, search, chosen, tools)
