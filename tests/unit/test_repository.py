"""What the repository promises: pinned versions, what every rule declares, and tests that the documentation names."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = [
    (path.name, match[1], match[0])
    for path in sorted((ROOT / "rules").glob("*.smk"))
    for match in re.finditer(
        r"^(?:rule|checkpoint) (\w+):\n(?:(?: .*)?\n)+", path.read_text(), re.MULTILINE
    )
    if "script:" in match[0]
]


def locked_versions():
    """Name -> the versions that the lock allows (one for each range of Python versions)."""
    versions = {}
    for name, version in re.findall(
        r"^([a-z0-9-]+)==([^ ;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    ):
        versions.setdefault(name, set()).add(version)
    return versions


@pytest.mark.parametrize(
    ("name", "fewest"), [("requirements.lock", 50), ("requirements-uv.lock", 0)]
)
def test_locks_have_hashes_and_no_addresses(name, fewest):
    lock = (ROOT / name).read_text()
    assert "://" not in lock
    requirements = re.findall(
        r"^[a-z0-9-]+==.*?(?=^[a-z0-9-]+==|\Z)", lock, re.MULTILINE | re.DOTALL
    )
    assert len(requirements) > fewest
    assert all("--hash=sha256:" in requirement for requirement in requirements)


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.name)
def test_environments_pin_what_the_lock_pins(path):
    *_, pip = yaml.safe_load(path.read_text())["dependencies"]
    locked = locked_versions()
    for requirement in pip["pip"]:
        name, version = requirement.split("==")
        assert version in locked[name], requirement


def test_the_lock_covers_the_project():
    text = (ROOT / "pyproject.toml").read_text()
    named = set(re.findall(r'^    "([a-z0-9-]+)(?:>=[^"]*)?",', text, re.MULTILINE))
    assert {"numpy", "torch", "snakemake", "pytest"} <= named
    assert named <= set(locked_versions())


def test_rules_were_found():
    assert len(RULES) >= 8


@pytest.mark.parametrize(("file", "name", "text"), RULES, ids=[name for _, name, _ in RULES])
def test_every_rule_declares_what_it_needs(file, name, text):
    # Where nothing else is put out, a benchmark file would be the output: the rule would run once and never again.
    benchmark = ["benchmark"] if re.search(r"^    output:", text, re.MULTILINE) else []
    for directive in ("log", *benchmark, "conda", "threads", "resources", "params"):
        assert re.search(rf"^    {directive}:", text, re.MULTILINE), (
            f"{name} in {file} has no {directive}"
        )
    assert "step=" in text or "code=source_digest(" in text
    script = re.search(r'"\.\./scripts/(\w+\.py)"', text)
    assert (ROOT / "scripts" / script[1]).is_file()


def test_the_tests_that_the_documentation_names_exist():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {
        name for page in pages for name in re.findall(r"tests/[\w/]+\.py::\w+", page.read_text())
    }
    assert len(named) >= 30
    there = {
        f"{file}::{node.name}"
        for file in {name.partition("::")[0] for name in named}
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert named - there == set()
