"""A masked language model from end to end: pretrained on sentences, continued as a classifier, and
the same evaluation on any number of devices.
"""

import numpy as np
import pytest

from dlresearch.config import component, default_config
from dlresearch.errors import UserError
from dlresearch.training.records import read_records
from helpers.processes import on_eight_devices
from helpers.training.small_runs import final_state, run
from helpers.training.starts import network

WORDS = ("a", "film", "good", "bad", "very", "new")


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """60 sentences in which every second word tells the one behind it."""
    path, rng = tmp_path_factory.mktemp("lines") / "t.txt", np.random.default_rng(0)
    rows = [np.repeat(rng.choice(WORDS, 1 + row % 5), 2) for row in range(60)]
    path.write_text("".join(f"{row % 2} {' '.join(words)}\n" for row, words in enumerate(rows)))
    return str(path)


def pretraining(lines):
    config = default_config()
    config.duration, config.batch_size = "12 steps", 16
    config.task = component("masked_language_model")
    config.model = component("transformer_encoder", width=8, layers=1, heads=2, hidden=8)
    config.data.source = component("labelled_text", path=lines, max_length=12)
    config.data.buckets = (6,)
    config.optimizer.name, config.optimizer.learning_rate = "adam", 0.02
    config.evaluators.test = dict(
        name="masked_language_model", source=config.data.source, every="100%", batch_size=24
    )
    return config


def classifier(lines, folder):
    config = pretraining(lines)
    config.task = component("sequence_classification")
    config.data.source.vocabulary = str(folder)
    config.start_from.path = str(folder)
    config.evaluators.test.update(name="classification")
    return config


@pytest.fixture(scope="module")
def pretrained(lines, tmp_path_factory):
    config, folder = pretraining(lines), tmp_path_factory.mktemp("mlm")
    assert run(config, folder).status == "completed"
    return config, folder


@pytest.mark.slow
def test_the_loss_falls(pretrained):
    _, folder = pretrained
    record = read_records(folder / "metrics.jsonl")[12]
    assert record["test/tokens"] == 72  # of each sentence one, and two of 10 words
    assert record["test/loss"] < np.log(len(WORDS) + 4)


@pytest.mark.slow
def test_a_classifier_begins_with_all_but_the_head(lines, pretrained, tmp_path):
    _, folder = pretrained
    there, here = final_state(folder), network(classifier(lines, folder))
    backbone = {
        name.replace("model/", "model/backbone/"): values
        for name, values in here.items()
        if not name.startswith("model/head/")
    }
    params = "variables/params/"
    saved = {name.removeprefix(params): there[name] for name in there if name.startswith(params)}
    assert {name for name in saved if "/backbone/" in name} == backbone.keys()
    for name, values in backbone.items():
        np.testing.assert_array_equal(values, saved[name])
    # Of sentences in which no word is known it takes the vocabulary, too.
    other = tmp_path / "other.txt"
    other.write_text("0 unheard\n1 of\n")
    config = classifier(str(other), folder)
    config.update(duration=1, batch_size=2)
    config.evaluators = {}
    assert run(config, tmp_path / "run").status == "completed"
    kept, taken = (each / "vocabularies/tokens.json" for each in (folder, tmp_path / "run"))
    assert taken.read_bytes() == kept.read_bytes()


def test_another_vocabulary_is_another_network(lines, pretrained):
    _, folder = pretrained
    config = classifier(lines, folder)
    del config.data.source.vocabulary
    config.data.source.min_count = 50
    with pytest.raises(UserError, match=r"config\.start_from: model/embedding/embedding"):
        network(config)


@pytest.mark.slow
def test_an_evaluation_is_the_same_on_eight_devices(lines, pretrained, tmp_path):
    _, folder = pretrained
    config = pretraining(lines)
    on_eight_devices(run, config, tmp_path / "run")
    one, eight = (read_records(each / "metrics.jsonl")[12] for each in (folder, tmp_path / "run"))
    assert eight["test/tokens"] == one["test/tokens"]
    assert eight["test/loss"] == pytest.approx(one["test/loss"], rel=1e-4)
