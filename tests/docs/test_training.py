"""What docs/training.md shows are settings of a run that can be set up."""

import pytest
from helpers.pages import snippets
from helpers.processes import ROOT

from dlresearch.config import component, default_config, validate
from dlresearch.training import Setup

PAGE = "docs/training.md"


@pytest.mark.parametrize("snippet", snippets(PAGE), ids=lambda text: text.splitlines()[0])
def test_documented_settings_are_settings(snippet):
    config = default_config()
    config.model = component("resnet", blocks=(1,), width=4, stem="cifar")
    config.data.source = component("synthetic", length=256)
    config.evaluators.test = dict(name="classification", source=config.data.source)
    exec(snippet, {"config": config, "component": component})
    Setup(validate(config))


def test_every_setting_of_the_table_is_one():
    lines = (ROOT / PAGE).read_text().splitlines()
    table = [line.split("|")[2] for line in lines if line.startswith("| ")]
    settings = [text for cell in table for text in cell.split("`")[1::2] if "config." in text]
    assert len(settings) > 10
    for setting in settings:
        config = default_config()
        config.evaluators.test = dict(name="classification")
        path, _, value = setting.partition(" = ")
        node = config
        for part in path.split(".")[1:-1]:
            node = node[part]
        last = path.split(".")[-1]
        if value:
            exec(setting, {"config": config})
            validate(config)
        else:
            assert last in node or "task" in path or "evaluators" in path, setting
