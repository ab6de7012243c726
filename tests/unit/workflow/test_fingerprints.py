"""Other contents have another fingerprint, whatever a file's times say; contents are read once."""

import os
import shutil
from pathlib import Path

import pytest

from manifold_capacity.files import file_sha256
from manifold_capacity.workflow import fingerprints
from manifold_capacity.workflow.fingerprints import Fingerprints


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / ".snakemake" / "fingerprints.json"


def test_other_contents_with_the_same_times_are_found(tmp_path, memory):
    path, older = tmp_path / "rec.npz", tmp_path / "older.npz"
    path.write_bytes(b"new")
    older.write_bytes(b"old")
    os.utime(older, (1, 1))
    before = Fingerprints(memory).of(path)
    assert before == f"sha256: {file_sha256(path)}"
    shutil.copy2(older, path)  # as cp -p, rsync -t and tar do
    assert Fingerprints(memory).of(path) == f"sha256: {file_sha256(older)}"
    times = os.stat(path).st_mtime_ns
    path.write_bytes(b"new")
    os.utime(path, ns=(times, times))
    assert Fingerprints(memory).of(path) == before
    os.utime(path, (2**33, 2**33))  # from the future: the same contents
    assert Fingerprints(memory).of(path) == before


def test_contents_are_read_once(tmp_path, memory, monkeypatch):
    path, read = tmp_path / "rec.npz", []
    path.write_bytes(b"abc")

    def counted(path):
        read.append(path)
        return file_sha256(path)

    monkeypatch.setattr(fingerprints, "file_sha256", counted)
    for _ in range(3):
        prints = Fingerprints(memory)
        assert prints.of(path) == prints.of(str(path))
    assert len(read) == 1
    for damaged in ("{", "[]", "{}"):
        memory.write_text(damaged)
        Fingerprints(memory).of(path)
    assert len(read) == 4


def test_a_job_does_not_list_a_folder_again_but_sees_a_file_that_was_replaced(tmp_path, memory):
    folder, path = tmp_path / "images", tmp_path / "rec.npz"
    folder.mkdir()
    path.write_bytes(b"abc")
    planned = [Fingerprints(memory).of(each) for each in (folder, path)]
    (folder / "1.png").touch()
    path.write_bytes(b"abd")
    remembered = memory.read_bytes()
    job = Fingerprints(memory, planning=False)
    assert job.of(folder) == planned[0]
    assert job.of(path) != planned[1]
    assert memory.read_bytes() == remembered, "only one process writes"
    memory.unlink()
    assert Fingerprints(memory, planning=False).of(folder) != planned[0]


def test_large_files_count_by_size_and_time(tmp_path, memory, monkeypatch):
    monkeypatch.setattr(fingerprints, "LARGEST_HASHED", 2)
    path = tmp_path / "rec.npz"
    path.write_bytes(b"abc")
    assert Fingerprints(memory).of(path) == f"size and time: 3 {os.stat(path).st_mtime_ns}"


def test_folders_count_by_names_sizes_and_times(tmp_path, memory):
    folder = tmp_path / "images"
    (folder / "cat").mkdir(parents=True)
    image = folder / "cat" / "1.png"
    image.write_bytes(b"abc")
    (folder / "cat" / "gone.png").symlink_to("nowhere")
    (folder / "cat" / "itself").symlink_to(folder, target_is_directory=True)
    found = [Fingerprints(memory).of(folder)]
    assert found[0].startswith("names, sizes and times: ")

    def changed():
        found.append(Fingerprints(memory).of(folder))
        return found[-1] not in found[:-1]

    assert not changed()
    os.utime(image, (1, 1))  # overwritten in place: the folder's own time stays
    assert changed()
    os.utime(image, ns=(1_000_000_000, 10**9))
    image.write_bytes(b"abcd")
    assert changed()
    image.rename(folder / "cat" / "2.png")
    assert changed()


def test_what_cannot_be_remembered_is_read_again(tmp_path):
    path = tmp_path / "rec.npz"
    path.write_bytes(b"abc")
    (tmp_path / "file").touch()
    prints = Fingerprints(tmp_path / "file" / "fingerprints.json")
    assert prints.of(path) == f"sha256: {file_sha256(path)}"
