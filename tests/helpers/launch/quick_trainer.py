"""A stand-in for `python -m dlresearch.train` that ends within milliseconds, for tests of launches.

    python quick_trainer.py -m dlresearch.train --config=FILE --config.seed=3 ... --workdir=RUN

Writes a result with an accuracy of 1 - learning rate. Fails as the trainer does where
`start_from.path` names no folder. At a learning rate of 0.1 it waits for the file that the
variable GATE names, if it is set. Standard library only.
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Train nothing, and write the result."""
    words = (word[2:].partition("=") for word in sys.argv[1:] if word.startswith("--"))
    flags = {name.removeprefix("config."): value for name, _, value in words}
    if "start_from.path" in flags and not Path(flags["start_from.path"]).is_dir():
        print(f"error: config.start_from.path: there is no folder {flags['start_from.path']}")
        sys.exit(2)
    rate, seed = float(flags.get("optimizer.learning_rate", 0.01)), int(flags.get("seed", 0))
    gate = os.environ.get("GATE")
    while gate and rate == 0.1 and not Path(gate).exists():
        time.sleep(0.05)
    metrics = {"test/accuracy": 1 - rate}
    result = {"status": "completed", "step": 4, "metrics": metrics, "wall_seconds": 1.0}
    temporary = Path(flags["workdir"], "result.part")
    temporary.write_text(json.dumps({**result, "seed": seed}))
    temporary.rename(temporary.with_name("result.json"))


if __name__ == "__main__":
    main()
