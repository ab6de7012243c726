"""Gram matrices: of arrays in any layout, centered or not; saved and read."""

import dataclasses

import numpy as np
import pytest

from manifold_capacity.geometry import gram as gram_module
from manifold_capacity.geometry.gram import Gram, gram_from_arrays
from manifold_capacity.geometry.moments import moments_from_arrays


def manifolds(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [(5 * rng.standard_normal((m, 70)) + 9).astype(dtype) for m in (3, 8, 5)]


def reference(arrays, center):
    points = np.concatenate(arrays).astype(np.float64)
    points = points - points.mean(axis=0) * center
    return points @ points.T


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8])
def test_inner_products(dtype, center, monkeypatch):
    monkeypatch.setattr(gram_module, "_TILE", 5)
    monkeypatch.setattr(gram_module, "_BLOCK_FEATURES", 32)
    arrays = manifolds(dtype)
    found = gram_from_arrays(arrays, center=center)
    np.testing.assert_allclose(found.matrix, reference(arrays, center), rtol=1e-11, atol=1e-10)
    np.testing.assert_array_equal(found.matrix, found.matrix.T)
    assert found.n_points.tolist() == [3, 8, 5]
    assert (found.n_features, found.centered) == (70, center)


def test_one_array_and_threads(monkeypatch):
    monkeypatch.setattr(gram_module, "_TILE", 7)
    points = np.random.default_rng(1).standard_normal((6, 10, 30))
    runs = [gram_from_arrays(x, threads=n).matrix for x in (points, list(points)) for n in (1, 3)]
    for other in runs[1:]:
        np.testing.assert_array_equal(other, runs[0])


def test_shuffle_is_that_of_the_moments():
    arrays = manifolds()
    shuffled = gram_from_arrays(arrays, shuffle=[1, 2])
    assert not np.allclose(shuffled.matrix, gram_from_arrays(arrays).matrix)
    centers = moments_from_arrays(arrays, shuffle=[1, 2]).center_gram
    ends = np.cumsum(shuffled.n_points)
    weights = np.zeros((3, ends[-1]))
    for i, (start, end) in enumerate(zip(ends - shuffled.n_points, ends, strict=True)):
        weights[i, start:end] = 1 / (end - start)
    weights -= weights.mean(axis=0)
    np.testing.assert_allclose(
        weights @ shuffled.matrix @ weights.T, centers, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize(
    ("scale", "message"),
    [(1e150, "would overflow: divide all"), (1e-160, "would vanish: divide all")],
)
def test_extreme_sizes(scale, message):
    with pytest.raises(ValueError, match=message):
        gram_from_arrays([scale * points for points in manifolds()])


def test_values_that_are_not_finite():
    arrays = manifolds()
    arrays[1][2, 65] = np.nan
    for center in (True, False):
        with pytest.raises(ValueError, match="point 2 of manifold 1, feature 65 is nan"):
            gram_from_arrays(arrays, center=center)


def test_saved_and_read(tmp_path):
    gram = dataclasses.replace(gram_from_arrays(manifolds(), center=False), provenance={"a": [1]})
    gram.save(tmp_path / "new" / "gram.npz")
    found = Gram.load(tmp_path / "new" / "gram.npz")
    np.testing.assert_array_equal(found.matrix, gram.matrix)
    np.testing.assert_array_equal(found.n_points, gram.n_points)
    assert (found.n_features, found.centered, found.provenance) == (70, False, {"a": [1]})


def test_other_files(tmp_path, monkeypatch):
    path = tmp_path / "file.npz"
    moments_from_arrays(manifolds()).save(path)
    with pytest.raises(
        ValueError, match=r"is not a gram file \(it has .*delete it and compute the gram again"
    ):
        Gram.load(path)
    path.write_text("nothing")
    with pytest.raises(ValueError, match="is not a gram file, or damaged"):
        Gram.load(path)
    gram = gram_from_arrays(manifolds())
    dataclasses.replace(gram, n_points=np.array([3, 8, 6])).save(path)
    with pytest.raises(
        ValueError, match=r"damaged \(lower_triangle has shape \(136,\), for 17 points\)"
    ):
        Gram.load(path)
    monkeypatch.setattr(gram_module, "FORMAT_VERSION", 2)
    gram.save(path)
    monkeypatch.setattr(gram_module, "FORMAT_VERSION", 1)
    with pytest.raises(ValueError, match=r"has gram format 2, but this version .* reads format 1"):
        Gram.load(path)
