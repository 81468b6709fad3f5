import pytest

from dlresearch.config import Duration, default_config, load, split_overrides, to_dict, validate
from dlresearch.errors import UserError

FILE = """
config.model = component("mlp", width=16, widths=(8, 8))
config.data.augmentations = (component("flip"), component("shifted_crop", padding=4))
config.evaluators.test = component("classification", every="2 epochs")
config.optimizer.b1 = 0.8
"""


@pytest.fixture
def changed(experiment_file):
    """The validated experiment of FILE with overrides, in the order given."""
    path = experiment_file(FILE)

    def change(*overrides):
        pairs = [tuple(each.split("=", 1)) for each in overrides]
        return validate(load(path, pairs))

    return change


def test_file_without_overrides(changed):
    experiment = changed()
    assert experiment.model.arguments == {"width": 16, "widths": (8, 8)}
    assert experiment.evaluators["test"].every == Duration(2, "epochs")
    assert experiment.optimizer.arguments == {"b1": 0.8}


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("batch_size=1e3", 1000),
        ("optimizer.learning_rate=1", 1.0),
        ("optimizer.clip_norm=0.5", 0.5),
        ("optimizer.clip_norm=None", None),
        ("steps_per_call=4", 4),
        ("log.tensorboard=false", False),
        ("log.tensorboard=0", False),
        ("log.tensorboard=True", True),
        ("duration=3 epochs", Duration(3, "epochs")),
        ("duration='300'", Duration(300, "steps")),
        ("checkpoint.best=test/accuracy", "test/accuracy"),
        ("checkpoint.best='None'", "None"),
        ("optimizer.freeze=a.*,b", ("a.*", "b")),
        ("optimizer.freeze=('a,b', \"c\")", ("a,b", "c")),
        ("optimizer.freeze=()", ()),
        ("optimizer.learning_rate_factors=((head.*, 10),)", (("head.*", 10.0),)),
        ("data.source.split=train[:90%]", "train[:90%]"),
        ("data.source.split=1", "1"),
        ("data.source.keys=image,label", ("image", "label")),
        ("model.widths=64,32", (64, 32)),
        ("model.widths=(64, 32)", (64, 32)),
        ("model.widths=[64, 32]", (64, 32)),
        ("model.widths=64", (64,)),
        ("model.widths=64,", (64,)),
        ("model.widths=()", ()),
        ("model.widths.1=3", 3),
        ("model.shape=3,1", (3, 1.0)),
        ("model.shape.0=3", 3),
        ("model.norm=None", None),
        ("model.norm=batch", "batch"),
        ("model.bias=1", True),
        ("model.padding=valid", "valid"),
        ("model.dtype={'a:b': 'x:y'}", {"a:b": "x:y"}),
        ("model.dtype=bfloat16", "bfloat16"),
        ("model.dtype={'a': (1, 2)}", {"a": (1, 2)}),
        ("mesh.data=-1", -1),
    ],
)
def test_overrides_are_read_as_the_type_of_their_place(changed, override, value):
    path, _, _ = override.partition("=")
    node = changed(override)
    for key in path.split("."):
        if isinstance(node, tuple):
            node = node[int(key)]
        elif hasattr(node, key):
            node = getattr(node, key)
        else:
            node = node.arguments[key]
    assert node == value and type(node) is type(value)


def test_another_component_drops_the_arguments_of_the_old_one(changed):
    for override in ("model=other", "model.name=other", "model={'name': other}"):
        assert to_dict(changed(override).model) == {"name": "other"}
    assert to_dict(changed("model=other(depth=1e1)").model) == {"name": "other", "depth": 10}


def test_same_component_keeps_its_arguments(changed):
    model = changed("model=mlp(width=3)").model
    assert model.arguments == {"width": 3, "widths": (8, 8)}
    assert changed("model.name=mlp").model.arguments["width"] == 16


def test_another_optimizer_keeps_what_optimizers_share(changed):
    optimizer = changed("optimizer=sgd(momentum=0.5)", "optimizer.weight_decay=0.1").optimizer
    assert (optimizer.name, optimizer.arguments) == ("sgd", {"momentum": 0.5})
    assert optimizer.weight_decay == 0.1
    optimizer = changed("optimizer.name=sgd", "optimizer.schedule=constant(warmup=5%)").optimizer
    assert (optimizer.name, optimizer.arguments) == ("sgd", {})
    assert optimizer.schedule.arguments == {"warmup": Duration(5, "percent")}


