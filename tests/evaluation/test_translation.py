"""The metrics of translation against sacrebleu's own functions and plain sums."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import sacrebleu

from dlresearch.errors import UserError
from dlresearch.evaluation import TranslationEvaluator

REFERENCES = ["A man rides a red bike .", "Two dogs play in the snow .", "A girl sings ."]
TRANSLATIONS = ["a man rides a red bike .", "Two dogs run in the snow .", "A girl sings ."]


class Words:
    """A vocabulary of the words above."""

    words = sorted({word for line in (*REFERENCES, *TRANSLATIONS) for word in line.split()})

    def encode(self, text):
        return [3 + self.words.index(word) for word in text.split()]

    def decode(self, ids):
        return " ".join(self.words[i - 3] for i in ids if i >= 3)


def outputs():
    tokens = np.zeros((4, 9), np.int32)
    for row, line in enumerate(TRANSLATIONS):
        ids = [*Words().encode(line), 2]
        tokens[row, : len(ids)] = ids
    return {
        "nll": jnp.array([7.0, 3.0, 2.0, 99.0]),
        "tokens": jnp.array([8, 8, 5, 9]),
        "correct": jnp.array([6, 5, 5, 9]),
        "hypotheses": jnp.array(tokens),
        "scores": jnp.zeros(4),
    }


def found(**options):
    """On one batch whose last row only fills it up."""
    evaluator = TranslationEvaluator({"target": Words()}, **options)
    batch = {"mask": jnp.array([True, True, True, False])}
    return evaluator.run(lambda variables, batch: outputs(), None, [batch])  # pyright: ignore


@pytest.fixture(scope="module")
def metrics():
    return found(references=REFERENCES)


def test_bleu_and_chrf_are_those_of_sacrebleu(metrics):
    expected = {
        "bleu": sacrebleu.corpus_bleu(TRANSLATIONS, [REFERENCES]),
        "bleu_lowercase": sacrebleu.corpus_bleu(TRANSLATIONS, [REFERENCES], lowercase=True),
        "chrf": sacrebleu.corpus_chrf(TRANSLATIONS, [REFERENCES]),
    }
    for name, score in expected.items():
        assert metrics[name] == score.score
    assert metrics["bleu_lowercase"] > metrics["bleu"] > 0


def test_signatures_and_translations_are_files(metrics):
    details = json.loads(metrics["bleu.json"])
    assert "case:mixed" in details["bleu"]["signature"]
    assert "case:lc" in details["bleu_lowercase"]["signature"]
    assert "tok:13a" in details["bleu_lowercase"]["signature"]
    assert details["chrf"]["score"] == metrics["chrf"]
    assert metrics["translations.txt"].splitlines() == TRANSLATIONS


def test_likelihood_is_a_mean_over_all_tokens_not_over_sentences(metrics):
    assert metrics["loss"] == pytest.approx(12 / 21)
    assert metrics["perplexity"] == pytest.approx(np.exp(12 / 21))
    assert metrics["accuracy"] == pytest.approx(16 / 21)


def test_exact_share_counts_whole_sentences(metrics):
    assert metrics["exact"] == pytest.approx(1 / 3)
    assert found(references=REFERENCES, lowercase=True)["exact"] == pytest.approx(2 / 3)


def test_without_decoding_only_the_references_are_scored():
    metrics = found(decode=False)
    assert set(metrics) == {"loss", "perplexity", "accuracy"}


def test_source_without_references_is_named():
    with pytest.raises(UserError, match="keeps no references as text; set decode to False"):
        TranslationEvaluator({"target": Words()})
