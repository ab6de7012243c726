"""Where results come from: digests of code and configurations, package versions, devices."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from manifold_capacity.errors import UserError

PACKAGE = "manifold_capacity"
SOURCE = Path(__file__).parent

SOFTWARE = {
    "dataset": ("numpy", "pillow", "scikit-learn"),
    "weights": ("numpy", "torch", "torchvision"),
    "activations": ("numpy", "torch", "torchvision"),
    "moments": ("numpy",),
    "geometry": ("cvxopt", "numba", "numpy", "scipy"),
    "summary": ("pandas", "pyarrow"),
}
"""Packages that a step's numbers depend on, to the last bit."""

# No number depends on these modules: a new wording of a message must not train networks again.
_NOT_COUNTED = frozenset({"errors", "files", "logs"})

# Keys of a configuration that say where results are written, not what they are.
_PLACES = ("results",)


def source_digest(*modules: str) -> str:
    """Digest of the code of modules, such as `"geometry.measure"`, and of all of ours that they import.

    Workflow engines notice that a script changed, not that a module it imports did. A rule with this
    digest among its parameters runs again when the code behind it changes. Comments, docstrings and
    formatting do not count. A module that does not exist is a `UserError`.
    """
    digest = hashlib.sha256()
    for module in sorted(_with_imports(modules)):
        digest.update(f"{module}\0{_read_code(module).text}\0".encode())
    return digest.hexdigest()[:16]


def config_digest(config: Mapping[str, Any]) -> str:
    """16 hexadecimal digits; neither the order of the keys nor the results' folder counts."""
    counted = {key: value for key, value in config.items() if key not in _PLACES}
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def package_versions(*distributions: str) -> dict[str, str]:
    """Versions of Python and of installed distributions (`"not installed"` for one that is missing)."""
    versions = {"python": platform.python_version()}
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def software_versions(step: str) -> dict[str, str]:
    """Versions of the packages that the numbers of a step, a key of `SOFTWARE`, depend on."""
    versions = package_versions(*SOFTWARE[step])
    del versions["python"]  # an update of Python does not change numbers
    return versions


def cpu_name() -> str:
    """The processor's name, ``cpu: AMD EPYC 7763``, or its architecture if the name is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"cpu: {names[0] if names else platform.machine()}"


def stamp(step: str, *, code: str, **more: Any) -> dict[str, Any]:
    """What one step, a key of `SOFTWARE`, was made with: `source_digest`, device, versions and `more`.

    Without ``device`` in `more`, it is the CPU. There is no time and no name of a machine, so that the
    same run makes the same bytes again.
    """
    from manifold_capacity import __version__

    about = {"version": __version__, "code": code, "device": cpu_name()} | more
    return about | {"packages": package_versions(*SOFTWARE[step])}


def extended(earlier: Mapping[str, Any], step: str, **about: Any) -> dict[str, Any]:
    """The records of earlier steps, and that of one more (see `stamp`)."""
    return {**earlier, step: stamp(step, **about)}


def code_version() -> dict[str, str | None]:
    """This package's version, and its commit if it is part of a git repository (else None)."""
    from manifold_capacity import __version__

    commit = None
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is not None:
        commit = _git("describe", "--always", "--dirty", "--tags", "--abbrev=40")
    return {"version": __version__, "commit": commit}


def _git(*arguments: str) -> str | None:
    """What git prints about this package's folder, or None if it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=SOURCE, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def collect_provenance(
    paths: Iterable[str | os.PathLike[str]], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Where the numbers of a whole run come from: configuration, code, platform and steps.

    `paths` are the layers' JSON files from the geometry jobs. ``made_with`` maps each step to the
    list of different records in them, each with the number of layers (``n_layers``) that rest on it.
    """
    steps: dict[str, Counter[str]] = {}
    for path in paths:
        row = json.loads(Path(path).read_text(encoding="utf-8"))
        for step, about in row.get("provenance", {}).items():
            steps.setdefault(step, Counter())[json.dumps(about, sort_keys=True)] += 1
    return {
        "config_digest": config_digest(config),
        "config": dict(config),
        "code": code_version(),
        "platform": platform.platform(),
        "made_with": {
            step: [json.loads(text) | {"n_layers": n} for text, n in sorted(steps[step].items())]
            for step in dict.fromkeys([*SOFTWARE, *steps])
            if step in steps
        },
    }


_WITH_DOCSTRINGS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class _Code(NamedTuple):
    text: str
    """Without comments, docstrings and formatting; with the template that the module fills in."""
    imports: frozenset[str]
    """Modules of this package, also those imported inside functions, and the packages around them."""


@functools.cache
def _read_code(module: str) -> _Code:
    file = _file(module)
    if file is None:
        known = sorted(
            ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
            for path in SOURCE.rglob("*.py")
        )
        raise UserError(f"{PACKAGE} has no module {module!r}; its modules are {', '.join(known)}")
    dotted = f"{PACKAGE}.{module}"
    package = dotted if file.name == "__init__.py" else dotted.rpartition(".")[0]
    names: set[str] = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names.add(base)
            # What is imported from a package may be one of its modules.
            members = (f"{base}.{alias.name}" for alias in node.names)
            names.update(name for name in members if _file(name.removeprefix(f"{PACKAGE}.")))
        elif (
            isinstance(node, _WITH_DOCSTRINGS) and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    ours = [name.removeprefix(f"{PACKAGE}.") for name in names if name.startswith(f"{PACKAGE}.")]
    imports = {name for module in ours for name in (module, *_parents(module))}
    template = file.with_suffix(".html")
    filled_in = template.read_text(encoding="utf-8") if template.is_file() else ""
    return _Code(ast.unparse(tree) + filled_in, frozenset(imports - _NOT_COUNTED))


def _with_imports(modules: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = [name for module in modules for name in (module, *_parents(module))]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(_read_code(module).imports)
    return found


def _parents(module: str) -> list[str]:
    """The packages that are imported before a module: `"a.b"` and `"a"` for `"a.b.c"`."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _file(module: str) -> Path | None:
    """The file of a module or package, or None if there is none; names are relative to this package."""
    path = SOURCE.joinpath(*module.split("."))
    files = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next(filter(Path.is_file, files), None)
