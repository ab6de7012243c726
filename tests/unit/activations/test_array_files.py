"""What is wrong with files of arrays is named, and nothing in them is unpickled."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import zarr

from manifold_capacity.activations.external import ExternalActivations

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
    (tmp_path / "a.mat").write_text("")
    (tmp_path / "empty").mkdir()
    zarr.open_group(tmp_path / "groups", mode="w").create_group("inner")
    with zipfile.ZipFile(tmp_path / "notes.npz", "w") as archive:
        archive.writestr("notes.txt", "no array")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "labels", "message"),
    [
        ("gone.npz", None, "activations.path: there is no file or folder .*gone.npz"),
        ("a.mat", None, "a.mat is not supported; use a zarr store, an .npz"),
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
