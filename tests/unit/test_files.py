"""Files are written completely or not at all; locks; free disk space."""

import fcntl
import os
from types import SimpleNamespace

import pytest

from manifold_capacity import files
from manifold_capacity.errors import DiskFullError
from manifold_capacity.files import atomic_path, file_sha256, lock, require_space


def test_a_file_appears_when_it_is_complete(tmp_path, monkeypatch):
    path, synced = tmp_path / "table.csv", []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.exists()))
    with atomic_path(path) as part:
        part.write_text("a\n")
        assert not path.exists()
    assert path.read_text() == "a\n"
    assert synced == [False], "on the disk before it gets its name"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_failed_attempt_leaves_what_was_there_and_nothing_else(tmp_path, stop, as_folder):
    path = tmp_path / "output"
    path.write_text("old")

    def fail():
        with atomic_path(path) as part:
            if as_folder:
                part.mkdir()
                part /= "inside"
            part.write_text("half")
            raise stop

    with pytest.raises(stop):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_whatever_a_killed_attempt_left(tmp_path):
    path, left = tmp_path / "store", tmp_path / "store.part"
    for folder in (path, left):
        folder.mkdir()
        (folder / "old").touch()
    with atomic_path(path) as part:
        assert part == left
        part.mkdir()
        (part / "new").touch()
    assert [file.name for file in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_the_checksum_is_that_of_sha256sum(tmp_path):
    (tmp_path / "abc").write_text("abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc") == known


def test_a_full_disk_is_an_error_that_names_the_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    require_space(tmp_path, 2_000_000, "the file")
    with pytest.raises(DiskFullError, match=r"the file needs 2\.5 MB, but only 2\.0 MB are free"):
        require_space(tmp_path, 2_500_000, "the file")


def test_only_one_holder_of_a_lock(tmp_path, monkeypatch, caplog):
    path = tmp_path / "lock"
    with open(path, "wb", buffering=0) as first, open(path, "wb", buffering=0) as second:
        assert lock(first)
        assert not lock(second)
        flags = []
        monkeypatch.setattr(fcntl, "flock", lambda _, flag: flags.append(flag) or refuse(flag))
        with caplog.at_level("INFO"):
            assert lock(second, "the same file")
    assert flags == [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX], "it waits"
    assert caplog.messages == ["waiting for another process that is at the same file"]


def refuse(flag):
    if flag & fcntl.LOCK_NB:
        raise BlockingIOError


def test_a_link_to_a_folder_is_replaced_not_followed(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "data").write_text("shared")
    link = tmp_path / "output"
    link.symlink_to(kept)
    with atomic_path(link) as part:
        part.mkdir()
    assert link.is_dir()
    assert not link.is_symlink()
    assert (kept / "data").read_text() == "shared"
