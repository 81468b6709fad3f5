"""The `python -m launch` command: its flags, and one line for a mistake."""

import importlib
import sys
from collections.abc import Sequence

from dlresearch.errors import Failure, UserError, one_line, suggest

VERBS = {
    "run": "start a run",
    "sweep": "start many runs of one experiment, or the rest of them",
    "status": "how runs stand, and what failed first",
    "logs": "what a run has printed",
    "cancel": "end runs for good; they save before",
    "restart": "go on with a run that has ended",
    "show": "the options of a run, or of a command, and where each is from",
    "doctor": "what would keep a run from starting",
    "supervise": "stay again with a run that nobody stays with",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Hand over to the verb's module, and exit with its status."""
    words = list(sys.argv[1:] if argv is None else argv)
    verb = words.pop(0) if words else "--help"
    if verb in ("--help", "-h", "help"):
        print("usage: python -m launch VERB ...; python -m launch VERB --help says more\n")
        print("\n".join(f"  {name:<9} {what}" for name, what in VERBS.items()))
        sys.exit(0)
    try:
        if verb not in VERBS:
            raise UserError(f"no verb {verb!r}; {suggest(verb, VERBS)}")
        status = importlib.import_module(f"launch.verbs.{verb}").main(words)
    except UserError as mistake:
        print(f"error: {one_line(mistake)}", file=sys.stderr, flush=True)
        status = 2
    except Failure as failure:
        print(f"error: {one_line(failure)}", file=sys.stderr, flush=True)
        status = 1
    except BrokenPipeError:  # `python -m launch logs ... | head`: nobody reads on
        sys.stderr.close()
        status = 0
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
