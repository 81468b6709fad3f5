"""Translation: a sequence of tokens from another one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dlresearch.errors import UserError
from dlresearch.tasks.decoding import (
    Hypotheses,
    Step,
    Symbols,
    beam_search,
    better,
    greedy,
)
from dlresearch.tasks.supervised import PLAYER, require
from dlresearch.tasks.task import Batch, MakeModel, Metrics, Player, Task, Variables
from dlresearch.tasks.translating import translated


class Translation(Task):
    """Each token of the target from the source and the tokens before it.

    The loss is the mean over the target tokens of the batch, not over its sentences, of the
    smoothed cross-entropy `-(1 - e) log p(y) - e mean_v log p(v)` with e = `label_smoothing` and v
    all tokens of the vocabulary. The metrics `loss` (without smoothing, in nats), `accuracy` and
    `perplexity`, `exp(loss)`, are means over the same tokens. Padding is in none of them.

    The model is called with source [batch, source], its lengths [batch] and the target [batch,
    time] without its last token, and returns logits [batch, time, outputs]. For translating it has
    two more methods, of `AttentionSeq2Seq` for instance: `encode(source, source_length, steps)`
    returns `(memory, state)`, and `step(memory, state, tokens)` the next state, the logits [batch,
    outputs] of the token behind `tokens` [batch], and the attention [batch, source]; `memory` and
    `state` are pytrees of arrays [batch, ...].

    Args:
      make_model: from the trainer; the model gets `num_outputs` and `source_vocabulary`, the sizes
        of the vocabularies.
      metadata: of the training source, from the trainer; `vocabularies` has one for each of
        `source` and `target`.
      source: key of the source tokens [batch, source], each row with the end token, then padding.
      source_length: key of the number of source tokens, the end token counted.
      target: key of the target tokens, from the start token to the end token, then padding.
      target_length: key of the number of target tokens, both of these counted.
      label_smoothing: weight of the uniform distribution in the target (Szegedy et al. 2016,
        arXiv:1512.00567, section 7).
      beam: hypotheses of the beam search in evaluation; 1 is greedy.
      length_penalty: alpha of Wu et al. 2016, arXiv:1609.08144, eq. 14, in evaluation; 0 is off,
        higher prefers longer translations.
      max_length: tokens after which a translation is cut off; the end counts.

    Raises:
      UserError: the training source has no vocabularies of these names; a value out of its range.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        source: str = "source",
        source_length: str = "source_length",
        target: str = "target",
        target_length: str = "target_length",
        label_smoothing: float = 0.0,
        beam: int = 5,
        length_penalty: float = 1.0,
        max_length: int = 100,
    ):
        if not 0 <= label_smoothing < 1:
            raise UserError(f"config.task.label_smoothing: {label_smoothing} is not in [0, 1)")
        check_search(beam, length_penalty, max_length)
        vocabularies = metadata.get("vocabularies", {})
        for name, key in {"source": source, "target": target}.items():
            if key not in vocabularies:
                raise UserError(
                    f"config.task.{name}: the training source has no vocabulary for {key!r}; it has"
                    f" {', '.join(vocabularies) or 'none'}"
                )
        self.source_vocabulary = vocabularies[source]
        self.target_vocabulary = vocabularies[target]
        self.model = make_model(
            num_outputs=len(self.target_vocabulary), source_vocabulary=len(self.source_vocabulary)
        )
        self.keys = {
            "source": source,
            "source_length": source_length,
            "target": target,
            "target_length": target_length,
        }
        self.label_smoothing = label_smoothing
        self.beam, self.length_penalty, self.max_length = beam, length_penalty, max_length

    @property
    def players(self) -> Sequence[Player]:
        return (Player(PLAYER, self._loss),)

    def init(self, key: Key[Array, ""], batch: Batch) -> Variables:
        params, state = self.model.init(key, *self._inputs(batch))
        return Variables(params={PLAYER: params}, state={PLAYER: state})

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """Of each sentence: `nll`, the sum over its tokens; `tokens`, how many; `correct`, how many
        of them are the most likely, given those before; and of the translation that the search
        finds, `hypotheses`, its tokens [batch, max_length], and `scores`.
        """
        logits, _ = self.model.apply(
            variables.params[PLAYER], variables.state[PLAYER], *self._inputs(batch), train=False
        )
        scored = self._scored(logits, batch)
        source, source_length, _ = self._inputs(batch)
        # XLA leaves out the search where an evaluator does not read what it finds.
        found = self.translate(variables, source, source_length, self.beam, self.length_penalty)
        return {
            "nll": jnp.sum(scored["nll"], axis=1),
            "tokens": jnp.sum(scored["mask"], axis=1),
            "correct": jnp.sum(scored["correct"], axis=1),
            "hypotheses": found.tokens,
            "scores": found.scores,
        }

    def translate(
        self,
        variables: Variables,
        source: Int[Array, "batch source"],
        source_length: Int[Array, " batch"],
        beam: int,
        length_penalty: float,
    ) -> Hypotheses:
        """The best translation of each sentence that greedy search and, where `beam` is above 1,
        beam search find.
        """
        symbols = self._symbols
        search = (len(source), symbols, self.max_length, length_penalty)
        memory, state = self._call(variables, "encode", source, source_length, self.max_length)
        found = greedy(self._stepper(variables, memory), state, *search)
        if beam == 1:
            return found
        memory, state = (
            jax.tree.map(lambda each: jnp.repeat(each, beam, axis=0), tree)
            for tree in (memory, state)
        )
        wider = beam_search(self._stepper(variables, memory), state, *search, beam)
        # What greedy search finds may fall out of a beam and yet be better than all in it.
        return better(wider, found, symbols)

    def attend(
        self,
        variables: Variables,
        source: Int[Array, "batch source"],
        source_length: Int[Array, " batch"],
        tokens: Int[Array, "batch time"],
    ) -> Float[Array, "batch time source"]:
        """How much of each source token the model attends to where it predicts each of `tokens`."""
        memory, state = self._call(variables, "encode", source, source_length, tokens.shape[1])
        start = jnp.full((len(source), 1), self._symbols.bos, tokens.dtype)
        read = jnp.concatenate([start, tokens[:, :-1]], axis=1)

        def step(state: PyTree, last: Array) -> tuple[PyTree, Array]:
            state, _, attention = self._call(variables, "step", memory, state, last)
            return state, attention

        _, attention = jax.lax.scan(step, state, read.T)
        return jnp.swapaxes(attention, 0, 1)

    def generate(
        self,
        variables: Variables,
        key: Key[Array, ""],
        *,
        lines: Iterable[str],
        beam: int | None = None,
        length_penalty: float | None = None,
        attention_maps: bool = False,
    ) -> Iterator[str | tuple[str, bytes]]:
        """The translation of each line; of an empty line an empty one.

        Args:
          lines: sentences in the source language.
          beam: hypotheses of the beam search; None takes the task's.
          length_penalty: of the search; None takes the task's.
          attention_maps: also yield, after each translation, an image of what was attended to.
        """
        del key  # nothing is drawn
        beam = self.beam if beam is None else beam
        alpha = self.length_penalty if length_penalty is None else length_penalty
        check_search(beam, alpha, self.max_length)
        return translated(self, variables, lines, beam, alpha, attention_maps)

    @property
    def _symbols(self) -> Symbols:
        vocabulary = self.target_vocabulary
        return Symbols(vocabulary.pad, vocabulary.bos, vocabulary.eos)

    def _call(self, variables: Variables, method: str, *inputs: Any) -> Any:
        outputs, _ = self.model.apply(
            variables.params[PLAYER], variables.state[PLAYER], *inputs, train=False, method=method
        )
        return outputs

    def _stepper(self, variables: Variables, memory: Any) -> Step:
        def step(state: PyTree, tokens: Int[Array, " rows"]) -> tuple[PyTree, Array]:
            state, logits, _ = self._call(variables, "step", memory, state, tokens)
            return state, logits

        return step

    def _inputs(self, batch: Batch) -> tuple[Array, Array, Array]:
        target = self._read(batch, "target")
        return self._read(batch, "source"), self._read(batch, "source_length"), target[:, :-1]

    def _read(self, batch: Batch, name: str) -> Array:
        return require(batch, self.keys[name], f"config.task.{name}")

    def _loss(
        self, params: PyTree, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[dict[str, PyTree], Metrics]]:
        logits, state = self.model.apply(
            params, variables.state[PLAYER], *self._inputs(batch), train=True, key=key
        )
        scored = self._scored(logits, batch)
        # Where a part of a split batch has no token at all, its loss is 0.
        count = jnp.maximum(jnp.sum(scored["mask"]), 1)
        nll, smooth = (jnp.sum(scored[name]) / count for name in ("nll", "uniform"))
        loss = (1 - self.label_smoothing) * nll + self.label_smoothing * smooth
        metrics = {
            "loss": nll,
            "accuracy": jnp.sum(scored["correct"]) / count,
            "perplexity": jnp.exp(nll),
        }
        return loss, ({**variables.state, PLAYER: state}, metrics)

    def _scored(
        self, logits: Float[Array, "batch time outputs"], batch: Batch
    ) -> dict[str, Float[Array, "batch time"] | Bool[Array, "batch time"]]:
        """Of each target token: `nll`, `uniform`, the mean over the vocabulary of it, `correct`,
        all 0 where `mask` is False.
        """
        tokens: Int[Array, "batch time"] = self._read(batch, "target")[:, 1:]
        lengths = self._read(batch, "target_length")
        mask = jnp.arange(tokens.shape[1]) < lengths[:, None] - 1
        logits = logits.astype(jnp.float32)
        total = jax.nn.logsumexp(logits, axis=-1)
        chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
        return {
            "nll": jnp.where(mask, total - chosen, 0),
            "uniform": jnp.where(mask, total - jnp.mean(logits, axis=-1), 0),
            # Not by argmax, which XLA:CPU does not vectorise; a tie at the top counts as correct.
            "correct": mask & (chosen >= jnp.max(logits, axis=-1)),
            "mask": mask,
        }


def check_search(beam: int, length_penalty: float, max_length: int) -> None:
    """Raises UserError for options with which no search can be made."""
    if beam < 1:
        raise UserError(f"config.task.beam: {beam} is not at least 1, which is greedy")
    if length_penalty < 0:
        raise UserError(f"config.task.length_penalty: {length_penalty} is negative; 0 is off")
    if max_length < 1:
        raise UserError(f"config.task.max_length: {max_length} is not at least 1")
