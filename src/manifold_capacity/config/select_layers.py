"""Check the configuration's choice of layers against the networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from manifold_capacity.config.schema import ConfigError
from manifold_capacity.models.layers import Layer, select_layers, unmatched

__all__ = ["check_layers"]


def check_layers(
    config: Mapping[str, Any],
    known: Callable[[Mapping[str, Any]], Sequence[Layer] | None],
    find: Callable[[Mapping[str, Any]], Sequence[Layer]],
) -> dict[str, Sequence[Layer]]:
    """Check that `layers` selects something in every model, and every type and pattern something in one.

    Building a network takes seconds, so tables that an earlier run left are tried first; only where such a table is missing or
    the selection does not fit (it may be stale) is the network built.

    Parameters
    ----------
    config : mapping
        The resolved configuration.
    known, find : callable
        Model entry -> layers: from an earlier run (or None), and from the network itself.

    Returns
    -------
    dict
        Label of each model -> all its layers.

    Raises
    ------
    ConfigError
        Naming the pattern or type that matches nothing.
    """
    models = {model["label"]: model for model in config["models"]}
    tables = {label: known(model) for label, model in models.items()}
    complete = {label: table for label, table in tables.items() if table is not None}
    if len(complete) == len(models) and not _unfit(config, complete):
        return complete
    built: dict[str, Sequence[Layer]] = {}
    problems = []
    for label, model in models.items():
        if tables[label] is None:
            try:
                tables[label] = built[label] = find(model)
            except ValueError as error:
                problems.append(str(error))
    found = {label: table for label, table in tables.items() if table is not None}
    if not problems and not _unfit(config, found):
        return found
    for label, model in models.items():
        if label not in built and tables[label] is not None:
            tables[label] = find(model)
    found = {label: table for label, table in tables.items() if table is not None}
    problems += _unfit(config, found)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return found


def _unfit(config: Mapping[str, Any], tables: Mapping[str, Sequence[Layer] | None]) -> list[str]:
    """What is wrong with the selection of layers, given the models' tables."""
    names = {model["label"]: model["name"] for model in config["models"]}
    found = {names[label]: table or [] for label, table in tables.items()}
    problems = unmatched(found, config["layers"]) if found else []
    for name, table in found.items():
        try:
            select_layers(table, config["layers"], model=name)
        except ValueError as error:
            problems.append(str(error))
    return problems
