"""What extraction writes to the store, and what it refuses."""

import errno
import json
import logging
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import nn

from manifold_capacity.activations import writer
from manifold_capacity.activations.extract import extract
from manifold_capacity.activations.grid import bill, grid_of, points_per_batch
from manifold_capacity.activations.store import StoreError, open_layer
from manifold_capacity.models.augment import augment_batch, seeded_generator
from manifold_capacity.models.find_layers import find_layers
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.networks import SmallCNN
from manifold_capacity.models.preprocess import Preprocess, to_batch

STORE_V1 = Path(__file__).parent / "store_v1"
PREPROCESS = Preprocess((1, 8, 8), [0.4], [0.3])
AUGMENT = {"crop_padding": 2, "horizontal_flip": True, "rotation_degrees": 20.0}


def pictures(n=60):
    return np.random.default_rng(0).integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallCNN(1, 10).eval()


def store(folder, model, layers, indices, **changes):
    n_manifolds = len(indices)
    options: dict[str, Any] = {
        "preprocess": PREPROCESS,
        "classes": range(n_manifolds),
        "class_names": [f"class {i}" for i in range(n_manifolds)],
        "split": "train",
        "seed": 0,
        "device": "cpu",
        **changes,
    }
    extract(model, layers, options.pop("images", pictures()), indices, folder, **options)


INDICES = np.random.default_rng(1).permutation(60)[:20].reshape(4, 5)


def outputs(model, batch):
    """Output of every layer of the small network, computed module by module, nothing in place."""
    result = {"0_Input": batch}
    x, index = batch, 0
    for part in (model.features, [model.flatten], model.classifier):
        for module in part:  # type: ignore[union-attr]
            index += 1
            x = torch.relu(x) if isinstance(module, nn.ReLU) else module(x)
            result[f"{index}_{type(module).__name__}"] = x
    return {label: tensor.detach().flatten(1).numpy() for label, tensor in result.items()}


# What is stored


def test_every_layer_is_stored_as_the_network_computes_it(tmp_path, model):
    layers = find_layers(model, (1, 8, 8))
    store(tmp_path, model, layers, INDICES, batch_size=5)
    images = pictures()
    for i in range(4):
        batch = PREPROCESS(to_batch(images[INDICES[i]], torch.device("cpu")))
        expected = outputs(model, batch)
        assert len(expected) == len(layers)
        for label, values in expected.items():
            np.testing.assert_array_equal(open_layer(tmp_path, label)[i], values)


def test_a_relu_in_place_does_not_overwrite_a_convolution(tmp_path, model):
    assert model.features[1].inplace  # type: ignore[index, union-attr]
    layers = find_layers(model, (1, 8, 8))
    store(tmp_path, model, [layers[1], layers[2], layers[10]], INDICES)
    convolution = open_layer(tmp_path, "1_Conv2d")[...]
    assert 0.2 < (convolution < 0).mean() < 0.8
    np.testing.assert_array_equal(open_layer(tmp_path, "2_ReLU")[...], np.maximum(convolution, 0))
    assert (open_layer(tmp_path, "10_Linear")[...] < 0).any()


@pytest.mark.parametrize(("batch_size", "rows"), [(64, 1), (5, 1), (4, 2), (2, 3), (1, 5)])
def test_points_keep_their_place_whatever_the_batch(tmp_path, model, batch_size, rows):
    layers = find_layers(model, (1, 8, 8))
    store(tmp_path, model, [layers[0], layers[12]], INDICES, batch_size=batch_size)
    pixels = open_layer(tmp_path, "0_Input")[...]
    expected = PREPROCESS(to_batch(pictures()[INDICES.ravel()], torch.device("cpu")))
    np.testing.assert_array_equal(pixels, expected.reshape(4, 5, 64).numpy())
    with torch.no_grad():
        answers = model(expected).reshape(4, 5, 10).numpy()
    np.testing.assert_allclose(open_layer(tmp_path, "12_Linear")[...], answers, atol=1e-5)
    assert len(list((tmp_path / "activations.zarr/12_Linear/c/0").iterdir())) == rows


