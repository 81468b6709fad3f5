"""The tests of the configuration do not depend on the built-ins, except `test_builtins`."""

import pytest

from dlresearch.config import catalog

CATALOG = {
    "source": {"digits": "Source", "other": "OtherSource"},
    "transform": {"crop": "Crop"},
    "augmentation": {"flip": "Flip", "shifted_crop": "Crop"},
    "model": {"mlp": "Net", "other": "OtherNet"},
    "optimizer": {"adam": "adam", "sgd": "sgd"},
    "schedule": {"constant": "constant"},
    "task": {"classification": "Task"},
    "evaluator": {"classification": "Evaluate", "other": "OtherEvaluate"},
}


@pytest.fixture(autouse=True)
def small_catalog(monkeypatch):
    """Replaces the catalogue by the components of `components`."""
    for kind, entries in CATALOG.items():
        targets = {name: f"helpers.components:{target}" for name, target in entries.items()}
        monkeypatch.setitem(catalog.CATALOG, kind, targets)


@pytest.fixture
def experiment_file(tmp_path):
    """Writes an experiment file from the body of its get_config, and returns its path."""

    def write(body="", signature="arg=''", name="experiment.py"):
        lines = [
            "from dlresearch.config import arguments, component, default_config, Choice",
            f"def get_config({signature}):",
            "    config = default_config()",
            *(f"    {line}" for line in body.splitlines()),
            "    return config",
        ]
        path = tmp_path / name
        path.write_text("\n".join(lines))
        return str(path)

    return write
