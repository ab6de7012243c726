"""Paths in a configuration are relative to the folder of the file that gives them."""

import copy

import pytest
import yaml

from manifold_capacity.config.paths import PATHS, from_working_directory
from manifold_capacity.config.schema import ConfigError, given_text

MODEL = {
    "factory": "nets.py:make",
    "weights_file": "w.pt",
    "weights_files": {0: "a.pt", "final": "/b.pt"},
}
GIVEN = {
    "dataset": {"path": "../images", "factory": "code/data.py:load", "arguments": {"path": "x"}},
    "models": ["small_cnn", MODEL, {"factory": "package.module:make"}],
    "activations": {"path": "all.npz", "labels": "labels.npy", "groups": "groups.npy"},
    "results": "results",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, and in it a folder for configurations."""
    here = tmp_path / "here"
    (here / "configs").mkdir(parents=True)
    monkeypatch.chdir(here)
    return here


def test_paths_are_relative_to_the_folder_of_the_file(here):
    original = copy.deepcopy(GIVEN)
    assert from_working_directory(GIVEN, {"configs/my.yaml": GIVEN}, {}) == {
        "dataset": {
            "path": "images",
            "factory": "configs/code/data.py:load",
            "arguments": {"path": "x"},
        },
        "models": [
            "small_cnn",
            {
                "factory": "configs/nets.py:make",
                "weights_file": "configs/w.pt",
                "weights_files": {0: "configs/a.pt", "final": "/b.pt"},
            },
            {"factory": "package.module:make"},
        ],
        "activations": {
            "path": "configs/all.npz",
            "labels": "configs/labels.npy",
            "groups": "configs/groups.npy",
        },
        "results": "results",
    }
    assert original == GIVEN


def test_outside_the_working_directory_paths_are_absolute(here, monkeypatch):
    elsewhere = here.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    given = {"activations": {"path": [{"path": "a.npz", "epoch": 0}, {"path": "/b", "epoch": 1}]}}
    config = from_working_directory(given, {here / "my.yaml": given}, {})
    assert [each["path"] for each in config["activations"]["path"]] == [str(here / "a.npz"), "/b"]


@pytest.mark.parametrize("file", ["my.yaml", "./my.yaml", "{here}/my.yaml", "link/my.yaml"])
def test_beside_the_configuration_nothing_changes(here, file):
    (here / "link").symlink_to(here)
    given = {"dataset": {"path": "./images/../x/"}}
    assert from_working_directory(given, {file.format(here=here): given}, {}) == given


def test_the_last_file_that_gives_a_key_counts_and_options_are_from_here(here):
    (here / "more").mkdir()
    first = {"dataset": {"path": "d"}, "models": [{"weights_file": "w"}, {"weights_file": "v"}]}
    second = {"models": [{"name": "vgg16"}, {"weights_file": "v"}]}
    options = {"activations": {"labels": "l"}}
    files = {"configs/a.yaml": first, "more/b.yaml": second}
    config = from_working_directory({**first, **second, **options}, files, options)
    assert config["dataset"]["path"] == "configs/d"
    assert config["models"] == [{"name": "vgg16"}, {"weights_file": "more/v"}]
    assert config["activations"]["labels"] == "l"
    option = {"dataset": {"path": "d"}}
    assert from_working_directory(first | option, files, option)["dataset"]["path"] == "d"


def test_a_value_that_yaml_shares_changes_once(here):
    given = yaml.safe_load(
        "models: [{weights_file: w, weights_files: &f {0: a}}, &m {weights_files: *f}, *m]"
    )
    config = from_working_directory(given, {"configs/my.yaml": given}, {})
    assert [model["weights_files"] for model in config["models"]] == 3 * [{0: "configs/a"}]


def test_a_file_that_is_in_the_working_directory_instead_is_named(here):
    (here / "w.pt").touch()
    given = {"models": [{"weights_file": "w.pt"}]}
    with pytest.raises(ConfigError) as caught:
        from_working_directory(given, {"configs/my.yaml": given}, {})
    (problem,) = caught.value.problems
    assert problem.startswith(
        f"models[0].weights_file: there is no file or folder {here}/configs/w.pt"
    )
    assert problem.endswith(f"{here}/w.pt exists: write ../w.pt")
    (here / "configs/w.pt").touch()
    config = from_working_directory(given, {"configs/my.yaml": given}, {})
    assert config["models"][0]["weights_file"] == "configs/w.pt"


@pytest.mark.parametrize("key", PATHS)
@pytest.mark.parametrize("value", [None, 3, "", [], ["x", 2], {"path": 1}, "\0", "a" * 300])
def test_other_values_are_left_to_the_schema(here, key, value):
    first, *rest = key.split(".")
    for part in reversed(rest):
        value = [value] if part == "*" else {part: value}
    given = {first: value}
    config = from_working_directory(given, {"configs/my.yaml": given}, {})
    assert type(given_text(config, first)) is type(value)
