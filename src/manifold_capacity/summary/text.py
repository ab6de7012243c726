"""The table that ends a run, as text for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from manifold_capacity.geometry.caveats import CAVEATS
from manifold_capacity.summary.rows import EXTERNAL, SHUFFLED, STATUS_OK, without_positions
from manifold_capacity.summary.rows import SPLIT as NO_SPLIT

TABLE_WIDTH = 100
_GAP = "   "
_DIGITS = 2  # of an interval's half width
_DECIMALS_WITHOUT_INTERVAL = 4
_MOST_DECIMALS = 6
# Quantities and their titles.
_MEAN_FIELD = {"capacity": "Capacity", "radius": "Radius", "dimension": "Dimension"}
_MEAN_FIELD["center_correlation"] = "Correlation"
_GLUE = {"glue_capacity": "Exact capacity", "glue_radius": "Radius", "glue_dimension": "Dimension"}
_GLUE["glue_utility"] = "Utility"
_WITHOUT_INTERVAL = ("center_correlation", "glue_utility")  # for want of room
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
        and dimension, each with its 95 % interval, and the correlation of the centers; below, the caveats
        and the layers that have them. A layer without geometry shows its status.
    """
    if layers.empty:
        return "No layers were measured."
    n_all, layers = len(layers), without_positions(layers)
    names = [layer_title(layer) for layer in layers["layer"]]
    parts = [_columns(layers, _MEAN_FIELD)]
    if _has_glue(layers):
        parts.append(_columns(layers, _GLUE))
    lines: list[str] = []
    for title, rows in _blocks(layers).items():
        lines += ["", *textwrap.wrap(title, TABLE_WIDTH)]
        for columns in parts:
            lines += _part(layers, names, rows, columns)
        lines += _caveat_lines(layers.iloc[rows], [names[row] for row in rows])
    if n_positions := n_all - len(layers):
        lines += [
            "",
            f"{n_positions:,} rows of single positions are in the table and a figure only.",
        ]
    return "\n".join([*lines[1:], "", *textwrap.wrap(_note(layers), TABLE_WIDTH)])


def _part(
    layers: pd.DataFrame, names: list[str], rows: list[int], columns: Mapping[str, list[str]]
) -> Iterator[str]:
    """Some columns of a block, below their titles."""
    widths = [max(len(title), *map(len, column)) for title, column in columns.items()]
    room = TABLE_WIDTH - sum(widths) - len(_GAP) * len(widths)
    name_width = min(max(len("Layer"), *map(len, names)), room)

    def line(name: str, cells: Iterable[str]) -> str:
        padded = map(str.ljust, [shorten(name, name_width), *cells], [name_width, *widths])
        return _GAP.join(padded).rstrip()

    indent = " " * name_width + _GAP
    rule = "-" * (name_width + sum(widths) + len(_GAP) * len(widths))
    yield from (rule, line("Layer", columns), rule)
    for row in rows:
        status = layers["status"].iloc[row]
        if status == STATUS_OK:
            yield line(names[row], (column[row] for column in columns.values()))
        else:
            first = line(names[row], []).ljust(name_width) + _GAP
            reason = textwrap.wrap(f"no geometry: {status}", TABLE_WIDTH - len(first))
            yield from (first + reason[0], *(indent + rest for rest in reason[1:]))


def layer_title(layer: str) -> str:
    """'1_Conv2d' -> '1 Conv2d'."""
    return layer.replace("_", " ", 1)


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"


def number_text(value: float, decimals: int) -> str:
    """A number with so many decimals; a large one in powers of ten."""
    return f"{value:.{decimals}f}" if abs(value) < _LARGE else f"{value:.3e}"


