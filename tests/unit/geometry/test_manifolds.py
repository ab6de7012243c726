"""Manifolds as users pass them: every kind of array, read in blocks; what is refused, and why."""

import re
from pathlib import Path

import numpy as np
import pytest

from manifold_capacity.geometry.manifolds import Source


def assert_read(given, expected, block_features=7):
    """Blocks of the source, put together, are exactly the manifolds."""
    source = Source(given)
    blocks = list(source.blocks(block_features))
    widths = [block[0].shape[1] for _, block in blocks]
    assert [first for first, _ in blocks] == np.cumsum([0, *widths[:-1]]).tolist()
    assert max(widths) <= block_features
    assert source.sizes == [len(points) for points in expected]
    for i, points in enumerate(expected):
        read = np.concatenate([block[i] for _, block in blocks], axis=1)
        np.testing.assert_array_equal(read, points)


class OnlyArray:
    """Something that can be turned into an array, and nothing else."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)


def test_every_layout_is_read():
    wide = np.random.default_rng(6).standard_normal((40, 8, 6)).astype(np.float32)
    plain = np.ascontiguousarray(wide.transpose(2, 1, 0))
    for given in (
        plain,
        wide.transpose(2, 1, 0),
        list(plain),
        tuple(points.tolist() for points in plain),
        np.asfortranarray(plain),
        np.repeat(plain, 2, axis=2)[:, :, ::2],
        OnlyArray(plain),
        [OnlyArray(points) for points in plain],
    ):
        assert_read(given, plain)
    unequal = [points[: i + 1] for i, points in enumerate(plain)]
    assert_read(unequal, unequal)


class RecordingArray:
    """A chunked array on disk, as far as the reader can tell; remembers what was read."""

    def __init__(self, values, chunks):
        self.values = values
        self.shape = values.shape
        self.dtype = values.dtype
        self.chunks = chunks
        self.reads = []

    def __getitem__(self, key):
        self.reads.append((key[-1].start, key[-1].stop))
        return self.values[key]


@pytest.mark.parametrize(
    ("chunk", "block_features", "reads"),
    [
        (10, 20, [(0, 20), (20, 40), (40, 45)]),
        (10, 25, [(0, 20), (20, 40), (40, 45)]),  # 20 is the most whole chunks in 25
        (30, 7, [(0, 30), (30, 45)]),  # one chunk is read once, then cut
    ],
)
def test_reads_are_whole_chunks(chunk, block_features, reads):
    values = np.random.default_rng(7).standard_normal((3, 4, 45))
    array = RecordingArray(values, (3, 4, chunk))
    assert_read(array, values, block_features)
    assert array.reads == reads


def test_a_chunk_too_wide_for_memory_is_read_in_parts(monkeypatch):
    monkeypatch.setattr("manifold_capacity.geometry.manifolds._MAX_READ_BYTES", 3 * 4 * 8 * 40)
    values = np.random.default_rng(8).standard_normal((3, 4, 45))
    array = RecordingArray(values, (3, 4, 45))
    assert_read(array, values, 20)
    assert array.reads == [(0, 20), (20, 40), (40, 45)]


def test_zarr_arrays(tmp_path):
    zarr = pytest.importorskip("zarr")
    values = np.random.default_rng(9).standard_normal((4, 6, 50)).astype(np.float32)
    store = zarr.open_group(tmp_path / "store", mode="w")
    assert_read(store.create_array("a", data=values, chunks=(1, 6, 16), shards=(4, 6, 32)), values)
    parts = [store.create_array(str(i), data=v, chunks=(6, 16)) for i, v in enumerate(values)]
    assert_read(parts, values)


def test_centered_blocks():
    manifolds = [1e6 + np.random.default_rng(i).standard_normal((3 + i, 5000)) for i in range(3)]
    blocks = list(Source(manifolds).centered_blocks([2, 4, 1]))
    assert len(blocks) == 3
    points = np.concatenate([manifolds[0][:2], manifolds[1][:4], manifolds[2][:1]])
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), points - points.mean(0), atol=1e-9)


@pytest.mark.parametrize(
    ("manifolds", "message"),
    [
        ([], "there are no manifolds; give a list of arrays"),
        (np.ones((0, 4, 5)), "no manifolds"),
        ([np.ones((2, 3)), np.ones((0, 3))], "manifold 1 has no points"),
        ([*np.ones((2, 2, 3)), np.ones((2, 4))], r"manifold 0 has 3, but manifold 2 \(4\)"),
        (
            [np.ones((2, 3)), *[np.ones((2, 4))] * 7],
            r"manifold 1 \(4\), 2 \(4\), 3 \(4\), 4 \(4\), 5 \(4\) and 2 more have",
        ),
        (np.ones((2, 3, 0)), "have no features"),
        ([np.ones((2, 3)), np.ones(3)], r"manifold 1 has shape \(3,\)"),
        (np.ones((4, 5)), r"axes \(manifold, point, feature\); its shape is \(4, 5\)"),
        (np.ones((2, 3, 4), dtype=complex), "the manifolds: values of type complex128"),
        ([np.ones((2, 3)), np.full((2, 3), "x")], "manifold 1: values of type <U1"),
    ],
)
def test_what_is_no_set_of_manifolds(manifolds, message):
    with pytest.raises(ValueError, match=message):
        Source(manifolds)


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("x.npy", "or use the command line: manifold-capacity measure FILE"),
        (Path("x.npy"), "load the file: measure(numpy.load(path))"),
        ({"V1": 1, "V4": 2}, "dict of 2 arrays; give one layer's"),
    ],
)
def test_paths_and_mappings_are_refused_with_a_remedy(given, remedy):
    with pytest.raises(TypeError, match=re.escape(remedy)):
        Source(given)