def test_wide_layers_are_cut_into_equal_chunks_and_read_in_blocks(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10001, bias=False)).eval()
    layers = find_layers(model, (1, 8, 8))
    store(tmp_path, model, layers[2:], INDICES)
    array = open_layer(tmp_path, "2_Linear")
    assert array.shape == (4, 5, 10001)
    assert array.chunks == (1, 5, 3334)
    assert array.dtype == np.float32
    assert array.ndim == 3
    whole = np.asarray(array)
    assert np.isfinite(whole).all()
    for start in (0, 3000, 10000):
        np.testing.assert_array_equal(
            array[:, :, start : start + 2000], whole[:, :, start:][..., :2000]
        )


def test_a_block_of_features_of_many_points_stays_small(tmp_path):
    layer = Layer(1, "conv", "Conv2d", (64, 32, 32), 65536)
    for n_points in (50, 200, 1000):
        grid = grid_of(layer, 100, n_points, 50, "float32")
        block = 100 * n_points * grid.features * 4
        assert block <= 110 * 2**20
        assert grid.features >= 250


class _Twice(nn.Module):
    """Runs a module twice, as residual blocks do, and never runs another."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(8, 8, bias=False)
        self.unused = nn.Linear(8, 8)

    def forward(self, x):
        return self.scale(self.scale(x))


def test_a_module_that_runs_twice_gives_its_first_output(tmp_path):
    model = _Twice().eval()
    layers = find_layers(model, (1, 8, 8))
    assert [layer.label for layer in layers] == ["0_Input", "1_Linear"]
    store(tmp_path, model, layers, INDICES)
    pixels = PREPROCESS(to_batch(pictures()[INDICES.ravel()], torch.device("cpu")))
    with torch.no_grad():
        expected = model.scale(pixels).reshape(4, 5, 64)
    np.testing.assert_allclose(open_layer(tmp_path, "1_Linear")[...], expected, atol=1e-6)


def test_tokens_are_flattened_token_by_token(tmp_path):
    model = nn.Sequential(nn.Flatten(1, 2), nn.Linear(8, 3)).eval()
    layers = find_layers(model, (1, 8, 8))
    assert layers[2].output_shape == (8, 3)
    store(tmp_path, model, layers, INDICES)
    pixels = PREPROCESS(to_batch(pictures()[INDICES[2]], torch.device("cpu")))
    with torch.no_grad():
        np.testing.assert_array_equal(open_layer(tmp_path, "2_Linear")[2], model(pixels).flatten(1))


def test_a_dead_layer_is_stored_as_zeros(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU()).eval()
    nn.init.zeros_(model[1].weight)  # type: ignore[arg-type]
    nn.init.constant_(model[1].bias, -1.0)  # type: ignore[arg-type]
    store(tmp_path, model, find_layers(model, (1, 8, 8)), INDICES)
    assert (open_layer(tmp_path, "3_ReLU")[...] == 0).all()
    assert (open_layer(tmp_path, "2_Linear")[...] == -1).all()


def test_values_that_are_nan_are_stored_not_taken_for_missing(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).eval()
    nn.init.constant_(model[1].weight, float("nan"))  # type: ignore[arg-type]
    store(tmp_path, model, find_layers(model, (1, 8, 8)), INDICES)
    assert np.isnan(open_layer(tmp_path, "2_Linear")[...]).all()


def test_dropout_is_off_and_the_model_is_left_without_hooks(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5)).train()
    model.append(nn.Linear(64, 2))
    layers = find_layers(model, (1, 8, 8))
    store(tmp_path, model, layers, INDICES)
    np.testing.assert_array_equal(
        open_layer(tmp_path, "2_Dropout")[...], open_layer(tmp_path, "0_Input")[...]
    )
    assert not any(module._forward_hooks for module in model.modules())


def test_half_precision_is_stored_rounded(tmp_path, model):
    layers = find_layers(model, (1, 8, 8))
    store(tmp_path / "32", model, layers, INDICES)
    store(tmp_path / "16", model, layers, INDICES, dtype="float16")
    half = open_layer(tmp_path / "16", "1_Conv2d")
    assert half.dtype == np.float16
    expected = open_layer(tmp_path / "32", "1_Conv2d")[...].astype(np.float16)
    np.testing.assert_array_equal(half[...], expected)


def test_bfloat16_is_what_the_network_computes_in(tmp_path, model):
    layers = find_layers(model, (1, 8, 8))
    store(tmp_path / "32", model, layers, INDICES)
    store(tmp_path / "16", model, layers, INDICES, precision="bfloat16")
    pixels, exact = (open_layer(tmp_path / "32", label)[...] for label in ("0_Input", "4_Conv2d"))
    np.testing.assert_array_equal(open_layer(tmp_path / "16", "0_Input")[...], pixels)
    rounded = open_layer(tmp_path / "16", "4_Conv2d")[...]
    assert open_layer(tmp_path / "16", "4_Conv2d").attributes["precision"] == "bfloat16"
    assert rounded.dtype == np.float32
    as_bfloat16 = torch.from_numpy(rounded).bfloat16().float().numpy()
    np.testing.assert_array_equal(rounded, as_bfloat16)
    assert 1e-4 < np.abs(rounded - exact).max() / np.abs(exact).max() < 2**-6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_a_gpu_gives_what_a_cpu_gives(tmp_path, model):
    layers = find_layers(model, (1, 8, 8))
    store(tmp_path / "cpu", model, layers, INDICES, augment=AUGMENT)
    store(tmp_path / "gpu", model, layers, INDICES, augment=AUGMENT, device="cuda")
    for layer in layers:
        expected = open_layer(tmp_path / "cpu", layer.label)[...]
        found = open_layer(tmp_path / "gpu", layer.label)[...]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


# Augmentation


def test_augmentation_depends_on_image_and_seed_alone(tmp_path, model):
    layers = find_layers(model, (1, 8, 8))[:1]

    def pixels(name, indices, **changes):
        store(tmp_path / name, model, layers, indices, augment=AUGMENT, **changes)
        return open_layer(tmp_path / name, "0_Input")[...]

    whole = pixels("whole", INDICES)
    np.testing.assert_array_equal(whole, pixels("small batches", INDICES, batch_size=2))
    np.testing.assert_array_equal(whole[:, :3], pixels("fewer points", INDICES[:, :3]))
    np.testing.assert_array_equal(whole[2:], pixels("classes", INDICES[2:], classes=[2, 3]))
    assert not np.array_equal(whole, pixels("seed", INDICES, seed=1))
    assert not np.array_equal(whole, pixels("split", INDICES, split="test"))

    image = to_batch(pictures()[INDICES[1, 3]][None], torch.device("cpu"))
    expected = PREPROCESS(augment_batch(image, seeded_generator(0, 0, 1, 3, 1), **AUGMENT))
    np.testing.assert_array_equal(whole[1, 3], expected.flatten().numpy())
    plain = np.stack(
        [PREPROCESS(to_batch(pictures()[i], torch.device("cpu"))).flatten(1) for i in INDICES]
    )
    changed = (whole != plain).any(axis=2)
    assert changed.mean() > 0.9


# The contract


def test_the_store_says_what_it_is(tmp_path, model):
    layers = find_layers(model, (1, 8, 8))
    store(
        tmp_path,
        model,
        layers[:2],
        INDICES,
        seed=7,
        classes=[3, 1, 4, 5],
        split="test",
        attributes={"model": "small_cnn", "checkpoint_digest": "abc"},
    )
    about = open_layer(tmp_path, "1_Conv2d").attributes
    digest = about.pop("sample_indices_digest")
    assert len(digest) == 64
    assert about == {
        "format": "manifold_capacity activations",
        "format_version": 1,
        "complete": True,
        "dtype": "float32",
        "split": "test",
        "seed": 7,
        "classes": [3, 1, 4, 5],
        "class_names": ["class 0", "class 1", "class 2", "class 3"],
        "augment": None,
        "precision": "float32",
        "model": "small_cnn",
        "checkpoint_digest": "abc",
        "layer_index": 1,
        "layer_name": "features.0",
        "layer_type": "Conv2d",
        "output_shape": [32, 8, 8],
    }
    store(tmp_path / "other", model, layers[:1], INDICES[:, ::-1])
    assert open_layer(tmp_path / "other", "0_Input").attributes["sample_indices_digest"] != digest
    raw = json.loads((tmp_path / "activations.zarr/1_Conv2d/zarr.json").read_text())
    assert raw["zarr_format"] == 3
    assert raw["fill_value"] == "NaN"
    assert raw["dimension_names"] == ["manifold", "point", "feature"]
    (sharding,) = raw["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert [codec["name"] for codec in sharding["configuration"]["codecs"]] == ["bytes", "crc32c"]
    assert sharding["configuration"]["codecs"][0]["configuration"] == {"endian": "little"}


def test_plain_zarr_reads_the_store(tmp_path, model):
    store(tmp_path, model, find_layers(model, (1, 8, 8))[:2], INDICES)
    array = zarr.open_array(tmp_path / "activations.zarr" / "1_Conv2d", mode="r")
    np.testing.assert_array_equal(array[...], open_layer(tmp_path, "1_Conv2d")[...])


def counting_network():
    """Small whole numbers, exact in any arithmetic: sums and alternating sums of the pixels."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.ReLU()).eval()
    weights = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [0, 0, 0, -2]])
    model[1].weight = nn.Parameter(weights, requires_grad=False)
    return model


