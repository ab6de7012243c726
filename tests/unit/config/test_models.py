"""Entries of `models`: names, labels, and the files that they name."""

import os

import pytest

from manifold_capacity.config.choices import model_checkpoints


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a network and weights."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("def make():\n    ...\n")
    for name in ("init.pt", "ten.pt", "last.pt"):
        (tmp_path / name).touch()
    return tmp_path


FACTORY = "nets.py:make"


@pytest.mark.parametrize(
    ("entry", "name", "label"),
    [
        ({"factory": FACTORY}, "make", "make"),
        ({"factory": FACTORY, "weights": "random"}, "make", "make-random"),
        ({"factory": FACTORY, "name": "my net", "label": None}, "my net", "my-net"),
        ({"factory": FACTORY, "name": "__é"}, "__é", "model"),
        ({"factory": FACTORY, "name": "n", "label": "L"}, "n", "L"),
        ({"name": "timm/vit_tiny.in21k"}, "timm/vit_tiny.in21k", "timm-vit_tiny.in21k"),
        ({"name": "vgg16", "weights": "pretrained"}, "vgg16", "vgg16-pretrained"),
    ],
)
def test_names_and_labels(resolved, folder, entry, name, label):
    (model,) = resolved(models=[entry])["models"]
    assert (model["name"], model["label"]) == (name, label)


def test_files_are_checkpoints_in_order(resolved, folder):
    files = {"final": "last.pt", 10: "ten.pt", "2": "init.pt", 0: "init.pt"}
    entry = {"name": "vgg16", "weights": "files", "weights_files": files}
    config = resolved({"checkpoints": [3]}, models=[entry])
    (model,) = config["models"]
    assert list(model["weights_files"]) == ["0", "2", "10", "final"]
    names = ["epoch-000", "epoch-002", "epoch-010", "final"]
    assert model_checkpoints(config, model) == names


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"label": "x"}, ["models[0].name: missing; add the name", "models[0].factory: file.py:"]),
        (
            {"factory": "gone.py:make"},
            ["make: factory: 'gone.py:make': there is no file", "/gone.py"],
        ),
        (
            {"factory": "nets.py:mak"},
            ["mak: factory: 'nets.py:mak': mak does not exist in nets.py; n"],
        ),
        ({"factory": "gone:make"}, ["make: factory: 'gone:make': there is no module gone"]),
        ({"factory": "nets.py"}, ["nets.py: factory: 'nets.py' is not a function; write file.py:"]),
        (
            {"name": "vgg16", "arguments": {"width": 3}},
            ['vgg16: arguments: {"width": 3}, but vgg16 takes none; add factory, or remove'],
        ),
        (
            {"name": "vgg16", "weights": "files"},
            ["files: weights: files, but weights_files is miss"],
        ),
        (
            {"name": "vgg16", "weights_files": {0: "init.pt"}},
            ['vgg16: weights_files: {"0": "init.pt"} needs `weights: files`, but `weights` is tra'],
        ),
        (
            {"name": "vgg16", "weights": "files", "weights_files": {0: "init.pt", 5: "five.pt"}},
            ["models: vgg16-files: weights_files.5: there is no file ", "/five.pt; correct"],
        ),
        (
            {"name": "vgg16", "weights": "pretrained", "weights_file": "five.pt"},
            ["models: vgg16-pretrained: weights_file: there is no file ", "/five.pt; correct"],
        ),
        (
            {"name": "vgg16", "weights": "files", "weights_files": {"01": "init.pt", 1: "ten.pt"}},
            ["weights_files: epoch 1 is given twice; keep one"],
        ),
        (
            {"name": "vgg16", "weights": "files", "weights_files": {"last": "last.pt"}},
            ["models[0].weights_files.last: unknown key"],
        ),
        (
            {"name": "vgg16", "weights": "files", "weights_files": {}},
            ["models[0].weights_files: {} is not allowed; allowed: mapping"],
        ),
    ],
)
def test_problems(problems, folder, entry, expected):
    (problem,) = problems(models=[entry])
    for phrase in expected:
        assert phrase in problem


def test_a_file_that_cannot_be_read(problems, folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    entry = {"name": "vgg16", "weights": "pretrained", "weights_file": "init.pt"}
    (problem,) = problems(models=[entry])
    assert f"you have no permission to read {folder}/init.pt; allow it" in problem
