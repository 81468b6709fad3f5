"""Whatever is wrong with examples is answered by one line that names the file, or the setting."""

import numpy as np
import pytest
from PIL import Image

from helpers.verbs import SMALL, call, process

IMAGES = np.zeros((10, 8, 8, 1), np.uint8)
LABELS = np.arange(10)
ARRAYS = {
    "good.npz": {"image": IMAGES, "label": LABELS},
    "lengths.npz": {"image": IMAGES, "label": LABELS[:9]},
    "negative.npz": {"image": IMAGES, "label": LABELS - 1},
    "fractions.npz": {"image": IMAGES, "label": LABELS / 2},
    "no_label.npz": {"image": IMAGES},
    "one_hot.npz": {"image": IMAGES, "label": np.eye(10, dtype=np.int32)},
    "text.npz": {"image": np.array(["a"] * 10), "label": LABELS},
    "objects.npz": {"image": np.array([{}] * 10), "label": LABELS},
    "empty.npz": {"image": IMAGES[:0], "label": LABELS[:0]},
    "flat.npz": {"image": IMAGES.reshape(10, 64), "label": LABELS},
    "nan.npz": {"image": np.full((10, 8, 8, 1), np.nan, np.float32), "label": LABELS},
    "smaller.npz": {"image": IMAGES[:, :6, :6], "label": LABELS},
    "more_classes.npz": {"image": IMAGES, "label": LABELS + 5},
}
TABLES = {
    "good.csv": "rooms,place,price\n1,x,3\n2,y,4\n3,x,5\n4,y,6\n5,x,7\n",
    "no_target.csv": "rooms,price\n1,2\n2,\n3,4\n4,5\n5,6\n",
    "ragged.csv": "rooms,price\n1,2\n2,3,4,5\n",
    "header.csv": "rooms,price\n",
    "empty.csv": "",
}
CODE = """
import numpy as np

class Noise:
    random = True

    def __call__(self, example, rng):
        return example
"""


