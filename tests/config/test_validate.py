import dataclasses

import pytest

from dlresearch.config import (
    Component,
    Duration,
    Experiment,
    component,
    default_config,
    to_dict,
    validate,
)
from dlresearch.errors import UserError


def config_with(**settings):
    """The default config with settings by dotted path, `__` for a dot."""
    config = default_config().unlock()
    for path, value in settings.items():
        *sections, key = path.split("__")
        node = config
        for section in sections:
            node = node[section]
        node[key] = value
    return config


def message_of(**settings):
    with pytest.raises(UserError) as caught:
        validate(config_with(**settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_default_config_is_the_default_experiment():
    assert validate(default_config()) == Experiment()


def test_empty_mapping_gets_every_default():
    assert validate({}) == Experiment()


def test_validating_again_changes_nothing():
    config = config_with(
        optimizer=component("sgd", momentum=0.5, learning_rate="1e-2"),
        data__augmentations=[component("flip"), {"name": "shifted_crop", "padding": 3}],
        evaluators={"test": component("classification", top=[1, 5], every="2 epochs")},
    )
    experiment = validate(config)
    assert validate(experiment) == experiment
    assert validate(to_dict(experiment)) == experiment
    assert experiment.evaluators["test"].arguments == {"top": (1, 5)}
    assert experiment.evaluators["test"].every == Duration(2, "epochs")
    assert experiment.data.augmentations[1] == Component("shifted_crop", padding=3)


def test_experiment_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        validate(default_config()).seed = 3  # type: ignore[misc]


def test_values_become_the_types_of_the_schema():
    experiment = validate(
        config_with(batch_size=1e3, seed="7", average__decay=0, duration=500, data__workers=2.0)
    )
    assert isinstance(experiment.batch_size, int) and experiment.batch_size == 1000
    assert experiment.seed == 7
    assert isinstance(experiment.average.decay, float)
    assert experiment.duration == Duration(500, "steps")


def test_component_arguments_become_the_types_of_the_signature():
    model = component("mlp", width="1e2", widths=[1e1, 20], dropout=0, bias="false", shape=[2, 1])
    arguments = validate(config_with(model=model)).model.arguments
    assert arguments == {
        "width": 100,
        "widths": (10, 20),
        "dropout": 0.0,
        "bias": False,
        "shape": (2, 1.0),
    }
    assert isinstance(arguments["dropout"], float)


def test_nested_components_durations_and_mappings_in_arguments():
    inner = (component("helpers.components:Flip", probability=1),)
    apply = component("helpers.components:Apply", inner=inner, every="3%", weights={"a": 1})
    (made,) = validate(config_with(data__augmentations=(apply,))).data.augmentations
    assert made.arguments == {
        "inner": (Component("helpers.components:Flip", probability=1.0),),
        "every": Duration(3, "percent"),
        "weights": {"a": 1.0},
    }


def test_values_of_unknown_types_pass_as_they_are():
    model = component("helpers.components:Untyped", a=[1, {"b": 2}], dtype=float)
    arguments = validate(config_with(model=model)).model.arguments
    assert arguments == {"a": (1, {"b": 2}), "dtype": float}


def test_keys_of_an_optimizer_that_are_no_options_are_arguments_of_it():
    optimizer = validate(config_with(optimizer__name="sgd", optimizer__momentum=1)).optimizer
    assert (optimizer.name, optimizer.arguments) == ("sgd", {"momentum": 1.0})


def test_flax_modules_take_their_own_fields_only():
    assert validate(config_with(model=component("helpers.components:Linen", width=5)))
    assert "Linen has no argument 'parent'; did you mean" not in message_of(
        model=component("helpers.components:Linen", parent=None)
    )
    message = message_of(model=component("helpers.components:Nnx", widht=5))
    assert message == (
        "config.model.widht: helpers.components:Nnx has no argument 'widht'; did you mean 'width'?"
    )


def test_constructor_with_any_keywords_takes_anything():
    model = validate(config_with(model=component("helpers.components:Anything", x="1", y=2))).model
    assert model.arguments == {"x": "1", "y": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": component("mlp", wdith=3)},
            "config.model.wdith: mlp has no argument 'wdith'; did you mean 'width'?",
        ),
        (
            {"batchsize": 3},
            "config.batchsize: there is no such setting; did you mean 'batch_size'?",
        ),
        (
            {"data__sorce": 3},
            "config.data.sorce: there is no such setting; did you mean 'source'?",
        ),
        (
            {"optimizer__lerning_rate": 3},
            "config.optimizer.lerning_rate: adam has no argument 'lerning_rate'; "
            "did you mean 'learning_rate'?",
        ),
        (
            {"evaluators": {"test": component("classification", topp=3)}},
            "config.evaluators.test.topp: classification has no argument 'topp'; "
            "did you mean 'top'?",
        ),
        (
            {"data__augmentations": (component("flip"), component("shifted_crop", paddin=1))},
            "config.data.augmentations.1.paddin: shifted_crop has no argument 'paddin'; "
            "did you mean 'padding'?",
        ),
        (
            {"model": component("mpl")},
            "config.model.name: no model is called 'mpl'; did you mean 'mlp'? "
            "(or package.module:Name)",
        ),
        (
            {"optimizer__name": "adan"},
            "config.optimizer.name: no optimizer is called 'adan'; did you mean 'adam'? "
            "(or package.module:Name)",
        ),
        ({"model": component("mlp", width=2.5)}, "config.model.width: expected a whole number"),
        ({"model": component("mlp", width=True)}, "config.model.width: expected a whole number"),
        ({"model": component("mlp", width="wide")}, "config.model.width: expected a whole number"),
        ({"model": component("mlp", widths=(1, "x"))}, "config.model.widths.1: expected a whole"),
        ({"model": component("mlp", widths=3)}, "config.model.widths: expected a tuple"),
        ({"model": component("mlp", shape=(1, 2, 3))}, "config.model.shape: expected 2 values"),
        ({"model": component("mlp", bias="maybe")}, "config.model.bias: expected true or false"),
        ({"model": component("mlp", activation=3)}, "config.model.activation: expected text"),
        (
            {"model": component("mlp", padding="sam")},
            "config.model.padding: must be one of same, valid, got 'sam'; did you mean 'same'?",
        ),
        ({"model": "mlp"}, "config.model: expected a component such as component("),
        ({"model": None}, "config.model: expected a component"),
        ({"model": {"width": 3}}, "config.model: expected a component"),
        ({"model": {"name": 3}}, "config.model.name: expected the name of a component, got 3"),
        ({"data": 3}, "config.data: expected a mapping of settings, got 3"),
        ({"optimizer": "sgd"}, "config.optimizer: expected component('name', ...), got 'sgd'"),
        ({"data__augmentations": component("flip")}, "config.data.augmentations: expected a tuple"),
        ({"evaluators": (1,)}, "config.evaluators: expected a mapping, got (1,)"),
        ({"batch_size": None}, "config.batch_size: expected a whole number, got None"),
        ({"optimizer__clip_norm": "x"}, "config.optimizer.clip_norm: expected a number, got 'x'"),
        ({"seed": -1}, "config.seed: must be at least 0, got -1"),
        ({"batch_size": 0}, "config.batch_size: must be at least 1, got 0"),
        ({"accumulate": 0}, "config.accumulate: must be at least 1, got 0"),
        ({"accumulate": 3}, "config.accumulate: 3 does not divide config.batch_size=128"),
        ({"optimizer__learning_rate": float("nan")}, "config.optimizer.learning_rate: must be at"),
        ({"optimizer__learning_rate": -0.1}, "config.optimizer.learning_rate: must be at least 0"),
        ({"optimizer__learning_rate": float("inf")}, "config.optimizer.learning_rate: must be fin"),
        ({"seed": 2**32}, "config.seed: must be below 2**32"),
        ({"optimizer__clip_norm": 0}, "config.optimizer.clip_norm: 0 would stop training"),
        ({"optimizer__freeze": ("(",)}, "config.optimizer.freeze.0: '(' is no regular expression"),
        (
            {"optimizers": {"g": component("adam", learning_rate_factors=((".*", -1),))}},
            "config.optimizers.g.learning_rate_factors.0: must be at least 0, got -1",
        ),
        ({"average__decay": 1.0}, "config.average.decay: must be below 1"),
        ({"mesh__data": 0}, "config.mesh.data: must be at least 1, or -1"),
        ({"duration": "10%"}, "config.duration: '10%' is a part of the run itself"),
        ({"duration": 0}, "config.duration: must be more than 0"),
        ({"log__every": "3 weeks"}, "config.log.every: durations have no unit 'weeks'"),
        ({"steps_per_call": 0}, "config.steps_per_call: must be at least 1"),
        (
            {"precision": "bfloat"},
            "config.precision: must be one of float32, bfloat16, float16, got 'bfloat'; "
            "did you mean 'bfloat16'?",
        ),
    ],
)
def test_every_mistake_names_its_full_path(settings, message):
    assert message_of(**settings).startswith(message)


def test_provided_parameters_of_optimizers_and_schedules_cannot_be_set():
    message = message_of(optimizer__name="sgd", optimizer__decay_mask=1)
    assert message.startswith("config.optimizer.decay_mask: the trainer provides 'decay_mask'")
    message = message_of(optimizer__schedule=component("constant", total_steps=1))
    assert message.startswith(
        "config.optimizer.schedule.total_steps: the trainer provides 'total_steps'"
    )


def test_arguments_is_not_a_key_of_an_optimizer():
    assert "adam has no argument 'arguments'" in message_of(optimizer__arguments={"b1": 0.5})