COUNTING = np.array(
    [  # pixels (0, 1, 2, 3) + 4 k for image k, times the weights above
        [[6, -2, -6], [22, -2, -14], [38, -2, -22]],
        [[54, -2, -30], [70, -2, -38], [86, -2, -46]],
    ],
    dtype=np.float32,
)


def test_a_store_of_format_version_1_is_readable_for_ever(tmp_path):
    """data/store_v1 was written in 2026 as below, and is never to be written anew."""
    model = counting_network()
    layers = find_layers(model, (1, 2, 2))
    images = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1)
    store(
        tmp_path,
        model,
        layers,
        np.arange(6).reshape(2, 3),
        images=images,
        preprocess=Preprocess((1, 2, 2), [0.0], [1 / 255]),
        batch_size=2,
        attributes={"model": "counting"},
    )
    for folder in (STORE_V1, tmp_path):
        pixels = open_layer(folder, "0_Input")
        np.testing.assert_allclose(pixels[...], np.arange(24).reshape(2, 3, 4), rtol=1e-6)
        sums = open_layer(folder, "2_Linear")
        np.testing.assert_allclose(sums[...], COUNTING, rtol=1e-6)
        relu = open_layer(folder, "3_ReLU")
        np.testing.assert_allclose(relu[:, :, 0], COUNTING[:, :, 0], rtol=1e-6)
        assert (relu[:, :, 1:] == 0).all()
        assert relu.attributes["layer_name"] == "2"
        assert relu.attributes["model"] == "counting"
        assert relu.attributes["format_version"] == 1


