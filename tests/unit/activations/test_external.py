"""External activations: every kind of file gives the same manifolds, and wrong arrays are named."""

import re
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr
from sklearn.datasets import load_digits

from manifold_capacity.activations import external_reader
from manifold_capacity.activations.external import (
    ExternalActivations,
    default_name,
    open_external_layer,
)
from manifold_capacity.geometry.moments import moments_from_arrays

DIGITS = load_digits()
LABELS = DIGITS.target[:200]
SAMPLES = {
    "conv10": DIGITS.images[:200].astype(np.float32),  # (sample, 8, 8)
    "conv2": DIGITS.data[:200, 10:50].astype(np.int16),
}


def write(path, arrays):
    """Write named arrays in the format that the name of `path` says."""
    if path.suffix == ".npz":
        save = np.savez_compressed if "compressed" in path.name else np.savez
        save(path, **arrays)
    elif path.name.startswith("zarr"):
        version = int(path.name[4])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr has no specification for text in version 3
            group = zarr.open_group(path, mode="w", zarr_format=version)
            for name, values in arrays.items():
                chunks = tuple(max(1, length // 3) for length in values.shape)
                group.create_array(name, data=values, chunks=chunks)
    else:
        path.mkdir()
        for name, values in arrays.items():
            np.save(path / f"{name}.npy", values)
    return path


CONTAINERS = ["plain.npz", "compressed.npz", "folder", "zarr2", "zarr3"]


@pytest.fixture(params=CONTAINERS)
def container(request, tmp_path):
    return tmp_path / request.param


def points(manifolds):
    return [manifold[:, :] for manifold in manifolds]


def test_samples_with_labels_are_manifolds_of_unequal_sizes(container):
    external = ExternalActivations(write(container, {**SAMPLES, "labels": LABELS}))
    assert external.class_names == tuple("0123456789")
    assert external.counts == {"all": tuple(np.bincount(LABELS))}
    assert len(set(external.counts["all"])) > 1
    in_order = ["conv10", "conv2"] if container.suffix == ".npz" else ["conv2", "conv10"]
    assert [layer.name for layer in external.layers] == in_order
    for layer in external.layers:
        whole = SAMPLES[layer.name].reshape(200, -1)
        found = points(external.open(layer.label, classes=[7, 1]))
        for label, manifold in zip([7, 1], found, strict=True):
            assert np.array_equal(manifold, whole[label == LABELS])
        assert external.describe(layer.label)["shape"] == list(SAMPLES[layer.name].shape)


def test_manifolds_without_labels(container):
    arrays = {
        "a": DIGITS.data[:60].reshape(4, 15, 8, 8),
        "b": DIGITS.data[:60].reshape(4, 15, 64)[..., :9],
    }
    external = ExternalActivations(write(container, arrays), class_names=["w", "x", "y", "z"])
    assert external.class_names == ("w", "x", "y", "z")
    assert external.counts == {"all": (15,) * 4}
    for layer in external.layers:
        found = points(external.open(layer.label, classes=[3, 0]))
        assert np.array_equal(found, arrays[layer.name].reshape(4, 15, -1)[[3, 0]])
        few = points(external.open(layer.label, points_per_class=4, seed=2))
        whole = [[row.tobytes() for row in rows] for rows in arrays[layer.name].reshape(4, 15, -1)]
        drawn = {
            tuple(rows.index(row.tobytes()) for row in manifold)
            for rows, manifold in zip(whole, few, strict=True)
        }
        assert [len(set(places)) for places in drawn] == [4] * 4, "another draw for each class"


def test_moments_are_the_same_however_small_the_blocks(container, monkeypatch):
    write(container, {**SAMPLES, "labels": LABELS})
    whole = SAMPLES["conv10"].reshape(200, -1)
    expected = moments_from_arrays([whole[label == LABELS] for label in range(10)])
    label = next(x.label for x in ExternalActivations(container).layers if x.name == "conv10")
    for block_bytes in (200 * 4, 200 * 4 * 5, 200 * 4 * 19):
        monkeypatch.setattr(external_reader, "_BLOCK_BYTES", block_bytes)
        found = moments_from_arrays(ExternalActivations(container).open(label))
        np.testing.assert_allclose(found.center_gram, expected.center_gram, rtol=1e-12)
        np.testing.assert_allclose(
            found.center_deviation, expected.center_deviation, rtol=1e-9, atol=1e-9
        )


def test_single_arrays(tmp_path):
    np.save(tmp_path / "IT cortex.npy", np.asfortranarray(DIGITS.images[:200]))
    np.savez(tmp_path / "conditions.npz", labels=LABELS.astype(str))
    zarr.save_array(tmp_path / "IT cortex", SAMPLES["conv10"])
    for name in ("IT cortex.npy", "IT cortex"):
        external = ExternalActivations(tmp_path / name, tmp_path / "conditions.npz")
        assert [layer.label for layer in external.layers] == ["1_IT_cortex"]
        (manifold,) = points(external.open("1_IT_cortex", classes=[4]))
        assert np.array_equal(manifold, DIGITS.data[:200][LABELS == 4])
        assert str(tmp_path / "conditions.npz") in external.files("1_IT_cortex")
    assert default_name("data/IT cortex.npy") == "IT_cortex"
    assert default_name("_.npy") == "activations"


def test_the_draw_depends_on_seed_and_class_alone(tmp_path):
    path = write(tmp_path / "plain.npz", {**SAMPLES, "labels": LABELS})
    external = ExternalActivations(path)
    several = points(external.open("1_conv10", classes=[3, 8], points_per_class=6, seed=1))
    alone = points(external.open("1_conv10", classes=[8], points_per_class=6, seed=1))
    assert np.array_equal(several[1], alone[0])
    other = points(external.open("1_conv10", classes=[8], points_per_class=6, seed=2))
    assert not np.array_equal(alone[0], other[0])
    conv2 = points(external.open("2_conv2", classes=[8], points_per_class=6, seed=1))
    assert np.array_equal(conv2[0], alone[0][:, 10:50])
    few = points(external.open("1_conv10", classes=[8], points_per_class=3, seed=1))
    assert {row.tobytes() for row in few[0]} < {row.tobytes() for row in alone[0]}
    # Draws have no point in common, and together are the draw of as many points.
    second = points(external.open("1_conv10", classes=[8], points_per_class=3, seed=1, draw=1))
    drawn = [row.tobytes() for draw in (few, second) for row in draw[0]]
    assert sorted(drawn) == sorted(row.tobytes() for row in alone[0])
    assert len(set(drawn)) == 6
    with pytest.raises(ValueError, match=r"points_per_class: 30, 9 times, but .* has only"):
        external.open("1_conv10", points_per_class=30, draw=8)
    with pytest.raises(ValueError, match=r"points_per_class: 99, .*but .* has only \d+ points"):
        external.open("1_conv10", points_per_class=99)


def test_equal_draws_as_many_points_as_the_smallest_of_the_classes(tmp_path):
    path = write(tmp_path / "plain.npz", {**SAMPLES, "labels": LABELS})
    external = ExternalActivations(path)
    least = min(external.counts["all"])
    equal = points(external.open("1_conv10", points_per_class="equal", seed=1))
    number = points(external.open("1_conv10", points_per_class=least, seed=1))
    assert all(np.array_equal(*pair) for pair in zip(equal, number, strict=True))
    # Other draws overlap: of the smallest class all are the same.
    again = points(external.open("1_conv10", points_per_class="equal", seed=1, draw=1))
    same = [np.array_equal(*pair) for pair in zip(equal, again, strict=True)]
    assert same == [count == least for count in external.counts["all"]]
    largest = int(np.argmax(external.counts["all"]))
    alone = points(external.open("1_conv10", classes=[largest], points_per_class="equal", seed=1))
    assert len(alone[0]) == max(external.counts["all"]) > least


def test_layers_are_chosen_and_ordered_by_the_patterns(tmp_path):
    arrays = {"trial": LABELS, **SAMPLES, "labels": LABELS}
    path = write(tmp_path / "plain.npz", arrays)
    external = ExternalActivations(path, names=["conv2", "c*"])
    assert [layer.label for layer in external.layers] == ["1_conv2", "2_conv10"]
    assert external.layers[1].output_shape == (8, 8)
    with pytest.raises(ValueError, match=r"'trial' of .* has shape \(200,\)"):
        ExternalActivations(path)
    with pytest.raises(ValueError, match=r"layers.names: 'conv3' is not in plain.npz; nearest"):
        ExternalActivations(path, names=["conv3"])
    with pytest.raises(ValueError, match="has no layer '7_x'; it has 1_conv10"):
        ExternalActivations(path, names=["conv*"]).open("7_x")
    spec = {
        "source": {"path": str(path), "labels": None},
        "names": ["conv2"],
        "sample": {"classes": [0], "points_per_class": "all"},
    }
    (manifold,) = points(open_external_layer("1_conv2", spec, seed=0))
    assert np.array_equal(manifold, SAMPLES["conv2"][LABELS == 0])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([45.0, 90.5] * 100), ("45", "90.5")),
        (np.array([10, -2] * 100), ("-2", "10")),
        (np.array([b"dog", b"cat"] * 100), ("cat", "dog")),
        (np.array([True, False] * 100), ("False", "True")),
    ],
)
def test_classes_are_called_as_the_labels(tmp_path, labels, names):
    path = write(tmp_path / "plain.npz", {**SAMPLES, "labels": labels})
    assert ExternalActivations(path).class_names == names


