"""Modes and quality are counted as the papers say, and a discriminator's accuracies by hand."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.stats import entropy

from dlresearch.data import evaluation_batches
from dlresearch.errors import UserError
from dlresearch.evaluation.gan import DiscriminatorEvaluator, ModesEvaluator
from dlresearch.tasks import Variables

RNG = np.random.default_rng(0)
VARIABLES = Variables(params={}, state={})
CENTRES = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))


def run(evaluator, batch_size, outputs, **arrays):
    def predict(variables, batch):
        return {name: batch[f"made_{name}"] for name in outputs}

    made = {f"made_{name}": values for name, values in outputs.items()}
    batches = evaluation_batches({**made, **arrays}, (), batch_size, slice(0, batch_size))
    return evaluator.run(predict, VARIABLES, batches)


@pytest.mark.parametrize("batch_size", [7, 400])
def test_modes_and_quality_equal_a_count_by_hand(batch_size):
    # Mode 3 is missed, mode 2 is hit too seldom, and the last samples are near none.
    near = [
        RNG.normal(CENTRES[mode], 0.04, (count, 2)) for mode, count in ((0, 200), (1, 90), (2, 9))
    ]
    points = np.concatenate([*near, RNG.uniform(0.3, 0.45, (30, 2))]).astype(np.float32)
    found = run(ModesEvaluator(CENTRES, 0.05), batch_size, {"point": points}, point=points + 1)

    hits, nearest, good = [0] * 4, [0] * 4, 0
    for point in points.astype(np.float64):
        distances = [np.hypot(*(point - centre)) for centre in CENTRES]
        mode = int(np.argmin(distances))
        nearest[mode] += 1
        if distances[mode] <= 3 * 0.05:
            hits[mode] += 1
            good += 1
    assert found["modes"] == sum(count >= 20 for count in hits) == 2
    assert found["high_quality"] == pytest.approx(good / len(points))
    assert found["kl"] == pytest.approx(entropy(nearest, [1] * 4))
    picture = Image.open(io.BytesIO(found["points.png"]))
    assert min(picture.size) > 400


def test_one_sample_makes_a_mode_where_it_is_said_to_be_enough():
    points = np.array(CENTRES, np.float32)
    found = run(ModesEvaluator(CENTRES, 0.05, least=1), 4, {"point": points}, point=points)
    assert (found["modes"], found["high_quality"]) == (4, 1)
    assert found["kl"] == pytest.approx(0)


def test_samples_that_are_no_numbers_are_of_no_quality():
    points = np.array([CENTRES[0], (np.nan, 0), (np.inf, 0)], np.float32)
    found = run(ModesEvaluator(CENTRES, 0.05, least=1), 3, {"point": points}, point=points)
    assert found["modes"] == 1 and found["high_quality"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"deviation": 0.1}, "centres: the source does not tell; set it, or use gaussians"),
        ({"centres": CENTRES}, "deviation: the source does not tell"),
        ({"centres": CENTRES, "deviation": -1.0}, "deviation=-1.0"),
        ({"centres": CENTRES, "deviation": 0.1, "least": 0}, "least=0"),
        ({"centres": ((0.0,), (0.0, 1.0)), "deviation": 0.1}, "centres: give at least one"),
    ],
)
def test_mixture_that_nobody_describes(arguments, message):
    with pytest.raises(UserError, match=message):
        ModesEvaluator(**arguments)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"image": np.zeros((4, 2), np.float32)}, "the task gives no output 'point'; valid: image"),
        ({"point": np.zeros((4, 3), np.float32)}, r"generated points are \[4, 3\]; the centres"),
    ],
)
def test_outputs_that_are_no_points(outputs, message):
    with pytest.raises(UserError, match=message):
        run(ModesEvaluator(CENTRES, 0.1), 4, outputs, point=np.zeros((4, 2), np.float32))


@pytest.mark.parametrize("batch_size", [7, 100])
def test_discriminator_accuracies_equal_a_count_by_hand(batch_size):
    real = RNG.normal(1, 1, 50).astype(np.float32)
    fake = RNG.normal(-0.5, 1, 50).astype(np.float32)
    found = run(DiscriminatorEvaluator(), batch_size, {"real_logit": real, "fake_logit": fake})
    assert found["real_accuracy"] == np.mean(real > 0)
    assert found["fake_accuracy"] == np.mean(fake < 0)
    assert found["real_logit"] == pytest.approx(real.mean(dtype=np.float64), rel=1e-5)
    assert found["fake_logit"] == pytest.approx(fake.mean(dtype=np.float64), rel=1e-5)
    assert len(found) == 4


def test_task_without_a_discriminator_is_named():
    with pytest.raises(
        UserError, match="the task gives no output 'fake_logit'; did you mean 'real_logit'"
    ):
        run(DiscriminatorEvaluator(), 4, {"real_logit": np.zeros(4, np.float32)})
