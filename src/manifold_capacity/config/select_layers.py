"""Check the configuration's selection of layers against the networks."""

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

    Building a network takes seconds. So the tables of an earlier run are used first; networks are built
    only for missing tables, and for all models if the selection does not fit (tables may be out of date).
    `known` gives a model's layers from an earlier run (or None), `find` those of the network itself.

    Returns the label of each model -> all its layers; a ConfigError names what matches nothing.
    """
    models = {model["label"]: model for model in config["models"]}
    tables = {label: known(model) for label, model in models.items()}
    problems: list[str] = []
    missing = [label for label, table in tables.items() if table is None]
    for labels in (missing, [label for label in models if label not in missing]):
        for label in labels:
            try:
                tables[label] = find(models[label])
            except ValueError as error:
                problems.append(str(error))
        found = {label: table for label, table in tables.items() if table is not None}
        unfit = _unfit(config, {models[label]["name"]: table for label, table in found.items()})
        if not problems and not unfit:
            return found
    raise ConfigError(list(dict.fromkeys([*problems, *unfit])))


def _unfit(config: Mapping[str, Any], tables: Mapping[str, Sequence[Layer]]) -> list[str]:
    """What is wrong with the selection of layers, given the layers of each network by its name."""
    problems = unmatched(tables, config["layers"]) if tables else []
    for name, table in tables.items():
        try:
            select_layers(table, config["layers"], model=name)
        except ValueError as error:
            problems.append(str(error))
    return problems
