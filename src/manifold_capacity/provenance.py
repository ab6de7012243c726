"""Where results come from: digests of code and configurations, package versions, devices."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import metadata
from itertools import accumulate
from pathlib import Path
from typing import Any

from manifold_capacity.errors import UserError
from manifold_capacity.files import check_file, checksums, read_json, write_json

PACKAGE = "manifold_capacity"
SOURCE = Path(__file__).parent

# Packages that a step's numbers depend on, to the last bit.
SOFTWARE = {
    "dataset": ("numpy", "pillow", "scikit-learn"),
    "weights": ("numpy", "torch", "torchvision", "timm"),
    "activations": ("numpy", "torch", "torchvision", "timm"),
    "moments": ("numpy",),
    "gram": ("numpy",),
    "geometry": ("cvxopt", "numba", "numpy", "scipy"),
    "summary": ("pandas", "pyarrow"),
}
# Of these, one that is not installed is not recorded.
_OPTIONAL = ("timm",)
# No number depends on these modules: a new wording of a message must not train networks again.
_NOT_COUNTED = frozenset({"errors", "files", "logs"})


def source_digest(*modules: str, script: Path | None = None) -> str:
    """Digest of the code of modules, such as `"geometry.measure"`, and of all of ours that they import.

    A step with this digest in its key is made again when its code changes: that of the modules, and of
    `script` itself. Comments, docstrings, formatting and texts of errors and log entries do not count. A
    module that does not exist is a `UserError`.
    """
    digest = hashlib.sha256()
    if script is not None:
        digest.update(f"{_without_words(ast.parse(script.read_text(encoding='utf-8')))}\0".encode())
    for module in sorted(_with_imports(modules)):
        digest.update(f"{module}\0{_read_code(module)[0]}\0".encode())
    return digest.hexdigest()[:16]


def config_digest(config: Mapping[str, Any]) -> str:
    """16 hexadecimal digits; neither the order of the keys nor the results' folder counts."""
    counted = {key: value for key, value in config.items() if key != "results"}
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def package_versions(*distributions: str) -> dict[str, str]:
    """Versions of Python and of installed distributions (`"not installed"` for one that is missing and should not be)."""
    versions = {"python": platform.python_version()}
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name not in _OPTIONAL:
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
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        info = ""
    name = re.search("^model name.*?:(.*)", info, re.MULTILINE)
    return f"cpu: {name[1].strip() if name else platform.machine()}"


def key_of(*parts: Any) -> str:
    """A step's key: 32 hexadecimal digits of a digest of everything, as JSON, that its result depends on."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def check_keys(
    path: str | os.PathLike[str],
    found: Mapping[str, Any],
    keys: Mapping[str, str],
    made_by: str,
) -> None:
    """Raise UserError, which names the step that differs, unless a file is of the present configuration.

    Parameters
    ----------
    path : path
        The file, for the message.
    found : mapping
        Name of a step -> its key, or its record (see `extended`), in the file.
    keys : mapping
        Name of a step -> its present key, in the order of the steps.
    made_by : str
        The step that made the file. It must have a key; earlier ones are compared where the file has one.
    """
    if made_by not in keys:
        raise KeyError(f"{path}: {made_by!r} is not one of the steps {[*keys]}")
    for step, key in keys.items():
        has = found.get(step)
        has = has.get("key") if isinstance(has, Mapping) else has
        if has is None and step == made_by:
            problem = f"it has no key of its {step}, so it is of an earlier version"
        elif has not in (None, key):
            problem = f"the key of its {step} is {has}, but at present it is {key}"
        elif step == made_by:
            return
        else:
            continue
        remedy = "delete it and run the same command again, or make everything anew with --forceall"
        raise UserError(f"{path} is not of this configuration: {problem}; {remedy}")


def write_stamp(
    path: str | os.PathLike[str],
    files: Iterable[str | os.PathLike[str]],
    keys: Mapping[str, str],
    **content: Any,
) -> None:
    """Write a JSON file with the keys of what `files` were made by, their checksums, and `content`."""
    listed = checksums(files, Path(path).parent)
    write_json(path, {"keys": dict(keys), **content, "files": listed})


def check_stamped(
    path: str | os.PathLike[str],
    stamp: str | os.PathLike[str],
    keys: Mapping[str, str],
    made_by: str,
) -> Path:
    """A file's path, once it is known to be undamaged and of the present configuration: see `check_keys`."""
    check_keys(path, check_file(path, stamp)["keys"], keys, made_by)
    return Path(path)


