"""The example of an architecture search: its budget holds, and its default is the network of
experiments/cnn/digits.py.
"""

import runpy

import jax
import pytest

from dlresearch.config import load, validate
from dlresearch.errors import Refused
from dlresearch.training import Setup
from helpers.processes import ROOT

FILE = f"{ROOT}/experiments/search/digits.py"


def learned(experiment):
    """How many numbers a run learns."""
    params = Setup(experiment).abstract_state.variables.params
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("widths", "convs", "kernel", "head"),
    [((32, 64), 2, 3, "mean"), ((5, 7, 9), 1, 5, "flatten"), ((6,), 3, 3, "flatten")],
)
def test_parameters_are_counted_as_the_network_has_them(widths, convs, kernel, head):
    count = runpy.run_path(FILE)["parameters"](widths, convs, kernel, head)
    model = f"convnet(widths={widths}, convs_per_stage={convs}, kernel_size={kernel}, head={head})"
    assert learned(validate(load(FILE, [("model", model)]))) == count


def test_a_network_over_the_budget_is_refused_and_the_default_is_just_within_it():
    load(f"{FILE}:budget=65834")
    with pytest.raises(Refused, match="65,834 parameters, over the budget of 65,833"):
        load(f"{FILE}:budget=65833")


def test_its_default_is_the_network_of_the_digits():
    small = validate(load(f"{ROOT}/experiments/cnn/digits.py"))
    found = validate(load(f"{FILE}:test"))
    assert learned(small) == learned(found) == 65_834
    assert (found.optimizer, found.data, found.duration) == (
        small.optimizer,
        small.data,
        small.duration,
    )


def test_a_search_sees_no_test_image():
    config = load(FILE).to_dict()
    assert "test" not in str(config["data"]) + str(config["evaluators"])
