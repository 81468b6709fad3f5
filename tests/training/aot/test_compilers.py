"""Small steps with the operations of each track, compiled for an H100 by XLA's own compiler.

`make test-compilers` installs that compiler. Each case has a process of its own, as a fault of the
compiler ends it. Networks are small and few; what they compute is what the large ones compute.
"""

import json

import pytest

from dlresearch.errors import UserError
from dlresearch.hardware import target
from dlresearch.training.aot.compiler import check_compiler
from dlresearch.training.aot.process import compile_for
from helpers.processes import ROOT

pytestmark = pytest.mark.compiler

IMAGES = ("data.source", "synthetic(image=(32,32,3), length=64)")
CASES = {
    "digits": ("cnn/digits.py", [("model.widths", "8,8")]),
    "resnet50": (
        "cnn/imagenet.py:synthetic,size=64",
        [("batch_size", "32"), ("model.blocks", "1,1"), ("model.width", "64"), ("accumulate", "2")],
    ),
    "vit": (
        "cnn/imagenet.py:vit_s16,synthetic,size=64",
        [("batch_size", "32"), ("model.depth", "2"), ("model.width", "64"), ("model.heads", "2")],
    ),
    "lstm": (
        "rnn/python_docs.py",
        [
            ("batch_size", "8"),
            ("model.width", "64"),
            ("data.source.streams", "8"),
            ("evaluators", "{}"),
        ],
    ),
    "translator": (
        "rnn/dates.py",
        [("model.width", "32"), ("data.source.count", "200"), ("evaluators", "{}")],
    ),
    "sngan": (
        "gan/cifar10.py:sngan",
        [
            IMAGES,
            ("batch_size", "16"),
            ("model.widths", "16,16,16,16"),
            ("task.discriminator.widths", "16,16"),
            ("task.discriminator.last_widths", "(16,)"),
            ("task.repeats", "2"),
            ("evaluators", "{}"),
        ],
    ),
    "stylegan2_ada": (
        "gan/cifar10.py:stylegan2_ada",
        [
            IMAGES,
            ("batch_size", "16"),
            ("model.channel_max", "16"),
            ("model.style_width", "16"),
            ("task.discriminator.channel_max", "16"),
            ("evaluators", "{}"),
        ],
    ),
    "simclr": (
        "self_supervised/cifar10.py:simclr",
        [
            IMAGES,
            ("batch_size", "32"),
            ("model.blocks", "1,1"),
            ("model.width", "16"),
            ("task.projector", "32,16"),
            ("evaluators", "{}"),
        ],
    ),
}
CONVOLVING = ("digits", "resnet50", "sngan", "stylegan2_ada", "simclr")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A function from the name of a case to its figures, which compiles each once."""
    try:
        check_compiler(target("h100"))
    except UserError as missing:
        pytest.skip(str(missing))
    known = {}

    def figures(name: str, text: str = "h100") -> dict:
        if (name, text) not in known:
            experiment, overrides = CASES[name]
            path = tmp_path_factory.mktemp("figures") / "figures.json"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("XLA_FLAGS", "")  # those of the tests are for the CPU
                config = f"{ROOT}/experiments/{experiment}"
                compile_for(text, target(text), config, overrides, path)
            known[name, text] = json.loads(path.read_text())
        return known[name, text]

    return figures


@pytest.mark.parametrize("name", CASES)
def test_a_step_compiles_and_keeps_its_state_in_place(compiled, name):
    figures = compiled(name)
    step = figures["programs"][0]
    assert figures["fits"] and step["flops"] > 0
    # The state is donated: each array of it is updated where it is.
    assert step["aliased"] == figures["plan"]["state"]
    assert step["host_transfers"] == 0
    assert step["collectives"] == {}


@pytest.mark.parametrize("name", CONVOLVING)
def test_convolutions_are_those_of_cudnn(compiled, name):
    operations = compiled(name)["programs"][0]["operations"]
    assert operations["cuDNN"] > 0
    assert "XLA convolution" not in operations


def test_evaluators_are_compiled_too(compiled):
    for name in ("digits", "resnet50", "vit"):
        step, *evaluators = compiled(name)["programs"]
        assert step["name"] == "step" and evaluators
        assert all(each["arguments"] > 0 and each["flops"] > 0 for each in evaluators)


def test_eight_devices_add_up_gradients(compiled):
    figures = compiled("digits", "h100:8")
    step = figures["programs"][0]
    assert set(step["collectives"]) == {"all-reduce"} and step["sent"] > 0
    assert step["flops"] * 8 == pytest.approx(compiled("digits")["programs"][0]["flops"], rel=1e-6)
