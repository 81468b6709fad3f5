import pytest

from dlresearch.config import Choice, arguments
from dlresearch.errors import UserError


def read(text):
    return arguments(
        text,
        variant=Choice("plain", "wide"),
        epochs=30,
        rate=0.1,
        debug=False,
        data_dir="",
        checkpoint=None,
        widths=(8, 8),
    )


def test_empty_text_gives_the_defaults():
    values = vars(read(""))
    assert values == {
        "variant": "plain",
        "epochs": 30,
        "rate": 0.1,
        "debug": False,
        "data_dir": "",
        "checkpoint": None,
        "widths": (8, 8),
    }


def test_values_have_the_types_of_their_defaults():
    values = read("wide,epochs=1e3,rate=1,debug,data_dir=/a b/c,checkpoint=12,widths=(1e1,)")
    assert (values.variant, values.epochs, values.rate) == ("wide", 1000, 1.0)
    assert isinstance(values.epochs, int) and isinstance(values.rate, float)
    assert values.debug is True
    assert (values.data_dir, values.checkpoint, values.widths) == ("/a b/c", "12", (10,))


def test_quotes_hold_commas():
    assert read("data_dir='a,b=c',wide").data_dir == "a,b=c"


def test_choice_and_boolean_can_be_written_out():
    values = read("variant=wide, debug=false, checkpoint=None")
    assert (values.variant, values.debug, values.checkpoint) == ("wide", False, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch=3", "no config argument 'epoch'; did you mean 'epochs'"),
        ("wid", "no config argument 'wid'; did you mean 'wide'"),
        ("variant=wid", "config argument variant: no option 'wid'; did you mean 'wide'"),
        ("epochs", "'epochs' needs a value: epochs="),
        ("epochs=many", "config argument epochs: expected a whole number, got 'many'"),
        ("epochs=2.5", "expected a whole number"),
        ("epochs=1,epochs=2", "'epochs' is given twice"),
        ("widths=(1", "'\\)' is missing"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(UserError, match=message):
        read(text)
