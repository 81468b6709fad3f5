"""A run that repeats the examples of rare classes keeps the promises of one that does not."""

import numpy as np
import pytest

from dlresearch.config import component, validate
from dlresearch.data.embedded import Digits
from dlresearch.errors import UserError
from dlresearch.training import Setup
from helpers.training.small_runs import assert_same_run, classification_config, run


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Two digits, ten times as many zeros as ones; an epoch is 172 examples, and not 121."""
    digits = Digits("all").arrays()
    zeros, ones = (np.flatnonzero(digits["label"] == each) for each in (0, 1))
    rows = np.concatenate([zeros[:110], ones[:11]])
    path = tmp_path_factory.mktemp("data") / "rare.npz"
    np.savez(path, **{key: array[rows] for key, array in digits.items()})
    config = classification_config()
    config.data.source = component("arrays", path=str(path))
    config.data.oversample = 0.75
    config.task.class_weights = "balanced"
    config.evaluators.test.source = config.data.source
    config.evaluators.test.name = "probabilities"
    return config


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    assert run(config, folder).status == "completed"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["resident", "streamed"])
def test_preempted_run_resumes_bit_identically(config, straight, tmp_path, placement):
    """With other placement, too, which sees the same examples."""
    config = config.copy_and_resolve_references()
    config.data.placement = placement
    assert run(config, tmp_path, stop_at=7).status == "resume"
    assert run(config, tmp_path).status == "completed"
    assert_same_run(straight, tmp_path)


def test_an_epoch_is_longer_and_the_task_knows_what_it_has(config):
    setup = Setup(validate(config))
    assert setup.metadata["class_counts"] == (110, 62)  # 11 * 10^0.75
    assert setup.schedule.epoch == 172 / 32
    # Balanced over what training sees, so that both remedies can be had at once.
    np.testing.assert_allclose(setup.task.weights, [172 / 220, 172 / 124], rtol=1e-6)


@pytest.mark.parametrize(
    ("source", "oversample", "message"),
    [
        (component("digits"), 1.5, r"^config.data.oversample: 1.5 is not in \[0, 1\]"),
        (component("digits"), -0.5, "^config.data.oversample: must be at least 0"),
        (
            component("synthetic", num_classes=0),
            0.5,
            "^config.data.source: examples have no 'label', which .* needs; they have image",
        ),
    ],
)
def test_a_mistake_names_the_setting(source, oversample, message):
    config = classification_config()
    config.data.source, config.data.oversample = source, oversample
    with pytest.raises(UserError, match=message):
        Setup(validate(config))
