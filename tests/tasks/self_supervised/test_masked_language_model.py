"""Masked language models: what is hidden, by NumPy and the binomial distribution; the loss in
float64; and evaluations that do not depend on how examples are batched.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from dlresearch.data import EXAMPLE, evaluation_batches
from dlresearch.data.text import RunningText
from dlresearch.data.vocabulary import make_vocabulary
from dlresearch.errors import UserError
from dlresearch.evaluation.self_supervised.masked_language_model import (
    MaskedLanguageModelEvaluator,
)
from dlresearch.models import functional
from dlresearch.models.self_supervised import MaskedTokenHead
from dlresearch.models.transformer_encoder import TransformerEncoder
from dlresearch.tasks.self_supervised.masked_language_model import MaskedLanguageModel
from dlresearch.tasks.self_supervised.token_masking import TokenMasking
from dlresearch.tasks.task import fold_in_name

TEXT = "".join(np.random.default_rng(0).choice(list("abcdef"), 230))
RUNNING = make_vocabulary("characters", [TEXT], special=False)
SENTENCES = make_vocabulary("characters", [TEXT], special=True)
SIZES = {"width": 8, "layers": 1, "heads": 2, "hidden": 8, "dropout": 0.0}
ROWS, TIME = 2000, 30


@jax.jit
def mask_with(keys, tokens, lengths):
    return TokenMasking(SENTENCES)(keys, tokens, lengths)


@pytest.fixture(scope="module")
def masked():
    """Rows of ordinary tokens, 4 to 9, with unknown ones, 3, and what is done to them."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(3, len(SENTENCES), (ROWS, TIME)).astype(np.int32)
    lengths = rng.integers(0, TIME + 1, ROWS).astype(np.int32)
    keys = jax.random.split(jax.random.key(5), ROWS)
    return tokens, lengths, jax.tree.map(np.asarray, mask_with(keys, tokens, lengths))


def within(successes, trials, share):
    """Whether so many are as likely as one in 10,000 or more; the keys are fixed."""
    return scipy.stats.binomtest(int(successes), int(trials), share).pvalue > 1e-4


def test_of_each_row_15_percent_are_chosen_rounded_and_at_least_one(masked):
    tokens, lengths, found = masked
    eligible = (tokens > 3) & (np.arange(TIME) < lengths[:, None])
    wanted = np.floor(0.15 * eligible.sum(1) + 0.5)
    wanted = np.where(eligible.any(1), np.maximum(wanted, 1), 0)
    np.testing.assert_array_equal(found.counts.sum(1), wanted)
    assert {0, 1, 2, 3, 4} <= set(wanted)


def test_padding_and_special_tokens_are_never_chosen_and_no_place_twice(masked):
    tokens, lengths, found = masked
    assert np.all((found.places < lengths[:, None]) | ~found.counts)
    np.testing.assert_array_equal(found.targets, np.take_along_axis(tokens, found.places, 1))
    assert found.targets[found.counts].min() == 4
    for row in range(50):
        places = found.places[row, found.counts[row]]
        assert len(set(places)) == len(places)


def test_what_is_not_chosen_stays(masked):
    tokens, _, found = masked
    chosen = np.zeros(tokens.shape, bool)
    rows = np.broadcast_to(np.arange(ROWS)[:, None], found.places.shape)
    chosen[rows[found.counts], found.places[found.counts]] = True
    np.testing.assert_array_equal(found.tokens[~chosen], tokens[~chosen])


def test_80_percent_are_masked_10_random_and_10_unchanged(masked):
    _, _, found = masked
    now = np.take_along_axis(found.tokens, found.places, 1)[found.counts]
    before, total = found.targets[found.counts], found.counts.sum()
    assert total > 3000
    hidden = now == len(SENTENCES)
    assert within(hidden.sum(), total, 0.8)
    # A random one of 6 is what was there before once in 6.
    assert within((now == before).sum(), total, 0.1 + 0.1 / 6)
    changed = now[~hidden & (now != before)]
    assert within(len(changed), total, 0.1 * 5 / 6)
    shares = np.bincount(changed, minlength=10)[4:]
    assert shares.sum() == len(changed)  # none is special
    assert scipy.stats.chisquare(shares).pvalue > 1e-4


