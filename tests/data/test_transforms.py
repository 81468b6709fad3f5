"""Host transforms keep what they are not about."""

import numpy as np
import pytest
from PIL import Image

from dlresearch.data import TrainingOrder, evaluation_batches, stream
from dlresearch.data.image_folder import ImageFolder
from dlresearch.data.transforms import (
    CentreCrop,
    RandomResizedCrop,
    Rename,
    Resize,
    ResizeShorter,
    Select,
)
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
        (ResizeShorter(2), r"resize_shorter: image has shape \(4,\), not height, width"),
        (CentreCrop((2, 2)), r"centre_crop: image has shape \(4,\)"),
        (RandomResizedCrop((2, 2)), r"random_resized_crop: image has shape \(4,\)"),
    ],
)
def test_a_mistake_names_the_transform(transform, message):
    with pytest.raises(UserError, match=message):
        transform({"image": np.zeros(4), "label": 0}, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Resize(0, 4), "resize: height=0, width=4 must be at least 1"),
        (lambda: ResizeShorter(0), "resize_shorter: size=0 must be at least 1"),
        (lambda: CentreCrop((4, 0)), r"centre_crop: size=\(4, 0\): height and width must be at"),
        (lambda: RandomResizedCrop((0, 4)), r"random_resized_crop: size=\(0, 4\): height and"),
        (lambda: RandomResizedCrop((4, 4), area=(0.5, 1.5)), "is more than the image"),
        (lambda: RandomResizedCrop((4, 4), area=(0.0, 1.0)), "area=.* give the lowest and the"),
        (lambda: RandomResizedCrop((4, 4), ratio=(2.0, 1.0)), "ratio=.* give the lowest and the"),
    ],
)
def test_wrong_arguments_are_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_only_random_resized_crop_is_random():
    kinds = (Resize, ResizeShorter, CentreCrop, Select, Rename)
    assert RandomResizedCrop.random and not any(kind.random for kind in kinds)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(37, 50), (50, 37), (20, 20), (9, 30)])
def test_the_shorter_side_gets_the_size_and_the_shape_stays(height, width, channels):
    image = RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)
    resized = ResizeShorter(16)({"image": image, "label": 3})
    # torchvision's `Resize(16)`: the longer side is cut to a whole number.
    wanted = (16, int(16 * width / height)) if height < width else (int(16 * height / width), 16)
    assert resized["image"].shape == (*wanted, channels) and resized["label"] == 3
    plane = Image.fromarray(image[..., 0]).resize(wanted[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resized["image"][..., 0], plane)


def test_centre_crop_is_the_middle():
    image = np.arange(9 * 8).reshape(9, 8, 1)
    crop = CentreCrop((3, 4))({"image": image})["image"]
    np.testing.assert_array_equal(crop, image[3:6, 2:6])
    np.testing.assert_array_equal(CentreCrop((9, 8))({"image": image})["image"], image)
    with pytest.raises(UserError, match=r"image is 9 by 8, and size=\(3, 10\); put resize_short"):
        CentreCrop((3, 10))({"image": image})


@pytest.mark.parametrize("channels", [1, 3])
def test_random_resized_crop_resizes_the_box_it_draws(channels):
    image = RNG.integers(0, 256, (40, 56, channels), dtype=np.uint8)
    crop = RandomResizedCrop((12, 17))
    for seed in range(20):
        result = crop({"image": image, "label": 3}, np.random.default_rng(seed))
        top, left, height, width = crop.draw(np.random.default_rng(seed), 40, 56)
        box = Image.fromarray(image[..., 0]).crop((left, top, left + width, top + height))
        expected = box.resize((17, 12), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(result["image"][..., 0], expected)
        assert result["image"].shape == (12, 17, channels) and result["label"] == 3


def test_crops_have_the_area_ratio_and_places_they_should():
    crop, rng = RandomResizedCrop((8, 8), (0.1, 0.5), (0.5, 2.0)), np.random.default_rng(0)
    top, left, height, width = np.array([crop.draw(rng, 400, 400) for _ in range(4000)]).T
    area, ratio = height * width / 400**2, width / height
    # Rounding moves a side by half a pixel at most: at most 0.5 * (400 + 200) pixels of area, and
    # 2 to 179.5 / 88.5 for the smallest box of that ratio.
    assert area.min() > 0.098 and area.max() < 0.502
    assert ratio.min() > 0.493 and ratio.max() < 2.03
    # All of these fit, so that the draws are those of the formula: even in area and log ratio,
    # and even over the places that are left. Means within four standard errors.
    assert abs(area.mean() - 0.3) < 4 * 0.4 / 12**0.5 / 4000**0.5
    assert abs(np.log2(ratio).mean()) < 4 * 2 / 12**0.5 / 4000**0.5
    for start, length in ((top, height), (left, width)):
        assert start.min() >= 0 and (start + length).max() <= 400
        place = start / (400 - length)
        assert abs(place.mean() - 0.5) < 4 / 12**0.5 / 4000**0.5


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(10, 100, (0, 43, 10, 13)), (100, 10, (43, 0, 13, 10)), (1, 50, (0, 24, 1, 1))],
)
def test_an_image_in_which_no_crop_fits_shows_its_middle(height, width, box):
    crop = RandomResizedCrop((8, 8), area=(1.0, 1.0))
    assert crop.draw(np.random.default_rng(0), height, width) == box


@pytest.mark.slow
def test_photographs_of_every_kind_become_batches_that_follow_from_the_seed(tmp_path):
    """ImageNet is JPEGs of all sizes, of which some are grey and some CMYK."""
    for index, (mode, size) in enumerate(
        [("RGB", (50, 40)), ("L", (30, 61)), ("CMYK", (44, 33)), ("RGB", (20, 20))]
    ):
        pixels = RNG.integers(0, 256, (*size[::-1], len(mode)), dtype=np.uint8)
        file = tmp_path / f"{'ab'[index % 2]}/{index}.JPEG"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.squeeze(), mode).save(file)
    source = ImageFolder(str(tmp_path))
    order = TrainingOrder(len(source), 5, 4)

    def first(seed, workers=0):
        order = TrainingOrder(len(source), seed, 4)
        options = dict(start_step=2, rows=slice(None), workers=workers, prefetch=2)
        with stream(source, [RandomResizedCrop((24, 24))], order, **options) as batches:
            return next(batches)

    batch = first(5)
    assert batch["image"].shape == (4, 24, 24, 3) and batch["image"].dtype == np.uint8
    np.testing.assert_array_equal(batch["label"], order.indices(2) // 2)
    np.testing.assert_array_equal(first(5, workers=2)["image"], batch["image"])
    assert (first(6)["image"] != batch["image"]).any()
    middle = [ResizeShorter(26), CentreCrop((24, 24))]
    (whole,) = evaluation_batches(source, middle, 4, slice(None))
    assert whole["image"].shape == (4, 24, 24, 3)
