"""Translation: its loss against the formula, and that neither padding nor neighbours matter."""

from functools import partial

import jax
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.models import AttentionSeq2Seq, functional
from dlresearch.tasks import Translation, Variables


class Letters:
    """Words of small letters; `?` is unknown."""

    pad, bos, eos, unknown = range(4)

    def __len__(self):
        return 10

    def encode(self, text):
        return [4 + "abcdef".index(each) for each in text.replace(" ", "")]

    def decode(self, ids):
        return "".join("abcdef"[i - 4] for i in ids if i >= 4)


METADATA = {"vocabularies": {"source": Letters(), "target": Letters()}}
PAIRS = [("abc", "fed"), ("a", "ffa"), ("fedcba", "bb"), ("cc", "")]
SIZES = {"width": 8, "embedding": 6, "dropout": 0.0}


def make_model(component=None, path="config.model", **context):
    return functional(AttentionSeq2Seq, **SIZES, **context)


def make_task(**options):
    return Translation(make_model, METADATA, **{"max_length": 7, "beam": 3, **options})


def batch_of(pairs, width):
    arrays = {
        "source": np.zeros((len(pairs), width), np.int32),
        "target": np.zeros((len(pairs), width + 1), np.int32),
        "source_length": np.zeros(len(pairs), np.int32),
        "target_length": np.zeros(len(pairs), np.int32),
    }
    for row, (source, target) in enumerate(pairs):
        encoded = {
            "source": [*Letters().encode(source), 2],
            "target": [1, *Letters().encode(target), 2],
        }
        for name, ids in encoded.items():
            arrays[name][row, : len(ids)] = ids
            arrays[f"{name}_length"][row] = len(ids)
    return arrays


@pytest.fixture(scope="module")
def learned():
    """A task, and variables drawn so widely that translations differ."""
    task = make_task(label_smoothing=0.1)
    start = jax.jit(task.init)(jax.random.key(0), batch_of(PAIRS, 8))
    leaves, structure = jax.tree.flatten(start.params)
    rng = np.random.default_rng(1)
    drawn = [rng.standard_normal(each.shape).astype(np.float32) for each in leaves]
    return task, Variables(params=structure.unflatten(drawn), state=start.state)


@pytest.fixture(scope="module")
def predict(learned):
    task, variables = learned
    return partial(jax.jit(task.predict), variables)


