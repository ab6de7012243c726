"""Users' own functions: ``file.py:function`` or ``package.module:function``, and the files that they consist of."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from manifold_capacity.errors import UserError, nearest

_INSTALLED = [
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
]


# Words that may make names which a file does not spell.
_DYNAMIC = {
    "*",
    "__dict__",
    "__getattr__",
    "exec",
    "globals",
    "locals",
    "modules",
    "setattr",
    "vars",
}

# The modules beside a file, by its folder: of those in another folder, none may take their names.
_NEIGHBORS: dict[Path, dict[str, ModuleType]] = {}


def load(spec: str, key: str) -> Callable[..., Any]:
    """The function that a text names; a UserError that names the `key` of the configuration if there is none.

    Parameters
    ----------
    spec : str
        ``file.py:function``, with a path as the operating system takes it, or ``package.module:function``.
    key : str
        Of the configuration, for messages.
    """
    place, name = _split(spec, key)
    with _importable(place):
        try:
            module = _load_file(place) if place.endswith(".py") else importlib.import_module(place)
        except Exception as error:  # anything that a user's module raises
            raise UserError(f"{key}: {spec!r} cannot be imported: {in_words(error)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        problem = "is not a function" if hasattr(module, name) else "does not exist"
        raise UserError(f"{key}: {spec!r}: {name} {problem} in {place}{nearest(name, known)}")
    return function


def call(spec: str, key: str, arguments: Mapping[str, Any], offered: Mapping[str, Any]) -> Any:
    """What a user's function returns.

    `arguments` are keyword arguments from the configuration; of the `offered` ones, it gets those that its
    signature names and that `arguments` does not have.
    """
    function = load(spec, key)
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # some builtins have none
        parameters = inspect.signature(lambda **_: None).parameters
    taken = {name: value for name, value in offered.items() if name in parameters}
    try:
        inspect.signature(function).bind(**{**taken, **arguments})
    except TypeError as error:
        names = [
            n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        also = (
            f", and {', '.join(offered)} are given to a function that has them" if offered else ""
        )
        raise UserError(
            f"{key}: {spec!r} does not fit: {error}; its arguments are {', '.join(names) or 'none'}{also}"
        ) from error
    with _importable(_split(spec, key)[0]):
        try:
            return function(**{**taken, **arguments})
        except Exception as error:
            raise UserError(f"{key}: {spec!r} failed: {in_words(error)}") from error


def check(spec: str, key: str) -> None:
    """Raise a UserError if there is no such function, as far as its file tells without being run."""
    own = files(spec, key)
    place, name = _split(spec, key)
    if place.endswith(".py"):
        start = Path(place)
    elif (found := _find(place, _roots(place))) and found.origin:
        start = Path(found.origin)
    if not own or start.suffix != ".py":
        return
    tree = ast.parse(start.read_bytes())
    # Words of any scope, and of texts: a name that is none of them is not defined, unless all names are taken from elsewhere.
    fields = (value for node in ast.walk(tree) for _, value in ast.iter_fields(node))
    words = {value for value in fields if isinstance(value, str)}
    if name not in words and not words & _DYNAMIC:
        known = [
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        ]
        raise UserError(f"{key}: {spec!r}: {name} does not exist in {place}{nearest(name, known)}")


def files(spec: str, key: str) -> list[Path]:
    """The files that a function consists of: its own, and all that these import, except installed packages.

    Found without running anything, so what is imported by name at run time, or read, is not among them.
    """
    place, _ = _split(spec, key)
    roots = _roots(place)
    if place.endswith(".py"):
        start, package = Path(place), ""
    else:
        found = _find(place, roots)
        if found is None or found.origin is None:
            raise UserError(f"{key}: {spec!r}: there is no module {place}")
        start, package = Path(found.origin), _package(found)
        if not _is_own(start):
            return []
    seen: dict[Path, None] = {}
    waiting = [(start, package)]
    while waiting:
        path, package = waiting.pop()
        if path in seen:
            continue
        seen[path] = None
        for name in sorted(_imported(path, package, key)):
            found = _find(name, roots)
            if (
                found
                and found.origin
                and found.origin.endswith(".py")
                and _is_own(Path(found.origin))
            ):
                waiting.append((Path(found.origin), _package(found)))
    return sorted(seen)


def describe(spec: str, key: str) -> str:
    """For logs: the files and their checksums, and versions of packages that they import by their own names."""
    own = files(spec, key)
    each = [f"{path} ({_sha256(path)})" for path in own] or ["from an installed package"]
    imported = {name for path in own for name in _imported(path, "", key)} or {
        spec.rpartition(":")[0]
    }
    for name in sorted({name.partition(".")[0] for name in imported}):
        with suppress(metadata.PackageNotFoundError):
            each.append(f"{name} {metadata.version(name)}")
    return f"{spec}: {', '.join(each)}"


def in_words(error: Exception) -> str:
    """An error's type and the first line of its message, with the last line of the user's code that raised it."""
    first = str(error).strip().splitlines()[:1]
    where = ""
    trace = error.__traceback__
    while trace:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.suffix == ".py" and _is_own(path) and Path(__file__).parent not in path.parents:
            where = f" ({path.name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return ": ".join([type(error).__name__, *first]) + where


def _split(spec: str, key: str) -> tuple[str, str]:
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise UserError(
            f"{key}: {spec!r} is not a function; write file.py:function or package.module:function"
        )
    if place.endswith(".py") and not Path(place).is_file():
        raise UserError(f"{key}: {spec!r}: there is no file {Path(place).absolute()}")
    return place, name


def _load_file(place: str) -> Any:
    path = Path(place).resolve()
    # A name of its own: two files of the same name are two modules, and none hides an installed one.
    name = f"_own_{path.stem}_{_sha256(path)}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


@contextmanager
def _importable(place: str) -> Iterator[None]:
    """Modules beside a file, or below the working directory, can be imported, as by ``python file.py``."""
    before = list(sys.path)
    sys.path[:] = _roots(place)
    folder = Path(sys.path[0])
    neighbors = _NEIGHBORS.setdefault(folder, {}) if place.endswith(".py") else {}
    sys.modules.update(neighbors)
    known = {*sys.modules} - {*neighbors}
    try:
        yield
    finally:
        sys.path[:] = before
        for name in {*sys.modules} - known if place.endswith(".py") else ():
            file = getattr(sys.modules[name], "__file__", None) or ""
            if folder in Path(file).parents and _is_own(Path(file)) and name[:5] != "_own_":
                neighbors[name] = sys.modules.pop(name)


def _roots(place: str) -> list[str]:
    own = Path(place).resolve().parent if place.endswith(".py") else Path.cwd()
    return [str(own), *sys.path]


def _find(name: str, roots: list[str]) -> ModuleSpec | None:
    """A module's place, found without importing its packages."""
    search, found = roots, None
    for part in name.split("."):
        try:
            # By the last part of its name: of a folder without __init__.py, the one around would have to be imported.
            found = PathFinder.find_spec(part, search)
        except (ImportError, ValueError):
            return None
        if found is None:
            return None
        search = list(found.submodule_search_locations or [])
    assert found is not None
    found.name = name
    return found


def _package(found: ModuleSpec) -> str:
    return found.name if found.submodule_search_locations else found.name.rpartition(".")[0]


def _imported(path: Path, package: str, key: str) -> set[str]:
    """Names that a file imports, and of packages the packages around them."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{key}: {path} cannot be read as Python: {error}") from error
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            try:
                base = importlib.util.resolve_name(relative, package) if node.level else relative
            except ImportError:
                continue
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    around = {name.rsplit(".", n)[0] for name in names for n in range(1, name.count(".") + 1)}
    return names | around


def _is_own(path: Path) -> bool:
    resolved = path.resolve()
    # Those of a user, or of the system below a virtual environment, are in folders of these names.
    if {"site-packages", "dist-packages"} & {*resolved.parts}:
        return False
    return not any(folder in resolved.parents for folder in _INSTALLED)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
