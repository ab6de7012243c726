"""Paths in a configuration: relative to the folder of the file that gives them."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifold_capacity.activations.external import is_file_name
from manifold_capacity.config.schema import ConfigError, join_key

# The keys whose values are paths, or `file.py:function`; `*` is any entry of a list or of a mapping.
PATHS = (
    *("dataset.path", "dataset.factory"),
    *("models.*.factory", "models.*.weights_file", "models.*.weights_files.*"),
    *("activations.path", "activations.path.*.path", "activations.labels", "activations.groups"),
)

_Place = tuple[str | int, ...]


def from_working_directory(
    given: Mapping[str, Any],
    files: Mapping[str | os.PathLike[str], Mapping[str, Any]],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """A configuration whose relative paths are relative to the working directory.

    Parameters
    ----------
    given : mapping
        The configuration, merged from the files and the options.
    files : mapping
        Each file that it was read from -> what is in the file; a later file wins.
    options : mapping
        What the command line gives; it wins over the files, and its paths stay as they are.

    Raises
    ------
    ConfigError
        If a file is missing, but one is where the path leads from the working directory.
    """
    origins: dict[tuple[_Place, str], str | os.PathLike[str] | None] = {}
    for file, content in [*files.items(), (None, options)]:
        origins |= dict.fromkeys(_paths(content), file)
    config, here, problems = copy.deepcopy(dict(given)), Path.cwd(), []
    for place, value in [*_paths(config)]:  # before any changes: aliases in YAML share values
        path, function = _split(value) if place[-1] == "factory" else (value, "")
        if place[-1] == "groups" and not is_file_name(value):  # the name of an array
            continue
        file = origins.get((place, value))
        folder = here if file is None else Path(file).parent.resolve()
        if not path or folder == here or os.path.isabs(path):
            continue
        there = os.path.normpath(folder / path)
        if not os.path.exists(there) and os.path.exists(path):
            problems.append(
                f"{join_key('', *place)}: there is no file or folder {there}, since paths in a configuration file are "
                f"relative to its folder; {here / path} exists: write {os.path.relpath(path, folder)}"
            )
        if Path(there).is_relative_to(here):
            there = os.path.relpath(there)
        parent: Any = config
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = f"{there}{function}"
    if problems:
        raise ConfigError(problems)
    return config


def _paths(config: Mapping[str, Any]) -> Iterator[tuple[_Place, str]]:
    """Where a configuration of any shape has paths, and the paths."""
    for pattern in PATHS:
        yield from _texts(config, pattern.split("."), ())


def _texts(value: Any, pattern: Sequence[str], place: _Place) -> Iterator[tuple[_Place, str]]:
    if not pattern:
        if isinstance(value, str):
            yield place, value
        return
    keys: list[Any] = []
    if isinstance(value, Mapping):
        keys = [key for key in value if pattern[0] in ("*", key)]
    elif isinstance(value, list) and pattern[0] == "*":
        keys = [*range(len(value))]
    for key in keys:
        yield from _texts(value[key], pattern[1:], (*place, key))


def _split(factory: str) -> tuple[str, str]:
    """The path of `file.py:function`, and the rest; no path of `package.module:function`."""
    path, colon, function = factory.rpartition(":")
    return (path if path.endswith(".py") else ""), colon + function