def test_classes_have_the_names_that_come_with_them(container):
    names = np.array([f"digit {label}" for label in range(10)])
    external = ExternalActivations(
        write(container, {**SAMPLES, "labels": LABELS, "class_names": names})
    )
    assert external.class_names == tuple(names)
    with pytest.raises(ValueError, match=r"activations.class_names: .*has an array `class_names`"):
        ExternalActivations(container, class_names=list("abcdefghij"))


OBJECTS = np.array([None] * 200)
GOOD = {"a": SAMPLES["conv2"], "labels": LABELS}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            GOOD | {"labels": LABELS[1:]},
            "activations.labels: 199 labels, but 'a' of .* has 200 samples",
        ),
        (GOOD | {"labels": LABELS[:, None]}, r"labels of .*: shape \(200, 1\), type int64"),
        (GOOD | {"labels": np.where(LABELS, 1, np.nan)}, "the label of sample 0 is nan; drop"),
        (GOOD | {"labels": OBJECTS}, "Python objects, which would have to be unpickled"),
        (GOOD | {"a": OBJECTS}, "'a' of .* holds Python objects, .*layers.names"),
        (GOOD | {"a": SAMPLES["conv2"] * 1j}, "'a' of .* has values of type complex128"),
        (GOOD | {"a": SAMPLES["conv2"][:, :0]}, r"'a' of .* has shape \(200, 0\)"),
        ({"a": SAMPLES["conv2"]}, r"activations.labels: null, but 'a' of .* has shape \(200, 40\)"),
        ({"a": np.ones((3, 4, 5)), "b": np.ones((3, 5, 5))}, "'b' of .* 3 manifolds of 4 points"),
        ({"labels": LABELS}, "has no arrays besides the labels"),
        (GOOD | {"class_names": np.array(["x"])}, "class_names of .*: 1 names, but .* 10 classes"),
        (GOOD | {"class_names": np.arange(10)}, "class_names of .* it must be text"),
        (GOOD | {"class_names": np.array(["x"] * 10)}, "class_names of .*: a name is given twice"),
    ],
)
def test_what_is_wrong_with_the_arrays_is_named(tmp_path, arrays, message):
    path = write(tmp_path / "plain.npz", arrays)
    with pytest.raises(ValueError, match=message):
        ExternalActivations(path)


