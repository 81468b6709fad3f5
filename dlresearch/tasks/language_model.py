"""Language models: what comes next in a text."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dlresearch.data import Vocabulary
from dlresearch.errors import UserError
from dlresearch.models import Model, NextToken
from dlresearch.parallel import split_rows
from dlresearch.tasks.sampling import sample
from dlresearch.tasks.supervised import PLAYER, require
from dlresearch.tasks.task import Batch, MakeModel, Metrics, Player, Task, Variables

_CARRY = "carry"


class LanguageModel(Task):
    """Cross-entropy of each token given those before it.

    The loss is the mean over the predicted tokens of a batch, in nats. Where the source cuts its
    text in streams (`streams` of the source `text`), the network goes on from where it was: what it
    carries is kept in the state, a row for each stream, and gradients reach back to the start of
    the window (truncated backpropagation through time, Williams and Peng 1990).

    Args:
      make_model: from the trainer; the model gets `num_outputs`, the size of the vocabulary. It
        maps tokens [batch, time] and, with streams, what it carries to a `NextToken`.
      metadata: of the training source, from the trainer.
      tokens: key of the tokens, int32 [batch, time + 1].
      length: key of how many of them are text, int32 [batch].

    Raises:
      UserError: the source has no vocabulary.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        tokens: str = "tokens",
        length: str = "length",
    ):
        vocabularies: Mapping[str, Vocabulary] = metadata.get("vocabularies", {})
        if tokens not in vocabularies:
            raise UserError(
                f"config.task.tokens: the training source has no vocabulary for {tokens!r}; take a"
                " source of text"
            )
        self.vocabulary = vocabularies[tokens]
        self.streams: int | None = metadata.get("streams")
        self.model: Model = make_model(num_outputs=len(self.vocabulary))
        self.tokens, self.length = tokens, length

    @property
    def players(self) -> Sequence[Player]:
        return (Player(PLAYER, self._loss),)

    def init(self, key: Key[Array, ""], batch: Batch) -> Variables:
        inputs = require(batch, self.tokens, "config.task.tokens")[:, :-1]
        params, state = self.model.init(key, inputs)
        variables = Variables(params={PLAYER: params}, state={PLAYER: state})
        if self.streams is not None:
            row = jax.eval_shape(partial(self._apply, train=False), params, state, inputs[:1])
            zeros = jax.tree.map(
                lambda leaf: jnp.zeros((self.streams, *leaf.shape[1:]), leaf.dtype), row[0].carry
            )
            variables = variables.replace(state={PLAYER: state, _CARRY: zeros})
        return variables

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Any]:
        """Of each row: the sum of the cross-entropies in nats (`nll`), the number of predicted
        tokens (`count`) and of those that were most likely (`correct`); and the `carry`, which goes
        into the next batch of the streams under that name.
        """
        carry = batch.get(_CARRY)
        if carry is not None:
            carry = _from_start(carry, batch["start"])
        params, state = variables.params[PLAYER], variables.state[PLAYER]
        tokens = require(batch, self.tokens, "config.task.tokens")
        (logits, carry, _), _ = self._apply(params, state, tokens[:, :-1], carry, train=False)
        losses, correct, counts = self._scores(logits, batch)
        return {
            "nll": jnp.sum(losses, axis=1),
            "count": jnp.sum(counts, axis=1),
            "correct": jnp.sum(correct, axis=1),
            _CARRY: carry,
        }

    def generate(
        self,
        variables: Variables,
        key: Key[Array, ""],
        *,
        prompt: str = "",
        length: int = 500,
        count: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
    ) -> Iterator[str]:
        """Texts that go on from a prompt.

        Args:
          prompt: with what each begins; empty is the start of a line.
          length: tokens of each after the prompt.
          count: how many texts.
          temperature: divides the logits; 0 takes the most likely token.
          top_k: only the most likely so many.
          top_p: only the most likely that together have this probability.
        """
        begun = self.vocabulary.encode(prompt)
        start = begun or self._beginning()
        tokens = jnp.broadcast_to(jnp.asarray(start, jnp.int32), (count, len(start)))
        sampled = _continuations(self, length, top_k, variables, tokens, key, temperature, top_p)
        for row in np.asarray(sampled):
            yield self.vocabulary.decode([*begun, *row.tolist()])

    def _beginning(self) -> list[int]:
        """What a text may go on from: the end of a line, where there is one."""
        try:
            return self.vocabulary.encode("\n") or [0]
        except UserError:
            return [0]

    def _loss(
        self, params: PyTree, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[dict[str, PyTree], Metrics]]:
        carried = variables.state.get(_CARRY)
        carry = None
        if carried is not None:
            # By number, as a microbatch has the rows of some streams only.
            rows = jax.tree.map(lambda leaf: leaf[batch["stream"]], carried)
            # Split like the batch: kept along the units, it would have the layers split along them
            # as well, and their weights gathered in each step of the scan.
            carry = jax.tree.map(split_rows, _from_start(rows, batch["start"]))
        tokens = require(batch, self.tokens, "config.task.tokens")
        (logits, carry, penalty), state = self._apply(
            params, variables.state[PLAYER], tokens[:, :-1], carry, train=True, key=key
        )
        losses, correct, counts = self._scores(logits, batch)
        total = jnp.maximum(jnp.sum(counts), 1.0)
        loss = jnp.sum(losses) / total
        new_state = {**variables.state, PLAYER: state}
        if carried is not None:
            new_state[_CARRY] = jax.tree.map(
                lambda old, new: old.at[batch["stream"]].set(jax.lax.stop_gradient(new)),
                carried,
                carry,
            )
        metrics = {"loss": loss, "accuracy": jnp.sum(correct) / total}
        return loss + penalty, (new_state, metrics)

    def _apply(
        self,
        params: PyTree,
        state: PyTree,
        tokens: Int[Array, "batch time"],
        carry: PyTree = None,
        *,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> tuple[NextToken, PyTree]:
        inputs = (tokens,) if carry is None else (tokens, carry)
        outputs, state = self.model.apply(params, state, *inputs, train=train, key=key)
        if not isinstance(outputs, NextToken):
            raise UserError(
                "config.model: a language model returns dlresearch.models.NextToken, and this one"
                f" {type(outputs).__name__}"
            )
        return outputs, state

    def _scores(
        self, logits: Float[Array, "batch time vocabulary"], batch: Batch
    ) -> tuple[Float[Array, "batch time"], ...]:
        """Cross-entropies, hits, and 1 where a token counts; zeros elsewhere."""
        targets = batch[self.tokens][:, 1:]
        counts = (jnp.arange(targets.shape[1]) < batch[self.length][:, None] - 1).astype(
            jnp.float32
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        correct = jnp.argmax(logits, axis=-1) == targets
        return losses * counts, correct * counts, counts


def _from_start(carry: PyTree, start: Bool[Array, " batch"]) -> PyTree:
    """Zeros where a text begins."""
    return jax.tree.map(
        lambda leaf: jnp.where(start.reshape(-1, *[1] * (leaf.ndim - 1)), 0, leaf), carry
    )


@partial(jax.jit, static_argnums=(0, 1, 2))
def _continuations(
    task: LanguageModel,
    length: int,
    top_k: int | None,
    variables: Variables,
    prompt: Int[Array, "batch time"],
    key: Key[Array, ""],
    temperature: Float[Array, ""],
    top_p: Float[Array, ""],
) -> Int[Array, "batch length"]:
    params, state = variables.params[PLAYER], variables.state[PLAYER]
    outputs, _ = task._apply(params, state, prompt, train=False)

    def step(before: tuple[Any, Array], key: Key[Array, ""]):
        carry, logits = before
        token = sample(logits, key, temperature, top_k, top_p)
        outputs, _ = task._apply(params, state, token[:, None], carry, train=False)
        return (outputs.carry, outputs.logits[:, -1]), token

    first = outputs.carry, outputs.logits[:, -1]
    _, tokens = jax.lax.scan(step, first, jax.random.split(key, length))
    return tokens.T
