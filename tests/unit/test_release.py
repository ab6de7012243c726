"""Numbers that a release names in several places are the same in all of them."""

import re
import tomllib
from pathlib import Path

import yaml

import manifold_capacity

ROOT = Path(__file__).parents[2]
VERSION = manifold_capacity.__version__
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def least_version(name):
    """The least version of a package of the pipeline that pyproject.toml allows."""
    requirements = PROJECT["project"]["optional-dependencies"]["pipeline"]
    return next(r.removeprefix(f"{name}>=") for r in requirements if r.startswith(f"{name}>="))


def test_the_version_is_the_same_everywhere():
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "manifold_capacity.__version__"
    }
    latest, date = re.search(r"^## \[?(\d[^\] ]*)\]? - (\S+)$", CHANGELOG, re.MULTILINE).groups()
    assert (latest, date) == (CITATION["version"], CITATION["date-released"])
    assert latest == VERSION
    assert (ROOT / "tests/data/formats" / VERSION.rpartition(".")[0] / "files.tar.xz").is_file()


def test_the_changelog_has_the_headings_of_keep_a_changelog():
    kinds = set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE))
    known = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Numbers"}
    assert kinds
    assert kinds <= known
    versions = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert all(re.fullmatch(r"Unreleased|\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", v) for v in versions)


def test_snakemake_is_as_new_as_the_package_needs():
    (called,) = re.findall(
        r'^min_version\("(.+)"\)', (ROOT / "Snakefile").read_text(), re.MULTILINE
    )
    assert called == least_version("snakemake")
