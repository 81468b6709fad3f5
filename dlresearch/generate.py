"""`dlresearch generate`: make something new with what a run has learned.

    dlresearch generate --workdir=runs/shakespeare --prompt="ROMEO:" --length=400 --temperature=0.8
    dlresearch generate --workdir=runs/multi30k --input=sentences.de --output=sentences.en --beam=5
    dlresearch generate --workdir=runs/jsb --length=64 --count=4
    dlresearch generate --workdir=runs/gan-mnist --label=7 --count=1000 --format=npz

A language model goes on with a prompt, translation translates lines, music becomes MIDI files, a
GAN draws images. The training data is not needed, and the run may still be going on. Text goes to
the terminal or --output, files go to `artifacts/generated/STEP/` of the run. What a task has no use
for is refused.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

from absl import flags

from dlresearch import entry
from dlresearch.errors import UserError, located

STEP = flags.DEFINE_string(
    "step", "newest", "Which checkpoint: `newest`, `best`, or the number of a step."
)
SEED = flags.DEFINE_integer("seed", 0, "What is drawn follows from it.", lower_bound=0)
INPUT = flags.DEFINE_string(
    "input", None, "File of lines to translate, UTF-8. Without it, standard input."
)
OUTPUT = flags.DEFINE_string("output", None, "File for the text. Without it, standard output.")
# Each is the option of that name of the task's `generate`, and left to it where it is not given.
OPTIONS = (
    flags.DEFINE_string("prompt", None, "The text to go on with."),
    flags.DEFINE_integer("length", None, "How many symbols or frames to make.", lower_bound=1),
    flags.DEFINE_integer("count", None, "How many texts, pieces or images to make.", lower_bound=1),
    flags.DEFINE_float(
        "temperature", None, "Below 1 is more cautious, above more daring; 0 takes the likeliest."
    ),
    flags.DEFINE_integer("top_k", None, "Draw among so many of the likeliest symbols."),
    flags.DEFINE_float(
        "top_p", None, "Draw among the likeliest symbols whose probability adds up to this."
    ),
    flags.DEFINE_integer("beam", None, "Width of the search; 1 is greedy.", lower_bound=1),
    flags.DEFINE_float("length_penalty", None, "Above 0, beam search prefers longer texts."),
    flags.DEFINE_string("label", None, "Class of the images, by name or number."),
    flags.DEFINE_float(
        "truncation", None, "How near to the mean images stay: less variety, fewer mistakes."
    ),
    flags.DEFINE_enum("format", None, ["png", "npz"], "A PNG for each image, or one .npz of all."),
    flags.DEFINE_bool("attention_maps", None, "Also make an image of each attention map."),
)
_LINES = "lines"  # the option of a task that --input fills
_DRAWING = ("temperature", "top_k", "top_p")


def generate(overrides: entry.Overrides) -> int:
    """Prints lines of text as they come, and the paths of the files that were made."""
    path = entry.workdir_flag()
    experiment = entry.experiment(overrides)
    entry.set_up(experiment)

    import jax

    from dlresearch.tasks import check_sampling
    from dlresearch.training import Workdir, learned, write_files

    given: dict[str, Any] = {flag.name: flag.value for flag in OPTIONS if flag.value is not None}
    check_sampling(**{name: given[name] for name in _DRAWING if name in given})
    task, variables, step = learned(experiment, path, STEP.value)
    make = getattr(task, "generate", None)
    if make is None:
        raise UserError(
            f"config.task.name: {experiment.task.name} makes nothing new; language_model,"
            " translation, polyphonic_music and gan do"
        )
    options = _options(make, given, experiment.task.name)
    artifacts = Workdir(Path(path).expanduser().absolute()).artifacts
    # All else was checked: of what a task says then, the prompt is the cause.
    place = located("--prompt") if "prompt" in given else nullcontext()
    with _output(OUTPUT.value) as output, place:
        for made in make(variables, jax.random.key(SEED.value), **options):
            if isinstance(made, str):
                print(made, file=output, flush=True)
                continue
            name, content = made
            write_files(artifacts, step, {f"generated/{name}": content})
            print(artifacts / "generated" / str(step) / name, flush=True)
    return 0


def _options(make: Any, given: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The keyword arguments of `make`; raises UserError for a flag it has no parameter for."""
    taken = [
        parameter.name
        for parameter in inspect.signature(make).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    names = ["input" if name == _LINES else name for name in taken]
    for name in [*given, *(["input"] if INPUT.value is not None else [])]:
        if name not in names:
            raise UserError(
                f"--{name}: the task {task} has no use for it; it takes"
                f" {', '.join(f'--{each}' for each in names)}"
            )
    return {**given, _LINES: _lines(INPUT.value)} if _LINES in taken else dict(given)


def _lines(path: str | None) -> Iterator[str]:
    """The lines of a file or of standard input, as they come.

    Raises:
      UserError: it cannot be read, or is not UTF-8.
    """
    name = "standard input" if path is None else f"--input: {path}"
    try:
        # Opened here and not when the first line is wanted, so that a mistake is told first.
        file = sys.stdin.buffer if path is None else Path(path).expanduser().open("rb")
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from None

    def lines() -> Iterator[str]:
        with nullcontext(file) if path is None else file:
            for number, line in enumerate(file, 1):
                try:
                    yield line.decode().rstrip("\r\n")
                except UnicodeDecodeError:
                    raise UserError(f"{name}: line {number} is not UTF-8") from None

    return lines()


@contextmanager
def _output(path: str | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        file = Path(path).expanduser().open("w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: cannot write {path}: {error.strerror}") from None
    with file:
        yield file


def main() -> None:
    entry.run(generate)


if __name__ == "__main__":
    main()
