"""Host transforms keep what they are not about."""

import numpy as np
import pytest
from PIL import Image

from dlresearch.data.transforms import Rename, Resize, Select
from dlresearch.errors import UserError

RNG = np.random.default_rng(0)


def test_resizing_down_by_two_is_a_weighted_mean():
    ramp = np.tile(np.arange(0, 80, 10, dtype=np.float32)[:, None, None], (1, 8, 2))
    resized = Resize(4, 4)({"image": ramp, "label": 3}, None)
    assert resized["label"] == 3
    # The mean of a linear ramp under a symmetric filter is its value at the centre.
    np.testing.assert_allclose(resized["image"][1:3, :, 0], [[25] * 4, [45] * 4], atol=1e-4)
    assert resized["image"].dtype == np.float32 and resized["image"].shape == (4, 4, 2)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_resizing_bytes_is_what_pillow_does(channels):
    image = RNG.integers(0, 256, (9, 7, channels), dtype=np.uint8)
    resized = Resize(5, 11)({"image": image}, None)["image"]
    assert resized.dtype == np.uint8 and resized.shape == (5, 11, channels)
    for c in range(channels):
        plane = Image.fromarray(image[..., c]).resize((11, 5), Image.Resampling.BILINEAR)
        difference = resized[..., c].astype(int) - np.asarray(plane)
        # Pillow weighs RGBA by alpha.
        assert channels == 4 or not difference.any()


def test_resizing_two_channels_of_bytes_rounds():
    image = np.full((4, 4, 2), 7, np.uint8)
    np.testing.assert_array_equal(Resize(2, 3)({"image": image}, None)["image"], 7)


def test_select_and_rename():
    example = {"x": 1, "y": 2, "z": 3}
    assert Select(("z", "x"))(example, None) == {"z": 3, "x": 1}
    assert Rename(x="image", y="x")(example, None) == {"image": 1, "x": 2, "z": 3}
    assert example == {"x": 1, "y": 2, "z": 3}


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Select(("imge",)), "select: the example has no 'imge'; did you mean 'image'"),
        (Rename(imge="x"), "rename: the example has no 'imge'"),
        (Rename(image="label"), "two values for 'label'"),
        (Resize(2, 2), r"resize: image has shape \(4,\)"),
    ],
)
def test_a_mistake_names_the_transform(transform, message):
    with pytest.raises(UserError, match=message):
        transform({"image": np.zeros(4), "label": 0}, None)


def test_no_transform_is_random():
    assert not (Resize.random or Select.random or Rename.random)
    with pytest.raises(UserError, match="at least 1"):
        Resize(0, 4)