@pytest.mark.slow
def test_loss_is_the_smoothed_cross_entropy_of_all_target_tokens(learned):
    task, variables = learned
    batch = batch_of(PAIRS, 8)
    player = task.players[0]

    @jax.jit
    def both(params):
        loss, (_, metrics) = player.loss(params, variables, batch, jax.random.key(0))
        logits, _ = task.model.apply(
            params,
            {},
            *(batch[name] for name in ("source", "source_length")),
            batch["target"][:, :-1],
            train=False,
        )
        return loss, metrics, logits

    loss, metrics, logits = jax.device_get(both(variables.params["model"]))
    total, plain, right, count = 0.0, 0.0, 0, 0
    for row, (_, target) in enumerate(PAIRS):
        for at, token in enumerate([*Letters().encode(target), 2]):
            scores = logits[row, at].astype(np.float64)
            log_p = scores - np.log(np.exp(scores).sum())
            smooth = np.full(10, 0.1 / 10)
            smooth[token] += 0.9
            total -= smooth @ log_p
            plain -= log_p[token]
            right += log_p.argmax() == token
            count += 1
    assert loss == pytest.approx(total / count, rel=1e-5)
    assert metrics["loss"] == pytest.approx(plain / count, rel=1e-5)
    assert metrics["perplexity"] == pytest.approx(np.exp(plain / count), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(right / count)


@pytest.mark.slow
def test_neither_padding_nor_other_sentences_change_a_score_or_a_translation(predict):
    together = predict(batch_of(PAIRS, 8))
    wider = predict(batch_of(PAIRS, 13))
    for name in ("nll", "scores"):
        np.testing.assert_allclose(wider[name], together[name], rtol=1e-5)
    for name in ("tokens", "correct", "hypotheses"):
        np.testing.assert_array_equal(wider[name], together[name])
    for row in range(len(PAIRS)):
        alone = predict(batch_of([PAIRS[row]] * len(PAIRS), 8))
        np.testing.assert_allclose(alone["nll"][0], together["nll"][row], rtol=1e-5)
        np.testing.assert_array_equal(alone["hypotheses"][0], together["hypotheses"][row])
    assert together["tokens"].tolist() == [4, 4, 3, 1]
    assert len({tuple(row) for row in together["hypotheses"].tolist()}) > 1


def test_score_is_that_of_the_translation_as_a_target(learned, predict):
    """Search step by step and teacher forcing are the same model."""
    batch = batch_of(PAIRS, 8)
    found = predict(batch)
    forced = {**batch, "target": np.zeros((len(PAIRS), 9), np.int32)}
    lengths = np.count_nonzero(found["hypotheses"], axis=1)
    forced["target"][:, 0] = 1
    forced["target"][:, 1 : 1 + found["hypotheses"].shape[1]] = found["hypotheses"]
    forced["target_length"] = lengths.astype(np.int32) + 1
    nll = predict(forced)["nll"]
    np.testing.assert_allclose(-nll / ((5 + lengths) / 6), found["scores"], rtol=1e-4)


def test_no_translation_of_a_beam_is_scored_below_the_greedy_one(learned):
    task, variables = learned
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdef"), rng.integers(1, 7))) for _ in range(40)]
    batch = batch_of([(word, "") for word in words], 8)

    @partial(jax.jit, static_argnums=0)
    def scores(beam):
        inputs = variables, batch["source"], batch["source_length"]
        return task.translate(*inputs, beam, 1.0).scores

    wide, narrow = scores(3), scores(1)
    # The two are compiled apart, so that the same translation has scores of other rounding.
    assert (wide >= narrow - 1e-5).all()
    assert (wide > narrow + 1e-3).any()


def test_lines_are_translated_as_an_evaluation_does_and_empty_ones_stay_empty(
    learned, predict, capsys
):
    task, variables = learned
    found = np.asarray(predict(batch_of(PAIRS, 8))["hypotheses"])
    expected = [Letters().decode(row) for row in found]
    lines = ["abc", "", "a", "fedcba", "  "]
    made = list(task.generate(variables, jax.random.key(0), lines=lines))
    assert made == [expected[0], "", expected[1], expected[2], ""]
    assert not capsys.readouterr().err
    cut, *_ = task.generate(variables, jax.random.key(0), lines=["fedcbaabc", "a"])
    assert cut == expected[2]
    assert capsys.readouterr().err.startswith("1 of 2 lines were cut to 7 tokens")


def test_attention_maps_are_images_behind_their_translation(learned):
    task, variables = learned
    lines = ["abc", ""]
    made = list(
        task.generate(variables, jax.random.key(0), lines=lines, beam=1, attention_maps=True)
    )
    assert [type(each) for each in made] == [str, tuple, str]
    name, image = made[1]
    assert name == "attention_0001.png"
    assert image.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "metadata", "message"),
    [
        (
            {"label_smoothing": 1.0},
            METADATA,
            "config.task.label_smoothing: 1.0 is not in",
        ),
        ({"beam": 0}, METADATA, "config.task.beam: 0 is not at least 1"),
        ({"length_penalty": -1.0}, METADATA, "config.task.length_penalty: -1.0 is negative"),
        ({"max_length": 0}, METADATA, "config.task.max_length: 0 is not at least 1"),
        ({}, {}, "config.task.source: the training source has no vocabulary for 'source'"),
        (
            {"target": "text"},
            METADATA,
            "config.task.target: .* for 'text'; it has source",
        ),
    ],
)
def test_mistakes_are_said_in_one_line(options, metadata, message):
    with pytest.raises(UserError, match=message) as raised:
        Translation(make_model, metadata, **options)
    assert "\n" not in str(raised.value)
