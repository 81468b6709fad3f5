"""`dlresearch benchmark`: measure an experiment on the devices there are.

    dlresearch benchmark --config=experiments/cnn/digits.py --json

Times real steps on real examples; writes nothing. With `--trace=DIR` it also records some calls by
the profiler, and says which operations are slowest.
"""

import json
from pathlib import Path

from absl import flags

from dlresearch import entry
from dlresearch.errors import UserError

CALLS = flags.DEFINE_integer("calls", 50, "Calls of the step that are timed.", lower_bound=3)
JSON = flags.DEFINE_bool("json", False, "Print one line of JSON instead of a table.")


TRACE = flags.DEFINE_string(
    "trace", None, "Folder for a trace of the profiler, for TensorBoard or Perfetto."
)


def benchmark(overrides: entry.Overrides) -> int:
    """Prints compile time, step time, throughput, waiting, utilisation, memory, dispatch."""
    experiment = entry.experiment(overrides)
    where = entry.set_up(experiment)

    from dlresearch.training import Setup
    from dlresearch.training.console import tell
    from dlresearch.training.measure import measure, report
    from dlresearch.training.profile import describe_operations, slowest_operations

    if not JSON.value:
        tell(f"{where}; timing {CALLS.value} calls ...")
    trace = None if TRACE.value is None else _folder(TRACE.value)
    figures = measure(Setup(experiment), CALLS.value, trace)
    tell(json.dumps({"device": where, **figures}) if JSON.value else report(figures))
    if trace is not None and not JSON.value:
        tell(describe_operations(slowest_operations(trace)))
    return 0


def _folder(path: str) -> Path:
    """--trace, made where it is not there, before anything is measured."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--trace: cannot write {path}: {error.strerror}") from None
    return Path(path)


def main() -> None:
    entry.run(benchmark)


if __name__ == "__main__":
    main()
