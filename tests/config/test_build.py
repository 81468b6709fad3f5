import pytest

from dlresearch.config import (
    Component,
    build,
    component,
    names,
    parameters_of,
    target_of,
    validate,
)
from dlresearch.errors import UserError
from helpers.components import Linen, Net, OtherNet, Untyped, adam, sgd, wrapped


def test_arguments_and_context_reach_the_constructor():
    model = build(
        Component("mlp", width=3), "model", "config.model", num_outputs=10, width=5, other=1
    )
    assert (model.num_outputs, model.width) == (10, 3)


def test_arguments_are_coerced():
    assert build(Component("mlp", num_outputs="1e1"), "model", "config.model").num_outputs == 10


def test_optimizer_section_is_built_like_a_component():
    optimizer = validate({"optimizer": component("sgd", momentum=0.5)}).optimizer
    context = {"learning_rate": 0.1, "decay_mask": None, "weight_decay": 0.0}
    made = build(optimizer, "optimizer", "config.optimizer", **context)
    assert made == ("sgd", 0.1, None, 0.0, 0.5, False)


def test_missing_argument_is_named():
    with pytest.raises(UserError, match=r"config.model.num_outputs: mlp needs this argument"):
        build(Component("mlp"), "model", "config.model")


def test_error_of_the_constructor_gets_the_path():
    with pytest.raises(UserError) as caught:
        build(Component("helpers.components:Strict", size=0), "model", "config.model")
    assert str(caught.value) == "config.model: size must be at least 1"


def test_constructor_with_any_keywords_gets_no_context():
    made = build(Component("helpers.components:Anything", a=1), "model", "config.model", dtype=2)
    assert made.options == {"a": 1}


def test_linen_module_is_built():
    made = build(Component("helpers.components:Linen", width=4), "model", "config.model", name="x")
    assert isinstance(made, Linen) and made.width == 4


def test_unknown_argument_is_found_when_built():
    with pytest.raises(UserError, match=r"config.model.depht: .*did you mean 'depth'"):
        build(Component("other", depht=4), "model", "config.model")


def test_parameters_have_resolved_annotations():
    assert parameters_of(Net)["norm"].annotation == str | None
    assert list(parameters_of(Linen)) == ["width"]
    assert list(parameters_of(OtherNet)) == ["depth", "dtype"]
    assert list(parameters_of(Untyped)) == ["a", "b", "dtype"]
    assert list(parameters_of(sgd)) == list(parameters_of(wrapped))
    assert parameters_of(adam)["b1"].annotation is float


def test_names_lists_the_catalogue():
    assert names("model") == ["mlp", "other"]
    assert target_of(Component("other"), "model", "config.model") is OtherNet


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.models:Net", r"cannot import 'nowhere.models': .*No module named 'nowhere'"),
        ("helpers.components:Nett", "components has no 'Nett'; did you mean 'Net'"),
        ("helpers.components:not_callable", "is neither a class nor a function"),
        ("broken:Net", r"cannot import 'broken': .*broken.py:2: NameError: name 'oops'"),
        ("syntax:Net", r"cannot import 'syntax': .*syntax.py:1: SyntaxError"),
    ],
)
def test_failing_import_says_what_and_where(name, message, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("x = 1\noops\n")
    (tmp_path / "syntax.py").write_text("def (\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=f"^config.model.name: .*{message}"):
        target_of(Component(name), "model", "config.model")


def test_components_of_the_current_directory_are_found(tmp_path, monkeypatch):
    (tmp_path / "mylab_of_test.py").write_text("def net(width: int = 3):\n    return width\n")
    monkeypatch.chdir(tmp_path)
    assert build(Component("mylab_of_test:net", width="4"), "model", "config.model") == 4
