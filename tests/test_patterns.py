import jax.numpy as jnp
import pytest

from dlresearch.errors import UserError
from dlresearch.patterns import first_match, match_mask

PARAMS = {
    "stem": {"kernel": jnp.zeros(1), "bias": jnp.zeros(1)},
    "head": {"kernel": jnp.zeros(1), "bias": jnp.zeros(1)},
}


def test_pattern_matches_whole_paths_only():
    assert match_mask((r".*kernel",), PARAMS, "here") == {
        "stem": {"kernel": True, "bias": False},
        "head": {"kernel": True, "bias": False},
    }
    assert match_mask((r"head/.*", r"stem/bias"), PARAMS, "here") == {
        "stem": {"kernel": False, "bias": True},
        "head": {"kernel": True, "bias": True},
    }
    with pytest.raises(UserError):
        match_mask(("head",), PARAMS, "here")


def test_no_pattern_matches_nothing():
    assert match_mask((), {"a": 1}, "here") == {"a": False}


def test_first_matching_pattern_counts():
    pairs = (("head/bias", 3.0), ("head/.*", 2.0))
    assert first_match(pairs, PARAMS, "here", default=1.0) == {
        "stem": {"kernel": 1.0, "bias": 1.0},
        "head": {"kernel": 2.0, "bias": 3.0},
    }


def test_pattern_without_a_match_names_it_its_place_and_close_paths():
    with pytest.raises(UserError) as caught:
        match_mask(("heda/.*",), PARAMS, "config.optimizer.freeze")
    message = str(caught.value)
    assert message.startswith("config.optimizer.freeze: 'heda/.*' ")
    assert "head/bias" in message and "\n" not in message


def test_broken_expression_is_explained():
    with pytest.raises(UserError, match=r"config\.optimizer\.freeze: '\(a' is no regular"):
        match_mask(("(a",), PARAMS, "config.optimizer.freeze")


def test_model_without_parameters_is_explained():
    with pytest.raises(UserError, match="there are no parameters"):
        match_mask(("a",), {}, "here")
