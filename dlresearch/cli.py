"""The `dlresearch` command; `dlresearch train ...` is `python -m dlresearch.train ...`."""

import importlib
import sys

from dlresearch.errors import suggest

VERBS = {
    "train": "start a run, or resume it where it was",
    "train_vectorised": "make several small runs of one experiment at once",
    "evaluate": "evaluate the newest, the best or a named checkpoint of a run",
    "generate": "make text, translations or music with what a run has learned",
    "report": "write report.html on a run",
    "check": "find what would fail before anything is queued",
    "benchmark": "measure an experiment on the devices there are",
}


def main() -> None:
    """Hand over to the verb's module."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("--help", "-h", "help"):
        print("usage: dlresearch VERB --config=FILE[:args] --workdir=DIR --config.a.b=value ...\n")
        print("\n".join(f"  {name:<16} {what}" for name, what in VERBS.items()))
        sys.exit(0)
    if verb not in VERBS:
        print(f"error: no verb {verb!r}; {suggest(verb, VERBS)}", file=sys.stderr)
        sys.exit(2)
    sys.argv[:2] = [f"dlresearch {verb}"]
    importlib.import_module(f"dlresearch.{verb}").main()


if __name__ == "__main__":
    main()
