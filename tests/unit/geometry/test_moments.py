"""Moments: exact for any blocks, type and scale; saved files and damaged ones."""

import io
import subprocess
import sys

import numpy as np
import pytest

from manifold_capacity.geometry.moments import Moments, moments_from_arrays


def direct_moments(manifolds):
    """G, Z and W from the definitions, without blocks, in extended precision."""
    manifolds = [np.asarray(points, dtype=np.longdouble) for points in manifolds]
    firsts = np.array([points[0] for points in manifolds])
    # Relative to a first point the differences are exact and the means keep all their digits.
    deviations = [points - points[0] for points in manifolds]
    means = np.array([deviation.mean(axis=0) for deviation in deviations])
    deviations = [e - mean for e, mean in zip(deviations, means, strict=True)]
    centers = means + (firsts - firsts[0])
    centers -= centers.mean(axis=0)
    return (
        centers @ centers.T,
        np.concatenate([centers @ e.T for e in deviations], axis=1),
        [e @ e.T for e in deviations],
    )


def assert_moments(moments, expected, tolerance):
    gram, cross, within = expected
    unit = moments.scale**2
    sizes = np.sqrt([float(np.trace(w)) for w in within])
    radius = np.sqrt(float(np.trace(gram)))
    triples = [(moments.center_gram, gram, radius**2)]
    for i, w in enumerate(within):
        columns = slice(*moments.offsets[i : i + 2])
        triples.append((moments.deviation_gram[i], w, sizes[i] ** 2))
        triples.append((moments.center_deviation[:, columns], cross[:, columns], sizes[i] * radius))
    for found, exact, size in triples:
        np.testing.assert_allclose(found * unit, np.float64(exact), rtol=0, atol=tolerance * size)


@pytest.fixture
def clouds():
    rng = np.random.default_rng(1)
    return [rng.standard_normal((m, 37)) + rng.standard_normal(37) for m in (5, 1, 9, 4)]


def test_moments_are_what_they_say(clouds):
    moments = moments_from_arrays(clouds)
    assert_moments(moments, direct_moments(clouds), 1e-14)
    assert moments.n_points.tolist() == [5, 1, 9, 4]
    assert moments.offsets.tolist() == [0, 5, 6, 15, 19]
    assert moments.n_features == 37
    assert moments.n_manifolds == 4
    assert moments.scale == 1


@pytest.mark.parametrize("block_features", [1, 2, 7, 36, 37, 1000])
def test_blocks_do_not_matter(clouds, block_features):
    expected = direct_moments(clouds)
    assert_moments(moments_from_arrays(clouds, block_features=block_features), expected, 1e-12)


def test_many_points_fill_several_column_groups():
    rng = np.random.default_rng(2)
    manifolds = rng.standard_normal((9, 150, 11))
    assert_moments(moments_from_arrays(manifolds), direct_moments(manifolds), 1e-13)


@pytest.mark.parametrize("spread", [1e-8, 1e-4, 1.0, 1e3])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_small_spread_and_a_large_offset_keep_their_digits(spread, offset):
    rng = np.random.default_rng(3)
    centers = rng.standard_normal((4, 1, 50)) + offset
    manifolds = centers + spread * rng.standard_normal((4, 6, 50))
    # The inputs are what they are after rounding; their moments are exact to float64.
    assert_moments(moments_from_arrays(manifolds), direct_moments(manifolds), 1e-13)


def test_an_outlier_as_first_point_costs_no_more_than_its_rounding():
    rng = np.random.default_rng(4)
    manifolds = rng.standard_normal((3, 20, 30))
    manifolds[:, 0] += 1e4
    assert_moments(moments_from_arrays(manifolds), direct_moments(manifolds), 1e4 * 1e-15)


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "longdouble", "uint8", "int32", "bool"]
)
def test_types(dtype):
    rng = np.random.default_rng(5)
    manifolds = rng.integers(0, 2 if dtype == "bool" else 100, (3, 6, 40)).astype(dtype)
    moments = moments_from_arrays(manifolds)
    assert moments.center_gram.dtype == np.float64
    assert_moments(moments, direct_moments(manifolds), 1e-14)


@pytest.mark.parametrize("exponent", [-307, -250, -200, -120, -63, 63, 120, 200, 250, 305])
def test_scales_whose_squares_overflow_or_vanish(exponent):
    rng = np.random.default_rng(10)
    manifolds = rng.standard_normal((4, 5, 30))
    plain = moments_from_arrays(manifolds)
    factor = 10.0**exponent
    moments = moments_from_arrays(manifolds * factor)
    ratio = moments.scale / factor
    assert 1e-7 < ratio < 1e7
    for name in ("center_gram", "center_deviation", "deviation_gram"):
        found, expected = np.array(getattr(moments, name)), np.array(getattr(plain, name))
        tolerance = 1e-14 * np.abs(expected).max()
        np.testing.assert_allclose(found * ratio**2, expected, rtol=0, atol=tolerance)


def test_ordinary_scales_are_left_alone():
    manifolds = np.random.default_rng(11).standard_normal((4, 5, 30))
    for factor in (1e-50, 1e50):
        assert moments_from_arrays(manifolds * factor).scale == 1
    for constant in (0.0, 5.0, -3e40):
        moments = moments_from_arrays(np.full((3, 4, 5), constant))
        assert moments.scale == 1
        assert moments.total_trace == 0


