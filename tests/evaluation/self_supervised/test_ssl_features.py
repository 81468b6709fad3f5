"""The file of features has every example once, with what was asked for."""

import io

import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.evaluation.self_supervised import FeaturesEvaluator
from helpers.evaluation.feature_runs import TEST, features, outputs_of, run


def loaded(found):
    return dict(np.load(io.BytesIO(found["features.npz"]), allow_pickle=False))


@pytest.mark.parametrize("batch_size", [7, 100])
def test_file_has_features_labels_and_numbers_of_all_examples(batch_size):
    evaluator = FeaturesEvaluator(outputs_of=outputs_of, reference="tfds toy test")
    found = run(evaluator, batch_size=batch_size)
    content = loaded(found)
    assert found["examples"] == 70 and content.keys() == {"features", "label", "example"}
    assert content["features"].dtype == np.float32
    np.testing.assert_allclose(content["features"], features(TEST), rtol=1e-6)
    np.testing.assert_array_equal(content["label"], TEST["label"])
    np.testing.assert_array_equal(content["example"], np.arange(70))
    assert evaluator.about == "6 features of 70 of tfds toy test, no augmentation"


def test_keys_say_what_goes_along():
    content = loaded(run(FeaturesEvaluator(keys=("image",), outputs_of=outputs_of)))
    assert content.keys() == {"features", "image", "example"}
    np.testing.assert_array_equal(content["image"], TEST["image"])


def test_labels_are_not_needed():
    test = {key: values for key, values in TEST.items() if key != "label"}
    evaluator = FeaturesEvaluator(outputs_of=outputs_of)
    assert loaded(run(evaluator, test)).keys() == {"features", "example"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keys": ("features",)}, "keys: 'features' is what the task gives; rename that"),
        ({"keys": ("coarse",)}, "keys: examples have no 'coarse'; they have image, label"),
        ({"outputs_of": None}, "features: there is no task here that could give them"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        run(FeaturesEvaluator(**{"outputs_of": outputs_of, **arguments}))
