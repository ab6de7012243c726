"""What is wrong with files of arrays is named, and nothing in them is unpickled."""

import json
import os
import shutil
import tempfile
import zipfile

import numpy as np
import pytest
import zarr

from manifold_capacity.activations.external import ExternalActivations
from manifold_capacity.errors import UserError

LABELS = np.arange(200) % 10
ARRAY = np.arange(8000, dtype=np.int16).reshape(200, 40)


@pytest.fixture
def files(tmp_path):
    np.savez(tmp_path / "plain.npz", a=ARRAY, labels=LABELS)
    np.savez(tmp_path / "other.npz", other=LABELS)
    np.save(tmp_path / "labels.npy", LABELS)
    np.save(tmp_path / "a.npy", ARRAY)
    (tmp_path / "truncated.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    (tmp_path / "truncated.npz").write_bytes((tmp_path / "plain.npz").read_bytes()[:-1])
    (tmp_path / "version3.npy").write_bytes(b"\x93NUMPY\x03\x00")
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("a.mat", "a.csv", "a.xyz"):
        (tmp_path / name).write_text("")
    (tmp_path / "empty").mkdir()
    zarr.open_group(tmp_path / "groups", mode="w").create_group("inner")
    with zipfile.ZipFile(tmp_path / "notes.npz", "w") as archive:
        archive.writestr("notes.txt", "no array")
    (tmp_path / "negative.npy").write_bytes(npy("(200, -40)"))
    (tmp_path / "true.npy").write_bytes(npy("(True, 40)"))
    (tmp_path / "huge.npy").write_bytes(npy("(200, 10000000000000)"))
    (tmp_path / "two.npy").write_bytes((tmp_path / "a.npy").read_bytes() * 2)
    (tmp_path / "no_text.npy").write_bytes(npy("(200,)", "<U0", b""))
    os.mkfifo(tmp_path / "pipe.npy")
    for name in ("folder", "broken", "unreadable"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "inner.npy").mkdir()
    (tmp_path / "broken" / "a.npy").symlink_to("gone")
    np.save(tmp_path / "unreadable" / os.fsdecode(b"a\xff.npy"), ARRAY)
    np.savez(tmp_path / "long.npz", **{"a" * 201: ARRAY})
    save_members(tmp_path / "twice.npz", {"a": npy("(200, 40)"), "a.npy": npy("(200, 40)")})
    return tmp_path


def npy(shape, dtype="<i2", body=bytes(16_000)):
    """A file in .npy format with this header."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


def save_members(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def save_zarr(path, version=3, **arrays):
    group = zarr.open_group(path, mode="w", zarr_format=version)
    for name, values in arrays.items():
        group.create_array(name, data=values, chunks=(100, *values.shape[1:]))
    return group


def edit(file, **changes):
    """Change keys of a zarr array's metadata."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("path", "labels", "message"),
    [
        ("gone.npz", None, "activations.path: there is no file or folder .*gone.npz"),
        ("a.mat", None, "a.mat is not supported; use a zarr store, an .npz"),
        ("a.csv", None, "a.csv is not supported; .*; docs/own_data.md#from-csv-hdf5-and-matlab"),
        ("a.xyz", None, "a.xyz is not supported; .* folder of .npy files$"),
        ("text.npy", None, "text.npy is not an .npy file"),
        ("version3.npy", None, r"is not an .npy file: format \(3, 0\) is not"),
        ("text.npz", None, "text.npz is not an .npz file"),
        ("truncated.npy", "labels.npy", "truncated: 15999 bytes in place of 16000; copy it again"),
        ("truncated.npz", None, "truncated.npz is not an .npz file, or damaged"),
        ("notes.npz", None, r"notes.txt is not an .npy file"),
        ("empty", None, "neither a zarr store nor a folder of .npy files"),
        ("groups", None, r"zarr group without arrays \(it has inner\)"),
        ("a.npy", "gone.npy", "activations.labels: there is no file .*gone.npy"),
        ("a.npy", "a.mat", "activations.labels: .*a.mat is not supported; use an .npy, or"),
        ("a.npy", "other.npz", "has no array `labels`; it has other"),
        ("plain.npz", "labels.npy", "has an array `labels` too; remove one"),
        (
            "negative.npy",
            "labels.npy",
            r"negative.npy is not an .npy file: its shape is \(200, -40\)",
        ),
        ("a.npy", "negative.npy", r"activations.labels: .* its shape is \(200, -40\)"),
        ("true.npy", "labels.npy", r"its shape is \(True, 40\)"),
        ("huge.npy", "labels.npy", "truncated: 16000 bytes in place of 4000000000000000"),
        ("two.npy", "labels.npy", "two.npy is more than one array"),
        ("a.npy", "no_text.npy", "the label of sample 0 is ''; drop the samples without a label"),
        ("pipe.npy", "labels.npy", "pipe.npy is no file"),
        ("folder", None, "neither a zarr store nor a folder of .npy files"),
        ("broken", None, "a.npy is no file, or a link to one that is gone"),
        ("unreadable", "labels.npy", "the name is not valid UTF-8; rename it"),
        ("long.npz", "labels.npy", "the name is longer than 200 bytes; rename it"),
        ("x" * 5000, None, "File name too long"),
        ("twice.npz", None, "twice.npz has two arrays 'a'; save each under its own name"),
    ],
)
def test_what_is_wrong_with_the_files_is_named(files, path, labels, message):
    with pytest.raises(ValueError, match=message):
        ExternalActivations(files / path, labels and files / labels)


