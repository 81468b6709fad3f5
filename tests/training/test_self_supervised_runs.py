"""Runs without labels from end to end, and what a supervised run makes of their backbones."""

import jax
import numpy as np
import pytest

from dlresearch.config import component, validate
from dlresearch.errors import UserError
from dlresearch.training import Setup
from dlresearch.training.arrays import parameters_and_state
from dlresearch.training.checkpoints import Checkpoints
from dlresearch.training.records import read_records
from helpers.training.small_runs import byol_config, classification_config, dino_config, run
from helpers.training.starts import network


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    config, folder = byol_config(), tmp_path_factory.mktemp("byol")
    assert run(config, folder).status == "completed"
    return config, folder


def supervised(folder):
    config = classification_config()
    config.model = component("convnet", widths=(4,), convs_per_stage=1, head="flatten")
    config.average.decay = 0.0
    config.start_from.path = folder and str(folder)
    return config


def learned(config, folder) -> dict[str, np.ndarray]:
    checkpoints = Checkpoints(folder / "checkpoints", lambda step: None, read_only=True)
    state = checkpoints.restore(Setup(validate(config)).abstract_state, 24).state
    return jax.device_get(parameters_and_state(state.variables))


@pytest.mark.slow
def test_a_run_records_its_loss_its_probe_and_how_its_codes_are_spread(pretrained):
    _, folder = pretrained
    history = read_records(folder / "metrics.jsonl")
    last = history[max(history)]
    names = "loss probe_loss probe_accuracy deviation dimensions alignment uniformity momentum"
    assert {f"train/{name}" for name in names.split()} <= last.keys()
    assert last["test/accuracy"] > 0.2  # of ten classes, by the online probe
    # The momentum rises to 1 over the run.
    recorded = [metrics for _, metrics in sorted(history.items()) if "train/momentum" in metrics]
    momenta = [metrics["train/momentum"] for metrics in recorded]
    assert momenta == sorted(momenta) and momenta[0] > 0.9


@pytest.mark.slow
def test_a_supervised_run_begins_with_the_backbone_and_a_head_of_its_own(pretrained):
    config, folder = pretrained
    there, here = learned(config, folder), network(supervised(folder))
    scratch = network(supervised(None))
    backbone = {name for name in there if "/backbone/" in name}
    assert len(backbone) > 4 and any("batch_stats" in name for name in backbone)
    for name in backbone:
        np.testing.assert_array_equal(here[name.replace("backbone/", "")], there[name])
    heads = here.keys() - {name.replace("backbone/", "") for name in backbone}
    assert heads == {"model/Dense_0/kernel", "model/Dense_0/bias"}
    for name in heads:
        np.testing.assert_array_equal(here[name], scratch[name])


def test_a_backbone_that_does_not_fit_is_refused(pretrained):
    _, folder = pretrained
    config = supervised(folder)
    config.model.widths = (4, 8)
    with pytest.raises(UserError, match=r"config\.start_from: the backbone of .* lacks something"):
        network(config)


def test_a_backbone_with_layers_that_are_not_here_is_refused(pretrained):
    _, folder = pretrained
    config = supervised(folder)
    config.model = component("mlp", hidden=(8,))
    with pytest.raises(UserError, match="nothing here has a place for it"):
        network(config)


def test_layers_of_other_sizes_are_named(pretrained):
    _, folder = pretrained
    config = supervised(folder)
    config.model.widths = (8,)
    with pytest.raises(UserError, match=r"config\.start_from: model/.* is float32\[.*4\] in .*8\]"):
        network(config)


@pytest.mark.slow
def test_of_dino_it_is_the_teacher_that_others_start_from(tmp_path):
    config = dino_config()
    assert run(config, tmp_path).status == "completed"
    checkpoints = Checkpoints(tmp_path / "checkpoints", lambda step: None, read_only=True)
    saved = checkpoints.restore(Setup(validate(config)).abstract_state, 24).state.variables
    teacher = jax.device_get(saved.averages["teacher"]["params"]["model"]["backbone"])
    student = jax.device_get(saved.params["model"]["backbone"])
    for average, expected in ((True, teacher), (False, student)):
        tuned = supervised(tmp_path)
        tuned.model.head = "mean"
        tuned.start_from.average = average
        kernel = network(tuned)["model/Conv_0/kernel"]
        np.testing.assert_array_equal(kernel, expected["Conv_0"]["kernel"])
    assert not np.array_equal(teacher["Conv_0"]["kernel"], student["Conv_0"]["kernel"])


def test_only_the_backbone_has_to_know_how_to_save_memory():
    config = dino_config()
    config.model = component("resnet", depth=18, blocks=(1,), width=4, stem="cifar")
    config.data.views.local, config.data.views.local_count = (), 0
    for config.remat in ("blocks", "dots"):
        Setup(validate(config))
