"""Every experiment of this repository: two steps on tiny inputs, and its evaluators on a few
examples.
"""

import gzip
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlresearch.config import component, load, validate
from dlresearch.training import Setup
from helpers.training.small_runs import assert_same_run, run

ROOT = Path(__file__).parents[2]
TINY_TRANSLATION = [
    ("model.width", "8"),
    ("data.source.vocabulary_size", "20"),
    ("data.buckets", "64"),
    ("task.beam", "2"),
    ("task.max_length", "4"),
    ("evaluators.test.decode", "False"),
]
TINY_LANGUAGE = [("model.width", "4"), ("data.source.streams", "8")]
TINY_SCORE = [("evaluators.score.steps", "2"), ("evaluators.score.widths", "2")]
TINY_DCGAN = [("model.widths", "4,4"), ("task.discriminator.widths", "2,2"), *TINY_SCORE]
TINY_RESNETS = [
    ("model.widths", "4,4,4"),
    ("task.discriminator.widths", "4,4"),
    ("task.discriminator.last_widths", "(4,)"),
    *TINY_SCORE,
]
TINY_STYLEGAN = [
    ("model.channel_max", "4"),
    ("model.style_width", "4"),
    ("task.discriminator.channel_max", "4"),
    ("task.discriminator.group_size", "4"),
    *TINY_SCORE,
]
# Five updates in a step are five copies of the discriminator in one program; two show as much.
TWICE = [("task.repeats", "2")]
TINY_PROJECTOR = [("model.widths", "(2,)"), ("task.projector", "8,4")]
TINY_RESNET = [
    ("model.blocks", "1,1"),
    ("model.width", "4"),
    ("precision", "float32"),
]
TINY_VIT = [("model.depth", "1"), ("model.width", "8"), ("model.heads", "2")]
TINY_IMAGENET = [
    ("data.source.length", "64"),
    ("evaluators.probe.source.length", "20"),
    ("evaluators.spread.source.length", "20"),
    ("precision", "float32"),
]
TINY_ENCODER = [
    ("model.width", "4"),
    ("model.layers", "1"),
    ("model.heads", "2"),
    ("model.hidden", "4"),
]
TINY = {
    "cnn/digits.py": [("model.widths", "2,2")],
    "cnn/mnist.py": [
        ("model.widths", "2,2"),
        ("model.hidden", "4"),
        ("model.convs_per_stage", "1"),
    ],
    "cnn/cifar10.py": [("model.widths", "2,2")],
    "cnn/cifar10.py:resnet18": [("model.blocks", "1,1"), ("model.width", "4")],
    "cnn/cifar10.py:wrn28_10": [("model.depth", "10"), ("model.widen", "1")],
    "cnn/cifar10.py:speedrun94": [("model.widths", "4,4")],
    "cnn/cifar10.py:speedrun96": [("model.widths", "4,4")],
    "cnn/fashion_mnist.py": [("model.depth", "10"), ("model.widen", "1")],
    "cnn/imagenet.py:synthetic,size=32": [
        ("model.blocks", "1,1"),
        ("model.width", "4"),
        ("data.source.length", "64"),
        ("evaluators.test.source.length", "20"),
    ],
    "cnn/imagenet.py:vit_s16,synthetic,size=32": [
        ("model.depth", "1"),
        ("model.width", "16"),
        ("model.heads", "2"),
        ("data.source.length", "64"),
        ("evaluators.test.source.length", "20"),
    ],
    "cnn/image_folder.py:path={folders},size=16,channels=1": [("model.widths", "2,2")],
    "cnn/tumour.py:path={folders},size=16": [("model.widths", "2,2")],
    "cnn/tumour.py:finetuned,start={cifar10},path={folders},size=16": [("model.widths", "2,2")],
    "gan/cifar10.py": [
        ("model.widths", "4,4"),
        ("task.discriminator.widths", "(4,)"),
        ("task.discriminator.last_widths", "(4,)"),
        *TINY_SCORE,
        *TWICE,
    ],
    "gan/cifar10.py:dcgan": [("model.widths", "(4,)"), ("task.discriminator.widths", "(2,)")],
    "gan/cifar10.py:biggan": [
        ("model.width", "2"),
        ("task.discriminator.width", "2"),
        *TINY_SCORE,
        *TWICE,
    ],
    "gan/cifar10.py:stylegan2_ada": [*TINY_STYLEGAN, ("task.ada", "blit")],
    "gan/digits.py": [
        ("model.widths", "4,4"),
        ("task.discriminator.widths", "(4,)"),
        ("task.discriminator.last_widths", "(4,)"),
        *TINY_SCORE,
    ],
    "gan/fashion_mnist.py": TINY_DCGAN,
    "gan/gaussians.py": [("model.hidden", "4"), ("evaluators.modes.source.count", "100")],
    "gan/mnist.py": TINY_DCGAN,
    "gan/mnist.py:wgan_gp,conditional=False": [*TINY_DCGAN[:2], *TWICE],
    "gan/mnist.py:sngan": [*TINY_RESNETS, *TWICE],
    "rnn/forecast.py": [("model.width", "4")],
    "rnn/forecast.py:path={table},target=households,window=4,horizon=2,season=2": [
        ("model.width", "4")
    ],
    "rnn/jsb.py:path={music}": [("model.width", "4")],
    "rnn/dates.py": [
        ("model.width", "4"),
        ("data.source.count", "40"),
        ("evaluators.test.source.count", "10"),
    ],
    "rnn/multi30k.py:path={pairs}": TINY_TRANSLATION,
    "rnn/multi30k.py:transformer,path={pairs}": [*TINY_TRANSLATION, ("model.layers", "1")],
    "rnn/ptb.py:path={words}": TINY_LANGUAGE,
    "rnn/ptb.py:medium,path={words}": TINY_LANGUAGE,
    "rnn/ptb.py:awd,path={words}": [*TINY_LANGUAGE, ("model.embedding", "3")],
    "rnn/python_docs.py": [*TINY_LANGUAGE, ("evaluators.test.source.length", "2000")],
    "rnn/python_docs.py:subwords,rnn": [
        *TINY_LANGUAGE,
        ("evaluators.test.source.length", "2000"),
        ("data.source.vocabulary_size", "400"),
    ],
    "rnn/sst.py:path={sentences}": [("model.width", "4"), ("model.embedding", "4")],
    "rnn/tiny_shakespeare.py": TINY_LANGUAGE,
    "rnn/tiny_shakespeare.py:mingru": TINY_LANGUAGE,
    "rnn/tiny_shakespeare.py:large": TINY_LANGUAGE,
    "search/digits.py": [("model.widths", "2,2")],
    "self_supervised/cifar10.py": TINY_RESNET,
    "self_supervised/cifar10.py:dino,long": [
        *TINY_RESNET,
        ("task.outputs", "8"),
        ("task.hidden", "(8,)"),
    ],
    "self_supervised/digits.py": TINY_PROJECTOR,
    "self_supervised/imagenet.py:byol,synthetic,size=32": [
        *TINY_RESNET,
        *TINY_IMAGENET,
        ("task.projector", "8,4"),
        ("task.predictor", "8,4"),
    ],
    "self_supervised/imagenet.py:dino,synthetic,size=64": [
        *TINY_VIT,
        *TINY_IMAGENET,
        ("task.outputs", "8"),
        ("task.hidden", "(8,)"),
    ],
    "self_supervised/mnist.py:moco_v2": [*TINY_PROJECTOR, ("task.queue", "16")],
    "self_supervised/mnist.py:mae": [*TINY_VIT, ("task.decoder_width", "8")],
    "self_supervised/mnist.py:supervised,labels=0.5": TINY_PROJECTOR[:1],
    "self_supervised/text.py": [*TINY_ENCODER, ("data.source.min_count", "50")],
    "self_supervised/text.py:path={sentences}": TINY_ENCODER,
    "self_supervised/text.py:path={words}/ptb.train.txt.gz": TINY_ENCODER,
    "self_supervised/text.py:scratch,path={sentences}": TINY_ENCODER,
    "self_supervised/text.py:finetune,path={sentences},start={masked}": TINY_ENCODER,
    "tabular/fraud.py:path={rare}": [("model.hidden", "4")],
    "tabular/fraud.py:weighted,path={rare}": [("model.hidden", "4")],
    "tabular/fraud.py:oversampled,path={rare}": [("model.hidden", "4")],
    "tabular/fraud.py:focal,path={rare}": [("model.hidden", "4")],
    "tabular/house_prices.py:path={table}": [],
    "tabular/house_prices.py:wide,path={table}": [("model.hidden", "4")],
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder of class folders, a table with the columns of the house prices, and one with those
    of the mammography; pieces of music, and sentences with classes.
    """
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("train/cat/a", "train/cat/b", "train/dog/c", "test/cat/d", "test/dog/e"):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 24), dtype=np.uint8)).save(path)
    columns = (
        "longitude,latitude,housing_median_age,total_rooms,total_bedrooms,population,households,"
        "median_income,median_house_value,ocean_proximity"
    )
    oceans = ("ISLAND", "NEAR BAY", "NEAR OCEAN", "<1H OCEAN", "INLAND")
    with gzip.open(root / "housing.csv.gz", "wt") as file:
        print(columns, file=file)
        for row in range(50):
            numbers = [f"{value:.3f}" for value in rng.uniform(1, 5, 9)]
            numbers[4] = "" if row % 7 == 0 else numbers[4]
            print(",".join([*numbers, oceans[row % 5]]), file=file)
    with gzip.open(root / "rare.csv.gz", "wt") as file:
        for row in range(100):
            numbers = [f"{value:.3f}" for value in rng.standard_normal(6)]
            print(",".join([*numbers, "'1'" if row % 10 == 0 else "'-1'"]), file=file)
    pieces = rng.integers(21, 109, (12, 6, 4)).tolist()
    (root / "music.json").write_text(json.dumps(dict.fromkeys(("train", "valid", "test"), pieces)))
    for split in ("train", "dev", "test"):
        with gzip.open(root / f"stsa.binary.{split}.gz", "wt") as file:
            for row in range(12):
                print(row % 2, *rng.choice(["a", "film", "good", "bad"], row % 5 + 1), file=file)
    for name in ("train", "val", "test_2016_flickr"):
        for language, words in {"de": ("Ein", "Hund"), "en": ("A", "dog", "jumps")}.items():
            with gzip.open(root / f"{name}.{language}.gz", "wt") as file:
                for row in range(20):
                    print(*rng.choice(words, row % 4 + 1), file=file)
    for split in ("train", "valid", "test"):
        with gzip.open(root / f"ptb.{split}.txt.gz", "wt") as file:
            for _ in range(200):
                print(*rng.choice(["the", "<unk>", "market", "fell"], 10), file=file)
    return {
        "folders": str(root),
        "words": str(root),
        "music": str(root / "music.json"),
        "sentences": str(root),
        "pairs": str(root),
        "table": str(root / "housing.csv.gz"),
        "rare": str(root / "rare.csv.gz"),
        "cifar10": str(cifar10_run(root / "cifar10")),
        "masked": str(masked_run(root / "masked", root)),
    }


def cifar10_run(folder):
    """A run of two steps of the plain network for CIFAR-10, on made-up images."""
    overrides = [("duration", "2 steps"), ("batch_size", "8"), ("model.widths", "2,2")]
    config = load(f"{ROOT}/experiments/cnn/cifar10.py:plain", overrides)
    with config.unlocked():
        config.data.source = component("synthetic", length=64)
        config.evaluators = {}
    run(config, folder)
    return folder


def masked_run(folder, sentences):
    """A run of two steps that fills in words of sentences."""
    name = f"{ROOT}/experiments/self_supervised/text.py:path={sentences}"
    config = load(name, [("duration", "2 steps"), ("batch_size", "8"), *TINY_ENCODER])
    config.evaluators = {}
    run(config, folder)
    return folder


def test_every_experiment_is_among_them():
    files = {
        str(path.relative_to(ROOT / "experiments")) for path in ROOT.glob("experiments/*/*.py")
    }
    assert files == {name.split(":")[0] for name in TINY}


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_experiment_makes_two_steps_and_resumes_to_the_bit(name, places, tmp_path):
    overrides = [("duration", "2 steps"), ("batch_size", "8"), *TINY[name]]
    overrides += [("checkpoint.every", "1 steps"), ("log.every", "1 steps")]
    config = load(f"{ROOT}/experiments/{name.format(**places)}", overrides)
    channels = 3 if "cifar" in name else 1
    size = 28 if "mnist" in name else 8
    with config.unlocked():
        made = component("synthetic", length=64, image=(size, size, channels))
        if config.data.source.name == "tfds":
            config.data.source = made
        elif config.data.source.name == "subset":
            config.data.source.of = made
        for part in (config.data, *config.evaluators.values()):
            if part.source.name == "text" and part.source.get("dataset"):
                part.source.update(dataset=None, path=f"{places['words']}/ptb.train.txt.gz")
                part.source.split = "all"
        for evaluator in config.evaluators.values():
            evaluator["every"] = "100%"
            evaluator["batch_size"] = evaluator.source.get("streams", 8)
            for key in ("source", "floor", "train"):
                if evaluator.get(key) and evaluator[key].name == "tfds":
                    # Protocols hold some of each class out, and look for 200 neighbours.
                    length = 300 if key == "train" else 20
                    evaluator[key] = component(
                        "synthetic", length=length, image=(size, size, channels)
                    )
            if evaluator.name == "classification_accuracy_score":
                evaluator.train_batch_size = 8
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    setup = Setup(validate(config))
    result = run(setup, straight)
    assert (result.status, result.step) == ("completed", 2)
    assert all(np.isfinite(value) for value in result.metrics.values())
    evaluated = {metric.split("/")[0] for metric in result.metrics}
    pictured = {path.name for path in (straight / "artifacts").glob("*")}
    assert evaluated | pictured > set(config.evaluators)
    # As if it had been killed before the second step was saved.
    shutil.copytree(straight, resumed)
    shutil.rmtree(resumed / "checkpoints" / "2")
    assert run(setup, resumed).status == "completed"
    assert_same_run(straight, resumed)


def test_plain_house_prices_have_ten_inputs(places):
    config = load(f"{ROOT}/experiments/tabular/house_prices.py:path={places['table']}")
    params = Setup(validate(config)).abstract_state.variables.params["model"]
    shapes = sorted(layer["kernel"].shape for layer in params.values())
    assert shapes == [(8, 1), (10, 16), (16, 8)]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["mnist", "cifar10"])
def test_every_method_without_labels_can_be_built(file):
    """All but two are trained above."""
    path = f"{ROOT}/experiments/self_supervised/{file}.py"
    methods = runpy.run_path(path)["METHODS"]
    assert len(methods) >= 12
    variants = [*methods, *(f"{method},long" for method in methods if file == "cifar10")]
    for variant in variants:
        config = load(f"{path}:{variant}", [("precision", "float32")])
        with config.unlocked():
            if config.model.name == "resnet":
                config.model.update(blocks=(1,), width=4)
            config.data.source = component("synthetic", length=600, image=(32, 32, 3))
            config.data.preprocess, config.evaluators = (), {}
        Setup(validate(config))
