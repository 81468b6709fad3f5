"""Language models: the loss of a text, once, however it is cut, and with what is carried over."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlresearch.data import evaluation_batches
from dlresearch.data.text import RunningText
from dlresearch.data.vocabulary import make_vocabulary
from dlresearch.errors import UserError
from dlresearch.evaluation.language_model import LanguageModelEvaluator
from dlresearch.models import NextToken, RecurrentLanguageModel, functional
from dlresearch.tasks import LanguageModel

TEXT = "".join(np.random.default_rng(0).choice(list("abcde"), 230))
VOCABULARY = make_vocabulary("characters", [TEXT], special=False)


def windows(streams: int | None, length: int = 6) -> RunningText:
    return RunningText(TEXT, "a text", VOCABULARY, length, streams, None)


def applied(model):
    return jax.jit(model.apply, static_argnames="train")


def make_model(**arguments):
    return functional(RecurrentLanguageModel, width=8, layers=2, **arguments)


def a_task(source: RunningText) -> LanguageModel:
    return LanguageModel(make_model, source.metadata)


def batches(source: RunningText, size: int):
    return evaluation_batches(source, (), size, slice(None))


@pytest.fixture(scope="module")
def variables():
    source = windows(streams=4)
    made = a_task(source).init(jax.random.key(0), next(batches(source, 4)))
    # Larger weights, so that what is carried matters.
    return made.replace(params=jax.tree.map(lambda leaf: 3 * leaf, made.params))


def reference(params) -> np.ndarray:
    """The cross-entropies of all tokens but the first, of the text in one go, in float64."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["model"])
    embedding = params["embedding"]["embedding"]
    ids = np.array(VOCABULARY.encode(TEXT))
    layers = [params["recurrent_0"][f"layer_{number}"] for number in (0, 1)]
    states = [(np.zeros(8), np.zeros(8)) for _ in layers]
    losses = []
    for now, following in itertools.pairwise(ids):
        x = embedding[now]
        for number, layer in enumerate(layers):
            h, c = states[number]
            gates = x @ layer["kernel"] + h @ layer["recurrent_kernel"] + layer["bias"]
            i, f, g, o = np.split(gates, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            x = sigmoid(o) * np.tanh(c)
            states[number] = x, c
        logits = x @ embedding.T + params["head"]["bias"]
        losses.append(np.log(np.sum(np.exp(logits))) - logits[following])
    return np.array(losses)


def evaluated(streams: int | None, size: int, length: int, variables) -> dict[str, float]:
    source = windows(streams, length)
    predict = a_task(source).predict
    found = LanguageModelEvaluator(1.0).run(predict, variables, batches(source, size))
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("length", [6, 50, 500])
def test_one_stream_is_evaluated_as_the_text_in_one_go(variables, length):
    expected = reference(variables.params)
    found = evaluated(1, 1, length, variables)
    # The model computes in float32: each cross-entropy has some units in the last place.
    assert found["tokens"] == len(TEXT) - 1
    assert found["loss"] == pytest.approx(expected.mean(), rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(expected.mean()), rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(expected.mean() / np.log(2), rel=1e-5)


def test_streams_and_windows_do_not_change_how_many_tokens_count(variables):
    for streams, size, length in [(4, 4, 6), (7, 7, 10), (None, 5, 6), (None, 3, 100)]:
        assert evaluated(streams, size, length, variables)["tokens"] == len(TEXT) - 1


def test_what_is_carried_matters(variables):
    """Else the tests above would show nothing: windows that start anew predict less well."""
    carried, anew = evaluated(4, 4, 6, variables), evaluated(None, 4, 6, variables)
    assert abs(carried["loss"] - anew["loss"]) > 1e-3


def test_padding_does_not_change_the_scores_of_a_row(variables):
    source = windows(None)
    task, batch = a_task(source), next(batches(source, 4))
    wider = {**batch, "tokens": np.pad(batch["tokens"], ((0, 0), (0, 9)), constant_values=3)}
    both = [jax.jit(task.predict)(variables, each) for each in (batch, wider)]
    for name in ("nll", "count", "correct"):
        plain, padded = (found[name] for found in both)
        np.testing.assert_allclose(padded, plain, rtol=1e-5)  # sums of two programs


def losses_of_an_epoch(task, variables, source, order):
    """The loss of every batch, with rows in the given order, and what is carried at the end."""
    losses, call = [], jax.jit(task.players[0].loss)
    for batch in batches(source, 4):
        rows = {key: values[order] for key, values in batch.items()}
        loss, (state, _) = call(variables.params["model"], variables, rows, jax.random.key(0))
        losses.append(float(loss))
        variables = variables.replace(state=state)
    return losses, variables.state["carry"]


def test_training_carries_on_and_rows_may_come_in_any_order(variables):
    """As they do in microbatches: what is carried goes by the number of the stream."""
    source = windows(streams=4)
    task = a_task(source)
    losses, carry = losses_of_an_epoch(task, variables, source, [0, 1, 2, 3])
    others, same = losses_of_an_epoch(task, variables, source, [2, 0, 3, 1])
    np.testing.assert_allclose(others, losses, rtol=1e-5)  # sums in another order
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), same, carry)
    counts = [float(np.sum(batch["length"] - 1)) for batch in batches(source, 4)]
    evaluated_loss = evaluated(4, 4, 6, variables)["loss"]
    assert np.average(losses, weights=counts) == pytest.approx(evaluated_loss, rel=1e-5)


