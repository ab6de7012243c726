"""What a run will do before it does it: jobs, time by earlier runs, disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manifold_capacity.bill import bill
from manifold_capacity.config import class_indices
from manifold_capacity.datasets import describe
from manifold_capacity.layers import Layer, select_layers

GIB = 2**30


def store_bytes(config: Mapping[str, Any], tables: Mapping[str, Sequence[Layer]]) -> dict[str, int]:
    """Bytes of one store of activations of each model, that is of one checkpoint and split.

    Parameters
    ----------
    config : mapping
        The resolved configuration.
    tables : mapping
        Label of each model -> all its layers.

    Returns
    -------
    dict
        Label of each model -> bytes.
    """
    classes = class_indices(config["manifolds"]["classes"], describe(config["dataset"]))
    return {
        label: bill(
            select_layers(layers, config["layers"], model=label),
            len(classes),
            config["manifolds"]["points_per_class"],
            config["activations"]["dtype"],
            batch_size=config["activations"]["batch_size"],
        ).total
        for label, layers in tables.items()
    }


def stores_at_once(max_gib: float | None, sizes: Mapping[str, int]) -> int | None:
    """How many stores may stand on the disk at once; None if they are not bounded (or there are none).

    Parameters
    ----------
    max_gib : float or None
        `activations.max_gib`.
    sizes : mapping
        Label of each model -> bytes of one of its stores. The largest one counts for all.

    Raises
    ------
    ValueError
        If the largest store alone exceeds the bound.
    """
    if max_gib is None or not sizes:
        return None
    label = max(sizes, key=lambda label: sizes[label])
    if sizes[label] > max_gib * GIB:
        raise ValueError(
            f"activations.max_gib: {max_gib:g}, but one store of {label} takes {sizes[label] / GIB:.4g} GiB; "
            f"allowed: {sizes[label] / GIB:.4g} or more, or choose fewer layers (layers), fewer points "
            "(manifolds.points_per_class) or activations.dtype: float16"
        )
    return int(max_gib * GIB // sizes[label])