def test_derived_quantities(clouds):
    moments = moments_from_arrays(clouds)
    points = np.concatenate(clouds)
    mean = points.mean(axis=0)
    means = np.array([c.mean(axis=0) for c in clouds])
    traces = [((c - m) ** 2).sum() for c, m in zip(clouds, means, strict=True)]
    for found, expected in (
        (moments.center_norm_squared, ((means - mean) ** 2).sum(axis=1)),
        (moments.mean_weights @ (means - means.mean(axis=0)), mean - means.mean(axis=0)),
        (moments.total_trace, ((points - mean) ** 2).sum()),
        (moments.deviation_trace, traces),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("point", [0, 3])
def test_a_value_that_is_not_finite_is_named(bad, dtype, point):
    manifolds = np.ones((5, 4, 33), dtype=dtype)
    manifolds[3, point, 21] = bad
    message = rf"point {point} of manifold 3, feature 21 is {bad}; the geometry needs finite"
    with pytest.raises(ValueError, match=message):
        moments_from_arrays(manifolds, block_features=8)


def test_not_finite_beside_the_huge_is_named():
    manifolds = np.full((3, 4, 6), 1.5e308)
    manifolds[::2] *= -1  # overflows before the NaN is reached
    manifolds[2, 1, 5] = np.nan
    with pytest.raises(ValueError, match="point 1 of manifold 2, feature 5 is nan"):
        moments_from_arrays(manifolds, block_features=2)


def test_block_features_must_be_positive():
    with pytest.raises(ValueError, match="block_features is 0; it must be at least 1"):
        moments_from_arrays(np.ones((2, 2, 2)), block_features=0)


def test_saved_moments_come_back(tmp_path, clouds):
    moments = moments_from_arrays([points * 1e200 for points in clouds])
    path = tmp_path / "new" / "layer.npz"
    moments.save(path)
    loaded = Moments.load(path)
    assert [file.name for file in path.parent.iterdir()] == ["layer.npz"]
    for name in ("center_gram", "center_deviation", "n_points", "n_features", "scale"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(moments, name))
    for got, expected in zip(loaded.deviation_gram, moments.deviation_gram, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert isinstance(loaded.n_features, int)
    assert isinstance(loaded.scale, float)
    (tmp_path / "ordinary").touch()
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    with pytest.raises(FileNotFoundError):
        Moments.load(tmp_path / "missing.npz")


def test_a_save_that_fails_leaves_the_old_file(tmp_path, clouds, monkeypatch):
    moments = moments_from_arrays(clouds)
    path = tmp_path / "layer.npz"
    moments.save(path)
    before = path.read_bytes()

    def fail(stream, **arrays):
        stream.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        moments.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["layer.npz"]


def saved(save, *arrays, **named):
    stream = io.BytesIO()
    save(stream, *arrays, **named)
    return stream.getvalue()


def flip_a_bit(whole):
    middle = whole.index(b"center_deviation") + 300
    return whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda whole: whole[: len(whole) // 2],
            "is not .* or damaged: .*compute the moments again",
        ),
        (lambda whole: b"", "is not .* or damaged"),
        (lambda whole: b"layer,capacity\n", "is not a moments file"),
        (lambda whole: saved(np.save, np.ones(3)), "is not a moments file"),
        (
            lambda whole: saved(np.savez, images=np.array([{}])),
            r"is not .* \(it has \['images'\]\)",
        ),
        (flip_a_bit, "is damaged"),
    ],
)
def test_damaged_and_foreign_files(tmp_path, clouds, content, message):
    path = tmp_path / "layer.npz"
    moments_from_arrays(clouds).save(path)
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"layer\.npz {message}"):
        Moments.load(path)


def test_files_of_another_version_or_inconsistent(tmp_path, clouds):
    path = tmp_path / "layer.npz"
    moments_from_arrays(clouds).save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    for name, value, message in [
        ("manifold_capacity_moments", np.int64(99), "has moments format 99, but .* reads format 2"),
        ("center_deviation", np.ones((4, 7)), r" has shape \(4, 7\), expected \(4, 19\)"),
        ("deviation_gram", np.ones(3), r"deviation_gram has shape \(3,\), expected"),
        ("n_points", None, "is damaged .*n_points"),
        ("center_gram", np.array([{}], dtype=object), "is damaged .*pickle"),
    ]:
        changed = arrays | {name: value}
        np.savez(path, **{key: array for key, array in changed.items() if array is not None})
        with pytest.raises(ValueError, match=message):
            Moments.load(path)


def test_memory_stays_bounded_as_features_grow():
    """Peak memory beyond the input, in a fresh process, is a few buffers and doesn't follow N."""
    code = (
        "import resource, numpy as np; from manifold_capacity.geometry.moments import moments_from_arrays;"
        "X = np.ones((20, 50, 40960), dtype=np.float16);"  # 80 MB; 320 MB as float64
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024;"
        "moments_from_arrays(X[:, :, :64]); before = peak();"
        "moments_from_arrays(X); print(peak() - before)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert float(result.stdout) < 60