def read_stamp(
    path: str | os.PathLike[str], keys: Mapping[str, str], made_by: str
) -> dict[str, Any]:
    """The content of a file of `write_stamp`; UserError unless it is of the present configuration."""
    content = read_json(path)
    check_keys(path, content.get("keys", {}), keys, made_by)
    return content


def stamp(step: str, *, code: str, **more: Any) -> dict[str, Any]:
    """What one step, of those in `SOFTWARE`, was made with: `source_digest`, device, versions and `more`.

    The device is the CPU unless `more` has another. No time and no name of a machine: the same run
    makes the same bytes again.
    """
    from manifold_capacity import __version__

    about = {"version": __version__, "code": code, "device": cpu_name()} | more
    return about | {"packages": package_versions(*SOFTWARE[step])}


def extended(earlier: Mapping[str, Any], step: str, made: Any, **about: Any) -> dict[str, Any]:
    """The records of earlier steps, and that of one more (see `stamp`); `made` has its ``code`` and ``keys``."""
    return {**earlier, step: stamp(step, code=made.code, key=made.keys[step], **about)}


def code_version() -> dict[str, str | None]:
    """This package's version, and its commit if it is part of a git repository (else None)."""
    from manifold_capacity import __version__

    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    describe = ("describe", "--always", "--dirty", "--tags", "--abbrev=40")
    return {"version": __version__, "commit": _git(*describe) if tracked else None}


def _git(*arguments: str) -> str | None:
    """What git prints about this package's folder, or None if it fails."""
    command, silent = ["git", *arguments], subprocess.DEVNULL
    try:
        return subprocess.check_output(
            command, cwd=SOURCE, stderr=silent, text=True, timeout=60
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return None


def collect_provenance(
    paths: Iterable[str | os.PathLike[str]], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Where the numbers of a whole run come from: configuration, code, platform and steps.

    `paths` are the layers' JSON files from the geometry jobs. ``made_with`` maps each step to the
    list of different records in them, each with the number of layers (``n_layers``) that rest on it.
    """
    steps: dict[str, Counter[str]] = {}
    for path in paths:
        for step, about in read_json(path)["provenance"].items():
            record = {name: value for name, value in about.items() if name != "key"}
            steps.setdefault(step, Counter())[json.dumps(record, sort_keys=True)] += 1
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


@functools.cache
def _read_code(module: str) -> tuple[str, set[str]]:
    """A module's code with the template that it fills in, and the modules of this package it imports.

    The code is without comments, docstrings and formatting. Imports inside functions count, and so do
    the packages around what is imported.
    """
    file = _file(module)
    if file is None:
        files = (path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py"))
        known = sorted(".".join(path.parts).removesuffix(".__init__") for path in files)
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
    ours = [name.removeprefix(f"{PACKAGE}.") for name in names if name.startswith(f"{PACKAGE}.")]
    template = file.with_suffix(".html")
    filled_in = template.read_text(encoding="utf-8") if template.is_file() else ""
    return _without_words(tree) + filled_in, _with_packages(ours) - _NOT_COUNTED


def _without_words(tree: ast.Module) -> str:
    """Code without comments, formatting, docstrings, and the words of raised errors and of log entries."""
    with_docstrings = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, with_docstrings) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        elif isinstance(node, ast.Expr) and _is_log_entry(node.value):
            node.value = ast.Constant(...)
    return ast.unparse(tree)


def _is_log_entry(node: ast.expr) -> bool:
    """Whether it is ``logger.info(...)`` or ``log.warning(...)``."""
    function = node.func if isinstance(node, ast.Call) else None
    logger = function.value if isinstance(function, ast.Attribute) else None
    return isinstance(logger, ast.Name) and logger.id in ("logger", "log")


def _with_imports(modules: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = _with_packages(modules)
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= _read_code(module)[1] - found
    return found


def _with_packages(modules: Iterable[str]) -> set[str]:
    """Modules, and the packages that are imported before them: `"a"` and `"a.b"` before `"a.b.c"`."""
    return {name for module in modules for name in accumulate(module.split("."), "{}.{}".format)}


def _file(module: str) -> Path | None:
    """The file of a module or package, or None if there is none; names are relative to this package."""
    path = SOURCE.joinpath(*module.split("."))
    files = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next(filter(Path.is_file, files), None)
