"""The stores of activations of every model, and how many there may be on the disk at once."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from manifold_capacity.activations.grid import store_size
from manifold_capacity.activations.parts import GIB, Part, divide
from manifold_capacity.config.choices import class_indices
from manifold_capacity.datasets.prepare import describe
from manifold_capacity.models.layers import Layer, select_layers


def parts_of_models(
    config: Mapping[str, Any], tables: Mapping[str, Sequence[Layer]]
) -> dict[str, tuple[Part, ...]]:
    """Label of each model -> the stores of one of its runs.

    Parameters
    ----------
    config : mapping
        The resolved configuration.
    tables : mapping
        Label of each model -> all its layers.
    """
    classes = class_indices(config["manifolds"]["classes"], describe(config["dataset"]))
    return {
        label: parts(config, select_layers(layers, config["layers"], model=label), len(classes))
        for label, layers in tables.items()
    }


def parts(config: Mapping[str, Any], chosen: Sequence[Layer], n_manifolds: int) -> tuple[Part, ...]:
    """The stores of a run in which these layers are measured."""
    activations = config["activations"]
    n_points = config["manifolds"]["points_per_class"] * config["geometry"]["repeats"]
    keys = ("dtype", "batch_size", "projection", "max_gib")
    return _parts(tuple(chosen), n_manifolds, n_points, *(activations[key] for key in keys))


@functools.cache  # a large sweep asks thousands of times
def _parts(
    chosen: tuple[Layer, ...],
    n_manifolds: int,
    n_points: int,
    dtype: str,
    batch_size: int,
    projection: int | None,
    max_gib: float | None,
) -> tuple[Part, ...]:
    shape = n_manifolds, n_points
    size = store_size(chosen, *shape, dtype, batch_size=batch_size, projection=projection)
    return divide(chosen, size, max_gib)


def suffix_of(parts: Sequence[Part], layer: str) -> str:
    """What follows the run in the path of the store that has a layer, named by its label."""
    if len(parts) == 1:
        return parts[0].suffix
    return next(part.suffix for part in parts if layer in [each.label for each in part.layers])


def stores_at_once(max_gib: float | None, parts: Mapping[str, Sequence[Part]]) -> int | None:
    """How many stores fit on the disk at once; None without a limit (or without stores).

    All count as much as the largest; `parts` are from `parts_of_models`.
    """
    sizes = [part.n_bytes for each in parts.values() for part in each]
    return int(max_gib * GIB // max(sizes)) if max_gib is not None and sizes else None
