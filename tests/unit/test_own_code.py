"""Users' own functions: found, called, and known by the files that they consist of."""

from importlib.metadata import version
from pathlib import Path

import pytest

from manifold_capacity.errors import UserError
from manifold_capacity.own_code import call, check, describe, files, load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets.py").write_text(
        "import numpy\nfrom blocks import width\nimport parts.deep as deep\n"
        "def make(n_classes, scale=1):\n    import late\n    return n_classes * width * scale * late.value\n"
        "def fails():\n    raise RuntimeError('no good\\nsecond line')\n"
        "answer = 42\n"
    )
    (tmp_path / "blocks.py").write_text("width = 10\n")
    (tmp_path / "late.py").write_text("value = 1\n")
    (tmp_path / "unused.py").write_text("value = 1\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/__init__.py").write_text("")
    (tmp_path / "parts/deep.py").write_text("from . import other\nfrom .third import three\n")
    (tmp_path / "parts/other.py").write_text("")
    (tmp_path / "parts/third.py").write_text("three = 3\n")
    return tmp_path


def test_a_function_gets_what_it_asks_for_and_imports_its_neighbors(folder):
    spec = f"{folder}/nets.py:make"
    assert call(spec, "models.factory", {"scale": 2}, {"n_classes": 3, "input_shape": (1,)}) == 60
    assert call(spec, "models.factory", {"n_classes": 1}, {"n_classes": 3}) == 10


def test_a_module_of_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(
        UserError, match=r"key: 'parts.third:four': four does not exist in parts.third"
    ):
        load("parts.third:four", "key")


def test_its_files_are_all_that_it_imports_but_not_what_is_installed(folder):
    names = {path.relative_to(folder).as_posix() for path in files(f"{folder}/nets.py:make", "key")}
    assert names == {
        *("nets.py", "blocks.py", "late.py"),
        *("parts/__init__.py", "parts/deep.py", "parts/other.py", "parts/third.py"),
    }
    assert files("collections.abc:Mapping", "key") == []
    text = describe(f"{folder}/nets.py:make", "key")
    assert "blocks.py (" in text
    assert text.endswith(f", numpy {version('numpy')}")
    assert describe("numpy:array", "key") == (
        f"numpy:array: from an installed package, numpy {version('numpy')}"
    )


def test_folders_without_init_and_packages_that_are_installed_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text("import a.b.c\nfrom a.b import d\nimport elsewhere\n")
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c.py").write_text("from .d import x\n")
    (tmp_path / "a/b/d.py").write_text("from . import e\nx = 1\n")
    (tmp_path / "a/b/e.py").write_text("")
    of_user = tmp_path / "lib/site-packages"
    of_user.mkdir(parents=True)
    (of_user / "elsewhere.py").write_text("")
    monkeypatch.syspath_prepend(of_user)
    names = {
        path.relative_to(tmp_path).as_posix() for path in files(f"{tmp_path}/nets.py:x", "key")
    }
    assert names == {"nets.py", "a/b/c.py", "a/b/d.py", "a/b/e.py"}


def test_an_edited_file_is_loaded_anew(folder):
    spec = f"{folder}/nets.py:make"
    assert call(spec, "key", {}, {"n_classes": 1}) == 10
    (folder / "nets.py").write_text("def make(n_classes):\n    return 7\n")
    assert call(spec, "key", {}, {"n_classes": 1}) == 7


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{folder}/nets.py", "write file.py:function or package.module:function"),
        ("{folder}/none.py:make", "there is no file"),
        ("{folder}/nets.py:mak", "mak does not exist in .*make"),
        ("{folder}/nets.py:answer", "answer is not a function"),
        ("no_such_package:make", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_errors_name_the_key(folder, spec, message):
    with pytest.raises(UserError, match=message) as caught:
        load(spec.format(folder=folder), "models.factory")
    assert str(caught.value).startswith("models.factory: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "exists"),
    [
        ("def make():\n    raise_at_once\n1 / 0\n", True),
        ("if True:\n    from elsewhere import build as make\n", True),
        ("make = wrapped(lambda: 3)\n", True),
        ("from elsewhere import *\n", True),
        ("globals()['ma' + 'ke'] = len\n", True),
        ("def __getattr__(name):\n    return len\n", True),
        ("def makes():\n    'make'\n", True),  # it may be
        ("def makes():\n    'to make it'\n", False),
        ("", False),
    ],
)
def test_a_function_is_looked_for_without_running_its_file(tmp_path, monkeypatch, text, exists):
    (tmp_path / "own.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    for spec in ("own.py:make", "own:make"):
        if exists:
            check(spec, "models.factory")
        else:
            with pytest.raises(
                UserError, match=f"^models.factory: '{spec}': make does not exist in own"
            ):
                check(spec, "models.factory")


def test_what_is_looked_for_elsewhere_is_left_to_the_run(folder, monkeypatch):
    check("numpy:no_such_function", "key")
    check("collections:no_such_function", "key")
    with pytest.raises(UserError, match=r"mak does not exist in .*nets.py; nearest: make$"):
        check(f"{folder}/nets.py:mak", "key")


def test_a_function_that_fails_is_named_with_its_line(folder):
    with pytest.raises(UserError, match=r"failed: RuntimeError: no good \(nets.py, line 8\)$"):
        call(f"{folder}/nets.py:fails", "key", {}, {})


def test_arguments_that_do_not_fit_are_listed(folder):
    with pytest.raises(UserError, match="its arguments are n_classes, scale"):
        call(f"{folder}/nets.py:make", "key", {"with": 3}, {"n_classes": 3})


def test_a_module_that_cannot_be_imported(folder):
    (folder / "broken.py").write_text("x = 1\nimport no_such_module_here\n")
    with pytest.raises(UserError, match=r"ModuleNotFoundError: .*broken.py, line 2"):
        load(f"{folder}/broken.py:make", "key")
    (folder / "syntax.py").write_text("def\n")
    with pytest.raises(UserError, match="cannot be read as Python"):
        files(f"{folder}/syntax.py:make", "key")


def test_neighbors_of_the_same_name_in_two_folders(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "blocks.py").write_text("width = 20\n")
    (other / "nets.py").write_text("from blocks import width\ndef make():\n    return width\n")
    assert call(f"{folder}/nets.py:make", "key", {}, {"n_classes": 1}) == 10
    assert call(f"{other}/nets.py:make", "key", {}, {}) == 20
    assert call(f"{folder}/nets.py:make", "key", {}, {"n_classes": 1}) == 10
