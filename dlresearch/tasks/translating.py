"""Lines of text in, lines of text out, and attention as images."""

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float, Int

from dlresearch.tasks.task import Variables

if TYPE_CHECKING:
    from dlresearch.tasks.translation import Translation

_LINES_AT_ONCE = 64
_WIDTHS = 16  # sentences are padded to a multiple of it, so that few programs are compiled
_TOKEN_INCHES = 0.35


def translated(
    task: "Translation",
    variables: Variables,
    lines: Iterable[str],
    beam: int,
    length_penalty: float,
    attention_maps: bool,
) -> Iterator[str | tuple[str, bytes]]:
    """What `Translation.generate` yields."""
    translate = jax.jit(partial(task.translate, beam=beam, length_penalty=length_penalty))
    attend = jax.jit(task.attend)
    rest, number, cut = iter(lines), 0, 0
    while group := list(islice(rest, _LINES_AT_ONCE)):
        sources = [task.source_vocabulary.encode(line.strip()) for line in group]
        cut += sum(len(ids) >= task.max_length for ids in sources)
        source, lengths = _padded(sources, task)
        hypotheses = translate(variables, source, lengths).tokens
        maps = attend(variables, source, lengths, hypotheses) if attention_maps else None
        for row, tokens in enumerate(np.asarray(hypotheses[: len(group)])):
            number += 1
            if not sources[row]:
                yield ""
                continue
            yield task.target_vocabulary.decode(tokens)
            if maps is not None:
                length = int(np.count_nonzero(tokens != task.target_vocabulary.pad))
                image = attention_map(
                    _pieces(task.source_vocabulary, source[row, : lengths[row]]),
                    _pieces(task.target_vocabulary, tokens[:length]),
                    np.asarray(maps[row, :length, : lengths[row]]),
                )
                yield f"attention_{number:04}.png", image
    if cut:
        # Where the text does not go, which may be standard output.
        print(
            f"{cut} of {number} lines were cut to {task.max_length} tokens; set"
            " --config.task.max_length to keep all",
            file=sys.stderr,
        )


def _padded(
    sources: Sequence[Sequence[int]], task: "Translation"
) -> tuple[Int[np.ndarray, "batch source"], Int[np.ndarray, " batch"]]:
    """As the training source has them: with the end, and padding; a full batch."""
    vocabulary = task.source_vocabulary
    ids = [[*each[: task.max_length - 1], vocabulary.eos] for each in sources]
    ids += [[vocabulary.eos]] * (_LINES_AT_ONCE - len(ids))
    lengths = np.array([len(each) for each in ids], np.int32)
    width = -(-lengths.max() // _WIDTHS) * _WIDTHS
    padded = np.full((len(ids), width), vocabulary.pad, np.int32)
    for row, each in enumerate(ids):
        padded[row, : len(each)] = each
    return padded, lengths


def _pieces(vocabulary: Any, tokens: Int[np.ndarray, " time"]) -> list[str]:
    """Each token as text; what has none, such as the end, as a sign for it."""
    return [vocabulary.decode([token]) or "■" for token in tokens.tolist()]


def attention_map(
    source: Sequence[str], target: Sequence[str], weights: Float[np.ndarray, "target source"]
) -> bytes:
    """A PNG with a row for each target token; the more a source token is attended to, the darker.

    Args:
      source: names of the columns.
      target: names of the rows.
      weights: from 0 to 1; each row adds up to 1.
    """
    from matplotlib.figure import Figure  # slow to import, and seldom wanted

    figure = Figure(
        figsize=(2 + _TOKEN_INCHES * len(source), 1.5 + _TOKEN_INCHES * len(target)),
        layout="constrained",
    )
    axes = figure.subplots()
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(source)), source, rotation=90)
    axes.set_yticks(range(len(target)), target)
    axes.xaxis.tick_top()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()
