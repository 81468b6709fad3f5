"""TFDS is read without TensorFlow, and what is missing is said in one line."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from dlresearch.data import TrainingOrder, evaluation_batches, load_all, stream
from dlresearch.data.prepare import main as prepare
from dlresearch.data.tfds_source import TFDS
from dlresearch.data.transforms import CentreCrop, RandomResizedCrop, ResizeShorter
from dlresearch.errors import UserError

WITHOUT_TENSORFLOW = """
import sys
from dlresearch.data import load_all
from dlresearch.data.tfds_source import TFDS
examples = load_all(TFDS("mnist", "test[:1000]", {root!r}), [])
assert examples["image"].shape == (1000, 28, 28, 1)
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def root(real_data):
    return str(real_data / "tfds")


def test_reading_imports_no_tensorflow_and_prints_nothing(root, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise AssertionError('imported TensorFlow')")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW.format(root=root)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_images_labels_and_classes(root):
    source = TFDS("mnist", "test", root)
    assert len(source) == 10_000
    assert source.metadata["num_classes"] == 10
    assert source.metadata["class_names"] == tuple("0123456789")
    example = source[0]
    assert example["image"].shape == (28, 28, 1) and example["image"].dtype == np.uint8
    assert example["label"].dtype == np.int32
    labels = np.array([e["label"] for e in source.__getitems__(range(10_000))])
    # The counts of the official test set.
    expected = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    np.testing.assert_array_equal(np.bincount(labels), expected)


def test_evaluation_counts_the_test_set_once(root):
    source = TFDS("mnist", "test[:1000]", root)
    batches = list(evaluation_batches(source, [], 300, slice(None)))
    assert [int(batch["mask"].sum()) for batch in batches] == [300, 300, 300, 100]


def test_text_is_left_out_unless_asked_for(root):
    assert set(TFDS("cifar10", "test", root)[0]) == {"image", "label"}
    asked = TFDS("cifar10", "test", root, keys=("id", "label"))[0]
    assert set(asked) == {"id", "label"}
    assert asked["id"].startswith(b"test_")


def test_parts_of_splits(root):
    part = TFDS("cifar10", "train[:90%]", root)
    rest = TFDS("cifar10", "train[90%:]", root)
    whole = TFDS("cifar10", "train+test", root)
    assert (len(part), len(rest), len(whole)) == (45_000, 5_000, 60_000)
    np.testing.assert_array_equal(rest[7]["image"], whole[45_007]["image"])


def test_a_worker_process_can_get_it(root):
    source = TFDS("mnist", "test", root, keys=("image",))
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[123]["image"], source[123]["image"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "mnits"}, r"no data set 'mnits'; did you mean 'mnist'"),
        (
            {"dataset": "fashion_mnist"},
            r"not prepared in .*dlresearch\[prepare\].*--dataset=fashion_mnist",
        ),
        ({"dataset": "mnist:9.9.9"}, r"does not hold this version or config of mnist:9\.9\.9"),
        ({"dataset": "mnist", "split": "trian"}, r"no split 'trian'; did you mean 'train'"),
        ({"dataset": "mnist", "split": "train[:x]"}, r"cannot understand split 'train\[:x\]'"),
        ({"dataset": "mnist", "split": "train[:0]"}, r"split 'train\[:0\]', or it is empty"),
        ({"dataset": "cifar10", "keys": ("imge",)}, r"no feature 'imge'; did you mean 'image'"),
        ({"dataset": "tiny_shakespeare"}, r"no feature that is an array; name in keys.*text"),
        ({"dataset": "not a name"}, r"'not a name' is no name"),
    ],
)
def test_a_mistake_is_one_line(root, arguments, message, capfd):
    with pytest.raises(UserError, match=message) as error:
        TFDS(data_dir=root, **arguments)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*nothere to look for mnist in; set data_dir"):
        TFDS("mnist", data_dir=str(tmp_path / "nothere"))