def write_images(folder, second_size=(8, 8)):
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i, size in enumerate([(8, 8), second_size]):
            Image.fromarray(np.full(size, 20 * i, np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    no_evaluators = "    config.evaluators = {}\n    return config"
    (path / "small.py").write_text(SMALL)
    (path / "train.py").write_text(SMALL.replace("    return config", no_evaluators))
    (path / "noise.py").write_text(CODE)
    for name, arrays in ARRAYS.items():
        np.savez(path / name, **arrays)
    (path / "no.npz").write_text("hello")
    for name, text in TABLES.items():
        (path / name).write_text(text)
    write_images(path / "images")
    (write_images(path / "hollow") / "emu").mkdir()
    (write_images(path / "broken") / "dog/1.png").write_bytes(
        (path / "images/dog/1.png").read_bytes()[:40]
    )
    (write_images(path / "text") / "dog/1.png").write_text("no image")
    write_images(path / "sizes", (9, 8))
    write_images(path / "splits/train")
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


SOURCES = {
    "tfds(dataset=mnits)": "TFDS has no data set 'mnits'; did you mean 'mnist'?",
    "tfds(dataset='mn ist')": "'mn ist' is no name; write name, name/config or name:version",
    "tfds(dataset=mnist,data_dir=nowhere)": "there is no folder nowhere to look for mnist in; set",
    "tfds(dataset=mnist,data_dir=.)": "mnist is not prepared in .; set data_dir, or: pip install",
    "tfds": "config.data.source.dataset: tfds needs this argument; set it",
    "image_folder(path=nowhere)": "there is no folder nowhere; set path to a folder of class",
    "image_folder(path=images/cat)": "images/cat has no folders in it; put the images of each",
    "image_folder(path=splits)": "splits holds splits, not classes; set path to one of them, such",
    "image_folder(path=hollow)": "there is no image in the class folder hollow/emu; remove or fill",
    "image_folder(path=broken,channels=1)": "cannot read the image broken/dog/1.png: ",
    "image_folder(path=text)": "cannot read the image text/dog/1.png: ",
    "image_folder(path=sizes)": "'image' has shape (8, 8, 3) in sizes/cat/0.png and (9, 8, 3) in",
    "image_folder(path=images,size=8)": "config.data.source.size: expected 2 values, got (8,)",
    "image_folder(path=images,channels=2)": "channels=2: use 1 (grey), 3 (RGB) or 4 (RGBA)",
    "table(path=nowhere.csv,target=price)": "there is no file nowhere.csv; set path to a .csv",
    "table(path=good.csv)": "config.data.source.target: table needs this argument; set it",
    "table(path=good.csv,target=prise)": "good.csv: there is no column 'prise'; did you mean 'pric",
    "table(path=good.csv,target=price,numeric=(roms,))": "no column 'roms'; did you mean 'rooms'?",
    "table(path=good.csv,target=price,numeric=(place,))": "column 'place' has 'x', which is no",
    "table(path=good.csv,target=place)": "column 'place' has 'x', which is no finite number",
    "table(path=good.csv,target=price,numeric=(price,))": "column 'price' is named twice; leave it",
    "table(path=good.csv,target=price,normalisation=standart)": "did you mean 'standard'?",
    "table(path=good.csv,target=price,ordinal={place: (x, z)})": "has the value 'y', which its lis",
    "table(path=no_target.csv,target=price)": "target 'price' is missing in 1 rows, first in data",
    "table(path=ragged.csv,target=price)": "cannot read ragged.csv as a CSV file: ",
    "table(path=header.csv,target=price)": "header.csv has no rows",
    "table(path=empty.csv,target=price)": "cannot read empty.csv as a CSV file: ",
    "table(path=images,target=price)": "cannot read images as a CSV file: ",
    "arrays(path=nowhere.npz)": "there is no file nowhere.npz; set path to an .npz file",
    "arrays(path=no.npz)": "cannot read no.npz as an .npz file of arrays: File is not a zip file",
    "arrays(path=lengths.npz)": "differ in length: {'image': 10, 'label': 9}; make them equal",
    "arrays(path=good.npz,keys={image: images})": "no array 'images'; did you mean 'image'?",
    "arrays(path=good.npz,prefix=train_)": "no array's name starts with prefix='train_'",
    "arrays(path=good.npz,num_classes=5)": "label 9 is outside 0 to 4; number the classes from 0",
    "arrays(path=negative.npz)": "label -1 is outside 0 to 8; number the classes from 0",
    "arrays(path=fractions.npz)": "'label' is not of integers (float64)",
    "arrays(path=no_label.npz)": "config.task.num_classes: the training source does not say how",
    "arrays(path=one_hot.npz)": "labels of shape (32, 10) in 2 classes need (32, 10, 2)",
    "arrays(path=text.npz)": "'image' is of type <U1, which no device can hold",
    "arrays(path=objects.npz)": "cannot read objects.npz as an .npz file of arrays: ",
    "arrays(path=empty.npz)": "there is no example in it",
    "arrays(path=flat.npz)": "shifted_crop: 'image' has shape (32, 64), not batch, height, width",
    "arrays(path=nan.npz)": "the loss or the gradients of the first step are not finite",
    "digits(split=trian)": "config.data.source: there is no split 'trian'; did you mean 'train'?",
    "digits(held_out=1)": "held_out=1.0 is not in [0, 1)",
    "synthetic(image=(8,8))": "config.data.source.image: expected 3 values, got (8, 8)",
}


@pytest.mark.parametrize("source", SOURCES)
def test_wrong_source(source):
    call("check", "--config=train.py", f"--config.data.source={source}").assert_mistake(
        SOURCES[source]
    )


EVALUATED = {
    "more_classes.npz": "config.evaluators.test: 'label': label 14 is outside 0 to 9",
    "no_label.npz": "config.evaluators.test: labels: examples have no 'label'; they have image",
    "smaller.npz": "config.model: its parameters do not fit an input [359, 6, 6, 1]; it was made",
}


@pytest.mark.parametrize("file", EVALUATED)
def test_examples_of_evaluation_that_do_not_go_with_those_of_training(file):
    source = f"--config.evaluators.test.source=arrays(path={file})"
    answer = call("check", "--config=small.py", source, "--config.model.head=flatten")
    answer.assert_mistake(EVALUATED[file])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("trian", "TFDS mnist has no split 'trian'; did you mean 'train'?"),
        ("'train[:90'", "cannot understand split 'train[:90', or it is empty; write train[:90%]"),
    ],
)
def test_wrong_split_of_a_data_set(real_data, split, message):
    source = f"tfds(dataset=mnist,data_dir={real_data / 'tfds'},split={split})"
    call("check", "--config=train.py", f"--config.data.source={source}").assert_mistake(message)


def test_random_transform_of_resident_examples():
    answer = call("check", "--config=small.py", "--config.data.transforms=noise:Noise")
    answer.assert_mistake("Noise is random", "set data.placement=streamed")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_broken_image_is_named_whoever_reads_it(workers):
    answer = process(
        "dlresearch.train",
        "--config=train.py",
        "--workdir=run",
        "--config.data.source=image_folder(path=broken)",
        "--config.data.placement=streamed",
        f"--config.data.workers={workers}",
    )
    answer.assert_mistake("cannot read the image broken/dog/1.png")