def test_the_first_window_forgets_the_epoch_before(variables):
    source = windows(streams=4)
    task = a_task(source)
    _, carry = losses_of_an_epoch(task, variables, source, [0, 1, 2, 3])
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(carry)) > 0.1
    again = variables.replace(state={**variables.state, "carry": carry})
    first, second = (
        losses_of_an_epoch(task, start, source, [0, 1, 2, 3])[0] for start in (variables, again)
    )
    assert first == second


def test_sampling_likeliest_tokens_follows_the_network(variables):
    task = a_task(windows(streams=4))
    (text,) = task.generate(variables, jax.random.key(0), prompt="abc", length=5, temperature=0.0)
    # A network that sees only the past may be asked about all steps at once.
    outputs, _ = applied(task.model)(
        variables.params["model"], {}, jnp.array([VOCABULARY.encode(text)]), train=False
    )
    likeliest = jnp.argmax(outputs.logits[0], axis=-1)
    assert len(text) == 8
    assert text[3:] == VOCABULARY.decode(likeliest[2:7].tolist())


def test_texts_of_one_call_differ_and_a_key_repeats_them(variables):
    task = a_task(windows(streams=4))

    def texts(seed):
        return list(task.generate(variables, jax.random.key(seed), length=20, count=3))

    assert len(set(texts(0))) == 3
    assert texts(0) == texts(0) != texts(1)


def test_a_prompt_with_an_unknown_symbol_is_refused(variables):
    task = a_task(windows(streams=4))
    with pytest.raises(UserError, match="§"):
        next(task.generate(variables, jax.random.key(0), prompt="a§"))


def test_a_source_without_vocabulary_is_refused():
    with pytest.raises(UserError, match=r"config.task.tokens: .* no vocabulary"):
        LanguageModel(make_model, {})


def test_a_model_that_gives_something_else_is_refused():
    class Logits(nn.Module):
        num_outputs: int

        @nn.compact
        def __call__(self, tokens):
            return nn.Embed(self.num_outputs, self.num_outputs)(tokens)

    source = windows(streams=4)
    task = LanguageModel(lambda **context: functional(Logits, **context), source.metadata)
    with pytest.raises(UserError, match=r"returns dlresearch\.models\.NextToken"):
        task.init(jax.random.key(0), next(batches(source, 4)))


PENALISED = dict(activation_penalty=2.0, slowness_penalty=1.0, output_dropout=0.5, locked=True)


def test_penalties_are_means_of_squares():
    model = make_model(num_outputs=5, embedding=4, **PENALISED)
    tokens = jnp.array([[0, 1, 2, 3], [4, 3, 2, 1]])
    params, _ = jax.jit(model.init)(jax.random.key(0), tokens)
    outputs, _ = applied(model)(params, {}, tokens, train=False)
    assert isinstance(outputs, NextToken)
    # Outputs of the last layer from the logits: the embedding, 5 x 4, has full rank.
    embedding = np.asarray(params["embedding"]["embedding"], np.float64)
    logits = np.asarray(outputs.logits, np.float64) - np.asarray(params["head"]["bias"])
    h = np.linalg.lstsq(embedding, logits.reshape(-1, 5).T)[0].T.reshape(2, 4, 4)
    expected = 2.0 * np.mean(h**2) + np.mean(np.diff(h, axis=1) ** 2)
    assert float(outputs.penalty) == pytest.approx(expected, rel=1e-5)


def test_dropped_words_are_dropped_everywhere_in_a_batch():
    """With half of the vocabulary dropped, logits after a dropped word are those of no input."""
    model = make_model(num_outputs=5, word_dropout=0.5)
    tokens = jnp.tile(jnp.arange(5)[:, None], (1, 3))
    params, _ = jax.jit(model.init)(jax.random.key(0), tokens)
    outputs, _ = applied(model)(params, {}, tokens, train=True, key=jax.random.key(1))
    alike = np.isclose(outputs.logits[:, None], outputs.logits[None], atol=1e-6).all((-1, -2))
    dropped = np.flatnonzero(alike.sum(0) > 1)
    assert 1 < len(dropped) < 5
    assert alike[np.ix_(dropped, dropped)].all()
