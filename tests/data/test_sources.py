"""Image folders, arrays, digits and synthetic examples."""

import pickle

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from dlresearch.data import load_all
from dlresearch.data.arrays import Arrays
from dlresearch.data.embedded import Digits
from dlresearch.data.image_folder import ImageFolder
from dlresearch.data.synthetic import Synthetic
from dlresearch.errors import UserError

RNG = np.random.default_rng(0)


def random_image(height=6, width=4, channels=3):
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two classes, five images without loss, and files that are no images."""
    images = {}
    for name in ("dog/b.png", "dog/a.bmp", "cat/z.PNG", "cat/deep/y.webp", "cat/x.tiff"):
        images[name] = random_image()
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[name]).save(tmp_path / name, lossless=True)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    return tmp_path, images


def test_classes_are_the_sorted_folders(folder):
    path, images = folder
    source = ImageFolder(str(path))
    assert source.metadata == {
        "num_classes": 2,
        "class_names": ("cat", "dog"),
        "class_counts": (3, 2),
    }
    assert [int(source[i]["label"]) for i in range(5)] == [0, 0, 0, 1, 1]
    names = [source.describe(i).removeprefix(f"{path}/") for i in range(5)]
    assert sorted(names) == sorted(images)
    for i, name in enumerate(names):
        np.testing.assert_array_equal(source[i]["image"], images[name])
    assert source[0]["label"].dtype == np.int32


def test_images_are_converted_and_resized(folder):
    path, _ = folder
    examples = load_all(ImageFolder(str(path), channels=1, size=(3, 5)), [])
    assert examples["image"].shape == (5, 3, 5, 1)
    assert examples["image"].dtype == np.uint8
    assert ImageFolder(str(path), channels=4)[0]["image"].shape == (6, 4, 4)


def test_orientation_and_sixteen_bits_are_understood(tmp_path):
    (tmp_path / "c").mkdir()
    tilted = np.zeros((6, 4, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # of EXIF: turn by 90 degrees to see it upright
    Image.fromarray(tilted).save(tmp_path / "c" / "a.jpg", exif=exif)
    deep = np.arange(24, dtype=np.uint16).reshape(6, 4) * 2730
    Image.fromarray(deep).save(tmp_path / "c" / "b.png")
    source = ImageFolder(str(tmp_path), channels=1)
    assert source[0]["image"].shape == (4, 6, 1)
    np.testing.assert_array_equal(source[1]["image"][..., 0], deep >> 8)


def test_grey_and_cmyk_photographs_become_rgb(tmp_path):
    (tmp_path / "c").mkdir()
    red = np.full((16, 16, 3), (200, 40, 40), np.uint8)
    for name, mode in (("a", "RGB"), ("b", "CMYK"), ("c", "L")):
        Image.fromarray(red).convert(mode).save(tmp_path / "c" / f"{name}.jpg", quality=100)
    rgb, cmyk, grey = (ImageFolder(str(tmp_path))[i]["image"] for i in range(3))
    # JPEG changes levels by little; an inverted or permuted channel would by far more.
    assert np.abs(rgb.astype(int) - red).max() <= 3
    assert np.abs(cmyk.astype(int) - red).max() <= 3
    assert np.abs(grey.astype(int) - 88).max() <= 3  # 0.299 R + 0.587 G + 0.114 B


def test_an_unreadable_image_is_named_when_it_is_read(folder):
    path, _ = folder
    (path / "dog" / "c.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    whole = (path / "dog" / "b.png").read_bytes()
    (path / "dog" / "d.png").write_bytes(whole[: len(whole) // 2])
    source = ImageFolder(str(path))
    for index in (5, 6):
        with pytest.raises(UserError, match=r"cannot read the image .*dog/[cd]\.png"):
            source[index]
    with pytest.raises(UserError, match="cannot read the image"):
        load_all(source, [])


def test_images_of_different_sizes_name_both_files(folder):
    path, _ = folder
    Image.fromarray(random_image(9, 9)).save(path / "dog" / "big.png")
    with pytest.raises(UserError, match=r"\(6, 4, 3\) in .*cat/.*\(9, 9, 3\) in .*big\.png"):
        load_all(ImageFolder(str(path)), [])


def test_folders_that_are_not_as_promised(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*nothere; set path"):
        ImageFolder(str(tmp_path / "nothere"))
    with pytest.raises(UserError, match="no folders in it"):
        ImageFolder(str(tmp_path))
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match="splits, not classes"):
        ImageFolder(str(tmp_path))
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match=r"no image in the class folder .*cat"):
        ImageFolder(str(tmp_path))
    with pytest.raises(UserError, match="channels=2"):
        ImageFolder(str(tmp_path), channels=2)


def test_brain_scans(real_data):
    source = ImageFolder(str(real_data / "folders/brain_mri/train"), channels=1)
    assert len(source) == 197
    assert source.metadata["class_names"] == ("no_tumor", "tumor")
    assert load_all(source, [])["image"].shape == (197, 128, 128, 1)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_saved(tmp_path, save):
    image, wide = random_image(20, 4, 4), np.asfortranarray(RNG.random((20, 3)))
    label = RNG.integers(0, 7, (20, 1))
    label[0] = 6
    save(tmp_path / "a.npz", image=image, label=label, wide=wide)
    source = Arrays(str(tmp_path / "a.npz"))
    examples = load_all(pickle.loads(pickle.dumps(source)), [])
    np.testing.assert_array_equal(examples["image"], image[..., None])
    np.testing.assert_array_equal(examples["label"], label[:, 0])
    np.testing.assert_array_equal(examples["wide"], wide.astype(np.float32))
    assert examples["label"].dtype == source[3]["label"].dtype == np.int32
    counts = tuple(int(np.sum(label == each)) for each in range(7))
    assert source.metadata == {"num_classes": 7, "class_counts": counts}


def test_saved_arrays_are_mapped_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((1000, 3), np.float32))
    array = Arrays(str(tmp_path / "a.npz")).arrays()["x"]
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable


def test_a_prefix_and_names_choose_the_arrays(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        train_images=random_image(8, 4, 4)[:, None],
        train_labels=np.arange(8),
        test_images=random_image(2, 4, 4)[:, None],
        test_labels=np.arange(2),
    )
    keys = {"image": "images", "label": "labels"}
    source = Arrays(str(tmp_path / "a.npz"), keys, prefix="test_", num_classes=8)
    assert len(source) == 2
    assert set(source[0]) == {"image", "label"}
    assert source.metadata["num_classes"] == 8
    with pytest.raises(UserError, match="label 7 is outside 0 to 4"):
        Arrays(str(tmp_path / "a.npz"), keys, prefix="train_", num_classes=5)
    with pytest.raises(UserError, match="no array 'imags'; did you mean 'images'"):
        Arrays(str(tmp_path / "a.npz"), {"image": "imags"}, prefix="train_")
    with pytest.raises(UserError, match="no array's name starts with prefix='val_'"):
        Arrays(str(tmp_path / "a.npz"), prefix="val_")
    with pytest.raises(UserError, match=r"a\.npz: .*differ in length"):
        Arrays(str(tmp_path / "a.npz"))


def test_files_that_are_no_arrays(tmp_path):
    with pytest.raises(UserError, match=r"no file .*nothere"):
        Arrays(str(tmp_path / "nothere.npz"))
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "objects.npz", x=np.array([{}, {}], dtype=object))
    np.savez(tmp_path / "fractions.npz", label=np.array([0.5, 1.0]))
    np.savez(tmp_path / "empty.npz", x=np.zeros((0, 3)))
    for name in ("text", "objects", "fractions", "empty"):
        with pytest.raises(UserError, match=name) as error:
            Arrays(str(tmp_path / f"{name}.npz"))
        assert "\n" not in str(error.value)


def test_digits_are_all_there_once():
    parts = [load_all(Digits(split), []) for split in ("train", "test")]
    assert [len(part["label"]) for part in parts] == [1438, 359]
    images = np.concatenate([part["image"] for part in parts])
    assert images.dtype == np.uint8 and images.max() == 255
    levels = np.round(images.reshape(-1, 64) * (16 / 255))
    assert sorted(map(tuple, levels)) == sorted(map(tuple, load_digits().data))
    assert Digits().metadata["num_classes"] == 10
    assert len(Digits("all")) == 1797
    assert not np.array_equal(Digits(split_seed=1).arrays()["label"], parts[0]["label"])


def test_a_misspelt_split_names_the_closest():
    with pytest.raises(UserError, match="no split 'tain'; did you mean 'train'"):
        Digits("tain")


def test_synthetic_examples_follow_from_seed_and_index():
    source, same, other = Synthetic(seed=1), Synthetic(seed=1), Synthetic(seed=2)
    np.testing.assert_array_equal(source[17]["image"], same[17]["image"])
    assert np.any(source[17]["image"] != other[17]["image"])
    assert np.any(source[17]["image"] != source[27]["image"])
    assert source[0]["image"].shape == (32, 32, 3) and source[0]["image"].dtype == np.uint8
    assert source[13]["label"] == 3 and source[13]["label"].dtype == np.int32


def test_synthetic_shapes_are_float32_of_any_shape():
    source = Synthetic(8, shapes={"features": (5,), "target": ()}, num_classes=0)
    example = source[2]
    assert set(example) == {"features", "target"}
    assert example["features"].shape == (5,) and np.shape(example["target"]) == ()
    assert load_all(source, [])["target"].dtype == np.float32
    assert source.metadata == {}


@pytest.mark.parametrize("shapes", [None, {"image": (16, 16, 1)}])
def test_synthetic_examples_can_be_learnt(shapes):
    train, test = (
        load_all(Synthetic(400, shapes, image=(16, 16, 3), seed=seed), []) for seed in (0, 1)
    )
    means = [np.mean(part["image"], axis=(1, 2)) for part in (train, test)]
    model = LogisticRegression(C=1e6, max_iter=5000).fit(means[0], train["label"])
    assert model.score(means[1], test["label"]) > 0.9
