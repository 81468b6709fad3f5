"""A part of a source, with the same share of each class."""

import numpy as np
import pytest

from dlresearch.config import Component, build, component, default_config, validate
from dlresearch.data import load_all
from dlresearch.data.subset import Subset
from dlresearch.errors import UserError
from dlresearch.training import Setup

DIGITS = Component("digits", split="train")


@pytest.fixture(scope="module")
def whole():
    return build(DIGITS, "source", "source")


@pytest.mark.parametrize("share", [0.01, 0.1, 1.0])
def test_each_class_keeps_its_share_rounded_up(whole, share):
    labels = load_all(whole, ())["label"]
    part = Subset(DIGITS, share=share)
    counts = np.ceil(share * np.bincount(labels)).astype(int)
    found = load_all(part, ())
    np.testing.assert_array_equal(np.bincount(found["label"]), counts)
    assert part.metadata["class_counts"] == tuple(counts) and part.metadata["num_classes"] == 10
    np.testing.assert_array_equal(part.labels(), found["label"])


def test_examples_are_those_of_the_source_and_none_twice(whole):
    images = load_all(whole, ())["image"]
    part = Subset(DIGITS, shots=5, seed=1)
    found = load_all(part, ())["image"]
    assert len(part) == len(found) == 50
    places = [np.flatnonzero((images == image).all(axis=(1, 2, 3)))[0] for image in found]
    assert places == sorted(set(places))
    np.testing.assert_array_equal(part[7]["image"], found[7])


def test_the_rest_are_the_examples_that_are_left(whole):
    images = load_all(whole, ())["image"].reshape(len(whole), -1)
    parts = [Subset(DIGITS, share=0.75, rest=rest) for rest in (False, True)]
    found = [load_all(part, ())["image"].reshape(len(part), -1) for part in parts]
    assert len(parts[0]) + len(parts[1]) == len(whole) and len(parts[1]) > 300
    together = np.concatenate(found)
    np.testing.assert_array_equal(together[np.lexsort(together.T)], images[np.lexsort(images.T)])
    assert parts[1].metadata["class_counts"] == tuple(np.bincount(parts[1].labels()))


def test_another_seed_chooses_others_and_the_same_one_the_same():
    drawn = (load_all(Subset(DIGITS, shots=5, seed=seed), ())["image"] for seed in (0, 0, 1))
    first, again, other = drawn
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either share or shots"),
        ({"share": 0.1, "shots": 1}, "give either share or shots"),
        ({"share": 0.0}, "share=0.0: is not in"),
        ({"share": 1.5}, "share=1.5: is not in"),
        ({"shots": 0}, "shots=0: must be at least 1"),
        ({"shots": 1000}, "shots=1000: class 0 has"),
        ({"shots": 1, "seed": -1}, "seed=-1: is negative"),
        ({"share": 1.0, "rest": True}, "rest: nothing is left"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Subset(DIGITS, **arguments)


def test_a_misspelt_argument_of_the_inner_source_is_found():
    config = default_config()
    config.data.source = component("subset", of=component("digits", spilt="train"), shots=1)
    with pytest.raises(UserError, match=r"config\.data\.source.*of\.spilt.*split"):
        Setup(validate(config))
