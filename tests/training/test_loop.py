"""What a run does beside learning: divergence, evaluation, precision, the report."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.config import component, validate
from dlresearch.errors import UserError
from dlresearch.training import Setup
from dlresearch.training.checkpoints import Checkpoints
from dlresearch.training.records import read_records
from helpers.training.small_runs import (
    classification_config,
    final_state,
    regression_config,
    run,
)


def test_a_run_that_diverges_stops_names_the_steps_and_says_so(tmp_path, capsys):
    config = regression_config()
    config.data.source = component("helpers.training.toy_sources:NotANumber", split="train")
    result = run(config, tmp_path)
    assert (result.status, result.exit_status) == ("diverged", 1)
    assert "not finite (step" in capsys.readouterr().out
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "diverged"


@pytest.mark.slow
def test_a_run_may_skip_what_is_not_finite(tmp_path, capsys):
    config = regression_config()
    config.nonfinite = "skip"
    config.batch_size = 4
    config.data.source = component("helpers.training.toy_sources:NotANumber", split="train")
    result = run(config, tmp_path)
    assert result.status == "completed"
    assert "not finite (step" in capsys.readouterr().out
    assert np.isfinite(result.metrics["train/loss"])


def test_every_example_counts_once_in_evaluation(tmp_path):
    config = classification_config()
    config.duration = "1 steps"
    config.data.source = component("synthetic", length=64, image=(4, 4, 1))
    config.model = component("mlp", hidden=())
    config.evaluators.test["source"] = component("synthetic", length=10_000, image=(4, 4, 1))
    config.evaluators.test["batch_size"] = 300
    assert run(config, tmp_path).metrics["test/examples"] == 10_000


@pytest.mark.slow
def test_evaluation_uses_the_average_of_the_parameters(tmp_path):
    config = classification_config()
    config.optimizer.learning_rate = 0.05
    config.evaluators.test["at_start"] = True
    config.average.decay, config.average.warmup = 0.9999999, False
    run(config, tmp_path / "frozen")
    accuracies = [
        m["test/loss"]
        for m in read_records(tmp_path / "frozen/metrics.jsonl").values()
        if "test/loss" in m
    ]
    assert accuracies[0] == pytest.approx(accuracies[-1], rel=1e-3)  # hardly moved from the start
    config.average.decay = 0.0
    run(config, tmp_path / "plain")
    losses = [
        m["test/loss"]
        for m in read_records(tmp_path / "plain/metrics.jsonl").values()
        if "test/loss" in m
    ]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
def test_several_steps_in_one_call_are_the_same_steps(tmp_path):
    """Equal up to rounding: inside a loop XLA may fuse otherwise."""
    config = regression_config()
    run(config, tmp_path / "one")
    config.steps_per_call = 3
    run(config, tmp_path / "three")
    one, three = (read_records(tmp_path / name / "metrics.jsonl") for name in ("one", "three"))
    assert one.keys() == three.keys()
    for step, metrics in one.items():
        for name, value in metrics.items():
            assert three[step][name] == pytest.approx(value, rel=1e-4), (step, name)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_and_keeps_parameters_in_float32(tmp_path, precision):
    config = classification_config()
    config.precision = precision
    config.optimizer.learning_rate = 0.02
    config.duration = "60 steps"
    config.average.decay = 0.0
    result = run(config, tmp_path)
    assert result.status == "completed"
    assert result.metrics["test/accuracy"] > 0.3
    state = final_state(tmp_path)
    assert any("params" in name for name in state)
    floating = {a.dtype for a in state.values() if jnp.issubdtype(a.dtype, jnp.floating)}
    assert floating == {jnp.dtype(jnp.float32)}


@pytest.mark.slow
def test_the_report_shows_every_metric_and_the_config(tmp_path):
    run(regression_config(), tmp_path, report=True)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") >= 5
    for text in ("completed", "test/rmse", "train/gradient_norm", "darkness", "jaxlib"):
        assert text in page, text


def test_augmentations_see_what_the_source_gives(tmp_path):
    """Levels of floats would have to be said: after `normalise`, `solarise` is an error."""
    config = classification_config()
    config.duration = "1 steps"
    config.data.augmentations = (component("solarise"),)
    assert config.data.preprocess[0].name == "normalise"
    assert run(config, tmp_path / "before").status == "completed"
    config.data.augmentations = (component("normalise"), component("solarise"))
    with pytest.raises(UserError, match="black"):
        run(config, tmp_path / "after")


def test_evaluators_of_one_source_hold_its_examples_once():
    config = classification_config()
    config.evaluators.again = config.evaluators.test
    config.evaluators.others = dict(config.evaluators.test, batch_size=50)
    evaluations = Setup(validate(config)).evaluations
    assert evaluations["again"].examples is evaluations["test"].examples
    assert evaluations["others"].examples is not evaluations["test"].examples


def test_a_resumed_run_counts_the_seconds_of_all_its_executions(tmp_path, monkeypatch):
    config = classification_config()
    config.duration, config.evaluators = "2 steps", {}
    config.data.source = component("synthetic", length=64, image=(4, 4, 1))
    config.model = component("mlp", hidden=())
    save = Checkpoints.save

    def save_later(self, step, state, facts):
        save(self, step, state, {**facts, "seconds": facts["seconds"] + 5000})

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_later)
        run(config, tmp_path)
    assert run(config, tmp_path).status == "completed"
    assert json.loads((tmp_path / "result.json").read_text())["wall_seconds"] > 5000


@pytest.mark.parametrize(("asked", "devices", "made"), [(30, 1, 30), (30, 8, 32), (32, 8, 32)])
def test_an_evaluation_batch_is_rounded_up_to_the_devices_that_share_it(asked, devices, made):
    config = classification_config()
    config.batch_size = 32
    config.evaluators.test.batch_size = asked
    setup = Setup(validate(config), devices)
    assert setup.evaluations["test"].examples.batch_size == made