def test_labels_may_be_those_of_another_archive(files):
    assert ExternalActivations(files / "a.npy", files / "plain.npz").counts == {"all": (20,) * 10}


def test_nothing_is_unpickled_from_zarr(tmp_path):
    group = zarr.open_group(tmp_path, mode="w", zarr_format=2)
    group.create_array("a", data=ARRAY, chunks=(60, 40))
    metadata = tmp_path / "a" / ".zarray"
    changed = json.loads(metadata.read_text()) | {"compressor": {"id": "pickle"}}
    metadata.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="pickle"):
        ExternalActivations(tmp_path)


def test_no_room_to_unpack_says_what_to_do(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "compressed.npz", a=ARRAY, labels=LABELS)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(ValueError, match=r"labels.npy takes .* GiB unpacked, .*numpy.savez"):
        ExternalActivations(tmp_path / "compressed.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", ["a", "labels"])
def test_a_flipped_bit_is_not_measured(tmp_path, save, name):
    rng = np.random.default_rng(0)
    arrays = {"a": rng.integers(9, size=(20_000, 4)), "labels": rng.integers(2, size=20_000)}
    save(tmp_path / "a.npz", **arrays)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        member = archive.getinfo(f"{name}.npy")
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[member.header_offset + member.compress_size // 2] ^= 0x41
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=rf"a.npz: {name}.npy cannot be read, or is damaged: \S+"):
        ExternalActivations(tmp_path / "a.npz").open("1_a")


def test_a_bad_checksum_of_another_array_is_no_obstacle(tmp_path):
    np.savez(tmp_path / "a.npz", a=ARRAY, other=ARRAY + 1, labels=LABELS)
    content = (tmp_path / "a.npz").read_bytes().replace((ARRAY + 1).tobytes(), ARRAY.tobytes())
    (tmp_path / "a.npz").write_bytes(content)
    assert ExternalActivations(tmp_path / "a.npz", names=["a"]).open("1_a")


def test_two_names_that_differ_in_the_ending_are_two_layers(tmp_path):
    np.savez(tmp_path / "a.npz", **{"a": ARRAY, "a.npy": ARRAY + 1, "labels": LABELS})
    external = ExternalActivations(tmp_path / "a.npz")
    assert [layer.label for layer in external.layers] == ["1_a", "2_a_npy"]
    assert external.open("2_a_npy")[0][:1, :2].tolist() == [[1, 2]]


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", [zarr.dtype.VariableLengthUTF8, zarr.dtype.VariableLengthBytes])
def test_text_of_variable_length_in_zarr(tmp_path, version, kind):
    group = save_zarr(tmp_path / "store", version, a=ARRAY)
    encode = str.encode if kind is zarr.dtype.VariableLengthBytes else str

    def write(name, words):
        array = group.create_array(name, shape=(len(words),), dtype=kind(), overwrite=True)
        array[:] = np.array([encode(word) for word in words], dtype=object)

    write("labels", ["vier", "eins"] * 100)
    write("class_names", ["Ä", "β"])
    external = ExternalActivations(tmp_path / "store")
    assert external.class_names == ("Ä", "β")
    assert np.array_equal(external.open("1_a")[0][:, :], ARRAY[1::2])
    write("class_names", ["Ä", "\n"])
    with pytest.raises(UserError, match=r"class_names of .* has control characters"):
        ExternalActivations(tmp_path / "store")


@pytest.mark.parametrize(
    "labels",
    [np.array([b"a", b"\xff"] * 100), np.array([97, 2**31], np.uint32).view("U1").repeat(100)],
)
def test_bytes_that_are_no_text_are_no_label(tmp_path, labels):
    np.savez(tmp_path / "a.npz", a=ARRAY, labels=labels)
    with pytest.raises(UserError, match=r"labels of .* is not text: "):
        ExternalActivations(tmp_path / "a.npz")


