"""What a result was made from: digests of code and of configurations, versions of packages, devices."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from manifold_capacity.errors import UserError

__all__ = [
    "SOFTWARE",
    "code_version",
    "collect_provenance",
    "config_digest",
    "cpu_name",
    "extended",
    "package_versions",
    "software_versions",
    "source_digest",
    "stamp",
]


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


# Modules that say things and move files: no number depends on their code, and a new wording must not train networks again.
_NOT_COUNTED = frozenset({"errors", "files", "logs"})


# Keys of a configuration that say where results go, not what they are.
_PLACES = ("results",)


def source_digest(*modules: str) -> str:
    """Digest of the code of some of this package's modules and of all modules of the package that they import.

    Workflow engines notice that a script changed, not that a module it imports did. A rule that lists this digest among its
    parameters is run again when the code behind it changes. Comments, docstrings and formatting do not count.

    Parameters
    ----------
    *modules : str
        Names relative to the package, such as `"geometry.measure"`.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    UserError
        If the package has no such module, or one of them imports a module that it has not.
    """
    digest = hashlib.sha256()
    for module in sorted(_with_imports(modules)):
        digest.update(f"{module}\0{_normalized_source(module)}\0".encode())
        # What a module fills in counts as its code.
        template = SOURCE.joinpath(*module.split(".")).with_suffix(".html")
        digest.update(template.read_bytes() if template.is_file() else b"")
    return digest.hexdigest()[:16]


def config_digest(config: Mapping[str, Any]) -> str:
    """Digest of a configuration: 16 hexadecimal digits.

    The order of its keys does not count, nor does the folder that results go to.
    """
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
    """Versions of the packages that a step's numbers depend on.

    Parameters
    ----------
    step : str
        A key of `SOFTWARE`.
    """
    versions = package_versions(*SOFTWARE[step])
    del versions["python"]  # an update of Python leaves numbers as they are
    return versions


def cpu_name() -> str:
    """The processor's name, ``cpu: AMD EPYC 7763``, or its architecture where nothing says more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"cpu: {names[0] if names else platform.machine()}"


def stamp(step: str, *, code: str, **more: Any) -> dict[str, Any]:
    """What one step of a result was made with: what every file says of itself.

    No time and no name of a machine: made again, it is the same to the byte.

    Parameters
    ----------
    step : str
        A key of `SOFTWARE`.
    code : str
        `source_digest` of the modules that made it.
    **more
        Anything else that JSON can hold. Without ``device``, it is the CPU.

    Returns
    -------
    dict
        ``version`` of this package, ``code``, ``device``, ``packages`` and their versions, and more.
    """
    from manifold_capacity import __version__

    about = {"version": __version__, "code": code, "device": cpu_name()} | more
    return about | {"packages": package_versions(*SOFTWARE[step])}


def extended(earlier: Mapping[str, Any], step: str, **about: Any) -> dict[str, Any]:
    """What the steps so far were made with, and one more (see `stamp`)."""
    return {**earlier, step: stamp(step, **about)}


def code_version() -> dict[str, str | None]:
    """This package's version, and its commit where it is part of a git repository (else None)."""
    from manifold_capacity import __version__

    commit = None
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is not None:
        commit = _git("describe", "--always", "--dirty", "--tags", "--abbrev=40")
    return {"version": __version__, "commit": commit}


def _git(*arguments: str) -> str | None:
    """What git prints about the folder of this package, or None if it can't say."""
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
    """Where the numbers of a whole run come from.

    Parameters
    ----------
    paths : iterable of path
        What the geometry jobs wrote for every layer, JSON with a key ``provenance``: a mapping of
        steps to what they were made with.
    config : mapping
        The resolved configuration.

    Returns
    -------
    dict
        ``config_digest``, ``config``, ``code`` (see `code_version`), ``platform``, and ``made_with``:
        for every step a list of all that its files say, each once, with the number of layers
        (``n_layers``) that rest on it.
    """
    steps: dict[str, dict[str, int]] = {}
    for path in paths:
        row = json.loads(Path(path).read_text(encoding="utf-8"))
        for step, about in row.get("provenance", {}).items():
            found = steps.setdefault(step, {})
            text = json.dumps(about, sort_keys=True)
            found[text] = found.get(text, 0) + 1
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


def _with_imports(modules: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = [module for name in modules for module in (name, *_parents(name))]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(_imports(module))
    return found


def _parents(module: str) -> list[str]:
    """The packages that are imported before a module is: of `"a.b.c"`, `"a.b"` and `"a"`."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _file(module: str) -> Path | None:
    """Where a module or package is, named relative to this one; None if there is none."""
    path = SOURCE.joinpath(*module.split("."))
    for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@functools.cache
def _tree(module: str) -> ast.Module:
    path = _file(module)
    if path is None:
        files = (p.relative_to(SOURCE).with_suffix("") for p in SOURCE.rglob("*.py"))
        known = sorted(".".join(file.parts).removesuffix(".__init__") for file in files)
        raise UserError(f"{PACKAGE} has no module {module!r}; its modules are {', '.join(known)}")
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def _imports(module: str) -> frozenset[str]:
    """Modules of this package that a module imports, at its top or inside functions, with their packages."""
    package = (
        f"{PACKAGE}.{module}" if _is_package(module) else f"{PACKAGE}.{module}".rpartition(".")[0]
    )
    names: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names.add(base)
            # What is imported from a package may be one of its modules.
            members = (f"{base}.{alias.name}" for alias in node.names)
            names.update(name for name in members if _file(name.removeprefix(f"{PACKAGE}.")))
    ours = {name.removeprefix(f"{PACKAGE}.") for name in names if name.startswith(f"{PACKAGE}.")}
    ours |= {parent for name in ours for parent in _parents(name)}
    return frozenset(ours - _NOT_COUNTED)


def _is_package(module: str) -> bool:
    file = _file(module)
    return file is not None and file.name == "__init__.py"


@functools.cache
def _normalized_source(module: str) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if ast.get_docstring(node, clean=False) is not None:
                node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)
