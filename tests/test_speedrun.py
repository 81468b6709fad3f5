"""`benchmarks/speedrun.py` times the runs that the trainer makes."""

import json

import pytest

from helpers.processes import assert_complete, start_python
from helpers.training.small_runs import classification_config, run, write_config


@pytest.mark.slow
def test_every_timed_seed_is_the_run_of_the_trainer(tmp_path):
    config, out = classification_config(), tmp_path / "figures.json"
    config.duration = "5 steps"
    path = write_config(config, tmp_path / "config.json")
    flags = f"--out={out}", f"--config={path}", "--seeds=2", "--metric=test/loss"
    assert_complete(start_python("benchmarks/speedrun.py", *flags))
    timed = json.loads(out.read_text())["test/loss"]
    for seed in (0, 1):
        config.seed = seed
        expected = run(config, tmp_path / str(seed)).metrics["test/loss"]
        assert timed[seed] == round(expected, 6)
