"""Rules of the house that a machine can check."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_imports_run_down_the_floors_only():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.slow
def test_training_works_without_tensorflow(tmp_path):
    """Also where it is installed: an import of it is an error here."""
    # Not None in `sys.modules`, which TFDS takes for a TensorFlow that is there.
    (tmp_path / "tensorflow.py").write_text("raise AssertionError('imported TensorFlow')")
    program = f"""
import sys
sys.path.insert(0, "{tmp_path}")
sys.argv = ["train", "--config=experiments/cnn/digits.py", "--workdir={tmp_path}/run",
            "--config.duration=2 steps", "--config.model=mlp"]
import importlib, pkgutil, dlresearch
for module in pkgutil.walk_packages(dlresearch.__path__, "dlresearch."):
    importlib.import_module(module.name)
from dlresearch import train
train.main()
"""
    outcome = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "completed at step 2" in outcome.stdout
