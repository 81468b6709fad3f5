"""`dlresearch check`: find what would fail before anything is queued.

    dlresearch check --config=experiments/cnn/digits.py

Reads real examples, compiles and makes one step, evaluates one batch; writes nothing.
"""

from dlresearch import entry


def check(overrides: entry.Overrides) -> int:
    """Prints the schedule, a batch of real data, the parameters, and the cost of a step."""
    experiment = entry.experiment(overrides)
    where = entry.set_up(experiment)

    from dlresearch.training import Setup
    from dlresearch.training.inspection import inspect

    print(where)
    for line in inspect(Setup(experiment)):
        print(line, flush=True)
    return 0


def main() -> None:
    entry.run(check)


if __name__ == "__main__":
    main()