def test_the_environment_says_where_data_sets_are(root, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", root)
    assert len(TFDS("mnist", "test")) == 10_000


def damaged(root, tmp_path):
    shutil.copytree(f"{root}/mnist", tmp_path / "mnist")
    return next(tmp_path.glob("mnist/*/mnist-test.array_record*"))


def test_a_missing_file_is_a_mistake(root, tmp_path):
    damaged(root, tmp_path).unlink()
    with pytest.raises(UserError, match=r"prepare it again"):
        TFDS("mnist", "test", str(tmp_path))


def test_a_damaged_file_is_a_mistake(root, tmp_path):
    file = damaged(root, tmp_path)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read its files .*prepare it again"):
        load_all(TFDS("mnist", "test", str(tmp_path)), [])


def test_preparing_without_tensorflow_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert prepare(["--dataset=mnist"]) == 2
    assert capsys.readouterr().err.strip().endswith("pip install 'dlresearch[prepare]'")


def record(image: bytes, label: int, name: str) -> bytes:
    """An example as TFDS writes it."""
    example = tf_example_pb2.Example()
    example.features.feature["image"].bytes_list.value.append(image)
    example.features.feature["label"].int64_list.value.append(label)
    example.features.feature["file_name"].bytes_list.value.append(name.encode())
    return example.SerializeToString()


@pytest.fixture
def imagenet(tmp_path):
    """A folder as TFDS prepares imagenet2012, with six JPEGs of all sizes, two of them grey."""
    folder, rng = tmp_path / "imagenet2012" / "5.1.0", np.random.default_rng(0)
    folder.mkdir(parents=True)
    module = "tensorflow_datasets.core.features."
    image = {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}, "encodingFormat": "jpeg"}
    features = {
        "file_name": {"pythonClassName": f"{module}text_feature.Text", "text": {}},
        "image": {"pythonClassName": f"{module}image_feature.Image", "image": image},
        "label": {
            "pythonClassName": f"{module}class_label_feature.ClassLabel",
            "classLabel": {"numClasses": "1000"},
        },
    }
    kind = f"{module}features_dict.FeaturesDict"
    (folder / "features.json").write_text(
        json.dumps({"pythonClassName": kind, "featuresDict": {"features": features}})
    )
    sizes, splits = [(50, 40), (30, 61), (44, 33), (20, 20), (90, 25), (25, 90)], []
    for split in ("train", "validation"):
        file = folder / f"imagenet2012-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(file), "group_size:1")
        for index, size in enumerate(sizes):
            mode, shape = ("L", size[::-1]) if index % 3 == 1 else ("RGB", (*size[::-1], 3))
            content = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(content, "JPEG")
            writer.write(record(content.getvalue(), 111 * index, f"n{index}.JPEG"))
        writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        splits.append(
            {"name": split, "shardLengths": ["6"], "numBytes": "1", "filepathTemplate": template}
        )
    info = {"name": "imagenet2012", "version": "5.1.0", "fileFormat": "array_record"}
    (folder / "dataset_info.json").write_text(json.dumps({**info, "splits": splits}))
    return str(tmp_path)


def test_photographs_of_all_sizes_become_batches(imagenet):
    source = TFDS("imagenet2012", "train", imagenet)
    assert source.metadata["num_classes"] == 1000 and set(source[0]) == {"image", "label"}
    assert [source[i]["image"].shape for i in (0, 1)] == [(40, 50, 3), (61, 30, 3)]
    grey = source[1]["image"]
    np.testing.assert_array_equal(grey, grey[..., :1].repeat(3, axis=2))
    order, options = TrainingOrder(6, 0, 4), dict(rows=slice(None), workers=0, prefetch=1)
    with stream(source, [RandomResizedCrop((24, 24))], order, start_step=0, **options) as batches:
        batch = next(batches)
    assert batch["image"].shape == (4, 24, 24, 3) and batch["image"].dtype == np.uint8
    np.testing.assert_array_equal(batch["label"], 111 * order.indices(0))
    test = TFDS("imagenet2012", "validation", imagenet)
    middle = [ResizeShorter(26), CentreCrop((24, 24))]
    (whole,) = evaluation_batches(test, middle, 6, slice(None))
    np.testing.assert_array_equal(whole["label"], 111 * np.arange(6))


@pytest.mark.slow
def test_all_of_mnist_loads(root):
    examples = load_all(TFDS("mnist", "train", root), [])
    assert examples["image"].shape == (60_000, 28, 28, 1)
    # Sum of all pixels of the original IDX file: mean 33.318 of 255.
    assert round(examples["image"].mean(), 3) == 33.318
