"""`dlresearch benchmark`: measure an experiment on the devices there are.

    dlresearch benchmark --config=experiments/cnn/digits.py --json

Times real steps on real examples; writes nothing.
"""

import json

from absl import flags

from dlresearch import entry

CALLS = flags.DEFINE_integer("calls", 50, "Calls of the step that are timed.", lower_bound=3)
JSON = flags.DEFINE_bool("json", False, "Print one line of JSON instead of a table.")


def benchmark(overrides: entry.Overrides) -> int:
    """Prints compile time, step time, throughput, waiting, utilisation, memory, dispatch."""
    experiment = entry.experiment(overrides)
    where = entry.set_up(experiment)

    from dlresearch.training import Setup
    from dlresearch.training.console import tell
    from dlresearch.training.measure import measure, report

    if not JSON.value:
        tell(f"{where}; timing {CALLS.value} calls ...")
    figures = measure(Setup(experiment), CALLS.value)
    tell(json.dumps({"device": where, **figures}) if JSON.value else report(figures))
    return 0


def main() -> None:
    entry.run(benchmark)


if __name__ == "__main__":
    main()
