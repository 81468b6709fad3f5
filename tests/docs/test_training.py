"""What docs/training.md shows are settings of a run that can be set up."""

import ast
from collections.abc import Mapping
from typing import Any

import pytest

from dlresearch.config import Component, component, default_config, validate
from dlresearch.training import Setup
from helpers.pages import snippets
from helpers.processes import ROOT

PAGE = "docs/training.md"


@pytest.mark.parametrize("snippet", snippets(PAGE), ids=lambda text: text.splitlines()[0])
def test_documented_settings_are_settings(snippet):
    config = default_config()
    config.model = component("resnet", blocks=(1,), width=4, stem="cifar")
    config.data.source = component("synthetic", length=256)
    config.evaluators.test = dict(name="classification", source=config.data.source)
    exec(snippet, {"config": config, "component": component})
    Setup(validate(config))


def settings_of_the_table() -> list[str]:
    lines = (ROOT / PAGE).read_text().splitlines()
    table = [line.split("|")[2] for line in lines if line.startswith("| ")]
    return [text for cell in table for text in cell.split("`")[1::2] if "config." in text]


def test_the_table_has_settings():
    assert len(settings_of_the_table()) > 10


@pytest.mark.parametrize("setting", settings_of_the_table())
def test_every_setting_of_the_table_is_one(setting):
    """One that the table gives a value takes it; the others have a default."""
    config = default_config()
    config.evaluators.test = dict(name="classification")
    path, _, value = setting.partition(" = ")
    if value:
        exec(setting, {"config": config})
    node: Any = validate(config)
    for part in path.split(".")[1:]:
        if isinstance(node, Component):
            node = node.arguments
        node = node[part] if isinstance(node, Mapping) else getattr(node, part)
    if value:
        assert node == ast.literal_eval(value)
