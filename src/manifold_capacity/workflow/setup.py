"""A checked configuration, with the dataset, classes, layers and store sizes that follow from it."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from manifold_capacity.activations.external import ExternalActivations
from manifold_capacity.activations.parts import Part
from manifold_capacity.config.checks import check_layers
from manifold_capacity.config.choices import class_indices, external_activations
from manifold_capacity.config.paths import from_working_directory
from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import ConfigError, load_schema, yaml_problems
from manifold_capacity.datasets.catalog import Dataset, addresses
from manifold_capacity.datasets.prepare import describe
from manifold_capacity.errors import UserError
from manifold_capacity.files import check_file
from manifold_capacity.models.layers import Layer, is_readable, read_layers
from manifold_capacity.models.selection import select_layers
from manifold_capacity.workflow.stores import parts_of_models, stores_at_once


@dataclass(frozen=True)
class Setup:
    """A configuration that can be run.

    Attributes
    ----------
    given : dict
        The configuration as the user wrote it, but with paths relative to the working directory.
    config : dict
        Resolved: with all defaults.
    external : dict
        Checkpoint -> activations that replace dataset and networks; empty without.
    dataset : Dataset or ExternalActivations
        Where the classes come from.
    classes : dict
        Index of each measured class -> its name.
    layers : dict
        Label of each model -> all its layers.
    parts : dict
        Label of each model -> the stores of one of its runs; empty for external activations.
    stores_at_once : int or None
        How many stores may be on the disk at once; None without a limit.
    """

    given: dict[str, Any]
    config: dict[str, Any]
    external: dict[str, ExternalActivations]
    dataset: Dataset | ExternalActivations
    classes: dict[int, str]
    layers: dict[str, Sequence[Layer]]
    parts: dict[str, tuple[Part, ...]]
    stores_at_once: int | None


def set_up(
    given: Mapping[str, Any],
    schema: str | os.PathLike[str],
    files: Mapping[str | os.PathLike[str], Mapping[str, Any]] = MappingProxyType({}),
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Setup:
    """Check a configuration as the user wrote it against a schema; a UserError if it cannot be run.

    `files` are those that it was read from, with what is in each; `options` come from the command line.
    The layers of a network come from an earlier run's table, or else from the network, which imports torch.
    """
    if repeated := [problem for file in files for problem in yaml_problems(Path(file))]:
        raise ConfigError(repeated)
    given = from_working_directory(given, files, options)
    config = resolve(given, load_schema(Path(schema)))
    external = external_activations(config)
    first = next(iter(external.values()), None)
    dataset = first or describe(config["dataset"])
    layers = check_layers(
        config,
        known=lambda model: first.layers if first else _layers_on_disk(config, model),
        find=lambda model: _layers_of_network(config, model),
    )
    parts = {} if external else parts_of_models(config, layers)
    return Setup(
        given=given,
        config=config,
        external=external,
        dataset=dataset,
        classes={
            index: dataset.class_names[index]
            for index in class_indices(config["manifolds"]["classes"], dataset)
        },
        layers=layers,
        parts=parts,
        stores_at_once=stores_at_once(config["activations"]["max_gib"], parts),
    )


def _layers_on_disk(config: Mapping[str, Any], model: Mapping[str, Any]) -> list[Layer] | None:
    table = Path(config["results"], "layers", f"{model['label']}.csv")
    stamp = table.with_suffix(".json")
    return _read(table) if is_readable(table) and stamp.is_file() else None


def _read(table: Path) -> list[Layer]:
    """A table of layers, verified unless its stamp is missing: then it is made again before a job reads it."""
    stamp = table.with_suffix(".json")
    if stamp.is_file():
        check_file(table, stamp)
    return read_layers(table)


def _layers_of_network(config: Mapping[str, Any], model: Mapping[str, Any]) -> list[Layer]:
    from manifold_capacity.models.find_layers import list_layers
    from manifold_capacity.models.weights import check_files, network_options

    dataset = describe(config["dataset"])
    network = network_options(
        model,
        n_classes=len(dataset.class_names),
        image_shape=dataset.sample_shape,
        input_dtype=dataset.input_dtype,
    )
    layers = list_layers(**network, to_train=model["weights"] == "trained")
    check_files(model, network)
    return layers


def selected_layers(table: Path, selection: Mapping[str, Any], model: str) -> list[Layer]:
    """The layers that a configuration selects from a model's table of all layers.

    A large sweep asks thousands of times, so a table is read again only if it has changed.
    """
    return _selected(table, table.stat().st_mtime_ns, json.dumps(selection), model)


@functools.cache
def _selected(table: Path, changed_ns: int, selection: str, model: str) -> list[Layer]:
    return select_layers(_read(table), json.loads(selection), model=model)


def missing_downloads(config: Mapping[str, Any]) -> list[str]:
    """URLs of the dataset's files, unless the dataset has been prepared."""
    name = config["dataset"]["name"]
    prepared = Path(config["results"], "datasets", name, "dataset.json")
    return [] if prepared.exists() else addresses(config["dataset"])


def check_cache(folder: str) -> None:
    """Raise UserError unless outputs can be shared in Snakemake's cache, kept in `folder`."""
    if not os.path.isabs(folder) or not os.path.isdir(folder):
        raise UserError(
            f"--cache: SNAKEMAKE_OUTPUT_CACHE is {folder!r}; set it to the absolute path of an existing "
            "folder, or run without --cache"
        )
