"""`dlresearch check`: find what would fail before anything is queued.

    dlresearch check --config=experiments/cnn/digits.py

Reads real examples, compiles and makes one step, evaluates one batch; writes nothing. With
`--devices=64 --config.mesh.fsdp=64` it says what each of 64 devices would hold, on a machine that
does not have them. With `--for=h100:8` or `--for=v5e:2x4` the training step and a batch of each
evaluator are compiled by the compiler of that hardware, which need not be here either.
"""

from absl import flags

from dlresearch import entry
from dlresearch.errors import UserError

DEVICES = flags.DEFINE_integer(
    "devices",
    None,
    "Plan for so many devices, which need not be here, without a compiled step and evaluation.",
    lower_bound=1,
)


FOR = flags.DEFINE_string(
    "for",
    None,
    "Compile for this hardware instead: h100, h100:8, a100, h200, b200, v5e:2x4, v5p:2x2x1, v6e:2x4"
    " and so on, or FILE.toml:8 for a GPU described in a file.",
)


def check(overrides: entry.Overrides) -> int:
    """Prints the schedule, a batch of real data, the parameters, and the cost of a step."""
    if FOR.value is not None:
        return _compile(FOR.value, overrides)
    experiment = entry.experiment(overrides)
    where = entry.set_up(experiment)

    from dlresearch.training import Setup
    from dlresearch.training.console import tell
    from dlresearch.training.inspection import inspect

    tell(where)
    for line in inspect(Setup(experiment, DEVICES.value)):
        tell(line)
    return 0


def _compile(text: str, overrides: entry.Overrides) -> int:
    """Compiles for hardware that need not be here."""
    from dlresearch.hardware import target

    if DEVICES.value is not None:
        raise UserError("--devices plans without compiling, and --for compiles; give one of them")
    chosen = target(text)
    entry.experiment(overrides)  # mistakes are found before JAX is imported

    from dlresearch.training.aot.process import compile_for

    compile_for(text, chosen, entry.config_path(), overrides)
    return 0


def main() -> None:
    entry.run(check)


if __name__ == "__main__":
    main()
