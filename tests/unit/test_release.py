"""Numbers that a release names in several places are the same in all of them."""

import re
import tomllib
from pathlib import Path

import pytest
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


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_use_commits_of_actions_and_ask_for_little(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())
    targets = set(re.findall(r"run: make ([\w-]+)", text))
    assert targets <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_version_of_python_is_tested_from_the_least_on():
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    tested = tests["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert PROJECT["project"]["requires-python"] == f">={tested[0]}"
    named = [c.rpartition(" ")[2] for c in PROJECT["project"]["classifiers"] if "Python :: 3." in c]
    assert named == tested
    release = (ROOT / ".github/workflows/release.yml").read_text()
    assert re.findall(r"^            (3\.\d+)$", release, re.MULTILINE) == tested
    default = re.search(r"PYTHONS=\$\{PYTHONS:-(.*)\}", (ROOT / ".ci/release-check").read_text())
    assert default[1] == " ".join(f"python{version}" for version in tested)


def test_the_tools_of_pre_commit_are_those_of_the_environment():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    tools = {hook["entry"].split()[0] for hook in config["repos"][0]["hooks"]}
    assert tools == {".venv/bin/ruff", ".venv/bin/snakefmt", ".venv/bin/mypy"}


def anchors(text):
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        words = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()
        yield re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def test_links_between_pages_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "config").glob("*.md")]
    broken, n_links = [], 0
    for page in pages:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if link.startswith(("http://", "https://", "mailto:")):
                continue
            n_links += 1
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            found = target.exists()
            if found and anchor and target.suffix == ".md":
                found = anchor in anchors(target.read_text(encoding="utf-8"))
            if not found:
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []
    assert n_links > 200
