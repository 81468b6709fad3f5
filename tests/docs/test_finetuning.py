"""What docs/finetuning.md shows works as it stands there."""

import pytest

from dlresearch.config import component, default_config, validate
from dlresearch.training import Setup
from helpers.pages import commands, run_command, snippets, write_files

PAGE = "docs/finetuning.md"
PRETRAIN = """
from dlresearch.config import component, default_config


def get_config():
    config = default_config()
    config.model = component("convnet", widths=(8, 16))
    config.data.source = component("synthetic", length=256, image=(8, 8, 1), num_classes=10)
    return config
"""


@pytest.mark.slow
def test_documented_commands_succeed_in_their_order(tmp_path):
    write_files(PAGE, tmp_path)
    (tmp_path / "pretrain.py").write_text(PRETRAIN)
    said = [run_command(command, tmp_path) for command in commands(PAGE)]
    for output in said[1:]:
        assert "runs/pretrained, step 2: " in output and " 2 skipped, 0 missing" in output


@pytest.mark.parametrize("snippet", snippets(PAGE), ids=lambda text: text.splitlines()[0])
def test_documented_settings_are_valid_for_a_resnet(snippet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = default_config()
    config.data.source = component("synthetic", image=(32, 32, 3))
    config.model = component("resnet", depth=18)
    exec(snippet, {"config": config, "component": component})
    Setup(validate(config))