def test_values_that_are_not_finite_are_named_together(container):
    broken = {"conv10": SAMPLES["conv10"].astype(np.float32), "labels": LABELS}
    broken["conv10"][[5, 20, 30], 0, 0] = np.nan
    external = ExternalActivations(write(container, broken))
    listed = r", one of 3 samples with such values \((\d+), (\d+), (\d+)\), in 1 of \d+ features; the geometry needs"
    with pytest.raises(ValueError, match=listed) as raised:
        moments_from_arrays(external.open(external.layers[0].label))
    assert sorted(map(int, re.search(listed, str(raised.value)).groups())) == [5, 20, 30]


def test_the_feature_with_most_missing_values_is_named(container):
    """The counts are of the whole layer, whichever part of it is read."""
    broken = SAMPLES["conv10"].astype(np.float32)  # 64 features
    broken[100:, 7, 7] = np.nan
    broken[[5, 20, 150], 0, 0] = np.inf
    external = ExternalActivations(write(container, {"conv10": broken, "labels": LABELS}))
    said = (
        r"feature 0 is inf, one of 102 samples with such values \(.*, \.\.\.\), in 2 of 64 features, "
        r"100 of the 103 values in feature 63 \(without it, 3 samples have some\); the geometry"
    )
    with pytest.raises(ValueError, match=said):
        external.open("1_conv10")[0][:, :2]


