"""Augmentations that ask which examples they see are told the same wherever these lie."""

import jax
import numpy as np
import pytest

from dlresearch.config import component, validate
from dlresearch.data.embedded import Digits
from dlresearch.errors import UserError
from dlresearch.training import Setup
from helpers.training.small_runs import assert_same_run, classification_config, run

LENGTH = len(Digits("train"))


def config_of(placement: str, *augmentations: str, batch_size: int = 32):
    config = classification_config()
    config.batch_size = batch_size
    config.data.placement = placement
    config.data.augmentations = tuple(map(component, augmentations))
    return config


def batches(setup: Setup, start: int, calls: int, steps: int) -> list[dict[str, np.ndarray]]:
    """Of so many steps in so many calls, as the step sees them."""
    feed = setup.make_feed()
    feed.start(start)
    pick, found = jax.jit(feed.pick), []
    for _ in range(calls):
        taken = feed.take(steps)
        for step in range(steps):
            one = taken if steps == 1 else jax.tree.map(lambda leaf, step=step: leaf[step], taken)
            found.append(jax.tree.map(np.asarray, pick(feed.resident, one)))
    feed.close()
    return found


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("placement", ["resident", "streamed"])
def test_a_batch_says_which_examples_it_has_and_how_often_they_were_seen(placement, steps):
    """Here with batches of 500 of the set's examples, so that some run over the end of an epoch."""
    setup = Setup(validate(config_of(placement, "alternating_flip", batch_size=500)))
    source, times_seen = Digits("train"), np.zeros(LENGTH, int)
    for number, batch in enumerate(batches(setup, 0, 8 // steps, steps)):
        np.testing.assert_array_equal(batch["example"], setup.order.indices(number))
        for row, (example, epoch) in enumerate(zip(batch["example"], batch["epoch"], strict=True)):
            assert epoch == times_seen[example]
            times_seen[example] += 1
            np.testing.assert_array_equal(batch["image"][row], source[example]["image"])
    assert times_seen.max() == 3  # 4,000 examples of 1,438
    (later,) = batches(setup, 5, 1, 1)
    np.testing.assert_array_equal(later["epoch"], setup.order.epochs(5))


@pytest.mark.parametrize("placement", ["resident", "streamed"])
def test_a_batch_says_nothing_of_it_where_nobody_asks(placement):
    (batch,) = batches(Setup(validate(config_of(placement, "flip"))), 0, 1, 1)
    assert batch.keys() == {"image", "label"}


@pytest.mark.slow
def test_runs_that_ask_are_the_same_in_both_placements(tmp_path):
    names = "alternating_flip", "mixup", "cutmix"
    for placement in ("resident", "streamed"):
        config = config_of(placement, *names)
        assert run(config, tmp_path / placement).status == "completed"
    assert_same_run(tmp_path / "resident", tmp_path / "streamed")


def test_mixed_labels_have_the_classes_of_the_source():
    setup = Setup(validate(config_of("resident", "mixup")))
    assert setup.augmentations[0].num_classes == 10


def test_examples_with_a_key_of_that_name_are_refused():
    config = config_of("streamed", "alternating_flip")
    config.data.transforms = (component("rename", label="epoch"),)
    config.task.labels = "epoch"
    config.evaluators = {}
    with pytest.raises(UserError, match="examples have a key 'epoch' of their own"):
        Setup(validate(config))
