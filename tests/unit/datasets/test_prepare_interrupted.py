"""A prepared dataset is complete or not there, whatever happens while it is written."""

import errno
import os
import shutil

import numpy as np
import pytest

from manifold_capacity.datasets import prepare as prepare_module
from manifold_capacity.datasets.prepare import prepare
from manifold_capacity.errors import DiskFullError, UserError

DIGITS = {"name": "digits"}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.npz"
    images, labels = np.zeros((16, 4, 4), dtype=np.float32), np.arange(16) % 2
    np.savez(path, images=images, labels=labels)
    config = {"name": "arrays", "path": str(path)}
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    before = contents(tmp_path / "out")
    np.savez(path, images=images - 1, labels=labels)
    for name in ("out", "new"):
        with pytest.raises(UserError, match=r"must be in \[0, 1\]"):
            prepare(config, tmp_path / name, tmp_path / "downloads")
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "out"]


def test_every_file_is_on_the_disk_before_any_is_exchanged_and_dataset_json_comes_last(
    digits, tmp_path, monkeypatch
):
    output = tmp_path / "out"
    shutil.copytree(digits, output)
    replace, fsync = os.replace, os.fsync
    done = []

    def observed_replace(source, target):
        if target.parent == output:
            assert not (output / "dataset.json").exists()
            done.append(target.name)
        replace(source, target)

    def observed_fsync(handle):
        done.append("fsync")
        fsync(handle)

    monkeypatch.setattr(os, "replace", observed_replace)
    monkeypatch.setattr(os, "fsync", observed_fsync)
    prepare(DIGITS, output, tmp_path / "downloads")
    assert done[:7] == ["fsync"] * 7
    assert set(done[7:13]) == set(contents(digits)) - {"dataset.json"}
    assert done[13:] == ["dataset.json"]
    assert contents(output) == contents(digits)


def test_leftovers_of_a_killed_process_do_no_harm(digits, tmp_path):
    leftovers = tmp_path / ".out.partial"
    leftovers.mkdir()
    (leftovers / "train_images.npy").write_bytes(bytes(10**6))
    (leftovers / "lock").touch()
    prepare(DIGITS, tmp_path / "out", tmp_path / "downloads")
    assert contents(tmp_path / "out") == contents(digits)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_processes_with_one_output(tmp_path):
    with prepare_module._staging(tmp_path / "out") as staging:
        with pytest.raises(UserError, match=r"another process is preparing .*out"):
            prepare(DIGITS, tmp_path / "out", tmp_path / "downloads")
        assert staging.is_dir()
    prepare(DIGITS, tmp_path / "out", tmp_path / "downloads")


def test_too_little_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1797 * 64 - 1)
    monkeypatch.setattr("manifold_capacity.files.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(DiskFullError, match=r"\] the dataset digits needs 0\.1 MB, but only 0\.1"):
        prepare(DIGITS, tmp_path / "out", tmp_path / "downloads")
    assert list(tmp_path.iterdir()) == []


def test_disk_that_fills_up(tmp_path):
    staging = tmp_path / ".out.partial"
    staging.mkdir()
    (staging / "train_images.npy").symlink_to("/dev/full")  # a device that is always full
    with pytest.raises(DiskFullError, match="out could not be written: No space left on device"):
        prepare(DIGITS, tmp_path / "out", tmp_path / "downloads")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_disk_are_not_taken_for_a_full_one(tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        prepare(DIGITS, tmp_path / "out", tmp_path / "downloads")
    assert not isinstance(caught.value, UserError)