def test_wholes_are_set_before_their_parts_whatever_the_order(changed):
    parts_first = changed("model.depth=7", "model.name=other")
    assert to_dict(parts_first.model) == {"name": "other", "depth": 7}
    assert changed("model.depth=7", "model=other") == parts_first
    augmented = changed("data.augmentations.0.padding=9", "data.augmentations=shifted_crop")
    assert augmented.data.augmentations[0].arguments == {"padding": 9}


def test_later_override_of_the_same_wins(changed):
    assert changed("seed=1", "seed=2").seed == 2


def test_tuples_of_components_as_text(changed):
    text = "data.augmentations=flip, shifted_crop(padding=4, key=depth)"
    assert [to_dict(each) for each in changed(text).data.augmentations] == [
        {"name": "flip"},
        {"name": "shifted_crop", "padding": 4, "key": "depth"},
    ]
    assert changed("data.augmentations=()").data.augmentations == ()
    assert len(changed("data.augmentations=(flip, flip)").data.augmentations) == 2


def test_element_of_a_tuple_of_components(changed):
    assert changed("data.augmentations.1.padding=2").data.augmentations[1].arguments == {
        "padding": 2
    }
    first = changed("data.augmentations.0=helpers.components:Crop(padding=3)").data.augmentations[0]
    assert to_dict(first) == {"name": "helpers.components:Crop", "padding": 3}


def test_nested_components_as_text(changed):
    text = (
        "data.augmentations=helpers.components:Apply(inner=helpers.components:Flip(probability=1),"
        "every=3 epochs, weights={a: 1, 'b': 2})"
    )
    (apply,) = changed(text).data.augmentations
    assert to_dict(apply) == {
        "name": "helpers.components:Apply",
        "inner": [{"name": "helpers.components:Flip", "probability": 1.0}],
        "every": "3 epochs",
        "weights": {"a": 1.0, "b": 2.0},
    }


def test_element_of_an_argument_that_has_its_default(changed):
    assert changed("model.shape.1=2").model.arguments["shape"] == (1, 2.0)


def test_union_takes_the_narrowest_type_that_fits(changed):
    source = changed("data.source=other(path=12, limit=1e1)").data.source
    assert source.arguments == {"path": "12", "limit": 10}


def test_new_entries_of_mappings(changed):
    extra = changed(
        "evaluators.extra.top=1,5",
        "evaluators.extra.source.split=val",
        "evaluators.extra.name=classification",
    ).evaluators["extra"]
    assert (extra.name, extra.arguments, extra.source.arguments) == (
        "classification",
        {"top": (1, 5)},
        {"split": "val"},
    )
    evaluators = changed("evaluators.extra=other(every=3 epochs)").evaluators
    assert evaluators["extra"].every == Duration(3, "epochs")
    assert set(changed("evaluators={}").evaluators) == set()
    only = changed("evaluators={only: {name: other, batch_size: 3}}").evaluators
    assert only["only"].batch_size == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("modle=mlp", "config.modle: there is no such setting; did you mean 'model'"),
        ("optimizer.momentm=1", "config.optimizer.momentm: adam has no argument"),
        ("model.wdith=1", "config.model.wdith: mlp has no argument 'wdith'; did you mean 'width'"),
        ("model=mlp(wdith=1)", "config.model.wdith: mlp has no argument"),
        ("model=mlp(3)", "config.model: write 'name=value' instead of '3'"),
        ("model=mlp(", "config.model: '\\)' is missing"),
        ("model=mpl", "config.model.name: no model is called 'mpl'; did you mean 'mlp'"),
        ("model=3", "config.model: expected a component"),
        ("model.widths.2=1", "config.model.widths.2: config.model.widths has 2 elements"),
        ("model.widths.x=1", "config.model.widths.x: config.model.widths has 2 elements"),
        ("batch_size=many", "config.batch_size: expected a whole number, got 'many'"),
        ("batch_size.x=3", "config.batch_size.x: config.batch_size is 128 and has no parts"),
        ("log.tensorboard=maybe", "config.log.tensorboard: expected true or false"),
        ("model.widths=1,x", "config.model.widths.1: expected a whole number, got 'x'"),
        (
            "evaluators.test.transforms.0.padding=3",
            "config.evaluators.test.transforms is None; set it as a whole first",
        ),
        (
            "evaluators.tset.every=3",
            "config.evaluators.tset: there is no 'tset' among test; to add it, set config",
        ),
        ("evaluators={a.b: {name: other}}", "config.evaluators: a.b cannot be a key"),
        ("duration=5%%", "config.duration: '5%%' is not a duration"),
        ("data={sorce: 3}", "config.data.sorce: there is no such setting"),
    ],
)
def test_wrong_override_names_its_path(changed, override, message):
    with pytest.raises(UserError, match=message):
        changed(override)


