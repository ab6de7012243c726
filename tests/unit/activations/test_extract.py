"""What extraction writes to the store, and what it refuses."""

import errno
import json
import re
import shutil
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from torch import nn

from manifold_capacity.activations import writer
from manifold_capacity.activations.grid import store_size
from manifold_capacity.activations.store import StoreError, open_layer
from manifold_capacity.models.augment import augment_batch, seeded_generator
from manifold_capacity.models.find_layers import find_layers
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.preprocess import AsTheyAre, to_batch

AUGMENT = {"crop_padding": 2, "horizontal_flip": True, "rotation_degrees": 20.0}


def outputs(model, x):
    """Output of every layer of the small network, computed module by module, nothing in place."""
    result, index = {"0_Input": x}, 0
    for part in (model.features, [model.flatten], model.classifier):
        for module in part:
            index += 1
            x = torch.relu(x) if isinstance(module, nn.ReLU) else module(x)
            result[f"{index}_{type(module).__name__}"] = x
    return {label: tensor.detach().flatten(1).numpy() for label, tensor in result.items()}


# What is stored


def test_every_layer_is_stored_as_the_network_computes_it(store, model, layers):
    opened = store(model, batch_size=5)
    for i in range(4):
        expected = outputs(model, store.pixels(store.indices[i]))
        assert len(expected) == len(layers)
        for label, values in expected.items():
            np.testing.assert_array_equal(opened(label)[i], values)


def test_what_is_written_is_said_in_one_line(store, model, caplog):
    with caplog.at_level("INFO", "manifold_capacity"):
        store(model)
    first = next(m for m in caplog.messages if m.startswith("writing "))
    assert re.match(r"writing \S+ GiB of activations to .*/activations.zarr\n0_Input ", first)


def test_a_relu_in_place_does_not_overwrite_a_convolution(store, model, layers):
    assert model.features[1].inplace
    opened = store(model, [layers[1], layers[2], layers[10]])
    convolution = opened("1_Conv2d")[...]
    assert 0.2 < (convolution < 0).mean() < 0.8
    np.testing.assert_array_equal(opened("2_ReLU")[...], np.maximum(convolution, 0))
    assert (opened("10_Linear")[...] < 0).any()


@pytest.mark.parametrize(("batch_size", "rows"), [(64, 1), (5, 1), (4, 2), (2, 3), (1, 5)])
def test_points_keep_their_place_whatever_the_batch(
    store, model, layers, tmp_path, batch_size, rows
):
    opened = store(model, [layers[0], layers[12]], batch_size=batch_size)
    expected = store.pixels(store.indices.ravel())
    np.testing.assert_array_equal(opened("0_Input")[...], expected.reshape(4, 5, 64).numpy())
    with torch.no_grad():
        answers = model(expected).reshape(4, 5, 10).numpy()
    np.testing.assert_allclose(opened("12_Linear")[...], answers, atol=1e-5)
    assert len(list((tmp_path / "activations.zarr/12_Linear/c/0").iterdir())) == rows


def test_wide_layers_are_divided_into_equal_chunks_and_read_in_blocks(store, wide):
    array = store(wide)("2_Linear")
    assert array.shape == (4, 5, 10001)
    assert array.chunks == (1, 5, 3334)
    assert array.dtype == np.float32
    assert array.ndim == 3
    whole = np.asarray(array)
    with torch.no_grad():
        expected = wide(store.pixels(store.indices.ravel())).reshape(whole.shape)
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    for start in (0, 3000, 10000):
        block = array[:, :, start : start + 2000]
        np.testing.assert_array_equal(block, whole[:, :, start : start + 2000])


