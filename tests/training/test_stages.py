"""Progressive resolution: images of another size from a step on, and the same after a restart."""

import jax
import numpy as np
import pytest
from PIL import Image

from dlresearch.config import Duration, component, default_config, validate
from dlresearch.data import resized
from dlresearch.errors import UserError
from dlresearch.training import Setup
from dlresearch.training.stages import Sizes
from helpers.training.small_runs import assert_same_run, run


def config_of(resolution, **options):
    config = default_config()
    config.batch_size = 8
    config.duration = "6 steps"
    config.data.source = component("synthetic", length=32, image=(16, 16, 1))
    config.data.resolution = resolution
    config.model = component("convnet", widths=(4,), convs_per_stage=1)
    config.update(options)
    return config


def sizes_seen(setup):
    """The heights of the images that each stage's step convolves."""
    heights = []
    for stage in setup.stages:
        text = str(jax.make_jaxpr(stage.step)(setup.abstract_state, setup.batch_shapes))
        heights.append(max(h for h in (8, 12, 16) if f"f32[8,{h},{h},4]" in text))
    return heights


def test_each_stage_has_its_size_and_begins_at_its_step():
    setup = Setup(validate(config_of((("0%", 8), ("2 steps", 12), ("50%", 16)))))
    assert [stage.start for stage in setup.stages] == [0, 2, 3]
    assert sizes_seen(setup) == [8, 12, 16]


def test_resized_images_are_those_of_pillow():
    images = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 1), dtype=np.uint8)
    for pixels in (8, 24):
        ours = np.asarray(resized(images, pixels))[..., 0].astype(int)
        for image, our in zip(images, ours, strict=True):
            theirs = Image.fromarray(image[..., 0]).resize((pixels, pixels), Image.BILINEAR)
            assert np.abs(our - np.asarray(theirs, int)).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("several", [1, 2])
def test_a_run_with_stages_resumes_to_the_bit(several, tmp_path):
    config = config_of((("0%", 8), ("3 steps", 12)), steps_per_call=several)
    assert run(config, tmp_path / "whole").step == 6
    assert run(config, tmp_path / "stopped", stop_at=4).status == "resume"
    assert run(config, tmp_path / "stopped").status == "completed"
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize(
    ("resolution", "message"),
    [
        ((("10%", 8),), "config.data.resolution.0: 10% is not the start"),
        ((("0%", 8), ("90%", 12), ("50%", 16)), "resolution.2: 50% is before the one in front"),
        ((("0%", 0),), "resolution.0: 0 pixels; must be at least 1"),
    ],
)
def test_stages_out_of_order_are_errors(resolution, message):
    with pytest.raises(UserError) as error:
        Setup(validate(config_of(resolution)))
    assert message in str(error.value)


def test_in_a_short_trial_the_last_size_of_a_step_counts():
    pairs = [(Duration.parse(when), pixels) for when, pixels in (("0%", 8), ("1%", 12))]
    assert Sizes.of(pairs, lambda duration: 0).pairs == ((0, 12),)
