"""Recorded results of PyTorch: complete, small, and equal to what PyTorch computes now."""

import hashlib
import importlib.util
import json

import jax
import numpy as np
import pytest

from dlresearch.evaluation.gan import inception, open_extractor
from helpers.evaluation.torch_inception import random_weights
from helpers.references import REFERENCES, about, reference

spec = importlib.util.spec_from_file_location("make_references", REFERENCES / "make.py")
assert spec is not None and spec.loader is not None
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


@pytest.fixture(scope="module")
def torch():
    pytest.importorskip("torchvision", reason="needs pip install 'dlresearch[torch]'")
    torch = importlib.import_module("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)


@pytest.mark.parametrize("family", make.FAMILIES)
def test_a_recorded_reference_is_what_pytorch_computes(torch, family):
    made, recorded = make.make(family), reference(family)
    assert made.keys() == recorded.keys()
    for name, array in made.items():
        assert (array.dtype, array.shape) == (recorded[name].dtype, recorded[name].shape), name
        if array.dtype.kind != "f":
            np.testing.assert_array_equal(array, recorded[name], name)
        else:
            # Results of float64 rounded to float32, one rounding apart (1.2e-7 of a value). Inputs
            # that JAX draws are one rounding apart, too, when XLA compiles otherwise.
            atol = 1e-6 * np.abs(recorded[name]).max()
            np.testing.assert_allclose(array, recorded[name], rtol=2e-7, atol=atol, err_msg=name)


def test_inception_reads_a_file_of_weights_that_pytorch_saved(torch, tmp_path, monkeypatch):
    shapes = json.loads(str(reference("inception")["shapes"]))
    weights = random_weights(shapes, about("inception")["seed"])
    path = tmp_path / "weights.pth"
    torch.save({name: torch.from_numpy(array) for name, array in weights.items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(inception, "SHA256", digest[:8])
    found = open_extractor(str(path), None).variables
    jax.tree.map(np.testing.assert_array_equal, found, inception.variables_of(weights))


def test_every_family_has_a_file_with_its_seed_and_versions():
    assert {path.stem for path in REFERENCES.glob("*.npz")} == set(make.FAMILIES)
    for family in make.FAMILIES:
        assert about(family).keys() == {"seed", "python", "numpy", "torch", "torchvision"}


def test_the_references_are_small():
    """5 MiB in all, so that a clone stays quick."""
    assert sum(path.stat().st_size for path in REFERENCES.iterdir() if path.is_file()) < 5 << 20


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["gan_strided"], "refusing to replace gan_strided.npz without --overwrite"),
        (["gan_stride", "--overwrite"], "unknown family 'gan_stride'; choose from gan_models, "),
    ],
)
def test_the_script_refuses_in_one_line(arguments, problem, capsys):
    with pytest.raises(SystemExit) as stopped:
        make.main(arguments)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert printed.err.startswith(f"error: {problem}")
