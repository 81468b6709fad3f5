"""`dlresearch train_vectorised`: several runs of one experiment in one process, by `jax.vmap`.

    dlresearch train_vectorised --config=experiments/cnn/digits.py --workdir=runs/seeds \\
        --points=points.json

For models so small that one run leaves the device idle. `points.json` lists the runs:

    [{"folder": "runs/seeds/0", "overrides": [["seed", "0"]]},
     {"folder": "runs/seeds/1", "overrides": [["seed", "1"], ["optimizer.learning_rate", "1e-3"]]}]

They may differ in the seed, and in numbers of the optimizer, the task, the moving average and
augmentations. Each has a folder as from `dlresearch train`, with the same figures up to rounding,
but `wall_seconds` is the time of all, the only checkpoint is that of the end, and `dlresearch
report` makes the report. Completed runs are skipped; one that was interrupted starts anew.

Exit status: 0 all runs are complete, 75 it was told to stop and wants to be run again, 1 some
diverged, 2 a mistake in what was given.
"""

import contextlib

from absl import flags

from dlresearch import entry

POINTS = flags.DEFINE_string("points", None, "JSON file with the folder and overrides of each run.")


def train_vectorised(overrides: entry.Overrides) -> int:
    """Exit status: 0 all completed, 75 interrupted, 1 some diverged."""
    from dlresearch.config import read_points
    from dlresearch.errors import UserError

    sweep = entry.workdir_flag()
    if entry.CONFIG.value is None:
        raise UserError("--config=FILE is missing: the experiment that the runs are of")
    if POINTS.value is None:
        raise UserError("--points=FILE is missing: a JSON list of the runs")
    points = read_points(POINTS.value, entry.CONFIG.value, overrides)
    where = entry.set_up(points[0].experiment)

    from dlresearch.training import open_workdir, say, sole_writer
    from dlresearch.training.vectorised import RunOf, train_together

    with contextlib.ExitStack() as held:
        held.enter_context(sole_writer(open_workdir(sweep)))
        say(f"{where}; {sweep}")
        runs = [RunOf(point.experiment, open_workdir(str(point.folder))) for point in points]
        for run in runs:
            held.enter_context(sole_writer(run.workdir))
        missing = [run for run in runs if not run.is_complete()]
        if done := len(runs) - len(missing):
            say(f"{done} of {len(runs)} runs are complete already")
        results = train_together(missing) if missing else []
    completed = sum(result.status == "completed" for result in results)
    say(f"{completed} of {len(missing)} runs completed")
    return 0 if completed == len(missing) else 1


def main() -> None:
    entry.run(train_vectorised, resumable=True)


if __name__ == "__main__":
    main()