# The bill


@pytest.mark.parametrize(("dtype", "batch_size"), [("float32", 64), ("float16", 2)])
def test_the_bill_is_exact(tmp_path, model, caplog, dtype, batch_size):
    caplog.set_level(logging.INFO)
    layers = find_layers(model, (1, 8, 8))
    store(tmp_path, model, layers, INDICES, dtype=dtype, batch_size=batch_size)
    cost = bill(layers, 4, 5, dtype, batch_size=batch_size)
    for label, shape, n_bytes in cost.entries:
        assert shape == open_layer(tmp_path, label).shape
        shards = (tmp_path / "activations.zarr" / label / "c").rglob("0")
        assert n_bytes == sum(path.stat().st_size for path in shards if path.is_file())
    assert cost.total == sum(n_bytes for _, _, n_bytes in cost.entries)
    assert str(cost) in caplog.text


def test_a_disk_too_small_is_noticed_before_anything_is_written(tmp_path, model, monkeypatch):
    layers = find_layers(model, (1, 8, 8))
    total = bill(layers, 4, 5).total
    free = total - 1
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    with pytest.raises(
        StoreError, match=rf"takes .* \({total} bytes\), but .* has only .* \({free}.*float16"
    ):
        store(tmp_path / "x", model, layers, INDICES)
    assert not (tmp_path / "x" / "activations.zarr").exists()
    free = total
    store(tmp_path / "x", model, layers, INDICES)


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path, model, monkeypatch):
    layers = find_layers(model, (1, 8, 8))
    write = writer.Writer.write

    def full(self, index, output):
        if self.row[0] == 2 and index == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, index, output)

    with monkeypatch.context() as patch:
        patch.setattr(writer.Writer, "write", full)
        with pytest.raises(StoreError, match=r"the disk filled up while .*make space"):
            store(tmp_path, model, layers, INDICES)
    assert not (tmp_path / "activations.zarr").exists()
    store(tmp_path, model, layers, INDICES)
    assert open_layer(tmp_path, "6_Conv2d").shape == (4, 5, 1024)


# Damage


