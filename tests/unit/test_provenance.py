"""Digests follow what code does, not how it is written."""

import json
import subprocess

import numpy as np
import pytest

import manifold_capacity
from manifold_capacity import provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with the same name in another place: solver <- api, other."""
    files = {
        "solver": '"""Solve."""\n\ndef solve(x):\n    """Twice."""\n    return 2 * x\n',
        "api": "from manifold_capacity import solver\n\nONE = 1\n",
        "lazy": "def f():\n    from manifold_capacity.solver import solve\n    return solve\n",
        "other": "TWO = 2\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)

    def edit(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        provenance._tree.cache_clear()
        provenance._normalized_source.cache_clear()

    monkeypatch.setattr(provenance, "SOURCE", tmp_path)
    edit("other", files["other"])
    yield edit
    provenance._tree.cache_clear()
    provenance._normalized_source.cache_clear()


def test_comments_docstrings_and_formatting_do_not_count(package):
    before = provenance.source_digest("api")
    package("solver", '"""Other words."""\n# why\ndef solve(x):\n    return (2*x)  # twice\n')
    assert provenance.source_digest("api") == before


@pytest.mark.parametrize("module", ["solver", "api", "lazy"])
def test_code_counts_wherever_it_is_imported(package, module):
    before = provenance.source_digest(module)
    package("solver", "def solve(x):\n    return 3 * x\n")
    assert provenance.source_digest(module) != before


def test_code_that_is_not_imported_does_not_count(package):
    before = provenance.source_digest("api")
    package("other", "TWO = 3\n")
    assert provenance.source_digest("api") == before


def test_the_template_that_a_module_fills_in_counts_as_its_code(package, tmp_path):
    before = provenance.source_digest("solver")
    (tmp_path / "solver.html").write_text("<p></p>")
    first = provenance.source_digest("solver")
    (tmp_path / "solver.html").write_text("<b></b>")
    assert len({before, first, provenance.source_digest("solver")}) == 3


def test_an_unknown_module_is_an_error(package):
    with pytest.raises(ValueError, match=r"no module 'solvr'.*api, lazy, other, solver"):
        provenance.source_digest("solvr")


def test_the_digest_of_the_geometry_covers_what_it_imports():
    modules = provenance._with_imports(("geometry",))
    assert {"moments", "centers", "anchors"} <= modules
    assert not {"models", "training", "activations", "figures"} & modules


def test_config_digest_ignores_the_order_of_keys():
    assert provenance.config_digest({"a": 1, "b": [1, 2]}) == provenance.config_digest(
        {"b": [1, 2], "a": 1}
    )
    assert provenance.config_digest({"a": 1}) != provenance.config_digest({"a": 2})


def test_config_digest_ignores_where_results_go():
    here, there = ({"results": folder, "a": 1} for folder in ("here", "there"))
    assert provenance.config_digest(here) == provenance.config_digest(there)


def test_a_stamp_is_the_same_when_made_again():
    about = provenance.stamp("geometry", code="0123")
    assert about == provenance.stamp("geometry", code="0123")
    assert about["code"] == "0123"
    assert about["device"] == provenance.cpu_name()
    assert about["packages"]["numpy"] == np.__version__
    assert "torch" not in about["packages"]
    assert provenance.stamp("weights", code="", device="cuda: X", recipe={"epochs": 3}) | {
        "packages": None
    } == {
        "version": manifold_capacity.__version__,
        "code": "",
        "device": "cuda: X",
        "recipe": {"epochs": 3},
        "packages": None,
    }


def test_provenance_of_a_run_shows_what_does_not_go_together(tmp_path):
    paths = []
    for version in ("1.0", "2.0", "1.0"):
        row = {"provenance": {"weights": {"packages": {"torch": version}}, "geometry": {}}}
        paths.append(tmp_path / f"{len(paths)}.json")
        paths[-1].write_text(json.dumps(row))
    found = provenance.collect_provenance(paths, {"a": 1})
    assert found["config"] == {"a": 1}
    assert found["config_digest"] == provenance.config_digest({"a": 1})
    assert found["made_with"] == {
        "weights": [
            {"packages": {"torch": "1.0"}, "n_layers": 2},
            {"packages": {"torch": "2.0"}, "n_layers": 1},
        ],
        "geometry": [{"n_layers": 3}],
    }


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_commit_is_that_of_a_repository_of_which_the_code_is_part(tmp_path, monkeypatch):
    git(tmp_path, "init")
    folder = tmp_path / "installed"
    folder.mkdir()
    (folder / "provenance.py").write_text("")
    monkeypatch.setattr(provenance, "SOURCE", folder)
    assert provenance.code_version()["commit"] is None
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "First")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    assert provenance.code_version()["commit"] == commit
    (folder / "provenance.py").write_text("ONE = 1")
    assert provenance.code_version()["commit"] == f"{commit}-dirty"


def test_versions_of_packages():
    versions = provenance.package_versions("numpy", "no-such-distribution")
    assert versions["numpy"][0].isdigit()
    assert versions["no-such-distribution"] == "not installed"
