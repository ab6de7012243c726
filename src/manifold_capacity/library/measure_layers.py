"""`measure_layers`: several layers, or areas, of the same samples, from arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.activations.external_reader import block_features
from manifold_capacity.errors import UserError
from manifold_capacity.geometry.arguments import check_integer
from manifold_capacity.geometry.draws import check_draws, draw_places
from manifold_capacity.geometry.labeled import (
    Labeled,
    Labels,
    Naming,
    Rows,
    by_label,
    read_labels,
    sample_array,
)
from manifold_capacity.geometry.manifolds import Source, check_same_index, say_dropped
from manifold_capacity.geometry.user_arrays import as_array
from manifold_capacity.library.layer_table import LayerTable
from manifold_capacity.library.measure_layer import Measured, check_measures, measure_layer
from manifold_capacity.models.layers import Layer
from manifold_capacity.summary.rows import EXTERNAL, ORIGINAL, SPLIT, layer_columns

# Besides the numbers of classes, in the seed of the features that are drawn.
_FEATURES = [*b"features"]


def measure_layers(
    layers: Mapping[str, Any],
    labels: Any,
    groups: Any = None,
    *,
    points_per_class: int | Literal["all", "equal"] = "all",
    repeats: int = 1,
    n_features: int | None = None,
    measures: Sequence[str] = ("mean_field",),
    margin: float = 0.0,
    n_gaussians: int | Literal["auto"] = 300,
    relative_error: float = 0.01,
    max_gaussians: int = 10_000,
    solver: str = "active_set",
    glue: Mapping[str, Any] | None = None,
    seed: int = 0,
    name: str = "activations",
    drop_nan: bool = False,
    threads: int | None = None,
) -> LayerTable:
    """Measure several layers (or areas) of the same samples, as the pipeline measures files of activations.

    Parameters
    ----------
    layers : mapping of names to arrays (n_samples, ...)
        In the order of the table. Arrays, tables or tensors, as in `manifold_capacity.measure`; further axes are
        flattened into features.
    labels : (n_samples,)
        Label of each sample, a number or text: the samples of a label are a manifold.
    groups : (n_samples,), optional
        Group of each sample, a number or text, such as the area or the day: each group is measured by itself. It is
        the column ``group``, and the column ``model``, by which figures and comparisons tell curves apart.
    points_per_class : int, "all" or "equal"
        Points to draw from each class, without replacement; "equal": as many as the smallest class of any group has.
    repeats : int
        Number of draws, with no point in common: each class needs ``repeats * points_per_class`` points. Only those of
        "equal" overlap. Numbers are means over draws, and from three draws on intervals are over draws, if
        they have no point in common.
    n_features : int, optional
        Features to draw from each layer, anew in each draw: areas with different numbers of neurons become comparable.
        With it, draws may be of "all" points; intervals are then over classes, since draws share their points.
    measures : sequence of str
        ``("mean_field",)``, or ``("mean_field", "glue")`` for the exact capacity too.
    margin, n_gaussians, relative_error, max_gaussians, solver, threads
        As in `manifold_capacity.measure`.
    glue : mapping, optional
        With "glue": options of `manifold_capacity.measure_glue`, such as ``{"n_samples": "auto"}``.
    seed : int
        Of the draws of points and features, and of the Gaussian samples.
    name : str
        Of the data, in tables and figures.
    drop_nan : bool
        Leave out samples with a NaN or infinite value in any layer (otherwise an error lists them), and warn of
        how many of which class.

    Returns
    -------
    LayerTable
        A DataFrame with a row for each layer (and group), with ``manifolds``, ``plot()`` and ``compare()``. With the same
        seed, its numbers are those of a run with these arrays as external activations.

    Raises
    ------
    ValueError
        If a shape or argument is invalid, a class has too few points, or samples are not finite. A layer without a
        geometry is no error: its ``status`` says why.

    Warns
    -----
    CaveatWarning
        For each caveat, with the layers that have it.
    RuntimeWarning
        If a layer has no geometry, or `drop_nan` left out samples.

    Examples
    --------
    Two areas with different numbers of neurons: 20 trials of each condition and 30 neurons in each of three draws.

    >>> import numpy as np
    >>> from manifold_capacity import measure_layers
    >>> rng = np.random.default_rng(0)
    >>> conditions = np.repeat(["cat", "dog", "eel", "fox", "gnu", "hen"], 60)
    >>> patterns = np.repeat(rng.standard_normal((6, 80)), 60, axis=0)
    >>> areas = {"V1": patterns + 2 * rng.standard_normal((360, 80)), "IT": patterns[:, :40] + rng.standard_normal((360, 40))}
    >>> table = measure_layers(areas, conditions, points_per_class=20, repeats=3, n_features=30)
    >>> table[["layer_name", "n_features", "n_points", "n_repeats", "interval_over"]]
      layer_name  n_features  n_points  n_repeats interval_over
    0         V1          30       120          3         draws
    1         IT          30       120          3         draws
    >>> bool(table["capacity"][0] < table["capacity"][1])
    True
    >>> table.manifolds["class_name"].tolist()[:3]
    ['cat', 'dog', 'eel']
    >>> figure = table.plot()
    >>> differences = table.compare(by="layer")  # IT and V1, paired by condition
    >>> differences["quantity"].tolist()
    ['capacity', 'radius', 'dimension', 'center_correlation']
    """
    check_measures(measures, glue)
    seed = check_integer("seed", seed, least=0)
    samples = read_labels(labels)
    group_of = read_labels(groups, "groups") if groups is not None else None
    if group_of and len(group_of.codes) != len(samples.codes):
        raise UserError(
            f"groups: {len(group_of.codes)}, but there are {len(samples.codes)} labels; give one group for each sample"
        )
    if n_features is not None:
        n_features = check_integer("n_features", n_features, least=1)
    found, kept = _check_layers(layers, labels, samples, n_features, drop_nan)
    parts = [*_parts(samples, group_of, kept)]
    for part in parts:
        _check_points(part, points_per_class, repeats, n_features)
    least = min(size for part in parts for size in part.sizes)
    options = {
        "margin": margin,
        "n_gaussians": n_gaussians,
        "relative_error": relative_error,
        "max_gaussians": max_gaussians,
        "solver": solver,
        "threads": threads,
    }
    measured: dict[tuple[int, int], Measured] = {}
    for layer in found:
        values = sample_array(layers[layer.name], len(samples.codes))
        for place, part in enumerate(parts):
            measured[place, layer.index] = measure_layer(
                _identity(name, part.group, seed) | layer_columns(layer),
                part.classes,
                part.draws(values, points_per_class, repeats, n_features, seed, least),
                seed=seed,
                disjoint=points_per_class not in ("all", "equal"),
                glue=dict(glue or {}) if "glue" in measures else None,
                **options,
            )
    return LayerTable.of(measured[key] for key in sorted(measured))


@dataclass(frozen=True)
class _Part:
    """The samples of one group, or all: the rows of each class that it has, by the class's index among all."""

    group: str | None
    rows: dict[int, NDArray[np.int64]]
    classes: dict[int, str]

    @property
    def sizes(self) -> list[int]:
        return [len(rows) for rows in self.rows.values()]

    def draws(
        self,
        values: NDArray[Any],
        points: int | str,
        n_draws: int,
        n_features: int | None,
        seed: int,
        least: int,
    ) -> Iterator[Labeled]:
        """The manifolds of each draw; `least` are the points of the smallest class of all groups."""
        for draw in range(n_draws):
            chosen = draw_places(self.sizes, points, draw, seed, [*self.rows], least)
            rows = [own[at] for own, at in zip(self.rows.values(), chosen, strict=True)]
            seen = values
            if n_features is not None:
                order = np.random.default_rng([seed, draw, *_FEATURES]).permutation(values.shape[1])
                seen = values[:, np.sort(order[:n_features])]
            naming = Naming(tuple(self.classes.values()), tuple(rows))
            # Read in the parts that the pipeline reads: the same numbers, to the last bit.
            width = block_features(sum(map(len, rows)), seen.dtype, seen.shape[1])
            yield Labeled([Rows(seen, each, (len(each), width)) for each in rows], naming)


