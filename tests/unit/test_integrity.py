"""No single bit that flips in a file, and no missing end, passes in silence for what was written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from manifold_capacity.activations.extract import extract
from manifold_capacity.activations.store import open_layer
from manifold_capacity.datasets.prepare import prepare
from manifold_capacity.datasets.sampling import load_split
from manifold_capacity.errors import UserError
from manifold_capacity.files import check_file, read_json, write_json
from manifold_capacity.geometry.moments import Moments, moments_from_arrays
from manifold_capacity.models.checkpoints import load_state, save_state
from manifold_capacity.models.find_layers import find_layers
from manifold_capacity.models.preprocess import Preprocess
from manifold_capacity.provenance import write_stamp

N_FLIPS = 60

# What reads a folder of one kind of file, as something that can be compared
Reader = Callable[[Path], Any]


def dataset(folder: Path) -> Reader:
    prepare({"name": "digits"}, folder, folder.parent / "downloads")

    def read(folder: Path) -> Any:
        parts = [load_split(folder, split) for split in ("train", "test")]
        about = read_json(folder / "dataset.json")
        return [about, *(array[:].tobytes() for part in parts for array in part)]

    return read


def weights(folder: Path) -> Reader:
    torch.manual_seed(0)
    state = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict()
    save_state(state, folder / "epoch-000.safetensors", {"epoch": 0, "seed": 3})

    def read(folder: Path) -> Any:
        state, metadata = load_state(folder / "epoch-000.safetensors")
        return {key: tensor.tolist() for key, tensor in state.items()}, metadata

    return read


def store(folder: Path) -> Reader:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8)).eval()
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1), dtype=np.uint8)
    shutil.rmtree(folder)
    layers = find_layers(model, (1, 4, 4))
    preprocess = Preprocess((1, 4, 4), [0.5], [0.5])
    options: dict[str, Any] = {"split": "train", "seed": 0, "device": "cpu"}
    options |= {"preprocess": preprocess, "classes": [0, 1, 2], "class_names": ["a", "b", "c"]}
    extract(model, layers, images, np.arange(12).reshape(3, 4), folder, **options)
    return lambda folder: [
        (layer[...].tobytes(), layer.attributes, layer.shape, layer.dtype)
        for layer in (open_layer(folder, found.label) for found in layers)
    ]


def moments(folder: Path) -> Reader:
    points = np.random.default_rng(0).standard_normal((4, 6, 10))
    moments_from_arrays(points).save(folder / "m.npz")

    def read(folder: Path) -> Any:
        found = vars(Moments.load(folder / "m.npz"))
        return [(name, np.asarray(value, object).tolist()) for name, value in found.items()]

    return read


def geometry(folder: Path) -> Reader:
    tables = [folder / "1_Conv2d.csv", folder / "1_Conv2d.centers.csv"]
    for table in tables:
        pd.DataFrame({"capacity": np.random.default_rng(1).random(8)}).to_csv(table, index=False)
    numbers = {"capacity": 0.123, "status": "ok", "layer_name": "features.0 µ"}
    write_stamp(folder / "1_Conv2d.json", tables, {"geometry": "ab"}, **numbers)

    def read(folder: Path) -> Any:
        return [check_file(folder / table.name, folder / "1_Conv2d.json") for table in tables]

    return read


def simulated(folder: Path) -> Reader:
    write_json(folder / "1.json", {"keys": {}, "row": {"simulated_capacity": 0.25}})
    return lambda folder: read_json(folder / "1.json")


@pytest.mark.parametrize("kind", [dataset, weights, store, moments, geometry, simulated])
def test_damage_is_never_silent(kind: Callable[[Path], Reader], tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    read = kind(folder)
    whole = read(folder)
    rng = np.random.default_rng(7)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        bits = set(rng.choice(8 * len(content), min(N_FLIPS, 8 * len(content)), replace=False))
        damaged = [_flipped(content, int(bit)) for bit in bits]
        ends = rng.integers(0, len(content), 20)
        damaged += [content[: int(end)] for end in ends]
        silent = 0
        for version in damaged:
            file.write_bytes(version)
            found, message = _read(read, folder)
            if message:
                assert str(folder) in message
                assert "again" in message
            else:
                # Parts of a file that say nothing, such as the date of an archive's member
                assert _same(found, whole), f"{file} {version[:80]!r}"
                silent += 1
        assert silent < len(damaged) / 2, file
        file.write_bytes(content)
    assert _same(read(folder), whole)


def _read(read: Reader, folder: Path) -> tuple[Any, str]:
    try:
        return read(folder), ""
    except UserError as error:
        return None, str(error)


def _flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)
