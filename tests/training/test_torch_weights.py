"""ResNets of torchvision and timm give here what they give there, loaded as a user loads them."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from dlresearch.config import component, default_config, validate
from dlresearch.errors import UserError
from dlresearch.models import ResNet, functional, torch_resnet
from dlresearch.tasks import Variables
from dlresearch.training import Setup
from dlresearch.training.arrays import parameters_and_state
from helpers.references import about, part, reference
from helpers.training.starts import first_variables
from helpers.training.torch_resnets import BLOCKS, logits, random_weights

CLASSES = 7
RECORDED = reference("torchvision_resnets")


def resnet_config(path, depth, size, **model):
    config = default_config()
    config.batch_size = 2
    config.duration = 1
    config.model = component("resnet", depth=depth, **model)
    config.data.source = component(
        "synthetic", shapes={"image": (size, size, 3)}, num_classes=CLASSES
    )
    config.start_from.path = str(path)
    return config


def loaded_logits(config, images):
    """What evaluators would read of a run that has just started."""
    setup = Setup(validate(config))
    predict = jax.jit(setup.predict)
    return predict(first_variables(config), {"image": images, "label": np.zeros(len(images), int)})


def save(weights, path):
    if path.suffix == ".npz":
        np.savez(path, **weights)
    else:
        save_file({name: np.ascontiguousarray(each) for name, each in weights.items()}, path)
    return path


def torchvision_shapes(depth):
    """The shape of every array of torchvision's network by its name."""
    shapes = json.loads(str(RECORDED[f"resnet{depth}/shapes"]))
    return {name: tuple(shape) for name, shape in shapes.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "file"), [(18, "w.npz"), (50, "w.safetensors")])
def test_logits_are_those_of_torchvision_and_numpy_with_the_same_weights(tmp_path, depth, file):
    recorded = part(RECORDED, f"resnet{depth}")
    weights = random_weights(depth, CLASSES, about("torchvision_resnets")["seed"])
    message = "NumPy draws other numbers than those recorded; run tests/references/make.py"
    np.testing.assert_array_equal(weights["fc.bias"], recorded["last_weights"], message)
    images = RECORDED["images"]  # of an odd size, so that padding shows at every stride
    found = loaded_logits(resnet_config(save(weights, tmp_path / file), depth, 33), images)
    for expected in (recorded["logits"], logits(weights, images, depth)):
        assert 1 < np.abs(expected).max() < 100
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("depth", BLOCKS)
def test_every_array_of_torchvision_has_its_place_and_shape(depth):
    """All of the network is there, and nothing else but PyTorch's counters."""
    model = functional(ResNet, num_outputs=CLASSES, depth=depth)
    images = np.zeros((2, 32, 32, 3), np.float32)
    params, state = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = Variables(params={"model": params}, state={"model": state})
    wanted = {path: leaf.shape for path, leaf in parameters_and_state(variables).items()}
    found = {}
    for name, shape in torchvision_shapes(depth).items():
        if name.endswith(torch_resnet.COUNTER):
            assert torch_resnet.place_of(name) is None
            continue
        place = torch_resnet.place_of(name)
        assert place is not None, name
        found[f"model/{place.path}"] = tuple(shape[axis] for axis in place.axes)
    assert found == wanted


@pytest.mark.parametrize("depth", BLOCKS)
def test_names_and_shapes_of_the_random_weights_are_those_of_torchvision(depth):
    ours = {name: array.shape for name, array in random_weights(depth, CLASSES).items()}
    assert ours == torchvision_shapes(depth)


@pytest.mark.parametrize(
    "name",
    ["conv2.weight", "layer1.0.fc.weight", "conv1.bias", "bn1.scale", "fc.running_mean",
     "layer1.0.downsample.2.weight", "features.0.weight", "weight", "layer1.conv1.weight"],
)  # fmt: skip
def test_what_no_resnet_has_has_no_place(name):
    assert torch_resnet.place_of(name) is None


@pytest.mark.slow
def test_a_new_head_and_another_stem_are_told_to_be_skipped(tmp_path):
    path = save(random_weights(18, 1000), tmp_path / "w.npz")
    config = resnet_config(path, 18, 32)
    head = r"model/head/bias is float32\[1000\] in .*w.npz, names of torchvision and float32\[7\]"
    with pytest.raises(UserError, match=head):
        first_variables(config)
    config.start_from.skip = ("model/head/.*",)
    first_variables(config)
    config.model.stem = "cifar"
    stem = r"stem_conv/kernel is float32\[7, 7, 3, 64\] in .* and float32\[3, 3, 3, 64\] here; "
    with pytest.raises(UserError, match=stem):
        first_variables(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "message"), [(34, "has no model/"), (50, r"head/kernel is float32\[512, 7\]")]
)
def test_another_depth_is_refused(tmp_path, depth, message):
    path = save(random_weights(18, CLASSES), tmp_path / "w.npz")
    with pytest.raises(UserError, match=message):
        first_variables(resnet_config(path, depth, 32))


@pytest.mark.slow
def test_rules_come_after_the_translation(tmp_path):
    """As for an encoder that is a part of a player."""
    path = save(random_weights(18, CLASSES), tmp_path / "w.npz")
    config = resnet_config(path, 18, 32)
    config.start_from.rules = ((r"model/(batch_stats/)?stem_(.*)", r"model/\1stem_\2"),)
    first_variables(config)
    config.start_from.rules = ((r"conv1\.weight", "model/stem_conv/kernel"),)
    with pytest.raises(UserError, match="matches no whole parameter path; closest of"):
        first_variables(config)