def _parts(samples: Labels, groups: Labels | None, kept: NDArray[np.bool_]) -> Iterator[_Part]:
    """The groups in the order of their first samples."""
    names: dict[str | None, NDArray[np.bool_]] = {None: kept}
    if groups is not None:
        codes = dict.fromkeys(groups.codes.tolist())
        names = {groups.classes[code]: kept & (groups.codes == code) for code in codes}
    for name, mine in names.items():
        rows = {i: each[mine[each]] for i, each in enumerate(samples.rows())}
        rows = {i: each for i, each in rows.items() if len(each)}
        if not rows:
            where = "" if name is None else f" of group {name!r}"
            raise UserError(f"no sample{where} is left without NaN or infinite values")
        yield _Part(name, rows, {i: samples.classes[i] for i in rows})


def _check_layers(
    layers: Mapping[str, Any], labels: Any, samples: Labels, n_features: int | None, drop: bool
) -> tuple[list[Layer], NDArray[np.bool_]]:
    """The layers in their order, and which samples are finite in all of them: all, or those that `drop` leaves."""
    if not isinstance(layers, Mapping) or not layers:
        raise UserError(
            "layers must be a dict of names and arrays, {'V1': array (n_samples, ...)}; for one array call measure"
        )
    found, texts = [], []
    bad = np.zeros(len(samples.codes), dtype=bool)
    for index, (name, given) in enumerate(layers.items(), start=1):
        if not isinstance(name, str) or not name:
            raise UserError(f"layers: the name {name!r} is not text; name the layers {{'V1': ...}}")
        check_same_index(given, labels)
        values = as_array(given)
        shape = tuple(map(int, values.shape[1:]))
        layer = Layer(index, name, re.sub(r"\W", "_", name), shape, math.prod(shape))
        found.append(layer)
        points = by_label(values, samples, f"the points of layer {name!r}")
        if n_features is not None and layer.n_features < n_features:
            raise UserError(
                f"n_features is {n_features}, but layer {name!r} has only {layer.n_features}; draw at most so many"
            )
        of_classes, text = Source(points).find_not_finite()
        texts += [f"layer {name!r}: {text}"] if text else []
        for rows, wrong in zip(samples.rows(), of_classes, strict=True):
            bad[rows[wrong]] = True
    if texts and not drop:
        raise UserError(
            f"{'. '.join(texts)}. Drop these samples with drop_nan=True, or the features"
        )
    say_dropped([bad[rows] for rows in samples.rows()], Naming(samples.classes))
    return found, ~bad


def _check_points(part: _Part, points: int | str, repeats: int, n_features: int | None) -> None:
    naming = Naming(tuple(part.classes.values()))
    if points != "all":
        check_draws(part.sizes, points, repeats, ("points_per_class", "repeats"), naming)
    elif check_integer("repeats", repeats, least=1) > 1 and n_features is None:
        least = min(part.sizes)
        raise UserError(
            f"repeats is {repeats}, but points_per_class 'all' leaves no points for a second draw; set points_per_class to "
            f"{max(1, least // repeats)} or less, or draw features with n_features"
        )


def _identity(name: str, group: str | None, seed: int) -> dict[str, Any]:
    """The columns that identify a run, as of external activations."""
    return {
        "dataset": name,
        "model": name if group is None else group,
        "weights": EXTERNAL,
        "seed": seed,
        "checkpoint": EXTERNAL,
        "epoch": None,
        "split": SPLIT,
        "labels": ORIGINAL,
        **({} if group is None else {"group": group}),
    }
