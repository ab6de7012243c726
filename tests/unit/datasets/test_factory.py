"""Data from a user's function."""

import re

import numpy as np
import pytest

from manifold_capacity.datasets.catalog import Dataset
from manifold_capacity.datasets.prepare import describe, prepare
from manifold_capacity.datasets.sampling import load_split
from manifold_capacity.errors import UserError
from manifold_capacity.files import read_json

COUNTS = {"train": (2, 2), "test": (1, 1)}
HEAD = """
from pathlib import Path
import numpy as np
X = np.arange(24.0).reshape(6, 4)
Y = np.array([0, 1] * 3)
WORDS = ["owl", "cat"] * 3
BYTES = (np.arange(6 * 4 * 5 * 3) % 256).astype(np.uint8).reshape(6, 4, 5, 3)


class Items:  # map-style, as torch.utils.data.Dataset
    def __init__(self, inputs, labels):
        self.inputs, self.labels = inputs, labels

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, place):
        return self.inputs[place], self.labels[place]


def halves(inputs, labels, **more):
    return {"train": (inputs[:4], labels[:4]), "test": (inputs[4:], labels[4:]), **more}


def items(inputs, labels):
    return {split: Items(*both) for split, both in halves(inputs, labels).items()}
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    """Writes a file with a function, and gives the configuration of a dataset; calls are counted in a file."""
    monkeypatch.chdir(tmp_path)

    def write(returned, parameters="", **config):
        count = "    with open('calls', 'a') as file:\n        file.write('x')\n"
        text = f"{HEAD}\ndef load({parameters}):\n{count}    return {returned}\n"
        (tmp_path / "data.py").write_text(text)
        return {"name": "mine", "factory": "data.py:load"} | config

    return write


def prepared(config, tmp_path):
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    return [load_split(tmp_path / "out", split) for split in ("train", "test")]


@pytest.mark.parametrize(
    ("returned", "names", "dtype"),
    [
        ("halves(X, Y)", ("0", "1"), "float32"),
        ("halves(X.tolist(), Y.tolist())", ("0", "1"), "float32"),
        ("halves(X.astype(int), Y, class_names=['owl', 'cat'])", ("owl", "cat"), "int64"),
        ("halves(X, WORDS)", ("cat", "owl"), "float32"),
        ("halves(X, np.array(WORDS, dtype=object))", ("cat", "owl"), "float32"),
        ("halves(X > 9, WORDS, class_names=('owl', 'cat'))", ("owl", "cat"), "bool"),
        ("items(X, Y)", ("0", "1"), "float32"),
        ("items(X.astype(np.int16), WORDS)", ("cat", "owl"), "int64"),
    ],
)
def test_arrays_and_items_with_labels(factory, tmp_path, returned, names, dtype):
    config = factory(returned)
    assert describe(config) == Dataset("mine", names, (4,), COUNTS, input_dtype=dtype)
    labels = [0, 1] * 3 if names[0] in ("0", "owl") else [1, 0] * 3
    inputs = np.arange(24.0).reshape(6, 4)
    expected = (inputs > 9) if dtype == "bool" else inputs.astype(dtype)
    (train, train_labels), (test, test_labels) = prepared(config, tmp_path)
    assert train.dtype == dtype
    np.testing.assert_array_equal(np.concatenate([train[:], test[:]]), expected)
    np.testing.assert_array_equal(np.concatenate([train_labels, test_labels]), labels)


@pytest.mark.parametrize(
    "returned", ["halves(BYTES, Y)", "items(BYTES, Y)", "halves(BYTES[..., 0], Y)"]
)
def test_bytes_of_the_shape_of_images_are_images(factory, tmp_path, returned):
    channels = 1 if "0]" in returned else 3
    config = factory(returned)
    assert describe(config) == Dataset("mine", ("0", "1"), (4, 5, channels), COUNTS)
    (train, _), _ = prepared(config, tmp_path)
    images = (np.arange(6 * 4 * 5 * 3) % 256).astype(np.uint8).reshape(6, 4, 5, 3)
    np.testing.assert_array_equal(train[:], images[:4, ..., :channels])
    assert read_json(tmp_path / "out" / "dataset.json")["image_shape"] == [4, 5, channels]


def test_torch_datasets_and_tensors(factory, tmp_path):
    torch_dataset = """{
        'train': TensorDataset(torch.from_numpy(X[:4]), torch.from_numpy(Y[:4])),
        'test': (torch.from_numpy(X[4:]), torch.from_numpy(Y[4:])),
    }"""
    config = factory(torch_dataset)
    path = tmp_path / "data.py"
    imports = "import torch\nfrom torch.utils.data import TensorDataset\n"
    path.write_text(imports + path.read_text())
    assert describe(config) == Dataset("mine", ("0", "1"), (4,), COUNTS, input_dtype="float32")
    (train, labels), _ = prepared(config, tmp_path)
    np.testing.assert_array_equal(train[:], np.arange(16.0).reshape(4, 4))
    np.testing.assert_array_equal(labels, [0, 1, 0, 1])


def test_arguments_and_path_reach_the_function_and_the_facts(factory, tmp_path):
    (tmp_path / "scale.txt").write_text("3")
    returned = "halves(np.loadtxt(path) * X + shift, Y)"
    config = factory(returned, "path, shift", path="scale.txt", arguments={"shift": 1})
    (train, _), _ = prepared(config, tmp_path)
    np.testing.assert_array_equal(train[0], [1, 4, 7, 10])
    source = read_json(tmp_path / "out" / "dataset.json")["source"]
    assert source["arguments"] == {"shift": 1}
    assert source["path"] == "scale.txt"
    assert "data.py" in source["factory"]


def test_the_function_is_called_again_only_when_something_changed(factory, tmp_path):
    calls = tmp_path / "calls"
    (tmp_path / "scale.txt").write_text("3")
    returned = "halves(X + shift, Y)"
    config = factory(returned, "path, shift=0", path="scale.txt")
    for _ in range(3):
        describe(config)
    assert len(calls.read_text()) == 1
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    assert len(calls.read_text()) == 2
    describe(config | {"arguments": {"shift": 1}})
    assert len(calls.read_text()) == 3
    (tmp_path / "scale.txt").write_text("33")
    describe(config)
    assert len(calls.read_text()) == 4
    assert describe(factory("halves(X[:, :2], Y)", "path", path="scale.txt")).sample_shape == (2,)
    assert len(calls.read_text()) == 5


def test_a_function_that_returns_something_else_when_it_is_called_again(factory, tmp_path):
    config = factory("halves(X[:, : Path('calls').stat().st_size + 1], Y)")
    assert describe(config).sample_shape == (2,)
    with pytest.raises(UserError, match=r"dataset.factory: 'data.py:load' returned other classes"):
        prepare(config, tmp_path / "out", tmp_path / "downloads")
    assert describe(config).sample_shape == (3,)  # not the first call's for ever


def test_a_description_that_was_damaged_is_made_again(factory, tmp_path):
    config = factory("halves(X, Y)")
    expected = describe(config)
    (memory,) = tmp_path.glob(".snakemake/datasets/*.json")
    memory.write_text(memory.read_text().replace("mine", "yours"))
    assert describe(config) == expected


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("[1]", "it returned a list; it must return a mapping with the keys train and test"),
        ("{'train': (X, Y)}", "it returned a dict with the keys ['train']; it must"),
        ("halves(X, Y, val=1)", "with the keys ['train', 'test', 'val']"),
        ("{'train': X, 'test': (X, Y)}", "item 0 cannot be read as (input, label): ValueError"),
        ("{'train': (x for x in X), 'test': (X, Y)}", "train is a generator; it must be (inputs"),
        ("halves([[1], [1, 2]] * 3, Y)", "the train inputs are no array: ValueError"),
        ("halves(X, Y / 2)", "the train labels are of type float64 and shape (4,); they must"),
        ("halves(X, [None] * 6)", "the train labels are of type object"),
        ("halves(X[:5], Y)", "test has 1 inputs, but 2 labels"),
        ("halves(X[:, 0], Y)", "of type float64 and shape (4,); they must be floating point"),
        ("halves(X.astype(str), Y)", "the train inputs are of type <U"),
        ("halves(X.astype(np.uint8), Y)", "uint8 of shape (4, 4), but uint8 is for images"),
        ("halves(BYTES[..., :2], Y)", "give other inputs as int64 or float32"),
        ("halves(X, Y - 1)", "the train labels are -1 to 0; they must count from 0"),
        ("halves(X, Y * 2)", "it has no train samples of class '1'"),
        ("halves(X, Y * 10**9)", "the train labels are 0 to 1000000000; they must count from"),
        ("halves(X, Y, class_names=['a'])", "the train labels are 0 to 1; they must count from"),
        ("halves(X, Y, class_names=['a', 'a'])", "class_names has the same name twice"),
        ("halves(X, Y, class_names=7)", "class_names: 7; it must be a list of names"),
        (
            "halves(X, WORDS, class_names=['owl'])",
            "train label 'cat' is not one of the class_names",
        ),
        (
            "{'train': (X, WORDS), 'test': (X, Y)}",
            "train labels are text, the test labels integers",
        ),
        (
            "{'train': (X[:, :2], Y), 'test': (X, Y)}",
            "a train sample is (2,) of float32, but a test sample (4,) of float32; they must",
        ),
        ("items([X[0], X[1][:2], *X[2:]], Y)", "sample 1 is (2,) of float64, but sample 0 is (4,)"),
        ("items([], [])", "train has no samples"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero (data.py, line"),
        ("halves(np.where(X == 13, np.nan, X), Y)", "train inputs: sample 3 holds NaN"),
    ],
)
def test_what_a_function_must_not_return(factory, tmp_path, returned, message):
    with pytest.raises(UserError, match=f"dataset.factory: .*{re.escape(message)}") as error:
        prepared(factory(returned), tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "mnist"}, "dataset.name: 'mnist' has a meaning of its own"),
        ({"name": "downloads"}, "dataset.name: 'downloads' has a meaning of its own"),
        ({"url": "http://x"}, "dataset.url: 'http://x' does not apply to mine, only to mnist"),
        (
            {"arguments": {"a": 1}},
            "dataset.factory: 'data.py:load' does not fit: got an unexpected",
        ),
        ({"path": "data.py"}, "dataset.factory: 'data.py:load' does not fit: got an unexpected"),
        (
            {"path": "data.py", "arguments": {"path": "b"}},
            "dataset.path and dataset.arguments.path are both given",
        ),
        (
            {"name": "digits", "factory": None, "arguments": {"a": 1}},
            "dataset.arguments: {'a': 1} does not apply to digits, only to dataset.factory",
        ),
        ({"path": "missing.txt"}, "dataset.path: there is no file or folder /"),
    ],
)
def test_configurations_that_cannot_be_used(factory, changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        describe(factory("halves(X, Y)") | changes)
