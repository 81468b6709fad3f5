"""Tables: statistics of the training rows, and nothing of the test rows in them."""

import gzip

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from dlresearch.data import load_all
from dlresearch.data.table import Table
from dlresearch.errors import UserError

PROXIMITY = ("ISLAND", "NEAR BAY", "NEAR OCEAN", "<1H OCEAN", "INLAND")


@pytest.fixture
def small(tmp_path):
    """100 rows: two numbers, one with gaps; a category, a size with an order, a target."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.normal(5, 3, 100),
            "b": np.where(rng.random(100) < 0.2, np.nan, rng.exponential(size=100)),
            "colour": rng.choice(["red", "green", "blue"], 100),
            "size": rng.choice(["small", "middle", "large"], 100),
            "price": rng.normal(100, 10, 100),
            "kind": rng.choice(["yes", "no"], 100),
        }
    )
    path = tmp_path / "small.csv"
    frame.to_csv(path, index=False)
    return str(path), frame


def features(source):
    return source.arrays()["features"]


def test_california_housing_gives_ten_inputs(real_data):
    arguments = {
        "path": str(real_data / "raw/california_housing/housing.csv.gz"),
        "target": "median_house_value",
        "ordinal": {"ocean_proximity": PROXIMITY},
        "target_scale": 1e-5,
    }
    train, test = Table(split="train", **arguments), Table(split="test", **arguments)
    assert (len(train), len(test)) == (16_512, 4_128)
    assert train.metadata["num_features"] == test.metadata["num_features"] == 10
    assert train.metadata["feature_names"][-2:] == ("ocean_proximity", "total_bedrooms missing")
    assert train[0]["features"].dtype == np.float32
    assert train[0]["features"].shape == (10,)
    missing = features(train)[:, -1].sum() + features(test)[:, -1].sum()
    assert missing == 207
    np.testing.assert_allclose(features(train)[:, :9].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(features(train)[:, :9].std(axis=0), 1, atol=1e-4)
    targets = np.concatenate([s.arrays()["target"] for s in (train, test)])
    assert targets.max() == np.float32(5.00001)
    np.testing.assert_allclose(targets.mean(), 2.068558, rtol=1e-5)  # 206,855.8 dollars


def test_numbers_are_those_of_scikit_learn_on_the_training_rows(small):
    path, frame = small
    arguments = {"path": path, "target": "price", "numeric": ("a",), "categorical": ("colour",)}
    train, test = (Table(split=split, **arguments) for split in ("train", "test"))
    # Which rows are whose, from the target, which is unique.
    rows = [
        [int(np.argmin(np.abs(frame["price"] - value))) for value in s.arrays()["target"]]
        for s in (train, test)
    ]
    assert sorted(rows[0] + rows[1]) == list(range(100)) and len(rows[1]) == 20
    fitted = frame.iloc[rows[0]]
    scaler = StandardScaler().fit(fitted[["a"]])
    one_hot = OneHotEncoder(sparse_output=False).fit(fitted[["colour"]])
    for source, part in ((train, frame.iloc[rows[0]]), (test, frame.iloc[rows[1]])):
        expected = np.hstack([scaler.transform(part[["a"]]), one_hot.transform(part[["colour"]])])
        np.testing.assert_allclose(features(source), expected, atol=1e-6)
    assert train.metadata["feature_names"] == ("a", "colour=blue", "colour=green", "colour=red")


def test_missing_numbers_become_the_training_median_and_are_indicated(small):
    path, frame = small
    source = Table(
        path, "price", numeric=("b",), categorical=(), normalisation="none", held_out=0.0
    )
    gaps = frame["b"].isna().to_numpy()
    np.testing.assert_array_equal(features(source)[:, 1], gaps)
    np.testing.assert_allclose(
        features(source)[:, 0], frame["b"].fillna(frame["b"].median()), rtol=1e-6
    )
    with pytest.raises(UserError, match="column 'b' lacks values"):
        Table(path, "price", missing="error")


def test_ordered_categories_become_their_ranks_standardised(small):
    path, frame = small
    order = ("small", "middle", "large")
    arguments = {"numeric": (), "categorical": (), "ordinal": {"size": order}, "held_out": 0.0}
    ranks = frame["size"].map({value: i for i, value in enumerate(order)}).to_numpy(float)
    raw = Table(path, "price", normalisation="none", **arguments)
    np.testing.assert_array_equal(features(raw)[:, 0], ranks)
    for normalisation in ("standard", "quantile"):
        source = Table(path, "price", normalisation=normalisation, **arguments)
        np.testing.assert_allclose(features(source)[:, 0], stats.zscore(ranks), rtol=1e-5)


def test_quantile_normalisation_gives_a_normal_distribution(tmp_path):
    numbers = np.random.default_rng(0).exponential(size=2000)
    path = tmp_path / "skew.csv"
    pd.DataFrame({"x": numbers, "y": numbers}).to_csv(path, index=False)
    source = Table(str(path), "y", normalisation="quantile", held_out=0.0)
    inner = np.abs(features(source)[:, 0]) < 3
    # Kolmogorov-Smirnov distance; the map is monotonic by construction.
    assert stats.kstest(features(source)[inner, 0], "norm").statistic < 0.01
    assert np.all(np.diff(features(source)[np.argsort(numbers), 0]) >= 0)


def test_a_category_that_training_has_not_seen_is_all_zeros(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame({"c": [f"v{i}" for i in range(10)], "y": range(10)}).to_csv(path, index=False)
    assert not features(Table(str(path), "y", split="test")).any()


def test_changing_the_test_rows_changes_no_training_feature(small, tmp_path):
    path, frame = small
    test = Table(path, "price", split="test").arrays()["target"]
    changed = frame.copy()
    rows = [int(np.argmin(np.abs(frame["price"] - value))) for value in test]
    changed.loc[rows, "a"] = 1e6
    changed.to_csv(tmp_path / "changed.csv", index=False)
    before, after = (
        Table(str(file), "price", split="train") for file in (path, tmp_path / "changed.csv")
    )
    np.testing.assert_array_equal(features(before), features(after))


def test_classes_are_sorted_and_the_same_in_every_split(small):
    path, frame = small
    sources = [
        Table(path, "kind", split=split, task="classification") for split in ("train", "all")
    ]
    for source in sources:
        assert source.metadata["class_names"] == ("no", "yes")
        assert source.metadata["num_classes"] == 2
    labels = load_all(sources[1], [])["label"]
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, frame["kind"] == "yes")


def test_a_stratified_split_holds_out_the_fraction_of_each_class(tmp_path):
    path = tmp_path / "rare.csv"
    pd.DataFrame(
        {"x": range(200), "y": ["rare" if i % 20 == 0 else "no" for i in range(200)]}
    ).to_csv(path, index=False)
    arguments = dict(path=str(path), target="y", task="classification", normalisation="none")
    rows = {}
    for split in ("train", "test"):
        source = Table(split=split, stratified=True, **arguments)
        rows[split] = features(source)[:, 0]
        expected = {"train": (152, 8), "test": (38, 2)}[split]
        assert source.metadata["class_counts"] == expected
    assert sorted([*rows["train"], *rows["test"]]) == list(range(200))
    other = Table(split="test", stratified=True, split_seed=1, **arguments)
    assert set(features(other)[:, 0]) != set(rows["test"])


def test_mammography_holds_out_52_of_its_260_positives(real_data):
    arguments = {
        "path": str(real_data / "raw/mammography/mammography.csv.gz"),
        "columns": ("a", "b", "c", "d", "e", "f", "positive"),
        "target": "positive",
        "task": "classification",
        "stratified": True,
    }
    train, test = (Table(split=split, **arguments) for split in ("train", "test"))
    assert train.metadata["class_counts"] == (8738, 208)
    assert test.metadata["class_counts"] == (2185, 52)
    assert train[0]["features"].shape == (6,)


def test_columns_name_a_file_without_a_first_line(tmp_path):
    path = tmp_path / "bare.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("1,2,3\n4,5,6\n7,8,9\n")
    source = Table(str(path), "y", columns=("a", "b", "y"), normalisation="none", held_out=0.0)
    np.testing.assert_array_equal(features(source), [[1, 2], [4, 5], [7, 8]])
    with pytest.raises(UserError, match="has 3 columns, columns names 2"):
        Table(str(path), "b", columns=("a", "b"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "prise"}, "no column 'prise'; did you mean 'price'"),
        ({"numeric": ("aa", "b")}, "no column 'aa'"),
        ({"numeric": ("price",)}, "'price' is named twice"),
        ({"split": "trian"}, "no split 'trian'; did you mean 'train'"),
        ({"held_out": 1.0}, "held_out=1.0 is not in"),
        ({"split": "test", "held_out": 0.0}, "leaves none for 'test'"),
        ({"normalisation": "standart"}, "did you mean 'standard'"),
        ({"missing": "mean"}, "no missing 'mean'"),
        ({"task": "regresion"}, "did you mean 'regression'"),
        ({"numeric": ("colour",)}, "column 'colour' has '.*', which is no finite number"),
        ({"ordinal": {"size": ("small", "large")}}, "'size' has the value 'middle'"),
        ({"target": "colour"}, "column 'colour' has"),
        ({"target": "a", "task": "classification"}, "fractions, no classes"),
        ({"stratified": True}, "stratified=True needs classes; set task=classification"),
        ({"target": "b"}, "'b' is missing in [0-9]+ rows"),
        ({"numeric": (), "categorical": ()}, "no column is left"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file(small, arguments, message):
    with pytest.raises(UserError, match=message) as error:
        Table(**{"path": small[0], "target": "price", **arguments})
    assert "small.csv" in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(UserError, match=r"no file .*nothere"):
        Table(str(tmp_path / "nothere.csv"), "y")
    for name, content in (("empty.csv", b""), ("bad.csv.gz", b"no gzip"), ("head.csv", b"a,y\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            Table(str(tmp_path / name), "y")
