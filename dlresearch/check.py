"""`dlresearch check`: find what would fail before anything is queued.

    dlresearch check --config=experiments/cnn/digits.py

Reads real examples, compiles and makes one step, evaluates one batch; writes nothing. With
`--devices=64 --config.mesh.fsdp=64` it says what each of 64 devices would hold, on a machine that
does not have them.
"""

from absl import flags

from dlresearch import entry

DEVICES = flags.DEFINE_integer(
    "devices",
    None,
    "Plan for so many devices, which need not be here, without a compiled step and evaluation.",
    lower_bound=1,
)


def check(overrides: entry.Overrides) -> int:
    """Prints the schedule, a batch of real data, the parameters, and the cost of a step."""
    experiment = entry.experiment(overrides)
    where = entry.set_up(experiment)

    from dlresearch.training import Setup
    from dlresearch.training.console import tell
    from dlresearch.training.inspection import inspect

    tell(where)
    for line in inspect(Setup(experiment, DEVICES.value)):
        tell(line)
    return 0


def main() -> None:
    entry.run(check)


if __name__ == "__main__":
    main()
