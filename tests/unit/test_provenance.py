"""Digests change with what code does, not with its wording; records of what a result was made with."""

import ast
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

import manifold_capacity
from manifold_capacity import provenance
from manifold_capacity.errors import UserError
from manifold_capacity.files import write_json


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Edits files of a package that has the name of ours but stands elsewhere."""
    files = {
        "solver.py": '"""Solve."""\n\ndef solve(x):\n    """Twice."""\n    return 2 * x\n',
        "api.py": "from manifold_capacity import solver\n\nONE = 1\n",
        "lazy.py": "def f():\n    from manifold_capacity.solver import solve\n    return solve\n",
        "other.py": "TWO = 2\n",
        "wing/__init__.py": '"""A wing."""\n',
        "wing/inner.py": "def solve(x):\n    return 2 * x\n",
        "plain.py": "import manifold_capacity.wing.inner\n",
        "dotted.py": "from manifold_capacity.wing.inner import solve\n",
        "dotted_module.py": "from manifold_capacity.wing import inner\n",
        "relative.py": "from .wing.inner import solve\n",
        "wing/neighbour.py": "from .inner import solve\n",
        "wing/deep/__init__.py": "from ..inner import solve\n",
        "lost.py": "from manifold_capacity.wing.gone import solve\n",
        "says.py": "from manifold_capacity import errors, files\nimport manifold_capacity.logs\n",
        **{f"{name}.py": "WORDS = 'one'\n" for name in ("errors", "files", "logs")},
    }

    def edit(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        provenance._read_code.cache_clear()

    monkeypatch.setattr(provenance, "SOURCE", tmp_path)
    for name, text in files.items():
        edit(name, text)
    yield edit
    provenance._read_code.cache_clear()


@pytest.mark.parametrize("module", ["solver", "api", "lazy"])
def test_code_counts_wherever_it_is_imported_but_not_its_wording(package, module):
    before = provenance.source_digest(module)
    package("solver.py", '"""Other."""\n# why\ndef solve(x):\n    return (2*x)  # twice\n')
    package("other.py", "TWO = 3\n")  # is not imported
    assert provenance.source_digest(module) == before
    package("solver.py", "def solve(x):\n    return 3 * x\n")
    assert provenance.source_digest(module) != before


@pytest.mark.parametrize(
    "module",
    ["wing.inner", "plain", "dotted", "dotted_module", "relative", "wing.neighbour", "wing.deep"],
)
def test_code_in_a_subpackage_counts(package, module):
    before = provenance.source_digest(module)
    package("wing/inner.py", "def solve(x):\n    return 3 * x\n")
    changed = provenance.source_digest(module)
    assert changed != before
    package("wing/__init__.py", "import numpy\n")  # runs before any module of the wing
    assert provenance.source_digest(module) != changed


@pytest.mark.parametrize("name", ["errors", "files", "logs"])
def test_messages_do_not_count(package, name):
    before = provenance.source_digest("says")
    package(f"{name}.py", "WORDS = 'two'\n")
    assert provenance.source_digest("says") == before


def test_the_words_of_errors_and_log_entries_do_not_count(package):
    digests = []
    for words, bound, entry in (
        ("'few'", 1, "logger.info('%s', x)"),
        ("f'only {x}'", 1, "logger.info('now %s of %s', x, x)"),
        ("'few'", 2, "logger.info('%s', x)"),
        ("'few'", 1, "log_of(x)"),
    ):
        body = f"    if x < {bound}:\n        raise ValueError({words})\n    {entry}\n    return 2 * x\n"
        package("solver.py", f"def solve(x):\n{body}")
        digests.append(provenance.source_digest("solver"))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


KEYS = {"dataset": "d1", "weights": "w1", "activations": "a1", "geometry": "g1"}


def test_a_file_of_the_present_configuration_passes():
    records = {step: {"key": key} for step, key in KEYS.items()}
    provenance.check_keys("f", KEYS, KEYS, "geometry")
    provenance.check_keys("f", records, KEYS, "geometry")
    # Of steps that it does not know, and of those after it, nothing is asked.
    provenance.check_keys("f", {"weights": "w1"}, KEYS, "weights")
    provenance.check_keys("f", KEYS | {"geometry": "g2"}, KEYS, "activations")
    with pytest.raises(KeyError, match="'sumary' is not one of the steps"):
        provenance.check_keys("f", KEYS, KEYS, "sumary")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"weights": "w2"},
            "f is not of this .*the key of its weights is w2, but at present it is w1",
        ),
        ({"weights": {"key": "w2"}, "geometry": "g2"}, "the key of its weights is w2"),
        ({"geometry": "g2"}, "the key of its geometry is g2.*delete it and run .*--forceall"),
        ({"geometry": None}, "it has no key of its geometry, so it is of an earlier version"),
        ({"geometry": {}}, "it has no key of its geometry"),
    ],
)
def test_a_file_of_another_configuration_says_which_step_differs(changed, message):
    with pytest.raises(UserError, match=message):
        provenance.check_keys("f", KEYS | changed, KEYS, "geometry")


def test_the_template_that_a_module_fills_in_counts_as_its_code(package):
    digests = {provenance.source_digest("solver")}
    for template in ("<p></p>", "<b></b>"):
        package("solver.html", template)
        digests.add(provenance.source_digest("solver"))
    assert len(digests) == 3


@pytest.mark.parametrize(("module", "unknown"), [("solvr", "solvr"), ("lost", "wing.gone")])
def test_a_module_that_does_not_exist_is_an_error(package, module, unknown):
    known = "api,.* other,.* solver, wing, wing.deep, wing.inner"
    with pytest.raises(UserError, match=rf"no module '{unknown}'.*{known}"):
        provenance.source_digest(module)


def test_a_file_is_read_once_however_many_digests_count_it(package, monkeypatch):
    parsed, parse = [], ast.parse
    monkeypatch.setattr(ast, "parse", lambda text: parsed.append(text) or parse(text))
    for _ in range(2):
        for module in ("solver", "api", "lazy"):
            provenance.source_digest(module)
    assert len(parsed) == 3


def test_the_digest_of_the_geometry_covers_what_it_imports():
    modules = provenance._with_imports(["geometry.measure"])
    assert {"geometry.moments", "geometry.centers", "geometry.active_set"} <= modules
    assert {module.partition(".")[0] for module in modules} == {"geometry"}


def test_the_digest_of_a_configuration():
    same = {"results": "here", "a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1, "results": "there"}
    assert provenance.config_digest(same[0]) == provenance.config_digest(same[1])
    assert provenance.config_digest(same[0]) != provenance.config_digest(same[0] | {"a": 2})


def test_a_stamp_is_the_same_when_made_again():
    about = provenance.stamp("geometry", code="0123")
    assert about == provenance.stamp("geometry", code="0123")
    assert about["code"] == "0123"
    assert about["device"] == provenance.cpu_name()
    assert about["packages"]["numpy"] == np.__version__
    assert "torch" not in about["packages"]
    trained = provenance.stamp("weights", code="", device="cuda: X", recipe={"epochs": 3})
    assert trained["version"] == manifold_capacity.__version__
    assert trained["device"] == "cuda: X"
    assert trained["recipe"] == {"epochs": 3}
    made = SimpleNamespace(code="0123", keys={"geometry": "ab"})
    steps = provenance.extended({"dataset": {}}, "geometry", made)
    assert steps == {"dataset": {}, "geometry": about | {"key": "ab"}}


def test_the_provenance_of_a_run_lists_each_record_with_its_number_of_layers(tmp_path):
    paths = []
    for version in ("1.0", "2.0", "1.0"):
        weights = {"packages": {"torch": version}, "key": f"of layer {len(paths)}"}
        paths.append(tmp_path / f"{len(paths)}.json")
        write_json(paths[-1], {"provenance": {"weights": weights, "geometry": {}}})
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


def test_the_commit_is_that_of_the_repository_that_tracks_the_code(tmp_path, monkeypatch):
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
