"""The sources that docs/data.md shows can be built, each from files as the page describes them."""

import numpy as np
import pytest
from PIL import Image

from dlresearch.config import build, component, default_config, validate
from helpers.pages import run, snippets, write_files

PAGE = "docs/data.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A place where all files are that the page names, but for the TFDS set."""
    folder = tmp_path_factory.mktemp("data")
    write_files(PAGE, folder)
    run(["make_npz.py"], folder)
    for split in ("train", "test"):
        for pet in ("cat", "dog"):
            (folder / "pets" / split / pet).mkdir(parents=True)
            Image.new("RGB", (80, 70)).save(folder / "pets" / split / pet / "1.png")
    for split, name in (("train", "n01440764"), ("val", "n01443537")):
        (folder / "imagenet" / split / name).mkdir(parents=True)
        Image.new("L", (80, 70)).save(folder / "imagenet" / split / name / "1.JPEG")
    rows = [f"{100_000 + 1_000 * i},{i},{'town' if i % 3 else ''}" for i in range(20)]
    (folder / "houses.csv").write_text("\n".join(["price,rooms,place", *rows]))
    rows = [f"{'ill' if i % 2 else 'well'},{i}" for i in range(20)]
    (folder / "patients.csv").write_text("\n".join(["diagnosis,age", *rows]))
    (folder / "ptb.train.txt").write_text(" no it was <unk> \n" * 20)
    # Of words without meaning, so that there are enough subwords.
    letters = np.random.default_rng(0).integers(ord("a"), ord("z") + 1, (1500, 3, 8))
    lines = [" ".join(bytes(word.tolist()).decode() for word in line) for line in letters]
    for name in ("train.de", "train.en"):
        (folder / name).write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("snippet", snippets(PAGE), ids=lambda text: text.splitlines()[0])
def test_documented_source_gives_examples(folder, monkeypatch, snippet):
    monkeypatch.chdir(folder)
    config = default_config()
    exec(snippet, {"config": config, "component": component})
    experiment = validate(config)
    if experiment.data.source.name == "tfds":
        pytest.skip("checked as a config only: preparing a TFDS set needs TensorFlow")
    sources = [experiment.data.source, *(e.source for e in experiment.evaluators.values())]
    for each in sources:
        source = build(each, "source", "config.data.source")
        assert len(source) and all(
            isinstance(v, np.ndarray | np.generic) for v in source[0].values()
        )
