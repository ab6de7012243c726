"""Turn the configuration as given into the one that is run: checked, with every default."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifold_capacity.activations.external import default_name
from manifold_capacity.config import checks, models
from manifold_capacity.config import schema as schemas
from manifold_capacity.config.choices import external_activations, external_paths
from manifold_capacity.config.schema import ConfigError, fill_defaults, given_text
from manifold_capacity.datasets.prepare import describe
from manifold_capacity.summary.rows import SPLIT


def resolve(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Check a configuration and fill in every default.

    Parameters
    ----------
    config : mapping
        As the user wrote it. Text that spells a number or truth value becomes one where text is not
        allowed: YAML and Snakemake's ``--config`` read ``1e-2`` as text.
    schema : mapping
        The parsed `schemas/config.schema.yaml`.

    Returns
    -------
    dict
        Every key is present; models are mappings with a unique `label`, checkpoints sorted epochs.

    Raises
    ------
    ConfigError
        Listing every unknown key, wrong type, value out of range and invalid combination.
    """
    if problems := schemas.plain_problems(config):
        raise ConfigError(problems)
    external = given_text(config, "activations.path") is not None
    if external:
        schema = {**schema, "required": []}
    if given_text(config, "dataset.factory") is not None:
        schema = schemas.with_free_name(schema)
    resolved = schemas.typed_values(dict(config), schema)
    if problems := schemas.plain_problems(resolved):  # "nan" and "inf" are numbers by now
        raise ConfigError(problems)
    results = resolved.get("results", schema["properties"]["results"]["default"])
    problems = list(schemas.schema_problems(resolved, schema)) or [
        *checks.source_problems(resolved, external),
        *checks.results_problems(results),
        *checks.measures_problems(resolved, schema),
    ]
    if not problems and external:
        _fill_external(resolved, schema)
        find = functools.cache(lambda: next(iter(external_activations(resolved).values())))
        problems += [*checks.epoch_problems(resolved)] or checks.data_problems(resolved, find)
        if not problems:
            name = resolved["activations"]["name"]
            resolved["models"] = models.of_groups(name, [*find().counts])
    elif not problems and not (problems := [*models.name_problems(resolved)]):
        _fill_networks(resolved, schema)
        problems += checks.combination_problems(resolved)
        problems += models.file_problems(resolved)
        problems += checks.data_problems(resolved, lambda: describe(resolved["dataset"]))
        if not problems and resolved["layers"]["input"] == "auto":
            resolved["layers"]["input"] = describe(resolved["dataset"]).input_dtype != "int64"
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return resolved


def _fill_networks(resolved: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """Fill in the defaults of a configuration that runs networks, in place."""
    dataset = resolved["dataset"]
    if dataset.get("factory") is not None and dataset.get("name") is None:
        place = dataset["factory"].rpartition(":")[0]
        dataset["name"] = default_name(place if place.endswith(".py") else place.split(".")[-1])
    resolved["models"] = [
        {"name": entry} if isinstance(entry, str) else models.named(entry)
        for entry in resolved["models"]
    ]
    fill_defaults(resolved, schema)
    for model in resolved["models"]:
        model["label"] = model["label"] or models.default_label(model)
        if model["weights_files"]:
            model["weights_files"] = models.in_order(model["weights_files"])
    if resolved["layers"]["types"] == "all":
        resolved["layers"].update(types=[], names=["*"])
    epochs = resolved["training"]["epochs"]
    resolved["checkpoints"] = sorted(
        {epochs if c == "final" else c for c in resolved["checkpoints"]}
    )


def _fill_external(resolved: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """The same for external activations: by default every layer and every point; a "model" for each group comes later."""
    all_layers = not given_text(resolved, "layers.names")
    all_points = given_text(resolved, "manifolds.points_per_class") is None
    resolved |= {"dataset": None, "models": None}
    fill_defaults(resolved, schema)
    section = resolved["activations"]
    source = Path(next(iter(external_paths(resolved).values())))
    if isinstance(section["path"], list):
        source = source.parent
    resolved["dataset"] = {"name": source.name or "activations"}
    section["name"] = section["name"] or default_name(str(source))
    resolved["layers"].update(input=False, types=[])
    if all_layers:
        resolved["layers"]["names"] = ["*"]
    resolved["manifolds"]["splits"] = [SPLIT]
    if all_points:
        resolved["manifolds"]["points_per_class"] = "all"
