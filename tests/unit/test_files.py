"""Files that appear whole or not at all."""

import pytest

from manifold_capacity.files import whole


def test_a_file_is_there_when_all_is_written(tmp_path):
    path = tmp_path / "table.csv"
    with whole(path) as part:
        part.write_text("a\n")
        assert not path.exists()
    assert path.read_text() == "a\n"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_there_stays_until_then(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail():
        with whole(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"


def test_a_folder_is_replaced(tmp_path):
    path = tmp_path / "store"
    path.mkdir()
    (path / "old").touch()
    with whole(path) as part:
        part.mkdir()
        (part / "new").touch()
    assert [file.name for file in path.iterdir()] == ["new"]
