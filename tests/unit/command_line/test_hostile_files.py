"""Files that hold programs: `measure` refuses them in one line, and runs nothing."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from manifold_capacity import command_line
from manifold_capacity.command_line import errors

LABELS = np.repeat(["a", "b"], 4)
POINTS = np.random.default_rng(0).standard_normal((8, 5))


class Touches:
    """Pickles to a program that makes the file `owned`."""

    def __reduce__(self):
        return Path.touch, (Path("owned"),)


def objects(hostile):
    """An array of Python objects, which numpy pickles."""
    made = np.empty(8, dtype=object)
    made[:] = [hostile] * 8
    return made


def write_npz(folder, hostile):
    np.savez(folder / "layer.npz", a=objects(hostile), labels=LABELS)
    return folder / "layer.npz", lambda: np.load("layer.npz", allow_pickle=True)["a"]


def write_labels(folder, hostile):
    np.savez(folder / "labels.npz", a=POINTS, labels=objects(hostile))
    return folder / "labels.npz", lambda: np.load("labels.npz", allow_pickle=True)["labels"]


def write_npy(folder, hostile):
    np.save(folder / "layer.npy", objects(hostile))
    return folder / "layer.npy", lambda: np.load("layer.npy", allow_pickle=True)


def write_zarr(folder, hostile, key, codecs):
    """An array of numbers with a chunk that a pickle codec would unpickle."""
    group = zarr.open_group(folder / "store", mode="w", zarr_format=2)
    group.create_array("labels", data=LABELS, chunks=(8,))
    group.create_array("a", data=POINTS, chunks=(8, 5))
    metadata = folder / "store" / "a" / ".zarray"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {key: codecs}))
    chunk = folder / "store" / "a" / "0.0"
    assert chunk.is_file()
    chunk.write_bytes(pickle.dumps(hostile))
    return folder / "store", lambda: pickle.loads(chunk.read_bytes())


def write_compressor(folder, hostile):
    return write_zarr(folder, hostile, "compressor", {"id": "pickle"})


def write_filter(folder, hostile):
    return write_zarr(folder, hostile, "filters", [{"id": "pickle"}])


def write_weights(folder, hostile):
    torch.save({"a": hostile}, folder / "weights.pt")
    return folder / "weights.pt", lambda: torch.load("weights.pt", weights_only=False)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_npz, "holds Python objects, which would have to be unpickled"),
        (write_labels, "Python objects, which would have to be unpickled"),
        (write_npy, "holds Python objects, which would have to be unpickled"),
        (write_compressor, "store cannot be read as zarr: No Zarr data type"),
        (write_filter, "store cannot be read as zarr: No Zarr data type"),
        (write_weights, "weights.pt is not supported; use a zarr store"),
    ],
)
def test_nothing_in_a_file_is_run(tmp_path, monkeypatch, capsys, write, message):
    monkeypatch.chdir(tmp_path)
    path, run = write(tmp_path, Touches())
    assert command_line.main(["measure", str(path), "-o", "layers.csv"]) == errors.FAILED
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""
    assert not Path("owned").exists()
    run()  # as a careless program would
    assert Path("owned").exists()
