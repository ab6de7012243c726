"""The table that ends a run, as text for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from manifold_capacity.summary.rows import EXTERNAL, SHUFFLED, STATUS_OK
from manifold_capacity.summary.rows import SPLIT as NO_SPLIT

TABLE_WIDTH = 100
_GAP = "   "
_STDERR_DIGITS = 2  # more would be noise: from 300 samples, a standard error is itself good to 4 %
_DECIMALS_WITHOUT_STDERR = 4
_MOST_DECIMALS = 6
_LARGE = 1e6  # from here on a number is written in powers of ten, to fit its column


def format_table(layers: pd.DataFrame) -> str:
    """Lay out the table of layers for a terminal, at most `TABLE_WIDTH` characters wide.

    Parameters
    ----------
    layers : DataFrame
        A table of layers, such as `summary/layers.csv`.

    Returns
    -------
    str
        A block per model, seed, checkpoint, split and labels; in it a line per layer with capacity, radius
        and dimension, each with its standard error, and the correlation of the centers. A layer
        without geometry shows its status, one whose quadratic programs did not all converge how
        many did not.
    """
    if layers.empty:
        return "No layers were measured."
    names, columns = [layer_title(layer) for layer in layers["layer"]], _columns(layers)
    widths = [max(len(title), *map(len, column)) for title, column in columns.items()]
    room = TABLE_WIDTH - sum(widths) - len(_GAP) * len(widths)
    name_width = min(max(len("Layer"), *map(len, names)), room)

    def line(name: str, cells: Iterable[str]) -> str:
        padded = map(str.ljust, [shorten(name, name_width), *cells], [name_width, *widths])
        return _GAP.join(padded).rstrip()

    indent = " " * name_width + _GAP
    rule = "-" * (name_width + sum(widths) + len(_GAP) * len(widths))
    lines: list[str] = []
    for title, rows in _blocks(layers).items():
        lines += ["", *textwrap.wrap(title, TABLE_WIDTH), rule, line("Layer", columns), rule]
        for row in rows:
            status, n_unconverged = layers["status"].iloc[row], layers["n_unconverged"].iloc[row]
            if status == STATUS_OK:
                lines.append(line(names[row], (column[row] for column in columns.values())))
            else:
                first = line(names[row], []).ljust(name_width) + _GAP
                reason = textwrap.wrap(f"no geometry: {status}", TABLE_WIDTH - len(first))
                lines += [first + reason[0], *(indent + rest for rest in reason[1:])]
            if not pd.isna(n_unconverged) and n_unconverged:
                lines.append(f"{indent}! {n_unconverged} quadratic programs did not converge")
    return "\n".join([*lines[1:], "", *textwrap.wrap(_note(layers), TABLE_WIDTH)])


def layer_title(layer: str) -> str:
    """'1_Conv2d' -> '1 Conv2d'."""
    return layer.replace("_", " ", 1)


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"


def number_text(value: float, decimals: int) -> str:
    """A number with so many decimals; a large one in powers of ten."""
    return f"{value:.{decimals}f}" if abs(value) < _LARGE else f"{value:.3e}"


def with_errors(values: ArrayLike, errors: ArrayLike) -> tuple[list[str], list[str], int]:
    """Write a column of values and its errors with as many decimals as the median error deserves.

    Returns both as texts, empty where a value is NaN, and the number of decimals.
    """
    numbers, spreads = (np.asarray(column, dtype=float) for column in (values, errors))
    positive = spreads[np.isfinite(spreads) & (spreads > 0)]
    decimals = _DECIMALS_WITHOUT_STDERR
    if len(positive):
        leading = -math.floor(math.log10(float(np.median(positive))))
        decimals = min(max(leading + _STDERR_DIGITS - 1, 0), _MOST_DECIMALS)
    known = ~np.isnan(numbers)
    texts, error_texts = (
        [number_text(x, decimals) if k else "" for x, k in zip(column, known, strict=True)]
        for column in (numbers, spreads)
    )
    return texts, error_texts, decimals


def checkpoint_title(record: Mapping[Any, Any]) -> str:
    """'epoch 15', 'epoch 0 (untrained)', or the name of a checkpoint without an epoch."""
    if record["checkpoint"] == EXTERNAL:
        return "external activations"
    if pd.isna(record["epoch"]):
        return str(record["checkpoint"])
    epoch = int(record["epoch"])
    return f"epoch {epoch}" if epoch else "epoch 0 (untrained)"


def split_title(split: str) -> str:
    """'train split'; 'no split' if the samples are not split."""
    return "no split" if split == NO_SPLIT else f"{split} split"


def _columns(layers: pd.DataFrame) -> dict[str, list[str]]:
    """Title of each column of numbers, and its cells, decimal points below each other; '' without a value."""

    def floats(name: str) -> np.ndarray:
        return layers[name].to_numpy(dtype=float, na_value=math.nan)

    columns = {}
    for quantity in ("capacity", "radius", "dimension"):
        values, errors, _ = with_errors(floats(quantity), floats(f"{quantity}_stderr"))
        widths = [max(map(len, texts)) for texts in (values, errors)]
        columns[quantity.capitalize()] = [
            f"{value.rjust(widths[0])} ± {error.rjust(widths[1])}" if value else ""
            for value, error in zip(values, errors, strict=True)
        ]
    correlations = floats("center_correlation")
    columns["Correlation"], _, _ = with_errors(correlations, np.full(len(layers), math.nan))
    return columns


def _blocks(layers: pd.DataFrame) -> dict[str, list[int]]:
    """Title and rows of each model, seed, checkpoint, split and labels."""
    blocks: dict[str, list[int]] = {}
    for row, record in enumerate(layers.to_dict("records")):
        model = f"{record['model']}, seed {record['seed']}, {checkpoint_title(record)}"
        title = f"{record['dataset']}: {model}, {split_title(record['split'])}"
        if record["labels"] == SHUFFLED:
            title += ", shuffled labels"
        blocks.setdefault(title, []).append(row)
    return blocks


def _note(layers: pd.DataFrame) -> str:
    note = "Capacity is the harmonic mean over the manifolds, radius and dimension are the mean"
    measured = layers[layers["status"] == STATUS_OK]
    settings = measured[["n_gaussians", "margin", "n_repeats"]].drop_duplicates()
    if len(settings) == 1:
        samples, margin, repeats = settings.iloc[0]
        source = f"from {samples:g} Gaussian samples"
        if repeats > 1:
            source = f"over {repeats:g} draws of points and of {samples:g} Gaussian samples"
        note += f"; ± is the standard error {source}, margin {margin:g}"
    return note + "."
