"""One layer's rows of all tables from its points, computed as the pipeline's jobs do."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from manifold_capacity.errors import CaveatWarning, UserError
from manifold_capacity.geometry.draws import combine_columns, draw_seed
from manifold_capacity.geometry.glue import glue_from_gram
from manifold_capacity.geometry.glue_table import combine_glue, separability_curve
from manifold_capacity.geometry.gram import gram_from_arrays
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError
from manifold_capacity.geometry.measure import geometry_from_moments
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.geometry.variance import variance_of_gram
from manifold_capacity.summary import rows

MEASURES = ("mean_field", "glue")


@dataclass(frozen=True)
class Measured:
    """A layer's row, and its rows of the other tables."""

    row: dict[str, Any]
    manifolds: pd.DataFrame
    centers: pd.DataFrame
    separability: pd.DataFrame


def check_measures(measures: Sequence[str], glue: Mapping[str, Any] | None) -> None:
    wrong = [measure for measure in measures if measure not in MEASURES]
    if isinstance(measures, str) or wrong or "mean_field" not in measures:
        raise UserError(
            f"measures is {measures!r}; it must be ('mean_field',) or ('mean_field', 'glue')"
        )
    if glue is not None and "glue" not in measures:
        raise UserError(
            "glue has options, but measures lacks 'glue'; give measures=('mean_field', 'glue') too"
        )


def measure_layer(
    identity: Mapping[str, Any],
    classes: Mapping[int, str],
    draws: Iterable[Any],
    *,
    seed: int,
    disjoint: bool,
    glue: Mapping[str, Any] | None = None,
    **options: Any,
) -> Measured:
    """Measure one layer.

    Parameters
    ----------
    identity : mapping
        What identifies the layer, in the order of the tables' columns.
    classes : mapping
        Index and name of each manifold's class.
    draws : iterable of manifolds
        The manifolds of each draw of points, as of `manifold_capacity.measure`.
    seed : int
        Of the Gaussian samples.
    disjoint : bool
        Whether draws have no point in common.
    glue : mapping, optional
        Options of `manifold_capacity.geometry.glue.glue_from_gram`: the exact capacity is measured too.
    **options
        Of `manifold_capacity.geometry_from_moments`.
    """
    row: dict[str, Any] = {**identity}
    curve: dict[str, Any] = {}
    geometries: list[Any] = []
    exact: list[Any] = []
    variance: dict[str, Any] = {}
    table = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CaveatWarning)  # the table says them
        try:
            for draw, manifolds in enumerate(draws):
                own_seed = draw_seed(seed, draw)
                moments = moments_from_arrays(manifolds)
                geometries.append(geometry_from_moments(moments, seed=own_seed, **options))
                if glue is None:
                    continue
                gram = gram_from_arrays(manifolds, threads=options.get("threads"))
                variance = variance or dict(variance_of_gram(gram))
                exact.append(_exact(gram, seed=own_seed, threads=options.get("threads"), **glue))
            numbers, table = combine_columns(geometries, disjoint=disjoint)
            row |= {"status": rows.STATUS_OK} | numbers
        except DegenerateManifoldsError as error:
            row |= {"status": str(error), "n_manifolds": len(classes)}
            geometries, exact = [], []
    if table is not None and glue is not None:
        found: dict[str, Any] = {"row": variance}
        if all(each is not None for each in exact):
            numbers, of_classes = combine_glue(exact, disjoint=disjoint)
            found = {"row": variance | numbers, "manifolds": of_classes}
            curve = separability_curve(exact)
        row, table = rows.joined(row, table, found)
    tables = rows.layer_tables(row, classes, table, geometries, curve)
    return Measured(row, *map(pd.DataFrame, tables))


def _exact(gram: Any, **options: Any) -> Any:
    """The exact capacity, or None where there is none: the layer has its other numbers all the same."""
    try:
        return glue_from_gram(gram, **options)
    except DegenerateManifoldsError:
        return None