def test_labels_that_would_unpack_to_far_too_many_are_not_unpacked(tmp_path, monkeypatch):
    members = {"a.npy": npy("(200, 40)"), "labels.npy": npy("(4000000,)", body=bytes(8_000_000))}
    save_members(tmp_path / "bomb.npz", members)
    monkeypatch.setattr(shutil, "copyfileobj", None)
    with pytest.raises(UserError, match=r"4000000 labels, but 'a' of .* has 200 samples"):
        ExternalActivations(tmp_path / "bomb.npz")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("a", {"shape": [200, 10**13]}, "but 2 of its 500000000000 chunks: copy the store again"),
        ("a", {"shape": [200, -40]}, "cannot be read as zarr: .* non-negative"),
        ("a", {"shape": [200, 4.5]}, "cannot be read as zarr: .* iterable of integers"),
        ("a", {"chunks": [10**7, 10**6]}, "GiB each, more than the .* memory; store it in smaller"),
        ("a", {"chunks": [0, 40]}, r"has chunks of shape \(0, 40\)"),
        ("a", {"compressor": {"id": "none"}}, "cannot be read as zarr: codec not available"),
        ("a", {"dtype": "|O"}, "cannot be read as zarr: No Zarr data type"),
        ("labels", {"shape": [10**13]}, "10000000000000 labels, but 'a' of .* has 200 samples"),
        ("labels", {"dtype": "<M8[s]"}, r"type datetime64\[s\]; labels must be numbers or text"),
    ],
)
def test_metadata_of_zarr_is_checked_before_anything_is_read(tmp_path, name, changes, message):
    save_zarr(tmp_path, 2, a=ARRAY, labels=LABELS)
    edit(tmp_path / name / ".zarray", **changes)
    with pytest.raises(UserError, match=message):
        ExternalActivations(tmp_path)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("name", "keep", "message"),
    [
        ("a", 5, "layer 'a' cannot be read, or is damaged"),
        ("labels", 5, "labels of .* cannot be read, or is damaged"),
        ("labels", None, "labels of .*: 1 of 2 chunks are not stored"),
    ],
)
def test_incomplete_chunks_of_zarr_are_errors(tmp_path, version, name, keep, message):
    save_zarr(tmp_path, version, a=ARRAY + 1, labels=LABELS)
    chunk = max(file for file in (tmp_path / name).rglob("*") if file.name in ("0", "0.0"))
    content = chunk.read_bytes()[:keep]
    chunk.unlink()
    if keep:
        chunk.write_bytes(content)
    with pytest.raises(UserError, match=message):
        ExternalActivations(tmp_path).open("1_a")[0][:, :]


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("version", [2, 3])
def test_consolidated_metadata_cannot_lead_elsewhere(tmp_path, version):
    save_zarr(tmp_path / "secret", version, x=ARRAY)
    save_zarr(tmp_path / "store", version, a=ARRAY, labels=LABELS)
    zarr.consolidate_metadata(tmp_path / "store")
    file = tmp_path / "store" / ("zarr.json" if version == 3 else ".zmetadata")
    content = json.loads(file.read_text())
    listed = (content["consolidated_metadata"] if version == 3 else content)["metadata"]
    for name in ("../secret/x", "..", "/etc", "a/../../secret/x"):
        listed |= {name: listed["a"]} if version == 3 else {f"{name}/.zarray": listed["a/.zarray"]}
    file.write_text(json.dumps(content))
    assert [layer.name for layer in ExternalActivations(tmp_path / "store").layers] == ["a"]


def test_the_word_pickle_in_notes_is_no_codec(tmp_path):
    save_zarr(tmp_path, a=ARRAY, labels=LABELS)["a"].attrs["stimulus"] = "pickle"
    assert ExternalActivations(tmp_path).layers


@pytest.mark.parametrize("label", ["", "nan", "NaN"])
def test_labels_that_stand_for_none_are_errors(tmp_path, label):
    np.savez(tmp_path / "a.npz", a=ARRAY, labels=np.array(["b", label] * 100))
    with pytest.raises(UserError, match=f"the label of sample 1 is '{label}'; drop"):
        ExternalActivations(tmp_path / "a.npz")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("separator", ["/../../secret/", "../", "\\"])
def test_a_separator_of_chunks_cannot_lead_elsewhere(tmp_path, version, separator):
    save_zarr(tmp_path, version, a=ARRAY, labels=LABELS)
    encoding = {"name": "default", "configuration": {"separator": separator}}
    if version == 3:
        edit(tmp_path / "a" / "zarr.json", chunk_key_encoding=encoding)
    else:
        edit(tmp_path / "a" / ".zarray", dimension_separator=separator)
    with pytest.raises(UserError, match=r"cannot be read as zarr: .*separator"):
        ExternalActivations(tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_names_in_an_archive_that_lead_elsewhere_write_nothing(tmp_path, monkeypatch, save):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(inner))
    names = ["../../evil", f"{tmp_path}/evil", ".."]
    save(inner / "x.npz", labels=LABELS, **dict.fromkeys(names, ARRAY))
    external = ExternalActivations(inner / "x.npz")
    assert [layer.name for layer in external.layers] == names
    for layer in external.layers:
        assert {*"/."}.isdisjoint(layer.label)
        assert np.array_equal(external.open(layer.label)[0][:, :], ARRAY[::10])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [inner / "x.npz"]
