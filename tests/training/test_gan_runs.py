"""Runs of adversarial networks from end to end: what they record, keep, and leave in the folder."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from dlresearch.config import component, default_config, validate
from dlresearch.errors import UserError
from dlresearch.tasks import GAN, Hopeless
from dlresearch.training import Setup, learned
from dlresearch.training.extractors import open_run
from helpers.training.small_runs import assert_same_run, classification_config, run


def points_config() -> ConfigDict:
    """12 steps on points in the plane, with a lazy penalty and an average."""
    config = default_config()
    config.duration = "12 steps"
    config.batch_size = 32
    config.task = component(
        "gan",
        discriminator=component("mlp", hidden=(8,)),
        image="point",
        latent=2,
        r1=0.1,
        penalty_every=3,
        average_half_life=100,
    )
    config.model = component("mlp", hidden=(8,))
    config.data.source = component("gaussians", count=200)
    config.data.placement = "resident"
    config.log.every = "4 steps"
    config.checkpoint.every = "4 steps"
    return config


class GivesUp(GAN):
    """Sees no sense in going on once half of the run is over."""

    def health(self, metrics, progress):
        if progress > 0.5:
            raise Hopeless("the generator has given up")
        yield f"at {progress:.0%} all is well"


@pytest.mark.slow
def test_a_task_without_hope_ends_the_run_with_its_reason(tmp_path, capsys):
    config = points_config()
    config.task.name = f"{__name__}:GivesUp"
    result = run(config, tmp_path)
    said = capsys.readouterr().out
    assert (result.status, result.step) == ("diverged", 8)
    assert "at 33% all is well" in said
    assert "diverged: the generator has given up" in said


@pytest.mark.slow
def test_several_steps_in_one_call_apply_regularisers_at_the_same_steps(tmp_path):
    """There the device finds out which step it is; one step alone is a program for each answer."""
    config = points_config()
    for several in (1, 4):
        config.steps_per_call = several
        assert run(config, tmp_path / str(several)).status == "completed"
    ones, fours = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("1", "4")
    )
    for one, four in zip(ones, fours, strict=True):
        assert one.keys() == four.keys()
        for name, value in one.items():
            assert four[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name


@pytest.mark.slow
def test_a_run_is_gone_on_with_between_two_regularisers(tmp_path):
    config = points_config()
    assert run(config, tmp_path / "straight").status == "completed"
    assert run(config, tmp_path / "stopped", stop_at=7).status == "resume"
    assert run(config, tmp_path / "stopped").status == "completed"
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


@pytest.mark.slow
def test_what_is_generated_comes_from_the_average_and_needs_no_data(tmp_path):
    config = points_config()
    assert run(config, tmp_path).status == "completed"
    task, variables, step = learned(validate(config), str(tmp_path), "newest")
    assert step == 12
    batch = {"point": jnp.zeros((4, 2)), "example": jnp.arange(4), "mask": jnp.ones(4, bool)}
    made = task.predict(variables, batch)["point"]
    average = variables.averages["generator"]
    in_place = variables.replace(
        params={**variables.params, "generator": average["params"]}, averages={}
    )
    np.testing.assert_array_equal(made, task.predict(in_place, batch)["point"])
    assert (made != task.predict(variables.replace(averages={}), batch)["point"]).any()


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run that learned to classify digits, and one that learned to draw them, judged by it."""
    folder = tmp_path_factory.mktemp("digits")
    config = classification_config()
    config.duration = "6 steps"
    assert run(config, folder / "classifier").status == "completed"
    config = points_config()
    config.task.discriminator.hidden = (8,)
    config.task.image = "image"
    config.data.source = component("digits", split="train")
    test = component("digits", split="test")
    config.evaluators.quality = dict(
        name="sample_quality",
        source=test,
        extractor=str(folder / "classifier"),
        floor=component("digits", split="train"),
        every="6 steps",
        batch_size=100,
    )
    config.evaluators.samples = dict(name="samples", source=test, every="6 steps", columns=2)
    assert run(config, folder / "gan", report=True).status == "completed"
    return folder


@pytest.mark.slow
def test_figures_name_what_they_were_measured_with(digits):
    result = json.loads((digits / "gan" / "result.json").read_text())
    about = result["about"]["quality"]
    assert "359 samples against 359 of digits test; convnet of run classifier, step 6" in about
    assert about == (digits / "gan/artifacts/quality/12/about.txt").read_text()
    assert about in (digits / "gan/report.html").read_text()
    assert 0 <= result["metrics"]["quality/accuracy"] <= 1
    assert result["metrics"]["quality/floor_frechet_distance"] > 0


def test_the_film_has_the_strips_of_all_steps(digits):
    artifacts = digits / "gan/artifacts/samples"
    assert not (artifacts / "6/film.png").exists()
    assert (artifacts / "12/film.png").exists()


def test_features_are_what_the_last_layer_of_a_classifier_reads(digits):
    extractor = open_run(str(digits / "classifier"))
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)), jnp.uint8)
    assert extractor.logits is not None
    last = extractor.variables.params["model"]["Dense_0"]
    features = extractor.features(extractor.variables, images)
    np.testing.assert_allclose(
        features @ last["kernel"] + last["bias"],
        extractor.logits(extractor.variables, images),
        rtol=1e-5,
        atol=1e-5,
    )


def test_an_extractor_is_named_by_its_weights(digits):
    extractor = open_run(str(digits / "classifier"))
    assert "sha256 " in extractor.about
    assert extractor.about == open_run(str(digits / "classifier")).about


def test_what_is_no_classifier_makes_no_features(digits, tmp_path):
    with pytest.raises(UserError, match="has learned gan, and not to classify"):
        open_run(str(digits / "gan"))
    with pytest.raises(UserError, match="is no run folder"):
        open_run(str(tmp_path))


def test_examples_in_another_form_than_the_source_has_are_refused():
    config = points_config()
    config.task.image = "image"
    config.data.source = component("digits", split="train")
    config.data.preprocess = (component("normalise"),)
    with pytest.raises(UserError, match=r"'image' is float32\[8, 8, 1\].*uint8\[8, 8, 1\]"):
        Setup(validate(config))


def test_a_batch_of_evaluation_says_which_examples_it_has():
    config = classification_config()
    setup = Setup(validate(config))
    places = [np.asarray(batch["example"]) for batch in setup.evaluations["test"].examples]
    assert np.concatenate(places)[:359].tolist() == list(range(359))
    assert np.concatenate(places)[359:].tolist() == [358] * 41