def test_default_config_is_locked_but_for_components_and_mappings():
    config = default_config()
    with pytest.raises(AttributeError):
        config.batchsize = 3
    with pytest.raises(AttributeError):
        config.data.sorce = 3
    config.model.width = 3
    config.optimizer.momentum = 0.9
    config.optimizer.schedule.warmup = 3
    config.evaluators.test = {"name": "classification"}
    config.evaluators.test.top = 3


def test_typed_arguments_reach_get_config(experiment_file):
    path = experiment_file("config.seed = arguments(arg, seed=1).seed")
    assert load(path, ()).seed == 1
    assert load(f"{path}:seed=1e1", ()).seed == 10
    with pytest.raises(UserError, match="no config argument 'sed'; did you mean 'seed'"):
        load(f"{path}:sed=1", ())


def test_a_json_file_takes_no_arguments(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"seed": 3}')
    assert load(str(path)).seed == 3
    with pytest.raises(UserError, match=r"config\.json:seed=1: a JSON file takes no arguments"):
        load(f"{path}:seed=1")


def test_get_config_without_arguments(experiment_file):
    path = experiment_file(signature="")
    assert load(path, ()).seed == 0
    with pytest.raises(UserError, match="takes no arguments"):
        load(f"{path}:seed=1", ())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1\nx / 0", r"experiment.py:5: ZeroDivisionError: division by zero"),
        ("config.batchsize = 1", r":4: the config has no key 'batchsize'; did you mean 'batch_si"),
        ("config['sede'] = 1", r":4: the config has no key 'sede'; did you mean 'seed'"),
        ("config.dta.source = 1", r":4: the config has no key 'dta'; did you mean 'data'"),
        ("component('x', name='y')", r":4: TypeError"),
        ("def", r"experiment.py:4: SyntaxError: "),
        ("config = 3", r"experiment.py: get_config must return a ConfigDict, not int"),
    ],
)
def test_mistake_in_the_file_names_the_line(experiment_file, body, message):
    with pytest.raises(UserError, match=message) as caught:
        load(experiment_file(body), ())
    assert "\n" not in str(caught.value)


def test_part_of_a_component_that_the_file_got_wrong(experiment_file):
    with pytest.raises(UserError, match=r"config.model is 'mlp' and has no parts"):
        load(experiment_file("config.model = 'mlp'"), [("model.width", "3")])


def test_missing_file_and_function(experiment_file, tmp_path):
    path = experiment_file()
    with pytest.raises(UserError, match=r"no such file; did you mean '.*experiment.py'"):
        load(path.replace("experiment.py", "experimnt.py"), ())
    with pytest.raises(UserError, match="give a Python file"):
        load("digits", ())
    (tmp_path / "empty.py").write_text("x = 1")
    with pytest.raises(UserError, match="must define get_config"):
        load(f"{tmp_path}/empty.py", ())


def test_overrides_are_found_wherever_they_stand():
    argv = ["train", "--config.a.b=1,2", "--config=x.py", "-config.c", "-3", "--workdir", "w"]
    argv += ["--config.d=x=y", "--config.e=", "--", "--config.f=1"]
    assert split_overrides(argv) == (
        [("a.b", "1,2"), ("c", "-3"), ("d", "x=y"), ("e", "")],
        ["train", "--config=x.py", "--workdir", "w", "--", "--config.f=1"],
    )


def test_override_without_a_value_is_an_error():
    for argv in (["--config.log.tensorboard"], ["--config.log.tensorboard", "--workdir=x"]):
        with pytest.raises(UserError, match=r"--config.log.tensorboard needs a value"):
            split_overrides(argv)
