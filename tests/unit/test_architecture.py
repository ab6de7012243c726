"""The layout of the package is the one of docs/architecture.md, read from the imports."""

import ast
import graphlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "manifold_capacity"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
# From the top to the ground; what stands in one line may import each other's names.
LEVELS = [
    re.findall(r"`(\w+)`", entry[1]) for entry in re.finditer(r"^\d+\. (.*?):", PAGE, re.MULTILINE)
]
WINGS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# What the package's root promises; nothing inside the package goes through it.
ENTRANCES = {"__init__", "__main__", "anchors", "compat"}
LONGEST = 400


def imports(module):
    """Modules of the package that a module imports, at its top or inside functions; names of the root as "__init__"."""
    package = "manifold_capacity" + (f".{module}" if MODULES[module].stem == "__init__" else "")
    if MODULES[module].stem != "__init__":
        package = ".".join(["manifold_capacity", *module.split(".")[:-1]])
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names = [
                name if name.removeprefix("manifold_capacity.") in MODULES else base
                for name in (f"{base}.{alias.name}" for alias in node.names)
            ]
            if base == "manifold_capacity" and [alias.name for alias in node.names] == [
                "__version__"
            ]:
                continue
        else:
            continue
        for name in names:
            if name == "manifold_capacity":
                yield "__init__"
            elif name.startswith("manifold_capacity."):
                yield name.removeprefix("manifold_capacity.")


GRAPH = {module: set(imports(module)) for module in MODULES}


def wing(module):
    return module.partition(".")[0]


def test_the_page_names_every_wing():
    named = {name for level in LEVELS for name in level}
    ground = {path.stem for path in PACKAGE.glob("*.py")} - ENTRANCES
    assert named == WINGS | ground
    folders = {path.name for path in (ROOT / "tests" / "unit").iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == WINGS


def test_every_import_leads_somewhere():
    unknown = {name for found in GRAPH.values() for name in found} - set(MODULES)
    assert not unknown


def test_no_module_imports_itself_through_others():
    tuple(graphlib.TopologicalSorter(GRAPH).static_order())  # raises CycleError with the circle


def test_no_wing_imports_a_higher_one():
    level = {name: i for i, names in enumerate(LEVELS) for name in names}
    upwards = [
        f"{module} imports {name}"
        for module, found in GRAPH.items()
        for name in found
        if wing(module) in level
        and (wing(name) not in level or level[wing(name)] < level[wing(module)])
    ]
    assert upwards == []


@pytest.mark.parametrize("name", sorted(WINGS - {"command_line"}))
def test_a_wing_has_nothing_but_its_docstring(name):
    (statement,) = ast.parse((PACKAGE / name / "__init__.py").read_text(encoding="utf-8")).body
    assert isinstance(statement.value.value, str)


def sources():
    for folder in ("src", "scripts", "rules", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".smk") and "egg-info" not in str(path):
                yield path


def test_no_file_is_too_long_to_read():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources()
        if path.relative_to(ROOT).parts[0] in ("scripts", "rules")
    }
    assert {path: n for path, n in lengths.items() if n > LONGEST} == {}
    assert lengths["rules/common.smk"] <= 120


@pytest.mark.parametrize(
    "path", list(sources()), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_the_first_line_says_what_a_file_is_for(path):
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    assert re.match(r'(r?"""|# )\S', first), first


def test_modules_that_the_documentation_names_are_there():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *PACKAGE.rglob("*.py")]
    named = {
        (path.relative_to(ROOT).as_posix(), match[1])
        for path in pages
        for match in re.finditer(
            rf"\bmanifold_capacity\.((?:{'|'.join(WINGS)})\.\w+)", path.read_text(encoding="utf-8")
        )
    }
    assert named
    assert {(path, name) for path, name in named if name not in MODULES} == set()
