"""The code is laid out as docs/architecture.md says: wings, imports, lengths and first lines of files."""

import ast
import graphlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "manifold_capacity"
PLUGIN = ROOT / "src" / "snakemake_logger_plugin_manifold_capacity"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
# From the top to the bottom; the names of one entry may import each other.
LEVELS = [
    re.findall(r"`(\w+)`", entry[1]) for entry in re.finditer(r"^\d+\. (.*?):", PAGE, re.MULTILINE)
]
WINGS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
# The package's public names outside the wings; nothing inside the package imports them.
ENTRANCES = {"__init__", "__main__", "anchors", "compat"}

SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for folder in ("src", "scripts", "rules", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".smk") and "egg-info" not in str(path)
}
TREES = {
    name: ast.parse(text)
    for name, text in SOURCES.items()
    if name.startswith(("src/", "scripts/")) and name.endswith(".py")
}


def module_of(name):
    """ "src/a/b.py" -> "a.b"; a package's `__init__` by its folder."""
    return name.removeprefix("src/").removesuffix(".py").replace("/", ".").removesuffix(".__init__")


MODULES = {module_of(name): tree for name, tree in TREES.items() if name.startswith("src/")}
PACKAGES = {module_of(name) for name in TREES if name.endswith("/__init__.py")}


def imported(tree, package=""):
    """Full names of what a file imports, at its top or inside functions, in order."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        for alias in node.names:
            name = f"{base}.{alias.name}"
            yield name if name in MODULES or name == "manifold_capacity.__version__" else base


IMPORTS = {
    module: {*imported(tree, module if module in PACKAGES else module.rpartition(".")[0])}
    for module, tree in MODULES.items()
}
# Between modules of the package, whose version anyone may read.
GRAPH = {
    module: {name for name in names if name.partition(".")[0] == "manifold_capacity"}
    - {"manifold_capacity.__version__"}
    for module, names in IMPORTS.items()
    if module.partition(".")[0] == "manifold_capacity"
}


def wing(module):
    return module.split(".")[1] if "." in module else "__init__"


def test_the_page_names_every_wing():
    named = {name for level in LEVELS for name in level}
    single = {path.stem for path in PACKAGE.glob("*.py")} - ENTRANCES
    assert named == WINGS | single
    folders = {path.name for path in (ROOT / "tests" / "unit").iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == WINGS


def test_every_import_leads_somewhere():
    assert {name for names in GRAPH.values() for name in names} - set(MODULES) == set()


def test_no_module_imports_itself_through_others():
    tuple(graphlib.TopologicalSorter(GRAPH).static_order())  # raises CycleError with the circle


def test_no_wing_imports_a_higher_one():
    level = {name: i for i, names in enumerate(LEVELS) for name in names}
    upwards = [
        f"{module} imports {name}"
        for module, names in GRAPH.items()
        for name in names
        if wing(module) in level
        and (wing(name) not in level or level[wing(name)] < level[wing(module)])
    ]
    assert upwards == []


def test_a_wing_has_nothing_but_its_docstring():
    for name in WINGS - {"command_line"}:  # which is the entry point
        (statement,) = MODULES[f"manifold_capacity.{name}"].body
        assert isinstance(statement.value.value, str), name


def test_the_plugin_and_the_package_do_not_import_each_other():
    """Snakemake imports the plugin first; the Snakefile decides which copy of the package runs."""
    between = {
        (module, name)
        for module, names in IMPORTS.items()
        for name in names
        if {module.partition(".")[0], name.partition(".")[0]} == {PACKAGE.name, PLUGIN.name}
    }
    assert between == set()
    code = f"import sys, {PLUGIN.name}; print({PACKAGE.name!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_script_imports_logs_before_anything_slow():
    """So that Ctrl-C during the imports of a job prints no traceback."""
    for name, tree in TREES.items():
        if name.startswith("scripts/"):
            slow = [n for n in imported(tree) if n.partition(".")[0] not in sys.stdlib_module_names]
            assert slow[0] == "manifold_capacity.logs", name


def test_every_import_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = {
        re.match(r"[\w-]+", requirement)[0]
        for extra in [
            project["dependencies"],
            *(extras[name] for name in ("pipeline", "lightning")),
        ]
        for requirement in extra
    }
    called = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn"}
    scripts = [imported(tree) for name, tree in TREES.items() if name.startswith("scripts/")]
    names = {
        name.partition(".")[0] for names in [*IMPORTS.values(), *scripts] for name in names
    } - {*sys.stdlib_module_names, PACKAGE.name, PLUGIN.name}
    assert {"numpy", "torch"} <= names
    assert {called.get(name, name.replace("_", "-")) for name in names} <= declared


def test_no_file_is_too_long_to_read():
    lengths = {name: len(text.splitlines()) for name, text in SOURCES.items()}
    assert [name for name, n in lengths.items() if n > 400 and "benchmarks/" not in name] == []
    assert lengths["rules/common.smk"] <= 120
    assert len((ROOT / "Snakefile").read_text(encoding="utf-8").splitlines()) <= 40


def test_scripts_are_short_and_get_all_from_their_rule():
    for name, text in SOURCES.items():
        if name.startswith("scripts/"):
            assert len(text.splitlines()) <= 40, name
            assert "snakemake.config" not in text, name


def test_the_first_line_says_what_a_file_is_for():
    wrong = [name for name, text in SOURCES.items() if not re.match(r'(r?"""|# )\S', text)]
    assert wrong == []


def test_modules_that_the_documentation_names_are_there():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in pages}
    texts |= {name: text for name, text in SOURCES.items() if name.startswith("src/")}
    pattern = rf"\bmanifold_capacity\.(?:{'|'.join(WINGS)})\.\w+"
    named = {(page, name) for page, text in texts.items() for name in re.findall(pattern, text)}
    assert named
    assert {(page, name) for page, name in named if name not in MODULES} == set()
