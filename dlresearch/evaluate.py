"""`dlresearch evaluate`: run the evaluators of an experiment on a checkpoint of a run.

    dlresearch evaluate --workdir=runs/digits --checkpoint=best

The run may still be going on. The experiment is the one it recorded, unless --config names another.
"""

from absl import flags

from dlresearch import entry

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "newest", "Which checkpoint: `newest`, `best`, or the number of a step."
)


def evaluate(overrides: entry.Overrides) -> int:
    """Prints the metrics and leaves them in `artifacts/evaluation-STEP.json` of the run."""
    workdir_path = entry.workdir_flag()
    experiment = entry.experiment(overrides)
    entry.set_up(experiment)

    from dlresearch.training import Setup, evaluate_checkpoint, say
    from dlresearch.training.console import table

    step, metrics, path = evaluate_checkpoint(Setup(experiment), workdir_path, CHECKPOINT.value)
    say(f"step {step}\n{table(metrics)}\n{path}")
    return 0


def main() -> None:
    entry.run(evaluate)


if __name__ == "__main__":
    main()
