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
        "wing/__init__": '"""A wing."""\n',
        "wing/inner": "def solve(x):\n    return 2 * x\n",
        "dotted": "from manifold_capacity.wing.inner import solve\n",
        "dotted_module": "from manifold_capacity.wing import inner\n",
        "relative": "from .wing.inner import solve\n",
        "wing/neighbour": "from .inner import solve\n",
        "lost": "from manifold_capacity.wing.gone import solve\n",
        "errors": "WORDS = 'one'\n",
        "says": "from manifold_capacity.errors import WORDS\n",
    }

    def edit(name, text):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        forget()

    def forget():
        for cached in (provenance._tree, provenance._imports, provenance._normalized_source):
            cached.cache_clear()

    monkeypatch.setattr(provenance, "SOURCE", tmp_path)
    for name, text in files.items():
        edit(name, text)
    yield edit
    forget()


def test_comments_docstrings_and_formatting_do_not_count(package):
    before = provenance.source_digest("api")
    package("solver", '"""Other words."""\n# why\ndef solve(x):\n    return (2*x)  # twice\n')
    assert provenance.source_digest("api") == before


@pytest.mark.parametrize("module", ["solver", "api", "lazy"])
def test_code_counts_wherever_it_is_imported(package, module):
    before = provenance.source_digest(module)
    package("solver", "def solve(x):\n    return 3 * x\n")
    assert provenance.source_digest(module) != before


@pytest.mark.parametrize(
    "module", ["wing.inner", "dotted", "dotted_module", "relative", "wing.neighbour"]
)
def test_code_in_a_subpackage_counts(package, module):
    before = provenance.source_digest(module)
    package("wing/inner", "def solve(x):\n    return 3 * x\n")
    changed = provenance.source_digest(module)
    assert changed != before
    package("wing/__init__", "import numpy\n")  # is run before any module of the wing
    assert provenance.source_digest(module) != changed


def test_an_import_of_ours_that_leads_nowhere_is_an_error(package):
    with pytest.raises(ValueError, match=r"no module 'wing\.gone'"):
        provenance.source_digest("lost")


def test_the_wording_of_errors_does_not_count(package):
    before = provenance.source_digest("says")
    package("errors", "WORDS = 'two'\n")
    assert provenance.source_digest("says") == before


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
    with pytest.raises(
        ValueError, match=r"no module 'solvr'.*api,.* other,.* solver, wing, wing.inner"
    ):
        provenance.source_digest("solvr")


def test_the_digest_of_the_geometry_covers_what_it_imports():
    modules = provenance._with_imports(("geometry.measure",))
    assert {"geometry.moments", "geometry.centers", "geometry.active_set"} <= modules
    assert {module.partition(".")[0] for module in modules} == {"geometry"}


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