def test_a_value_that_is_not_finite_names_its_place(container):
    broken = {name: values.astype(np.float32) for name, values in SAMPLES.items()}
    sample = 5  # the first one of its class
    broken["conv10"][sample, 2, 3] = np.inf
    external = ExternalActivations(write(container, {**broken, "labels": LABELS}))
    label = next(layer.label for layer in external.layers if layer.name == "conv10")
    where = f"layer 'conv10', class '{LABELS[sample]}', sample {sample}, feature 19 is inf"
    with pytest.raises(ValueError, match=where):
        moments_from_arrays(external.open(label))
    with pytest.raises(ValueError, match=where):
        external.open(label)[0][:, 16:24]
    others = [index for index in range(10) if index != LABELS[sample]]
    assert moments_from_arrays(external.open(label, classes=others)).n_manifolds == 9


def test_changes_are_seen_in_the_files_of_a_layer(tmp_path):
    folder = ExternalActivations(write(tmp_path / "folder", {**SAMPLES, "labels": LABELS}))
    names = {file.removeprefix(f"{tmp_path}/folder/") for file in folder.files("1_conv2")}
    assert names == {"conv2.npy", "labels.npy"}
    path = write(tmp_path / "zarr3", {**SAMPLES, "labels": LABELS})
    assert ExternalActivations(path).files("1_conv2") == [f"{path}/conv2", f"{path}/labels"]
    archive = write(tmp_path / "plain.npz", {**SAMPLES, "labels": LABELS})
    assert ExternalActivations(archive).files("2_conv2") == [str(archive)]


def resident_bytes(path):
    """Memory of this process that holds pages of a mapped file."""
    text = Path("/proc/self/smaps").read_text()
    return 1024 * sum(map(int, re.findall(rf"{re.escape(str(path))}\n(?:.*\n)*?Rss: +(\d+)", text)))


def test_memory_does_not_grow_with_the_layer(tmp_path):
    rng = np.random.default_rng(0)
    large = rng.standard_normal((300, 20_000), dtype=np.float32)  # 23 MiB
    labels = np.repeat(np.arange(10), 30)
    np.savez(tmp_path / "plain.npz", large=large, labels=labels)
    np.savez_compressed(tmp_path / "compressed.npz", large=large, labels=labels)
    expected = moments_from_arrays([large[labels == label] for label in range(10)])
    del large
    for name in ("plain.npz", "compressed.npz"):
        external = ExternalActivations(tmp_path / name)
        tracemalloc.start()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(external_reader, "_BLOCK_BYTES", 2**20)
                manifolds = external.open("1_large")
                found = moments_from_arrays(manifolds)
            assert resident_bytes(tmp_path / name) < 4 * 2**20
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        np.testing.assert_allclose(found.center_gram, expected.center_gram, rtol=1e-9)
        assert peak < 10 * 2**20


def test_chunks_that_are_not_stored_are_said(tmp_path, caplog):
    path = tmp_path / "rec.zarr"
    values = np.random.default_rng(0).standard_normal((40, 6))
    values[:10] = 0  # zarr does not store a chunk of these
    group = zarr.create_group(path)
    group.create_array("a", data=values, chunks=(10, 6))
    group.create_array("labels", data=np.arange(40) % 2, chunks=(40,))
    (first, second) = ExternalActivations(path).open("1_a")
    np.testing.assert_array_equal(first[:, :], values[::2])
    np.testing.assert_array_equal(second[:, :], values[1::2])
    assert "1 of 4 chunks are not stored, and read as zarr's fill value" in caplog.text
    caplog.clear()
    group["a"][:10] = 1
    ExternalActivations(path).open("1_a")
    assert caplog.text == ""
