"""The table that ends a run, as text for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from manifold_capacity.summary.rows import EXTERNAL, SHUFFLED, STATUS_OK
from manifold_capacity.summary.rows import SPLIT as NO_SPLIT

# The terminal's table: its widest line, and how its numbers are written.
TABLE_WIDTH = 100


_QUANTITIES = ("capacity", "radius", "dimension")


_STDERR_DIGITS = 2  # more would be noise: from 300 samples, a standard error is itself good to 4 %


_DECIMALS_WITHOUT_STDERR = 4


_MOST_DECIMALS = 6


_NOTHING = "No layers were measured."


_LARGE = 1e6  # from here on a number is written in powers of ten, or it would burst its column


def format_table(layers: pd.DataFrame) -> str:
    """Lay out the table of layers for a terminal, at most `TABLE_WIDTH` characters wide.

    Parameters
    ----------
    layers : DataFrame
        As `collect_layers` returns it.

    Returns
    -------
    str
        A block per model, seed, checkpoint, split and labels; in it a line per layer with capacity, radius
        and dimension, each with its standard error, and the correlation of the centers. A layer
        without geometry shows its status, one whose quadratic programs did not all converge how
        many did not.
    """
    if layers.empty:
        return _NOTHING
    names, columns = [layer_title(layer) for layer in layers["layer"]], _columns(layers)
    widths = [max(len(title), *map(len, column)) for title, column in columns.items()]
    gap = "   "
    name_width = min(
        max(len("Layer"), *map(len, names)), TABLE_WIDTH - sum(widths) - len(gap) * len(widths)
    )

    def line(name: str, cells: Iterable[str]) -> str:
        padded = map(str.ljust, [shorten(name, name_width), *cells], [name_width, *widths])
        return gap.join(padded).rstrip()

    rule = "-" * (name_width + sum(widths) + len(gap) * len(widths))
    lines: list[str] = []
    for title, rows in _blocks(layers):
        lines += ["", *textwrap.wrap(title, TABLE_WIDTH), rule, line("Layer", columns), rule]
        for row in rows:
            status = layers["status"].iloc[row]
            if status == STATUS_OK:
                lines.append(line(names[row], (column[row] for column in columns.values())))
            else:
                lines += textwrap.wrap(
                    f"no geometry: {status}",
                    TABLE_WIDTH,
                    initial_indent=line(names[row], []).ljust(name_width) + gap,
                    subsequent_indent=" " * name_width + gap,
                )
            warning = _warning(layers, row)
            lines += [f"{'':{name_width}}{gap}! {warning}"] if warning else []
    return "\n".join([*lines[1:], "", *textwrap.wrap(_table_note(layers), TABLE_WIDTH)])


def layer_title(layer: str) -> str:
    """'1_Conv2d' -> '1 Conv2d'."""
    return layer.replace("_", " ", 1)


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"


def _is_number(value: object) -> bool:
    return not pd.isna(value)  # type: ignore[call-overload]


def number_text(value: float, decimals: int) -> str:
    """A number with so many decimals; a large one in powers of ten."""
    return f"{value:.{decimals}f}" if abs(value) < _LARGE else f"{value:.3e}"


def _aligned(texts: Sequence[str]) -> list[str]:
    width = max(map(len, texts), default=0)
    return [text.rjust(width) for text in texts]


def with_errors(
    values: Iterable[float], errors: Iterable[float]
) -> tuple[list[str], list[str], int]:
    """Write a column of values and its errors with as many decimals as the median error deserves.

    Parameters
    ----------
    values, errors : iterable of float
        NaN for what is not known.

    Returns
    -------
    tuple of (list of str, list of str, int)
        The values and the errors, both empty where there is no value, and the number of decimals.
    """
    numbers = np.array([*values], dtype=float)
    spreads = np.array([*errors], dtype=float)
    positive = spreads[np.isfinite(spreads) & (spreads > 0)]
    decimals = _DECIMALS_WITHOUT_STDERR
    if len(positive):
        leading = -math.floor(math.log10(float(np.median(positive))))
        decimals = min(max(leading + _STDERR_DIGITS - 1, 0), _MOST_DECIMALS)
    known = ~np.isnan(numbers)
    return (
        [number_text(v, decimals) if k else "" for v, k in zip(numbers, known, strict=True)],
        [number_text(e, decimals) if k else "" for e, k in zip(spreads, known, strict=True)],
        decimals,
    )


def _value_column(layers: pd.DataFrame, quantity: str) -> list[str]:
    """'value ± stderr' for each row, decimal points below each other; '' without a value."""
    values, stderrs, _ = with_errors(
        *(
            layers[name].to_numpy(dtype=float, na_value=math.nan)
            for name in (quantity, f"{quantity}_stderr")
        )
    )
    return [
        f"{value} ± {stderr}" if value.strip() else ""
        for value, stderr in zip(_aligned(values), _aligned(stderrs), strict=True)
    ]


def _correlation_column(layers: pd.DataFrame) -> list[str]:
    values = layers["center_correlation"].to_numpy(dtype=float, na_value=math.nan)
    return [
        number_text(value, _DECIMALS_WITHOUT_STDERR) if value == value else "" for value in values
    ]


def _columns(layers: pd.DataFrame) -> dict[str, list[str]]:
    """Title of each column of numbers, and its cells."""
    columns = {quantity.capitalize(): _value_column(layers, quantity) for quantity in _QUANTITIES}
    return columns | {"Correlation": _correlation_column(layers)}


def _blocks(layers: pd.DataFrame) -> list[tuple[str, list[int]]]:
    """Title and rows of each model, seed, checkpoint, split and labels."""
    blocks: dict[str, list[int]] = {}
    for row, record in enumerate(layers.to_dict("records")):
        model = f"{record['model']}, seed {record['seed']}, {checkpoint_title(record)}"
        title = f"{record['dataset']}: {model}, {split_title(record['split'])}"
        if record["labels"] == SHUFFLED:
            title += ", shuffled labels"
        blocks.setdefault(title, []).append(row)
    return [*blocks.items()]


def _warning(layers: pd.DataFrame, row: int) -> str:
    number = layers["n_unconverged"].iloc[row]
    if not _is_number(number) or number == 0:
        return ""
    return f"{number} quadratic programs did not converge"


def checkpoint_title(record: Mapping[Any, Any]) -> str:
    """'epoch 15', 'epoch 0 (untrained)', or what a checkpoint without an epoch is."""
    if record["checkpoint"] == EXTERNAL:
        return "external activations"
    if not _is_number(record["epoch"]):
        return str(record["checkpoint"])
    epoch = int(record["epoch"])
    return f"epoch {epoch}" if epoch else "epoch 0 (untrained)"


def split_title(split: str) -> str:
    """'train split'; 'no split' where the samples are not split."""
    return "no split" if split == NO_SPLIT else f"{split} split"


def _table_note(layers: pd.DataFrame) -> str:
    note = "Capacity is the harmonic mean over the manifolds, radius and dimension are the mean"
    measured = layers[layers["status"] == STATUS_OK]
    samples, margins = measured["n_gaussians"].unique(), measured["margin"].unique()
    repeats = measured["n_repeats"].unique()
    if len(samples) == 1 and len(margins) == 1 and len(repeats) == 1:
        source = f"from {samples[0]:g} Gaussian samples"
        if repeats[0] > 1:
            source = f"over {repeats[0]:g} draws of points and of {samples[0]:g} Gaussian samples"
        note += f"; ± is the standard error {source}, margin {margins[0]:g}"
    return note + "."