def with_intervals(
    values: ArrayLike, low: ArrayLike, high: ArrayLike
) -> tuple[list[str], list[str]]:
    """Write a column of values and of their intervals, with as many decimals as the median interval deserves.

    Both are texts: '0.217' and '[0.203, 0.233]', empty where there is none, aligned at the right.
    """
    columns = [np.asarray(column, dtype=float) for column in (values, low, high)]
    halves = (columns[2] - columns[1]) / 2
    known = halves[np.isfinite(halves) & (halves > 0)]
    decimals = _DECIMALS_WITHOUT_INTERVAL
    if len(known):
        leading = -math.floor(math.log10(float(np.median(known))))
        decimals = min(max(leading + _DIGITS - 1, 0), _MOST_DECIMALS)
    texts, lows, highs = (
        ["" if math.isnan(x) else number_text(x, decimals) for x in column] for column in columns
    )
    widths = [max(map(len, column), default=0) for column in (lows, highs)]
    intervals = [
        f"[{a.rjust(widths[0])}, {b.rjust(widths[1])}]" if a and b else ""
        for a, b in zip(lows, highs, strict=True)
    ]
    return texts, intervals


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


def _columns(layers: pd.DataFrame, titles: Mapping[str, str]) -> dict[str, list[str]]:
    """Title of each column of numbers, and its cells, decimal points below each other; '' without a value."""

    def floats(name: str) -> np.ndarray:
        unknown = np.full(len(layers), math.nan)
        return layers[name].to_numpy(dtype=float, na_value=math.nan) if name in layers else unknown

    columns = {}
    for quantity, title in titles.items():
        ends = [quantity, f"{quantity}_low", f"{quantity}_high"]
        if quantity in _WITHOUT_INTERVAL:
            ends[1:] = ["", ""]
        values, intervals = with_intervals(*map(floats, ends))
        width = max(map(len, values))
        columns[title] = [
            f"{value.rjust(width)} {interval}".rstrip() if value else ""
            for value, interval in zip(values, intervals, strict=True)
        ]
    return columns


def _caveat_lines(layers: pd.DataFrame, names: Sequence[str]) -> Iterator[str]:
    """A line or more for each caveat of a block: what it is, and the layers that have it."""
    codes = layers["caveats"].fillna("").str.split()
    for code, (title, _) in CAVEATS.items():
        found = [code in of_layer for of_layer in codes]
        if not any(found):
            continue
        which = "all layers" if all(found) and len(found) > 1 else ", ".join(compress(names, found))
        text = f"! {code}: {title} ({which})"
        yield from textwrap.wrap(text, TABLE_WIDTH, subsequent_indent="  ")


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
    over = " or ".join(measured["interval_over"].dropna().unique())
    if over:
        note += f"; [ ] is the 95 % interval over {over}"
    if len(measured):
        note += f"; {points_text(measured)}"
    if len(settings) == 1:
        samples, margin, repeats = settings.iloc[0]
        draws = f", {repeats:g} draws of points" if repeats > 1 else ""
        note += f"; {samples:g} Gaussian samples{draws}, margin {margin:g}"
    if _has_glue(layers):
        note += ". Exact capacity is with all correlations (GLUE); the radius and dimension beside it are its own"
    return note + "."


def points_text(measured: pd.DataFrame) -> str:
    """'8 classes of 28 points' of layers that have a geometry; the mean number if it is not the same in all classes."""
    each = measured["n_points"].astype(float) / measured["n_manifolds"].astype(float)
    text = f"{range_text(measured['n_manifolds'])} classes of {range_text(each)} points"
    unequal = measured["caveats"].fillna("").str.split().map(lambda codes: "unequal" in codes)
    return f"{text} on average" if unequal.any() else text


def range_text(numbers: pd.Series) -> str:
    """'20', or '20 to 33.1' if they differ; whole numbers in full, others with four digits."""
    ends = [
        f"{end:,.0f}" if end == round(end) else f"{end:.4g}"
        for end in (float(numbers.min()), float(numbers.max()))
    ]
    return " to ".join(dict.fromkeys(ends))


def _has_glue(layers: pd.DataFrame) -> bool:
    return "glue_capacity" in layers and bool(layers["glue_capacity"].notna().any())