def test_every_place_of_a_row_is_chosen_equally_often():
    tokens = np.full((ROWS, 20), 5, np.int32)
    keys = jax.random.split(jax.random.key(6), ROWS)
    found = mask_with(keys, tokens, np.full(ROWS, 20, np.int32))
    assert np.all(found.counts)
    places = np.bincount(np.ravel(found.places), minlength=20)
    assert all(within(count, ROWS, 3 / 20) for count in places)


def test_the_width_of_the_padding_changes_nothing(masked):
    tokens, lengths, _ = masked
    lengths = np.minimum(lengths, 17)
    keys = jax.random.split(jax.random.key(5), ROWS)
    wide = mask_with(keys, tokens, lengths)
    narrow = mask_with(keys, tokens[:, :17], lengths)
    np.testing.assert_array_equal(narrow.tokens, wide.tokens[:, :17])
    rest = wide.counts[:, narrow.counts.shape[1] :]
    assert not np.any(rest)
    np.testing.assert_array_equal(
        np.where(narrow.counts, narrow.places, 0),
        np.where(wide.counts, wide.places, 0)[:, : narrow.counts.shape[1]],
    )


# --- the task -----------------------------------------------------------------------------------


def make_model(component=None, path="config.model", **context):
    if component is not None:
        assert component.name == "masked_token_head"
        return functional(MaskedTokenHead)
    return functional(TransformerEncoder, **SIZES, **context)


def windows(length=10):
    return RunningText(TEXT, "a text", RUNNING, length, None, None)


def batches(source, size):
    for number, batch in enumerate(evaluation_batches(source, (), size, slice(None))):
        places = np.minimum(number * size + np.arange(size), len(source) - 1)
        yield {**batch, EXAMPLE: places.astype(np.int32)}


@pytest.fixture(scope="module")
def started():
    source = windows()
    task = MaskedLanguageModel(make_model, source.metadata)
    made = jax.jit(task.init)(jax.random.key(0), next(batches(source, 4)))
    # Larger weights, so that tokens matter.
    return task, made.replace(params=jax.tree.map(lambda leaf: 2 * leaf, made.params))


def in_float64(task, variables, hidden, length):
    """Cross-entropies and hits of the chosen tokens, from what the encoder says of each."""
    params, rows = variables.params["model"], np.arange(len(length))[:, None]

    @jax.jit
    def logits_of(tokens, places, length):
        backbone, inputs = params["backbone"], (tokens, length)
        encoded, _ = task.backbone.apply(backbone, {}, *inputs, train=False, method="encode")
        known = backbone["embedding"]["embedding"][: len(RUNNING)]
        return task.head.apply(params["head"], {}, encoded[rows, places], known, train=False)[0]

    logits = np.asarray(logits_of(hidden.tokens, hidden.places, length), np.float64)[hidden.counts]
    targets = np.asarray(hidden.targets)[hidden.counts]
    total = np.asarray(scipy.special.logsumexp(logits, axis=1))
    nll = total - logits[np.arange(len(targets)), targets]
    return nll, logits.argmax(1) == targets


def test_the_loss_is_the_mean_over_the_chosen_tokens(started):
    task, variables = started
    batch = {**next(batches(windows(), 4)), "length": np.array([11, 3, 0, 8], np.int32)}
    key = jax.random.key(3)
    keys = jax.random.split(fold_in_name(key, "mask"), 4)
    hidden = jax.jit(task.masking)(keys, batch["tokens"], batch["length"])
    assert hidden.counts.sum(1).tolist() == [2, 1, 0, 1]
    loss, (state, metrics) = jax.jit(task.players[0].loss)(
        variables.params["model"], variables, batch, key
    )
    nll, hits = in_float64(task, variables, hidden, batch["length"])
    np.testing.assert_allclose(loss, nll.mean(), rtol=1e-5)
    assert metrics["loss"] == loss and metrics["accuracy"] == pytest.approx(hits.mean())
    assert jax.tree.structure(state) == jax.tree.structure(variables.state)