@pytest.fixture
def damaged(tmp_path):
    """A store whose layer 2 has three chunks per shard and two shards per manifold."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10001, bias=False)).eval()
    store(tmp_path, model, find_layers(model, (1, 8, 8)), INDICES, batch_size=3)
    return tmp_path


def test_a_missing_chunk_is_named_not_filled_in(damaged):
    (damaged / "activations.zarr/2_Linear/c/3/1/0").unlink()
    with pytest.raises(
        StoreError,
        match=r"layer 2_Linear: the chunk of manifold 3, points 3 to 4 was never written: .*c/3/1/0; delete",
    ):
        open_layer(damaged, "2_Linear")
    open_layer(damaged, "1_Flatten")


def test_a_chunk_cut_short_is_named(damaged):
    path = damaged / "activations.zarr/2_Linear/c/1/0/0"
    content = path.read_bytes()
    for length in (len(content) - 10, 20, 0):
        path.write_bytes(content[:length])
        with pytest.raises(
            StoreError, match=r"2_Linear: the chunk of manifold 1, points 0 to 2 is"
        ):
            open_layer(damaged, "2_Linear")


def test_a_damaged_index_of_a_shard_is_named(damaged):
    path = damaged / "activations.zarr/2_Linear/c/0/1/0"
    content = bytearray(path.read_bytes())
    content[-4 - 3 * 16] ^= 4  # where the first chunk begins
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"manifold 0, points 3 to 4 is damaged \(checksum of its"):
        open_layer(damaged, "2_Linear")


def test_a_chunk_missing_within_its_shard_is_named(damaged):
    path = damaged / "activations.zarr/2_Linear"
    array = zarr.open_array(path, mode="r+")
    # Written by a writer that leaves out chunks that hold nothing but the fill value
    array[2, 0:3, 3334:6668] = np.nan
    with pytest.raises(StoreError, match=r"manifold 2, points 0 to 2 was never written whole"):
        open_layer(damaged, "2_Linear")


def test_a_damaged_chunk_is_named_when_it_is_read(damaged):
    path = damaged / "activations.zarr/2_Linear/c/2/1/0"
    content = bytearray(path.read_bytes())
    content[3 * 3334 * 4 + 1000] ^= 1  # one bit, in the second chunk of the shard
    path.write_bytes(content)
    array = open_layer(damaged, "2_Linear")
    assert np.isfinite(array[:, :, :3000]).all()
    with pytest.raises(
        StoreError,
        match=r"layer 2_Linear: the chunk of manifold 2, points 3 to 4 is damaged in features 3334 to "
        r"6667 .*checksum.*c/2/1/0; delete .* and run again",
    ):
        array[:, :, 3000:4000]


def test_reading_what_is_not_there_stays_the_caller_s_error(damaged):
    with pytest.raises(IndexError):
        open_layer(damaged, "2_Linear")[7, 0, 0]


def test_an_interrupted_extraction_is_refused_and_then_replaced(tmp_path, model, monkeypatch):
    layers = find_layers(model, (1, 8, 8))[:2]
    with monkeypatch.context() as patch:
        patch.setattr(writer.Writer, "complete", lambda self: None)
        store(tmp_path, model, layers, INDICES)
    with pytest.raises(StoreError, match="is not complete: its extraction was interrupted; delete"):
        open_layer(tmp_path, "1_Conv2d")
    store(tmp_path, model, layers, INDICES[:3])
    assert open_layer(tmp_path, "1_Conv2d").shape[0] == 3


def test_what_cannot_be_opened_says_why(tmp_path, model):
    with pytest.raises(
        StoreError, match=r"there is no store of activations at .*run the extraction"
    ):
        open_layer(tmp_path, "1_Conv2d")
    store(tmp_path, model, find_layers(model, (1, 8, 8))[:3], INDICES)
    with pytest.raises(
        StoreError, match="has no layer '3_Conv2d'; it has 0_Input, 1_Conv2d, 2_ReLU"
    ):
        open_layer(tmp_path, "3_Conv2d")
    metadata = tmp_path / "activations.zarr/zarr.json"
    content = json.loads(metadata.read_text())
    content["attributes"]["format_version"] = 2
    metadata.write_text(json.dumps(content))
    with pytest.raises(
        StoreError, match="has format version 2, this release reads 1; use the release"
    ):
        open_layer(tmp_path, "1_Conv2d")
    metadata.write_text("{")
    with pytest.raises(StoreError, match=r"zarr\.json can't be read .*delete"):
        open_layer(tmp_path, "1_Conv2d")


# What can't be extracted


def test_layers_of_another_network_are_refused(tmp_path, model):
    wrong = Layer(1, "features.9", "Conv2d", (32, 8, 8), 2048)
    with pytest.raises(
        ValueError, match=r"1_Conv2d \(features\.9\) is not in the model, .* is features\.0"
    ):
        store(tmp_path, model, [wrong], INDICES)
    missing = Layer(40, "head", "Linear", (10,), 10)
    with pytest.raises(ValueError, match="whose leaf module 40 is missing"):
        store(tmp_path, model, [missing], INDICES)
    other_shape = Layer(1, "features.0", "Conv2d", (32, 4, 4), 512)
    with pytest.raises(
        ValueError, match=r"puts out \(32, 8, 8\) for an image, the table .* \(32, 4, 4\)"
    ):
        store(tmp_path, model, [other_shape], INDICES)
    never = Layer(2, "unused", "Linear", (8,), 8)
    with pytest.raises(ValueError, match="did not run in the forward pass: 2_Linear"):
        store(tmp_path, _Twice(), [never], INDICES)


def test_values_too_large_for_half_precision_are_an_error(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).eval()
    nn.init.constant_(model[1].bias, 1e5)  # type: ignore[arg-type]
    layers = find_layers(model, (1, 8, 8))
    with pytest.raises(
        ValueError, match=r"activations\.dtype: layer 2_Linear \(1\) has values up to 1e\+05"
    ):
        store(tmp_path, model, layers, INDICES, dtype="float16")
    with pytest.raises(StoreError, match="is not complete"):
        open_layer(tmp_path, "2_Linear")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"precision": "tf32"},
            r"activations\.precision: tf32 .*but this runs on the CPU; set it to",
        ),
        (
            {"precision": "half"},
            r"activations\.precision: 'half'; allowed: float32, tf32, bfloat16",
        ),
        ({"dtype": "float64"}, r"activations\.dtype: 'float64'; allowed: float32, float16"),
        ({"split": "val"}, r"split: 'val'; allowed: train, test"),
        ({"classes": [1, 2]}, r"of 4 manifolds, but there are 2 classes and 4 class names"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, model, changes, message):
    with pytest.raises(ValueError, match=message):
        store(tmp_path, model, find_layers(model, (1, 8, 8)), INDICES, **changes)


# Memory


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from test_extract import peak_of_an_extraction
for number, (n_manifolds, n_points) in enumerate(((2, 16), (4, 64))):
    print(peak_of_an_extraction(Path(sys.argv[2], str(number)), n_manifolds, n_points))
"""


