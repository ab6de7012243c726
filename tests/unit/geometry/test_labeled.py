"""Points with a label each, and arrays of other libraries: as manifolds, with names in tables and messages."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from manifold_capacity.errors import CaveatWarning
from manifold_capacity.geometry.glue import measure_glue
from manifold_capacity.geometry.measure import DegenerateManifoldsError, measure

RNG = np.random.default_rng(0)
NAMES = np.array(["cat", "dog", "eel", "fox"])
CODES = RNG.permutation(np.repeat(np.arange(4), 12))
X = RNG.standard_normal((4, 30))[CODES] + 0.5 * RNG.standard_normal((48, 30))
MANIFOLDS = [X[code == CODES] for code in range(4)]
EXPECTED = measure(MANIFOLDS)


def assert_as_expected(found, expected=EXPECTED):
    np.testing.assert_array_equal(found.to_frame(), expected.to_frame())


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (CODES, ["0", "1", "2", "3"]),
        (CODES.astype(float), ["0", "1", "2", "3"]),
        (CODES / 2, ["0", "0.5", "1", "1.5"]),
        (NAMES[CODES], [*NAMES]),
        (NAMES[CODES].astype("S"), [*NAMES]),
        (NAMES[CODES].tolist(), [*NAMES]),
        (NAMES[CODES].astype(object), [*NAMES]),
        (pd.Series(NAMES[CODES]), [*NAMES]),
        (pd.Series(pd.Categorical(NAMES[CODES])), [*NAMES]),
        (pd.Series(CODES, dtype="Int64"), ["0", "1", "2", "3"]),
    ],
)
@pytest.mark.parametrize("function", [measure, measure_glue])
def test_the_points_of_a_label_are_a_manifold(function, labels, names):
    found = function(X, labels)
    assert_as_expected(found, EXPECTED if function is measure else measure_glue(MANIFOLDS))
    assert found.classes == tuple(names)
    assert found.to_frame().index.tolist() == names
    assert found.to_frame().index.name == "class_name"


def test_names_in_xarray():
    pytest.importorskip("xarray")
    assert measure(X, NAMES[CODES]).to_xarray()["manifold"].values.tolist() == [*NAMES]


def test_further_axes_are_flattened():
    images = X.reshape(48, 5, 3, 2)
    assert_as_expected(measure(images, CODES))
    assert_as_expected(measure(np.asfortranarray(images), CODES))
    assert_as_expected(measure(images.reshape(48, 5, 6), CODES))
    assert_as_expected(measure([images[code == CODES] for code in range(4)]))
    zarr = pytest.importorskip("zarr")
    stored = zarr.array(images, chunks=(10, 5, 3, 2))
    assert_as_expected(measure(stored, CODES))


def test_tables_of_points():
    table = pd.DataFrame(X, index=np.arange(48)[::-1])
    assert_as_expected(measure(table, CODES))
    assert_as_expected(measure([table[code == CODES] for code in range(4)]))
    mixed = pd.DataFrame(
        {"a": [True, False] * 24, "b": pd.array([1, 2, 3] * 16, "Int64"), "c": 0.5}
    )
    mixed["c"] += X[:, 0]
    same = np.asarray(mixed.astype(float))
    assert_as_expected(measure(mixed, CODES), measure(same, CODES))
    labels = pd.Series(NAMES[CODES], index=table.index)
    assert_as_expected(measure(table, labels))
    with pytest.raises(ValueError, match="different indices; bring both in the same order"):
        measure(table, labels.sort_index())
    with pytest.raises(ValueError, match="columns that hold no numbers: area; leave them out"):
        measure(table.assign(area="V4"), labels)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float32", "float64"])
def test_tensors(precision):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(X).to(getattr(torch, precision)).requires_grad_()
    expected = measure(tensor.detach().double().numpy(), CODES)
    assert_as_expected(measure(tensor, CODES), expected)
    assert_as_expected(measure(tensor.reshape(48, 5, 3, 2), torch.tensor(CODES)), expected)
    manifolds = [tensor[code == CODES] for code in range(4)]
    assert_as_expected(measure(manifolds), expected)
    assert_as_expected(measure(torch.stack(manifolds)), expected)
    assert_as_expected(measure_glue(torch.nn.Parameter(tensor), CODES), measure_glue(manifolds))


@pytest.mark.gpu
def test_tensors_on_a_gpu():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    tensor = torch.tensor(X, dtype=torch.bfloat16, device="cuda", requires_grad=True)
    labels = torch.tensor(CODES, device="cuda")
    assert_as_expected(measure(tensor, labels), measure(tensor.detach().cpu(), CODES))


def test_torch_is_not_imported():
    code = (
        "import sys, numpy; from manifold_capacity import measure\n"
        "measure(numpy.random.default_rng(0).standard_normal((20, 9)), [0, 1, 2, 3, 4] * 4)\n"
        "print(*{'torch', 'pandas'} & {*sys.modules})"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "\n"


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        (
            X,
            CODES[1:],
            "labels: 47, but the points have 48 samples, the first axis of their shape (48",
        ),
        (X, CODES[:, None], "labels has the shape (48, 1); it must be one number or text for each"),
        (X, "cat", "labels has the shape ()"),
        (X, CODES + 1j, "labels has values of type complex128; they must be numbers or text"),
        (X, np.where(CODES == 1, np.nan, CODES), "labels has no value for 12 rows ("),
        (X, ["", *NAMES[CODES][1:]], "labels has no value for 1 row (0); drop these samples"),
        (X, [None, *NAMES[CODES][1:]], "labels has no value for 1 row (0)"),
        (X, [pd.NA, *CODES[1:]], "labels has no value for 1 row (0)"),
        (X, np.array([1, *NAMES[CODES][1:]], object), "values of several types (int, str"),
        (X[:, 0], CODES, "the points have the shape (48,); with labels it must be (n_samples, n_f"),
        (X[:, :0], CODES, "the points have the shape (48, 0)"),
        ([*MANIFOLDS[:1], MANIFOLDS[1][1:]], CODES, "with labels, give one array (n_samples, ...)"),
        (X, None, "For points with a label each give the labels too, measure(points, labels)"),
        (X.reshape(8, 6, 5, 6), None, "its shape is (8, 6, 5, 6)"),
    ],
)
def test_what_is_no_set_of_labeled_points(points, labels, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        measure(points, labels)


@pytest.mark.parametrize("labels", ["balanced", np.ones((10, 4))])
def test_labels_of_manifolds_are_not_those_of_samples(labels):
    with pytest.raises(ValueError, match=r"labels are those of the samples, .* as `dichotomies`"):
        measure_glue(X, labels)


def damaged(rows, value=np.nan):
    points = X.copy()
    points[rows, 7] = value
    return points


@pytest.mark.parametrize("function", [measure, measure_glue])
def test_rows_that_are_not_finite_are_listed_at_once(function):
    one = f"row 40 (class '{NAMES[CODES[40]]}'), feature 7 is -inf; the geometry needs finite"
    with pytest.raises(
        ValueError,
        match=re.escape(
            f"1 of 48 points have values that are NaN or infinite, in 1 of 30 features: {one}"
        ),
    ):
        function(damaged([40], -np.inf), NAMES[CODES])
    with pytest.raises(ValueError, match=r"^30 of 48 points .* is nan; and 25 more; the geometry"):
        function(damaged(np.arange(30)), CODES)


@pytest.mark.parametrize("function", [measure, measure_glue])
def test_rows_that_are_not_finite_are_dropped(function):
    rows = np.r_[np.flatnonzero(CODES == 1)[:2], np.flatnonzero(CODES == 3)[:1]]
    said = "left out 3 of 48 points: 2 of class 'dog', 1 of class 'fox'"
    with pytest.warns(RuntimeWarning, match=said):
        found = function(damaged(rows), NAMES[CODES], drop_nan=True)
    kept = np.delete(np.arange(48), rows)
    assert_as_expected(found, function(X[kept], CODES[kept]))
    without_labels = [damaged(rows)[code == CODES] for code in range(4)]
    for manifolds in (without_labels, np.array(without_labels)):
        with pytest.warns(RuntimeWarning, match="3 of 48 points: 2 of manifold 1, 1 of manifold 3"):
            assert_as_expected(function(manifolds, drop_nan=True), found)
    assert_as_expected(function(X, CODES, drop_nan=True), function(MANIFOLDS))


@pytest.mark.parametrize("function", [measure, measure_glue])
def test_a_class_that_drop_nan_would_empty_is_named(function):
    points = damaged(np.flatnonzero(CODES == 2))
    said = "drop_nan leaves no point of class 'eel': 12 of 48 points have values that are NaN"
    with pytest.raises(ValueError, match=said):
        function(points, NAMES[CODES], drop_nan=True)


def test_the_feature_with_most_missing_values_is_named():
    points = damaged(np.arange(20))
    points[[0, 30, 31], [1, 2, 3]] = np.nan
    said = (
        "22 of 48 points have values that are NaN or infinite, in 4 of 30 features, 20 of the 23 values in feature 7 "
        "(without it, 3 points have some): row "
    )
    with pytest.raises(ValueError, match=re.escape(said)):
        measure(points, CODES)


def test_classes_and_rows_are_named_in_caveats_and_errors():
    points, labels = np.tile(X, (2, 1)), NAMES[np.tile(CODES, 2)]
    points[60] += 50 * RNG.standard_normal(30)
    (found,) = (t for t in measure(points, labels).caveat_texts.values() if "damaged" in t)
    assert found.startswith(f"Row 60 (class '{labels[60]}') alone has ")
    points[60, 3] = 1e12
    with pytest.raises(ValueError, match=rf"^row 60 \(class '{labels[60]}'\), feature 3 is 1e\+12"):
        measure(points, labels)
    same = np.where((CODES == 2)[:, None], X[CODES != 2].mean(axis=0), X)
    with pytest.raises(DegenerateManifoldsError, match="class 'eel': the center lies at the mean"):
        measure(same, NAMES[CODES])


@pytest.mark.parametrize("function", [measure, measure_glue])
def test_unequal_numbers_of_points_are_said(function):
    with pytest.warns(CaveatWarning, match="have 9 to 12 points; .*: draw equally many from each"):
        found = function([MANIFOLDS[0][3:], *MANIFOLDS[1:]])
    assert "unequal" in found.caveats
