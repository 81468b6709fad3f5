"""What --sweep means, and that each mistake in it is one line that shows the place."""

import numpy as np
import pytest

from dlresearch.errors import UserError
from launch.sweeps.grammar import grid, space
from launch.sweeps.values import Choice, Draw


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("seed=1,2", [{"seed": "1"}, {"seed": "2"}]),
        (
            "a=1,2; b=x,y",
            [{"a": a, "b": b} for a in "12" for b in "xy"],
        ),
        ("a=1,2 & b=x,y", [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]),
        (
            "a=1,2&b=3,4;c=range(2)",
            [{"a": a, "b": b, "c": c} for a, b in ("13", "24") for c in "01"],
        ),
        ("a=range(2, 9, 3)", [{"a": "2"}, {"a": "5"}, {"a": "8"}]),
        ("a=range(3, 0, -2),7", [{"a": "3"}, {"a": "1"}, {"a": "7"}]),
        ("a=0,log(1e-4, 1e-1, 4)", [{"a": a} for a in ("0", "0.0001", "0.001", "0.01", "0.1")]),
        ("a=linear(0, 1, 3)", [{"a": "0"}, {"a": "0.5"}, {"a": "1"}]),
        ("a=log(8,1,4)", [{"a": a} for a in "8421"]),
        (
            "model=convnet(widths=(16, 32)),mlp(hidden=(64,))",
            [{"model": "convnet(widths=(16, 32))"}, {"model": "mlp(hidden=(64,))"}],
        ),
        ("a=linear(warmup='5%'),cosine", [{"a": "linear(warmup='5%')"}, {"a": "cosine"}]),
        ("a=linear()", [{"a": "linear()"}]),
        ("a={x: 1, y: 2},[3; 4]", [{"a": "{x: 1, y: 2}"}, {"a": "[3; 4]"}]),
        ("a='x;y&z,w',\"it's\"", [{"a": "x;y&z,w"}, {"a": "it's"}]),
        ("a='range(3)'", [{"a": "range(3)"}]),
        ("a=''", [{"a": ""}]),
        ("a='x'+'y'", [{"a": "'x'+'y'"}]),
        ("a=b=c", [{"a": "b=c"}]),
        ("a=-1,1e3, None ,50 epochs", [{"a": a} for a in ("-1", "1e3", "None", "50 epochs")]),
        ("--config.a=1; config.b.c=2; :d=3", [{"a": "1", "b.c": "2", ":d": "3"}]),
        ("model.widths.0=1\n;\n seed=2", [{"model.widths.0": "1", "seed": "2"}]),
    ],
)
def test_a_text_has_these_points_in_this_order(text, points):
    assert [dict(overrides) for overrides in grid([text])] == points


def test_several_texts_are_one_after_the_other():
    assert grid(["a=1,2", "b=3"]) == [(("a", "1"),), (("a", "2"),), (("b", "3"),)]


