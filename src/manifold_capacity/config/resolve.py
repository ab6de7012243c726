"""From the configuration as given to the one that is run: checked, with every default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manifold_capacity.activations.external import default_name
from manifold_capacity.config.checks import (
    combination_problems,
    data_problems,
    results_problems,
    source_problems,
)
from manifold_capacity.config.choices import external_activations
from manifold_capacity.config.schema import (
    ConfigError,
    fill_defaults,
    given_text,
    in_schema_order,
    schema_problems,
    typed_values,
)
from manifold_capacity.datasets.prepare import describe
from manifold_capacity.summary.rows import EXTERNAL, SPLIT

__all__ = ["resolve"]


def resolve(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Check a configuration and fill in every default.

    Parameters
    ----------
    config : mapping
        What the user wrote. Text stands for the number or truth value it spells where nothing else
        is allowed: YAML takes ``1e-2`` for text, and Snakemake's ``--config
        training='{epochs: 1}'`` makes text of everything.
    schema : mapping
        The parsed `schemas/config.schema.yaml`.

    Returns
    -------
    dict
        A complete configuration: every key present, models as mappings with a unique `label`, checkpoints as sorted epochs.

    Raises
    ------
    ConfigError
        Listing every unknown key, wrong type, value out of range or impossible combination.
    """
    external = given_text(config, "activations.path") is not None
    if external:
        schema = {**schema, "required": []}
    resolved = typed_values(dict(config), schema)
    problems = list(schema_problems(resolved, schema)) or [
        *source_problems(resolved, external),
        *results_problems(resolved.get("results", schema["properties"]["results"]["default"])),
    ]
    if not problems:
        problems = list((_resolve_external if external else _resolve_networks)(resolved, schema))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return in_schema_order(resolved, schema)


def _resolve_networks(resolved: dict[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Fill in defaults where networks are run, in place; yields problems."""
    resolved["models"] = [
        {"name": entry} if isinstance(entry, str) else dict(entry) for entry in resolved["models"]
    ]
    fill_defaults(resolved, schema)
    for model in resolved["models"]:
        suffix = "" if model["weights"] == "trained" else f"-{model['weights']}"
        model["label"] = model["label"] or model["name"] + suffix
    if resolved["layers"]["types"] == "all":
        resolved["layers"].update(types=[], names=["*"])
    epochs = resolved["training"]["epochs"]
    resolved["checkpoints"] = sorted(
        {epochs if c == "final" else c for c in resolved["checkpoints"]}
    )
    yield from combination_problems(resolved)
    yield from data_problems(resolved, lambda: describe(resolved["dataset"]))


def _resolve_external(resolved: dict[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """The same for external activations: one "model", by default every layer and every point."""
    all_layers = not given_text(resolved, "layers.names")
    all_points = given_text(resolved, "manifolds.points_per_class") is None
    fill_defaults(resolved, schema)
    section = resolved["activations"]
    section["name"] = section["name"] or default_name(section["path"])
    resolved["dataset"] = {"name": Path(section["path"]).name}
    resolved["models"] = [{"name": section["name"], "label": section["name"], "weights": EXTERNAL}]
    resolved["layers"].update(input=False, types=[])
    if all_layers:
        resolved["layers"]["names"] = ["*"]
    resolved["manifolds"]["splits"] = [SPLIT]
    if all_points:
        resolved["manifolds"]["points_per_class"] = "all"
    yield from data_problems(resolved, lambda: external_activations(resolved))
