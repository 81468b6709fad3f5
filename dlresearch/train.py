"""`dlresearch train`: start a run, or resume it where it was.

    dlresearch train --config=experiments/cnn/digits.py --workdir=runs/digits --config.seed=1

The same command again goes on where the run stopped. Exit status: 0 the run is complete, 75 it was
told to stop and wants to be run again, 1 it diverged, 2 a mistake in what was given.
"""

import time

from absl import flags

from dlresearch import entry

ACCEPT_CHANGED_CONFIG = flags.DEFINE_bool(
    "accept_changed_config", False, "Resume although the config is not the one the run began with."
)


def train(overrides: entry.Overrides) -> int:
    """Exit status: 0 completed, 75 saved and to be run again, 1 diverged."""
    began = time.monotonic()
    workdir_path = entry.workdir_flag()
    experiment = entry.experiment(overrides)
    where = entry.set_up(experiment)

    from dlresearch.training import Setup, open_workdir, say, sole_writer, summary
    from dlresearch.training import train as run

    workdir = open_workdir(workdir_path)
    with sole_writer(workdir):
        say(f"{where}; {workdir.path}")
        setup = Setup(experiment)
        result = run(setup, workdir, accept_changed_config=ACCEPT_CHANGED_CONFIG.value)
        say(summary(result, workdir, time.monotonic() - began))
    return result.exit_status


def main() -> None:
    entry.run(train, resumable=True)


if __name__ == "__main__":
    main()
