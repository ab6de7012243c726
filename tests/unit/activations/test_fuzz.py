"""Users' files of any content are read as they were written, or are a UserError of one line."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from manifold_capacity.activations.external import ExternalActivations
from manifold_capacity.errors import UserError

# zarr warns of keys that it does not know, which a job's log shows; here, only what comes out counts.
pytestmark = pytest.mark.filterwarnings("ignore")
fuzz = settings(settings.get_profile("fuzz"))

ARRAY = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
LABELS = np.array(["β", "a"] * 4)
GOOD = {"a": ARRAY, "labels": LABELS}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same activations in every format; and a folder for damaged ones."""
    folder = tmp_path_factory.mktemp("files")
    np.savez(folder / "plain.npz", **GOOD)
    np.savez_compressed(folder / "compressed.npz", **GOOD)
    (folder / "npy").mkdir()
    for name, array in GOOD.items():
        np.save(folder / "npy" / name, array)
    for version in (2, 3):
        group = zarr.open_group(folder / f"zarr{version}", mode="w", zarr_format=version)
        for name, array in GOOD.items():
            group.create_array(name, data=array, chunks=(4, *array.shape[1:]))
        zarr.consolidate_metadata(group.store)
    return folder


def assert_one_line(error):
    assert len(str(error).splitlines()) == 1, error
    assert len(str(error)) < 1000


def read(path):
    """Names of the classes and points of all layers; None for a UserError, which must be one line."""
    try:
        external = ExternalActivations(path)
        layers = {
            layer.name: [manifold[:, :] for manifold in external.open(layer.label)]
            for layer in external.layers
        }
    except UserError as error:
        assert_one_line(error)
        return None
    for name, manifolds in layers.items():
        assert all(np.isfinite(points).all() for points in manifolds if points.dtype.kind == "f")
        assert [len(points) for points in manifolds] == list(external.counts["all"]), name
    assert len(external.class_names) == len(set(external.class_names))
    return external.class_names, layers


def assert_as_written(found):
    names, layers = found
    assert names == ("a", "β")
    for (
        name,
        manifolds,
    ) in layers.items():  # a layer may be gone from the archive's list, or renamed
        assert np.array_equal(manifolds, [ARRAY[1::2], ARRAY[::2]]), name


@fuzz
@given(data=st.data(), name=st.sampled_from(["plain.npz", "compressed.npz"]))
def test_a_damaged_archive_is_never_measured_with_other_numbers(files, damaged, data, name):
    path = files / f"damaged-{name}"
    path.write_bytes(data.draw(damaged((files / name).read_bytes())))
    if (found := read(path)) is not None and "labels" not in found[1]:
        assert_as_written(found)


@fuzz
@given(data=st.data(), name=st.sampled_from(["npy", "zarr2", "zarr3"]))
def test_a_damaged_folder_is_read_or_refused(files, damaged, data, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copytree(files / name, Path(folder) / name))
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        file = data.draw(st.sampled_from(inside))
        file.write_bytes(data.draw(damaged(file.read_bytes())))
        read(path)


@fuzz
@given(data=st.data())
def test_arrays_of_any_shape_type_and_name(files, data):
    kinds = [
        "f2",
        "f4",
        "f8",
        "i1",
        "u8",
        "?",
        "c8",
        "U0",
        "U3",
        "S2",
        "M8[s]",
        "O",
        ">f4",
        "g",
        "V3",
    ]
    shapes = st.sampled_from([(8, 6), (8,), (8, 2, 3), (2, 4, 6)])
    shapes |= arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=8)
    names = st.sampled_from(
        ["a", "a.npy", "labels", "class_names", "é", "a\nb", "x" * 300, "", "../a"]
    )
    made = {}
    for name in data.draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        dtype = np.dtype(data.draw(st.sampled_from(kinds)))
        if dtype.kind in "OV":
            made[name] = np.zeros(data.draw(shapes), dtype)
        else:
            made[name] = data.draw(arrays.arrays(dtype, shapes))
    np.savez(files / "any.npz", **made)
    read(files / "any.npz")
