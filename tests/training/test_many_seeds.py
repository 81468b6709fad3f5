"""Many seeds by one compiled program are the runs that the trainer makes."""

import jax
from helpers.training.small_runs import classification_config, run
from many_seeds import Runs

from dlresearch.config import validate
from dlresearch.training import Setup


def test_every_seed_is_the_run_of_the_trainer(tmp_path):
    config = classification_config()
    config.duration = "5 steps"
    runs = Runs(validate(config), "test/loss")
    for seed in (0, 3):
        config.seed = seed
        expected = run(config, tmp_path / str(seed)).metrics["test/loss"]
        assert runs.run(seed)[0] == expected


def test_all_seeds_have_one_program():
    programs = set()
    for seed in (0, 7):
        config = classification_config()
        config.seed = seed
        setup = Setup(validate(config))
        programs.add(str(jax.make_jaxpr(setup.step)(setup.abstract_state, setup.batch_shapes)))
    assert len(programs) == 1