def test_each_step_hides_other_tokens(started):
    task, variables = started
    batch = next(batches(windows(), 4))
    params, loss = variables.params["model"], jax.jit(task.players[0].loss)
    one, again, other = (
        float(loss(params, variables, batch, jax.random.key(seed))[0]) for seed in (0, 0, 1)
    )
    assert one == again != other


def test_every_parameter_has_a_gradient_but_for_what_adds_to_all_keys(started):
    task, variables = started
    batch, (player,) = next(batches(windows(), 8)), task.players

    @jax.jit
    def gradient(params):
        key = jax.random.key(0)
        return jax.grad(lambda params: player.loss(params, variables, batch, key)[0])(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables.params["model"])):
        name = jax.tree_util.keystr(path)
        assert name.endswith("['key']['bias']") or np.abs(leaf).max() > 0, name


def evaluated(task, variables, size):
    found = MaskedLanguageModelEvaluator().run(task.predict, variables, batches(windows(), size))
    return {name: float(value) for name, value in found.items()}


def test_an_evaluation_does_not_depend_on_the_batch_size(started):
    task, variables = started
    few, many = (evaluated(task, variables, size) for size in (3, 7))
    assert few["tokens"] == many["tokens"] and few["accuracy"] == many["accuracy"]
    assert few["loss"] == pytest.approx(many["loss"], rel=1e-5)  # float32
    assert few["perplexity"] == pytest.approx(np.exp(few["loss"]), rel=1e-6)


def test_an_evaluation_counts_each_chosen_token_once(started):
    task, variables = started
    source = windows()
    batch = next(batches(source, len(source)))
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(0), number))(batch[EXAMPLE])
    hidden = jax.jit(task.masking)(keys, batch["tokens"], batch["length"])
    nll, hits = in_float64(task, variables, hidden, batch["length"])
    assert len(nll) == sum(max(1, int(0.15 * length + 0.5)) for length in batch["length"])
    found = evaluated(task, variables, 5)
    assert found["tokens"] == len(nll)
    assert found["loss"] == pytest.approx(nll.mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx(hits.mean())


def test_features_are_of_the_whole_text_without_holes(started):
    task, variables = started
    batch = next(batches(windows(), 4))
    features = jax.jit(task.features)(variables, batch)
    params = variables.params["model"]["backbone"]
    inputs = batch["tokens"], batch["length"]
    encoded, _ = jax.jit(
        lambda *inputs: task.backbone.apply(params, {}, *inputs, train=False, method="encode")
    )(*inputs)
    assert features.shape == (4, 8) and features.dtype == jnp.float32
    np.testing.assert_allclose(features, encoded.mean(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chosen": 0.0}, r"config\.task\.chosen: 0.0 is not in \(0, 1\]"),
        ({"masked": 1.5}, r"config\.task\.masked: 1.5 is not in \[0, 1\]"),
        ({"replaced": 0.3}, r"config\.task\.replaced: with masked=0.8 at most 0.2 are left"),
        ({"tokens": "words"}, r"config\.task\.tokens: .* no vocabulary for 'words'"),
    ],
)
def test_a_mistake_is_one_line(options, message):
    with pytest.raises(UserError, match=message) as raised:
        MaskedLanguageModel(make_model, windows().metadata, **options)
    assert "\n" not in str(raised.value)


def test_streams_are_refused():
    source = RunningText(TEXT, "a text", RUNNING, 10, 4, None)
    with pytest.raises(UserError, match=r"config\.data\.source\.streams: .* leave it out"):
        MaskedLanguageModel(make_model, source.metadata)
