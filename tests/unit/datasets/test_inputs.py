"""Inputs that are no images, from array files: stored as the network takes them."""

import re

import numpy as np
import pytest

from manifold_capacity.datasets import prepare as prepare_module
from manifold_capacity.datasets.array_file import ArrayFile
from manifold_capacity.datasets.catalog import Dataset
from manifold_capacity.datasets.prepare import describe, prepare
from manifold_capacity.datasets.sampling import load_split
from manifold_capacity.errors import UserError
from manifold_capacity.files import read_json

RNG = np.random.default_rng(0)
WAVES = RNG.standard_normal((16, 3, 50))
LABELS = np.arange(16) % 2


def save(path, inputs=WAVES, **changes):
    arrays = {
        "train_inputs": inputs[:10],
        "train_labels": LABELS[:10],
        "test_inputs": inputs[10:],
        "test_labels": LABELS[10:],
    }
    np.savez(path, **(arrays | changes))
    return {"name": "arrays", "path": str(path)}


@pytest.mark.parametrize("block_bytes", [1, 2000, 2**20])
@pytest.mark.parametrize(
    ("inputs", "dtype"),
    [
        (WAVES, "float32"),
        (WAVES.astype(">f4"), "float32"),
        (WAVES.astype(np.float16), "float32"),
        (RNG.integers(0, 1000, (16, 12), dtype=np.int16), "int64"),
        (RNG.integers(0, 255, (16, 12), dtype=np.uint8), "int64"),
        (RNG.integers(0, 2**62, (16, 2), dtype=np.uint64), "int64"),
        (WAVES > 0, "bool"),
        (WAVES[:, 0, :1], "float32"),
    ],
)
def test_inputs_come_back_as_they_are(tmp_path, monkeypatch, inputs, dtype, block_bytes):
    monkeypatch.setattr(prepare_module, "BLOCK_BYTES", block_bytes)
    config = save(tmp_path / "a.npz", inputs)
    counts = {"train": (5, 5), "test": (3, 3)}
    expected = Dataset("arrays", ("0", "1"), inputs.shape[1:], counts, input_dtype=dtype)
    assert describe(config) == expected
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    for split, chosen in (("train", slice(10)), ("test", slice(10, None))):
        samples, labels = load_split(tmp_path / "out", split)
        assert samples.dtype == dtype
        np.testing.assert_array_equal(samples[:], inputs[chosen].astype(dtype))
        np.testing.assert_array_equal(
            samples[np.array([2, 0])], inputs[chosen][[2, 0]].astype(dtype)
        )
        np.testing.assert_array_equal(labels, LABELS[chosen])
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {
        f"{split}_{name}"
        for split in ("train", "test")
        for name in ("inputs.npy", "inputs.crc32", "labels.npy")
    } | {"dataset.json"}
    about = read_json(tmp_path / "out" / "dataset.json")
    assert about["input_shape"] == list(inputs.shape[1:])
    assert about["input_dtype"] == dtype
    assert not {"image_shape", "mean", "std"} & set(about)


def test_every_fourth_of_all_inputs_is_a_test_input(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, inputs=WAVES, labels=LABELS, class_names=np.array(["sine", "saw"]))
    arrays = ArrayFile(path)
    assert arrays.class_names == ("sine", "saw")
    assert arrays.counts == {"train": (6, 6), "test": (2, 2)}
    _, blocks = arrays.splits(3)["test"]
    np.testing.assert_array_equal(np.concatenate([*blocks]), WAVES[[6, 7, 14, 15]].astype("f4"))


def test_each_input_is_verified_when_it_is_read(tmp_path):
    prepare(save(tmp_path / "a.npz"), tmp_path / "out", tmp_path / "downloads")
    samples, _ = load_split(tmp_path / "out", "train")
    path = tmp_path / "out" / "train_inputs.npy"
    content = bytearray(path.read_bytes())
    content[-3 * 50 * 4 - 1] ^= 1  # the last byte of the last but one
    path.write_bytes(content)
    assert samples[[0, 9]].shape == (2, 3, 50)
    with pytest.raises(UserError, match="the checksum of input 8 does not fit"):
        samples[:]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("block_bytes", [1, 1300, 2**20])
def test_numbers_that_cannot_be_measured_name_the_sample(tmp_path, monkeypatch, value, block_bytes):
    monkeypatch.setattr(prepare_module, "BLOCK_BYTES", block_bytes)
    inputs = WAVES.copy()
    inputs[7, 1, 3] = value
    message = (
        r"a.npz train_inputs: sample 7 holds NaN or infinite values, or some beyond float32; leave"
    )
    with pytest.raises(UserError, match=message):
        prepare(save(tmp_path / "a.npz", inputs), tmp_path / "out", tmp_path / "downloads")
    assert not (tmp_path / "out").exists()


def test_integers_that_int64_does_not_hold(tmp_path):
    tokens = np.ones((16, 2), dtype=np.uint64)
    tokens[12, 1] = 2**63
    with pytest.raises(UserError, match="test_inputs: sample 2 holds integers beyond int64"):
        prepare(save(tmp_path / "a.npz", tokens), tmp_path / "out", tmp_path / "downloads")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_inputs": WAVES[:9]}, "has 9 train_inputs, but 10 train_labels"),
        ({"train_inputs": WAVES[:10, 0, 0]}, r"shape (10,); they must be floating point"),
        ({"train_inputs": WAVES[:10, :, :0]}, r"shape (10, 3, 0); they must be"),
        ({"train_inputs": WAVES[:10] * 1j}, "train_inputs of type complex128"),
        ({"train_inputs": WAVES[:10].astype("U5")}, "train_inputs of type <U5"),
        (
            {"test_inputs": WAVES[10:, :2]},
            "train_inputs of (3, 50) float32, but test_inputs of (2, 50) float32; they must",
        ),
        ({"test_inputs": WAVES[10:] > 0}, "of (3, 50) float32, but test_inputs of (3, 50) bool"),
        ({"test_labels": LABELS[10:] * 0}, "has no test inputs of class '1'"),
        ({"test_labels": LABELS[10:] / 2}, "integers of shape (n_inputs,)"),
        ({"test_images": WAVES}, "or the same with inputs in place of images"),
    ],
)
def test_inputs_that_are_not_as_they_must_be(tmp_path, changes, message):
    with pytest.raises(UserError, match=rf"dataset\.path: .*a\.npz .*{re.escape(message)}"):
        describe(save(tmp_path / "a.npz", **changes))
