"""A run that is stopped between two steps and started again ends as one that never was."""

import pytest

from dlresearch.config import component
from helpers.training.small_runs import (
    assert_same_run,
    classification_config,
    dino_config,
    gan_config,
    language_model_config,
    mae_config,
    moco_config,
    regression_config,
    run,
    toy_config,
    translation_config,
)


def speed_run_config():
    """With whitening from the first batch, groups of parameters, Lookahead and test-time views."""
    config = classification_config()
    config.model = component("airbench", widths=(4, 4))
    config.data.augmentations = (component("alternating_flip"),)
    config.optimizer = component("muon", fixed_norm=True, rms=None, learning_rate=0.2)
    config.optimizer.groups = {
        "biases": component("sgd", parameters=(".*bias",), learning_rate=0.1),
        "head": component("adam", parameters=("head/.*",)),
    }
    config.optimizer.lookahead = {"every": 5}
    config.evaluators.test.views = component("flip_and_shift")
    return config


CONFIGS = {
    "speed run": speed_run_config,
    "classification": classification_config,
    "regression": regression_config,
    "language model": language_model_config,
    "translation": translation_config,
    "gan": gan_config,
    "moco": moco_config,
    "dino": dino_config,
    "mae": mae_config,
    "two players": lambda: toy_config("TwoPlayers"),
}


@pytest.fixture(scope="module", params=CONFIGS)
def straight(request, tmp_path_factory):
    """A config, and the folder of a run of it that was never stopped."""
    config = CONFIGS[request.param]()
    folder = tmp_path_factory.mktemp("straight")
    assert run(config, folder).status == "completed"
    return config, folder


@pytest.mark.slow
@pytest.mark.parametrize(("placement", "places"), [("resident", (1, 15)), ("streamed", (5,))])
def test_preempted_run_resumes_bit_identically(straight, tmp_path, placement, places):
    """Also where examples are streamed: the run that was never stopped has them on the device."""
    config, folder = straight
    config = config.copy_and_resolve_references()
    config.data.placement = placement
    for place in places:
        assert run(config, tmp_path, stop_at=place).status == "resume"
    assert run(config, tmp_path).status == "completed"
    assert_same_run(folder, tmp_path)


def test_finished_run_started_again_changes_nothing(straight):
    config, folder = straight
    before = (folder / "metrics.jsonl").read_bytes()
    result = run(config, folder)
    assert (result.status, result.step) == ("completed", 24)
    assert (folder / "metrics.jsonl").read_bytes() == before
