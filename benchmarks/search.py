"""What beam search gains over greedy search, and what it costs, on a translator that was trained.

    python benchmarks/search.py --workdir=RUN --out=docs/results/search.json

Translates the examples of an evaluator of the run with beams of several widths. `worse` counts the
sentences for which the beam alone ends with a lower score than greedy search, by more than
rounding; `dlresearch` then takes what greedy search found, and `worse_kept` counts those for which
the translation that is returned has the lower score.
"""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
EVALUATOR = flags.DEFINE_string("evaluator", "test", "Whose examples are translated.")
BEAMS = flags.DEFINE_multi_integer("beam", [1, 2, 5, 10], "Widths of the search.")
_ROUNDING = 1e-4  # nats, of a score


def beam_alone(task: Any, variables: Any, source: Any, lengths: Any, beam: int) -> Any:
    """As `Translation.translate`, without greedy search's candidate."""
    from dlresearch.tasks.decoding import beam_search

    memory, state = task._call(variables, "encode", source, lengths, task.max_length)
    memory, state = jax.tree.map(lambda each: jnp.repeat(each, beam, axis=0), (memory, state))
    stepper = task._stepper(variables, memory)
    options = (task._symbols, task.max_length, task.length_penalty, beam)
    return beam_search(stepper, state, len(source), *options).scores


def main(_: list[str]) -> None:
    from sacrebleu.metrics.bleu import BLEU

    from dlresearch.config import load, validate
    from dlresearch.data import evaluation_batches
    from dlresearch.training import Setup, learned
    from dlresearch.training.workdir import device_name

    logging.set_verbosity(logging.FATAL)
    experiment = validate(load(f"{WORKDIR.value}/config.json"))
    evaluation = Setup(experiment).evaluations[EVALUATOR.value]
    task, variables, step = learned(experiment, WORKDIR.value, "newest")
    assert hasattr(task, "translate"), "the run is no translator"
    greedy: Any = None
    rows = []
    for beam in BEAMS.value:
        find = jax.jit(partial(task.translate, beam=beam, length_penalty=task.length_penalty))
        alone = jax.jit(partial(beam_alone, task, beam=beam))
        lines, scores, unaided, seconds = [], [], [], 0.0
        found = evaluation.examples
        rows_here = slice(0, found.batch_size)
        examples = evaluation_batches(found.source, (), found.batch_size, rows_here)
        for number, batch in enumerate(examples):
            inputs = variables, batch["source"], batch["source_length"]
            if number == 0:
                jax.block_until_ready(find(*inputs))  # compiles
            began = time.perf_counter()
            found = jax.block_until_ready(find(*inputs))
            seconds += time.perf_counter() - began
            mask = batch["mask"]
            lines += [
                task.target_vocabulary.decode(each) for each in np.asarray(found.tokens)[mask]
            ]
            scores.append(np.asarray(found.scores)[mask])
            unaided.append(np.asarray(alone(*inputs) if beam > 1 else found.scores)[mask])
        score, own = np.concatenate(scores), np.concatenate(unaided)
        greedy = score if greedy is None else greedy
        bleu = BLEU(lowercase=True).corpus_score(lines, [evaluation.examples.source.references])
        rows.append(
            {
                "beam": beam,
                "bleu_lowercase": bleu.score,
                "sentences_per_second": len(lines) / seconds,
                "mean_score": float(score.mean()),
                "worse": int(np.sum(own < greedy - _ROUNDING)),
                "worse_kept": int(np.sum(score < greedy - _ROUNDING)),
            }
        )
        print(rows[-1], flush=True)
    figures = {"searches": rows, "sentences": len(greedy), "step": step, "device": device_name()}
    Path(OUT.value).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