class Twice(nn.Module):
    """Runs a module twice, as residual blocks do, and never runs another."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(8, 8, bias=False)
        self.unused = nn.Linear(8, 8)

    def forward(self, x):
        return self.scale(self.scale(x))


def test_a_module_that_runs_twice_gives_its_first_output(store):
    model = Twice().eval()
    assert [layer.label for layer in find_layers(model, (1, 8, 8))] == [
        "0_Input",
        "1_Linear",
        "1_Linear_call_2",
    ]
    opened = store(model)
    with torch.no_grad():
        expected = model.scale(store.pixels(store.indices.ravel())).reshape(4, 5, 64)
    np.testing.assert_allclose(opened("1_Linear")[...], expected, atol=1e-6)


def test_tokens_are_flattened_token_by_token(store):
    model = nn.Sequential(nn.Flatten(1, 2), nn.Linear(8, 3)).eval()
    assert find_layers(model, (1, 8, 8))[2].output_shape == (8, 3)
    opened = store(model)
    with torch.no_grad():
        expected = model(store.pixels(store.indices[2])).flatten(1)
    np.testing.assert_array_equal(opened("2_Linear")[2], expected)


def test_zeros_and_nan_are_stored_as_they_are(store):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    nn.init.zeros_(model[1].weight)
    nn.init.constant_(model[1].bias, -1.0)
    nn.init.constant_(model[3].weight, float("nan"))
    opened = store(model)
    assert (opened("2_Linear")[...] == -1).all()
    assert (opened("3_ReLU")[...] == 0).all()
    assert np.isnan(opened("4_Linear")[...]).all()


def test_dropout_is_off_and_the_model_is_left_without_hooks(store):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 2)).train()
    opened = store(model)
    np.testing.assert_array_equal(opened("2_Dropout")[...], opened("0_Input")[...])
    assert not any(module._forward_hooks for module in model.modules())


def test_half_precision_is_stored_rounded(store, model):
    exact, half = store(model, name="32"), store(model, name="16", dtype="float16")
    assert half("1_Conv2d").dtype == np.float16
    expected = exact("1_Conv2d")[...].astype(np.float16)
    np.testing.assert_array_equal(half("1_Conv2d")[...], expected)


def test_bfloat16_is_what_the_network_computes_in(store, model):
    exact, rounded = store(model, name="32"), store(model, name="16", precision="bfloat16")
    np.testing.assert_array_equal(rounded("0_Input")[...], exact("0_Input")[...])
    assert rounded("4_Conv2d").attributes["precision"] == "bfloat16"
    values, expected = rounded("4_Conv2d")[...], exact("4_Conv2d")[...]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, torch.from_numpy(values).bfloat16().float().numpy())
    assert 1e-4 < np.abs(values - expected).max() / np.abs(expected).max() < 2**-6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_a_gpu_gives_what_a_cpu_gives(store, model, layers):
    cpu = store(model, name="cpu", augment=AUGMENT)
    gpu = store(model, name="gpu", augment=AUGMENT, device="cuda")
    for layer in layers:
        expected = cpu(layer.label)[...]
        tolerance = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(gpu(layer.label)[...], expected, rtol=0, atol=tolerance)


def test_augmentation_depends_on_image_and_seed_alone(store, model, layers):
    indices = store.indices

    def pixels(indices, **changes):
        return store(model, layers[:1], indices, augment=AUGMENT, **changes)("0_Input")[...]

    whole = pixels(indices)
    np.testing.assert_array_equal(whole, pixels(indices, batch_size=2))
    np.testing.assert_array_equal(whole[:, :3], pixels(indices[:, :3]))
    np.testing.assert_array_equal(whole[2:], pixels(indices[2:], classes=[2, 3]))
    assert not np.array_equal(whole, pixels(indices, seed=1))
    assert not np.array_equal(whole, pixels(indices, split="test"))

    image = to_batch(store.images[indices[1, 3]][None], torch.device("cpu"))
    expected = store.preprocess(augment_batch(image, seeded_generator(0, 0, 1, 3, 1), **AUGMENT))
    np.testing.assert_array_equal(whole[1, 3], expected.flatten().numpy())
    plain = store.pixels(indices.ravel()).reshape(whole.shape).numpy()
    assert (whole != plain).any(axis=2).mean() > 0.9


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_inputs_that_are_no_images(store, dtype):
    tokens = np.random.default_rng(2).integers(0, 7, (60, 6)).astype(dtype)
    if dtype == "int64":
        model = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(18, 2)).eval()
        expected = model[0].weight.detach().numpy()[tokens].reshape(60, 18)
    else:
        model = nn.Sequential(AsFloat(), nn.Linear(6, 2)).eval()
        expected = tokens
    layers = find_layers(model, (6,), dtype)
    opened = store(model, layers, images=tokens, preprocess=AsTheyAre((6,)))
    np.testing.assert_array_equal(opened("0_Input")[...], tokens[store.indices])
    np.testing.assert_array_equal(opened(layers[1].label)[...], expected[store.indices])


class AsFloat(nn.Module):
    def forward(self, inputs):
        return inputs.float()


def test_the_store_says_what_it_is(store, model, layers, tmp_path):
    about = store(
        model,
        layers[:2],
        seed=7,
        classes=[3, 1, 4, 5],
        split="test",
        attributes={"model": "small_cnn", "checkpoint_digest": "abc"},
    )("1_Conv2d").attributes
    digest = about.pop("sample_indices_digest")
    assert len(digest) == 64
    assert about == {
        "format": "manifold_capacity activations",
        "format_version": 2,
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
    other = store(model, layers[:1], store.indices[:, ::-1], name="other")("0_Input")
    assert other.attributes["sample_indices_digest"] != digest
    raw = json.loads((tmp_path / "activations.zarr/1_Conv2d/zarr.json").read_text())
    assert raw["zarr_format"] == 3
    assert raw["fill_value"] == "NaN"
    assert raw["dimension_names"] == ["manifold", "point", "feature"]
    (sharding,) = raw["codecs"]
    assert sharding["name"] == "sharding_indexed"
    codecs = sharding["configuration"]["codecs"]
    assert [codec["name"] for codec in codecs] == ["bytes", "crc32c"]
    assert codecs[0]["configuration"] == {"endian": "little"}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("batch_size", [5, 3])
def test_files_are_what_zarr_writes(store, wide, dtype, batch_size, tmp_path):
    """Of a layer whose last chunk is not full, and a last batch with fewer points."""
    values = store(wide, batch_size=batch_size, dtype=dtype)("2_Linear")[...]
    folder = tmp_path / "activations.zarr/2_Linear"
    files = {path: path.read_bytes() for path in folder.glob("c/*/*/*")}
    assert len(files) == 4 * -(-5 // batch_size)
    array = zarr.open_group(folder.parent, mode="r+")["2_Linear"]
    for path in files:
        path.unlink()
    array[:, :3], array[:, 3:] = values[:, :3], values[:, 3:]
    assert {path: path.read_bytes() for path in files} == files


# Space


def test_a_disk_too_small_is_noticed_before_anything_is_written(
    store, model, layers, tmp_path, monkeypatch
):
    total = store_size(layers, 4, 5).total
    free = total - 1
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    message = rf"takes .* \({total} bytes\), but .* has only .* \({free}.*float16"
    with pytest.raises(StoreError, match=message):
        store(model)
    assert not (tmp_path / "activations.zarr").exists()
    free = total
    store(model)


def test_a_disk_that_fills_up_leaves_nothing_half_written(store, model, tmp_path, monkeypatch):
    write = writer.Writer.write

    def full(self, layer, manifold, *values):
        if manifold == 2 and layer.index == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, layer, manifold, *values)

    with monkeypatch.context() as patch:
        patch.setattr(writer.Writer, "write", full)
        with pytest.raises(StoreError, match=r"the disk filled up while .*make space"):
            store(model)
    assert not (tmp_path / "activations.zarr").exists()
    assert store(model)("6_Conv2d").shape == (4, 5, 1024)


def peak_memory(function):
    """Most memory in bytes that this process has while a function runs, looked at each millisecond."""
    peak, done = 0, threading.Event()

    def look():
        nonlocal peak
        while not done.is_set():
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            peak = max(peak, 4096 * pages)
            time.sleep(0.001)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    return peak


def test_memory_does_not_grow_with_the_images(store):
    """Four times as many images: 256 MiB stored in place of 64; an image takes 256 KiB in each layer."""
    model = nn.Sequential(nn.Conv2d(1, 1024, 1, bias=False), nn.ReLU(inplace=True)).eval()
    images = np.resize(store.images, (512, 8, 8, 1))
    layers = find_layers(model, (1, 8, 8))[1:]
    peaks, stored = [], []
    # Looked at each millisecond, a short run's peak can be missed, so the most of several; of the long run the least,
    # since what else the process does at the time can only add to it.
    for shape, n_runs, chosen in (((2, 64), 8, max), ((8, 64), 3, min)):
        indices = np.arange(shape[0] * shape[1]).reshape(shape)
        run = partial(store, model, layers, indices, images=images, batch_size=16)
        peaks.append(chosen(peak_memory(run) for _ in range(n_runs)))
        stored.append(store_size(layers, *shape, batch_size=16).total)
    assert stored[1] - stored[0] > 110 * 2**20
    assert peaks[1] - peaks[0] < 10 * 2**20


# What cannot be extracted


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Layer(1, "features.9", "Conv2d", (32, 8, 8), 2048),
            r"1_Conv2d \(features\.9\) is not in the model, which has no such module",
        ),
        (Layer(1, "features.0", "Linear", (10,), 10), "which has a Conv2d there"),
        (
            Layer(1, "features.0", "Conv2d", (32, 4, 4), 512),
            r"output of shape \(32, 8, 8\) for a sample, but \(32, 4, 4\) in the table",
        ),
    ],
)
def test_layers_of_another_network_are_refused(store, model, layers, layer, message):
    with pytest.raises(ValueError, match=message):
        store(model, [layers[2], layer])
    assert not any(module._forward_hooks for module in model.modules())


def test_layers_that_do_not_run_are_refused(store):
    with pytest.raises(ValueError, match="did not run in the forward pass: 2_Linear"):
        store(Twice(), [Layer(2, "unused", "Linear", (8,), 8)])


def test_values_too_large_for_half_precision_are_an_error(store, tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).eval()
    nn.init.constant_(model[1].bias, 1e5)
    message = r"activations\.dtype: layer 2_Linear \(1\) has values up to 1e\+05"
    with pytest.raises(ValueError, match=message):
        store(model, dtype="float16")
    with pytest.raises(StoreError, match="is incomplete"):
        open_layer(tmp_path, "2_Linear")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "tf32"}, r"activations\.precision: tf32 .*but this runs on the CPU; set it"),
        ({"precision": "half"}, r"activations\.precision: 'half' is not supported; use one of flo"),
        ({"dtype": "float64"}, r"activations\.dtype: 'float64' .*; use one of float32, float16"),
        ({"split": "val"}, r"split: 'val' is not supported; use one of train, test"),
        ({"classes": [1, 2]}, r"of 4 manifolds, but there are 2 classes and 4 class names"),
    ],
)
def test_arguments_that_do_not_fit(store, model, changes, message):
    with pytest.raises(ValueError, match=message):
        store(model, **changes)