def test_logarithmic_values_are_those_of_numpy():
    values = [float(overrides[0][1]) for overrides in grid(["a=log(1e-5, 3, 17)"])]
    np.testing.assert_allclose(values, np.geomspace(1e-5, 3, 17), rtol=1e-5)  # six digits


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("", 1, "a setting is missing"),
        ("   ", 4, "a setting is missing"),
        ("a", 1, "'=' and values are missing"),
        ("a=", 3, "a value is missing"),
        ("a=1,,2", 5, "a value is missing"),
        ("a=1,", 5, "a value is missing"),
        ("a=1;", 5, "a setting is missing"),
        ("a=1;;b=2", 5, "a setting is missing"),
        ("a=1 & ;b=2", 6, "a setting is missing"),
        ("=3", 1, "this is no setting"),
        ("a b=3", 1, "this is no setting"),
        ("9a=3", 1, "this is no setting"),
        ("a..b=3", 1, "this is no setting"),
        ("::a=3", 1, "this is no setting"),
        ("$(rm -rf /)=3", 1, "this is no setting"),
        ("a=1; b=(1", 8, "the closing ')' is missing"),
        ("a=[1,(2]", 8, "no bracket is open for ']'"),
        ("a=1)", 4, "no bracket is open for ')'"),
        ("a='x", 3, "the closing ' is missing"),
        ("a=1,2 & b=1,2,3", 9, "3 values beside the 2 of a"),
        ("a=1;config.a=2", 5, "a is swept twice"),
        ("a=1,2,1", 1, "1 stands there twice"),
        ("a=range(2),1", 1, "1 stands there twice"),
        ("a=range(0)", 3, "there is no number"),
        ("a=range(1,2,0)", 13, "a step of 0"),
        ("a=range(1.5)", 9, "whole number"),
        ("a=range(1,2,3,4)", 3, "it is range(end)"),
        ("a=range(10**9)", 9, "must be a number"),
        ("a=range(1e30)", 3, "100,000 values are the most"),
        ("a=range(1e400)", 9, "finite number"),
        ("a=log(0,1,3)", 3, "above 0"),
        ("a=log(1,2)", 3, "it is log(low, high, how many)"),
        ("a=log(1,1,3)", 3, "the same"),
        ("a=log(1,2,1)", 11, "how many: from 2"),
        ("a=log(1,2,1e9)", 11, "how many: from 2 to 100,000"),
        ("a=linear(1,nan,3)", 12, "finite number"),
        ("a=linear(1,1.000001,9)", 3, "closer together"),
        ("a=range(3)+range(3)", 10, "no bracket is open"),
        ("a=uniform(0,1)", 1, "--search=random, halton or bayesian"),
        ("b=1; a=choice(1,2)", 6, "--search=random, halton or bayesian"),
        ("a=1,uniform(0,1)", 1, "either drawn or has a list"),
    ],
)
def test_a_mistake_in_a_grid_is_one_line_that_shows_the_place(text, place, problem):
    with pytest.raises(UserError) as error:
        grid([text])
    message = str(error.value)
    assert message.startswith(f"--sweep, character {place}, ") and problem in message
    assert "\n" not in message


def test_a_product_that_is_too_large_is_refused_before_it_is_made():
    with pytest.raises(UserError, match="10,000,000,000 runs; 100,000 is the most"):
        grid(["a=range(1e5); b=range(1e5)"])


def test_a_long_text_is_shown_in_part():
    with pytest.raises(UserError) as error:
        grid([f"a={','.join(map(str, range(1000)))},1"])
    assert len(str(error.value)) < 200


def test_a_search_has_something_to_draw_each_setting_from():
    text = (
        "a=uniform(-1,1); b=loguniform(1e-4,1); c=int(1,4); d=logint(1,1e3); e=3,4;"
        " f=choice((1, 2),convnet(widths=(3,)),'a,b'); :g=range(3); h=7"
    )
    assert space([text]) == {
        "a": Draw(-1, 1),
        "b": Draw(1e-4, 1, log=True),
        "c": Draw(1, 4, whole=True),
        "d": Draw(1, 1000, log=True, whole=True),
        "e": Choice(("3", "4")),
        "f": Choice(("(1, 2)", "convnet(widths=(3,))", "a,b")),
        ":g": Choice(("0", "1", "2")),
        "h": Choice(("7",)),
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a=uniform(1,0)", "the first number must be below the second"),
        ("a=uniform(1,1)", "the first number must be below the second"),
        ("a=uniform(1)", "it is uniform(low, high)"),
        ("a=loguniform(-1,1)", "above 0"),
        ("a=logint(0,4)", "above 0"),
        ("a=int(1,2.5)", "whole number"),
        ("a=uniform(0,inf)", "finite"),
        ("a=choice(1)", "at least two options"),
        ("a=choice(1,1)", "all different"),
        ("a=choice(1,uniform(0,1))", "inside a choice"),
        ("a=1,2 & b=1,2", "use ';' for '&'"),
    ],
)
def test_a_mistake_in_a_search_is_one_line_that_shows_the_place(text, problem):
    with pytest.raises(UserError) as error:
        space([text])
    assert str(error.value).startswith("--sweep, character ") and problem in str(error.value)


def test_a_search_has_one_sweep():
    with pytest.raises(UserError, match="join them with ';'"):
        space(["a=1", "b=2"])
