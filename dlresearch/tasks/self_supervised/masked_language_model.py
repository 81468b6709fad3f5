"""Masked language models: what stood where the text has a hole."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from dlresearch.config import Component
from dlresearch.data import EXAMPLE, Vocabulary
from dlresearch.errors import UserError
from dlresearch.models import Model
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.self_supervised.token_masking import MaskedTokens, TokenMasking
from dlresearch.tasks.supervised import PLAYER, require
from dlresearch.tasks.task import (
    Batch,
    MakeModel,
    Metrics,
    Player,
    Task,
    Variables,
    fold_in_name,
)

HEAD = "head"


class MaskedLanguageModel(Task):
    """Cross-entropy of tokens that are hidden from the network, given all others (Devlin et al.
    2019, arXiv:1810.04805, section 3.1).

    Of each row a share of the tokens, rounded, and at least one, is chosen anew at every step;
    most of them become the mask token. The loss is the mean over the chosen tokens of a batch, in
    nats. Unknown tokens are not chosen. In evaluations the choice follows from the number of the
    example alone.

    Examples are windows that do not continue each other, or sentences; a label is not read. The
    network starts a classifier of texts with `config.start_from`: the parameters are `backbone`,
    the model, and `head`, which stays behind.

    Args:
      make_model: from the trainer; the model gets `vocabulary_size` and no outputs, and has, like
        `transformer_encoder`, a method `encode` to vectors of the tokens, of which there is one
        more than the vocabulary has, and a method `token_vectors` with the embedding.
      metadata: of the training source, from the trainer.
      tokens: key of the tokens, int32 [batch, time].
      length: key of how many of them are text, int32 [batch].
      chosen: share of the tokens to predict.
      masked: share of the chosen ones that become the mask token.
      replaced: share of the chosen ones that become a random token; the rest stays as it is.

    Raises:
      UserError: the source has no vocabulary, or its windows continue each other; a share that
        cannot be.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        tokens: str = "tokens",
        length: str = "length",
        chosen: float = 0.15,
        masked: float = 0.8,
        replaced: float = 0.1,
    ):
        vocabularies: Mapping[str, Vocabulary] = metadata.get("vocabularies", {})
        if tokens not in vocabularies:
            raise UserError(
                f"config.task.tokens: the training source has no vocabulary for {tokens!r}; take a"
                " source of text"
            )
        if metadata.get("streams") is not None:
            raise UserError(
                "config.data.source.streams: streams are read in order, and a masked language model"
                " carries nothing from one window to the next; leave it out"
            )
        vocabulary = vocabularies[tokens]
        self.masking = TokenMasking(vocabulary, chosen, masked, replaced)
        self.backbone: Model = make_model(num_outputs=None, vocabulary_size=len(vocabulary))
        self.head: Model = make_model(Component("masked_token_head"), "config.task")
        self.tokens, self.length = tokens, length

    @property
    def players(self) -> Sequence[Player]:
        return (Player(PLAYER, self._loss),)

    def init(self, key: Key[Array, ""], batch: Batch) -> Variables:
        backbone_key, head_key = jax.random.split(key)
        inputs = self._read(batch)
        params, state = self.backbone.init(backbone_key, *inputs)
        encoded, embedding = self._encoded(params, state, *inputs, train=False)[0]
        head, _ = self.head.init(head_key, encoded[:, :1], embedding)
        return Variables(
            params={PLAYER: {BACKBONE: params, HEAD: head}}, state={PLAYER: {BACKBONE: state}}
        )

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """Of each row: the sum of the cross-entropies in nats (`nll`), the number of chosen tokens
        (`count`) and of those that were most likely (`correct`).
        """
        example = require(batch, EXAMPLE, EXAMPLE)
        keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(0), number))(example)
        hidden = self.masking(keys, *self._read(batch))
        params, state = _by_network(variables)
        losses, correct, _ = self._scores(params, state, hidden, batch, train=False)
        return {
            "nll": jnp.sum(losses, axis=1),
            "count": jnp.sum(hidden.counts, axis=1).astype(jnp.float32),
            "correct": jnp.sum(correct, axis=1),
        }

    def features(self, variables: Variables, batch: Batch) -> Float[Array, "batch width"]:
        """The vector of each row, of which nothing is hidden."""
        params, state = _by_network(variables)
        vectors, _ = self.backbone.apply(
            params[BACKBONE], state.get(BACKBONE, {}), *self._read(batch), train=False
        )
        return vectors

    def _loss(
        self, params: PyTree, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[dict[str, PyTree], Metrics]]:
        tokens, length = self._read(batch)
        keys = jax.random.split(fold_in_name(key, "mask"), len(tokens))
        hidden = self.masking(keys, tokens, length)
        _, before = _by_network(variables)
        losses, correct, state = self._scores(
            params, before, hidden, batch, train=True, key=fold_in_name(key, BACKBONE)
        )
        total = jnp.maximum(jnp.sum(hidden.counts), 1.0)
        loss = jnp.sum(losses) / total
        metrics = {"loss": loss, "accuracy": jnp.sum(correct) / total}
        return loss, ({**variables.state, PLAYER: {**before, BACKBONE: state}}, metrics)

    def _scores(
        self,
        params: Trees,
        state: Trees,
        hidden: MaskedTokens,
        batch: Batch,
        *,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch chosen"], Float[Array, "batch chosen"], PyTree]:
        """Cross-entropies and hits of the chosen tokens, zeros elsewhere; the backbone's state."""
        inputs = hidden.tokens, batch[self.length]
        (encoded, embedding), new_state = self._encoded(
            params[BACKBONE], state.get(BACKBONE, {}), *inputs, train=train, key=key
        )
        # The chosen places alone: a vocabulary is larger than a network of this kind is wide.
        at = jnp.take_along_axis(encoded, hidden.places[..., None], axis=1)
        logits, _ = self.head.apply(params[HEAD], {}, at, embedding, train=train)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, hidden.targets)
        correct = (jnp.argmax(logits, axis=-1) == hidden.targets) & hidden.counts
        return jnp.where(hidden.counts, losses, 0.0), correct.astype(jnp.float32), new_state

    def _encoded(
        self,
        params: PyTree,
        state: PyTree,
        *inputs: Array,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> tuple[tuple[Float[Array, "batch time width"], Float[Array, "vocabulary width"]], PyTree]:
        """Vectors of the tokens, and the embedding; then the backbone's state."""
        encoded, new_state = self.backbone.apply(
            params, state, *inputs, train=train, key=key, method="encode"
        )
        embedding, _ = self.backbone.apply(params, state, train=False, method="token_vectors")
        return (encoded, embedding), new_state

    def _read(self, batch: Batch) -> tuple[Array, Array]:
        return (
            require(batch, self.tokens, "config.task.tokens"),
            require(batch, self.length, "config.task.length"),
        )


def _by_network(variables: Variables) -> tuple[Trees, Trees]:
    """Parameters and state; a checkpoint has no place for a state without arrays."""
    return variables.params[PLAYER], variables.state.get(PLAYER, {})
