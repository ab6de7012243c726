"""What a result was made from: digests of source code and of configurations, versions of packages."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["config_digest", "package_versions", "source_digest"]

PACKAGE = "manifold_capacity"
SOURCE = Path(__file__).parent


def source_digest(*modules: str) -> str:
    """Digest of the code of some of this package's modules and of all modules of the package that they import.

    Workflow engines notice that a script changed, not that a module it imports did. A rule that lists this digest among its
    parameters is run again when the code behind it changes. Comments, docstrings and formatting do not count.

    Parameters
    ----------
    *modules : str
        Names relative to the package, such as `"geometry"`.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    ValueError
        If the package has no such module.
    """
    digest = hashlib.sha256()
    for module in sorted(_with_imports(modules)):
        digest.update(f"{module}\0{_normalized_source(module)}\0".encode())
    return digest.hexdigest()[:16]


def config_digest(config: Mapping[str, Any]) -> str:
    """Digest of a JSON-like mapping, independent of the order of its keys: 16 hexadecimal digits."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
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


def _with_imports(modules: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(_imports(module))
    return found


@functools.cache
def _tree(module: str) -> ast.Module:
    path = SOURCE / f"{module}.py"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in SOURCE.glob("*.py")))
        raise ValueError(f"{PACKAGE} has no module {module!r}; its modules are {known}")
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(module: str) -> set[str]:
    """Modules of this package that a module imports, at its top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = f"{PACKAGE}.{base}" if base else PACKAGE
            names.add(base)
            if base == PACKAGE:
                names.update(f"{PACKAGE}.{alias.name}" for alias in node.names)
    relative = {
        name.removeprefix(f"{PACKAGE}.") for name in names if name.startswith(f"{PACKAGE}.")
    }
    return {name for name in relative if (SOURCE / f"{name}.py").is_file()}


@functools.cache
def _normalized_source(module: str) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if ast.get_docstring(node, clean=False) is not None:
                node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)
