"""Every built-in can be found, configured and explained."""

from inspect import Parameter

import pytest

from dlresearch.config import (
    Component,
    Experiment,
    default_config,
    names,
    parameters_of,
    target_of,
    validate,
)
from dlresearch.config.catalog import CATALOG
from dlresearch.config.place import Place
from dlresearch.config.reference import main
from dlresearch.config.signatures import settable
from dlresearch.config.values import coerce


@pytest.fixture
def small_catalog():
    """Replaces the fixture of the same name: these tests are about the real catalogue."""


BUILTINS = [(kind, name) for kind in CATALOG for name in names(kind)]


@pytest.mark.parametrize(("kind", "name"), BUILTINS)
def test_builtin_is_documented_and_its_defaults_fit_their_types(kind, name):
    target = target_of(Component(name), kind, "config")
    assert target.__doc__
    assert settable(target, kind).keys() <= parameters_of(target).keys()
    for key, parameter in settable(target, kind).items():
        assert parameter.annotation is not Parameter.empty, f"{key} has no type"
        assert not isinstance(parameter.annotation, str), f"the type of {key} does not resolve"
        if parameter.default is not Parameter.empty:
            place = Place(f"config.{key}", parameter.annotation)
            assert coerce(parameter.default, place) == parameter.default


@pytest.mark.parametrize("kind", ["optimizer", "schedule"])
def test_provided_parameters_cannot_be_set(kind):
    for name in names(kind):
        target = target_of(Component(name), kind, "config")
        assert not {"learning_rate", "decay_mask", "total_steps"} & settable(target, kind).keys()


def test_builtins_are_listed_by_wildcards(capsys):
    assert names("model", "*resnet") == ["resnet", "wide_resnet"]
    assert names("model", "no*") == []
    assert main(["model", "wide*"]) == 0
    output = capsys.readouterr().out
    assert "**`wide_resnet`**" in output and "`widen`: integer" in output
    assert "**`resnet`**" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["modle"], "error: no kind of component is called 'modle'; did you mean 'model'?\n"),
        (["model", "resnat"], "error: no model matches 'resnat'; did you mean 'resnet'?\n"),
    ],
)
def test_a_list_of_nothing_names_the_closest(arguments, message, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err == message


def test_default_config_is_valid():
    assert validate(default_config()) == Experiment()