def peak_of_an_extraction(folder, n_manifolds, n_points):
    """Peak memory of this process so far in bytes; every image takes 1 MiB in each of two layers."""
    model = nn.Sequential(nn.Conv2d(1, 4096, 1, bias=False), nn.ReLU(inplace=True)).eval()
    n_images = n_manifolds * n_points
    images = pictures(n_images)
    indices = np.arange(n_images).reshape(n_manifolds, n_points)
    store(folder, model, find_layers(model, (1, 8, 8)), indices, images=images, batch_size=16)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_memory_does_not_grow_with_the_images(tmp_path):
    """Eight times as many images: 512 MiB stored in place of 64."""
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    few, many = map(int, output.split())
    layers = [Layer(i, "", "Conv2d", (4096, 8, 8), 262144) for i in (1, 2)]
    assert bill(layers, 4, 64).total - bill(layers, 2, 16).total > 440 * 2**20
    assert many - few < 40 * 2**20


def test_batches_shrink_where_one_layer_is_very_wide():
    wide = Layer(1, "conv", "Conv2d", (64, 224, 224), 64 * 224 * 224)
    assert points_per_batch([wide], 50, 64) * wide.n_features * 4 <= 128 * 2**20
    assert points_per_batch([wide], 50, 64) == 10
    narrow = Layer(2, "head", "Linear", (10,), 10)
    assert points_per_batch([narrow], 50, 64) == 50
    assert points_per_batch([narrow], 200, 64) == 50
    huge = Layer(1, "conv", "Conv2d", (2**26,), 2**26)
    assert points_per_batch([huge], 3, 64) == 1
