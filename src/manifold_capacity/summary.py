"""What a run writes per layer, gathered into the tables that people read.

Every geometry job leaves two small files: a JSON object (the layer's row) and a CSV table (a row per
manifold). This module puts them together, in an order that depends on what they say and not on the
order in which they are given, and lays out the table that ends a run on the terminal. What each
column holds is in ``docs/outputs.md``.
"""

from __future__ import annotations

import json
import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from manifold_capacity.errors import UserError
from manifold_capacity.own_activations import EXTERNAL
from manifold_capacity.own_activations import SPLIT as NO_SPLIT
from manifold_capacity.rows import (
    CENTERS_IDENTITY,
    CENTERS_NUMBERS,
    LAYER_IDENTITY,
    MANIFOLD_IDENTITY,
    SHUFFLED,
    STATUS_OK,
)

# The numbers that every table has, measured or not; whatever else the geometry reports becomes a
# column after these.
LAYER_NUMBERS = (
    "n_manifolds",
    "n_points",
    "margin",
    "n_gaussians",
    "n_repeats",
    "solver",
    "capacity",
    "capacity_stderr",
    "radius",
    "radius_stderr",
    "dimension",
    "dimension_stderr",
    "center_correlation",
    "residual_correlation",
    "center_rank",
    "worst_gap",
    "n_unconverged",
)
MANIFOLD_NUMBERS = (
    "n_points",
    "capacity",
    "capacity_stderr",
    "radius",
    "radius_stderr",
    "dimension",
    "dimension_stderr",
)
_LAYER_COLUMNS = (*LAYER_IDENTITY, "status", *LAYER_NUMBERS)
_MANIFOLD_COLUMNS = (*MANIFOLD_IDENTITY, *MANIFOLD_NUMBERS)
# Words that may look like numbers: a digit's class is called "7".
_WORDS = (
    "dataset",
    "model",
    "weights",
    "checkpoint",
    "split",
    "labels",
    "layer",
    "layer_name",
    "layer_type",
    "output_shape",
    "status",
    "solver",
    "class_name",
    "config_digest",
)
# Whole numbers that may be missing (pretrained weights have no epoch, a dead layer has no rank):
# pandas would make them floats, and the tables would say "15.0".
_WHOLE = (
    "seed",
    "epoch",
    "layer_index",
    "n_features",
    "class_index",
    "n_manifolds",
    "n_points",
    "n_gaussians",
    "n_repeats",
    "component",
    "center_rank",
    "n_unconverged",
)
_SPLITS = ("train", "test")
_LAYER_KEY = ("model", "seed", "epoch", "checkpoint", "split", "labels", "layer_index")

# The terminal's table: its widest line, and how its numbers are written.
TABLE_WIDTH = 100
_QUANTITIES = ("capacity", "radius", "dimension")
_STDERR_DIGITS = 2  # more would be noise: from 300 samples, a standard error is itself good to 4 %
_DECIMALS_WITHOUT_STDERR = 4
_MOST_DECIMALS = 6
_NOTHING = "No layers were measured."
_LARGE = 1e6  # from here on a number is written in powers of ten, or it would burst its column


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table that the pipeline wrote, as it was written.

    Only an empty field is a missing value, since a class may be called "null" or "007", and whole
    numbers stay whole where some are missing.

    Parameters
    ----------
    path : path
        CSV, or Parquet if its name ends in ``.parquet``.

    Raises
    ------
    ValueError
        If the file is empty or is not a table.
    """
    try:
        if os.fspath(path).endswith(".parquet"):
            frame = pd.read_parquet(path, engine="pyarrow")
            return frame.where(frame.notna())  # NaN for None, as from CSV
        frame = pd.read_csv(
            path,
            keep_default_na=False,
            na_values=[""],
            dtype=dict.fromkeys(_WORDS, "str"),
        )
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) is not None:  # the system's; pyarrow's has none
            raise
        raise UserError(
            f"{os.fspath(path)} is not a table ({error}); delete it and run again to have it remade"
        ) from error
    return _with_whole_numbers(frame)


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as CSV, Parquet or JSON, by the ending of the path; whole or not at all.

    Parameters
    ----------
    frame : DataFrame
    path : path
        ``.csv``, ``.parquet`` (needs pyarrow) or ``.json``: a list of objects, one per row, ``null``
        where there is no value; infinite numbers are the text ``"inf"``, as in CSV.

    Raises
    ------
    ValueError
        For another ending.
    """
    name = os.fspath(path)
    temporary = f"{name}.tmp"
    if name.endswith(".csv"):
        frame.to_csv(temporary, index=False)
    elif name.endswith(".parquet"):
        frame.to_parquet(temporary, engine="pyarrow", index=False)
    elif name.endswith(".json"):
        rows = [
            {key: _as_json(value) for key, value in row.items()} for row in frame.to_dict("records")
        ]
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1, allow_nan=False)
            file.write("\n")
    else:
        raise UserError(f"{name} is not taken; allowed: .csv, .parquet, .json")
    os.replace(temporary, name)


def _as_json(value: Any) -> Any:
    if pd.isna(value):
        return None
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def layers_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of layers as a table with the columns of `collect_layers`, in the order given."""
    return _in_columns(pd.DataFrame([*rows]), _LAYER_COLUMNS)


def manifolds_table(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of manifolds as one with the columns of `collect_manifolds`, in the order given."""
    # Columns without values have no type, and would spoil that of the others.
    filled = [table for table in tables if len(table)]
    frame = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
    return _in_columns(frame, _MANIFOLD_COLUMNS)


def collect_layers(
    paths: Iterable[str | os.PathLike[str]], *, config_digest: str | None = None
) -> pd.DataFrame:
    """Gather the rows of all layers, one JSON object per file, into one table.

    Parameters
    ----------
    paths : iterable of path
        The files that the geometry jobs wrote, in any order.
    config_digest : str, optional
        Digest of the run's configuration: the last column, if given.

    Returns
    -------
    DataFrame
        A row per layer, sorted by model, seed, epoch (a checkpoint without an epoch last), split,
        labels and layer index. Columns: those that identify a layer, ``status``, the numbers that every table
        has, then whatever else the files hold, in the order of their first appearance.

    Raises
    ------
    ValueError
        If a file holds no JSON object, lacks something that identifies a layer, or repeats a layer
        that another file has.
    """
    sources = [os.fspath(path) for path in paths]
    return _arrange(
        pd.DataFrame([_read_layer(source) for source in sources]),
        sources,
        _LAYER_COLUMNS,
        key=_LAYER_KEY,
        config_digest=config_digest,
    )


def collect_manifolds(
    paths: Iterable[str | os.PathLike[str]], *, config_digest: str | None = None
) -> pd.DataFrame:
    """Gather the tables of all manifolds, one CSV file per layer, into one table.

    Parameters
    ----------
    paths : iterable of path
        The files that the geometry jobs wrote, in any order; that of a layer without geometry has a
        header and no rows.
    config_digest : str, optional
        Digest of the run's configuration: the last column, if given.

    Returns
    -------
    DataFrame
        A row per layer and class, sorted as in `collect_layers` and then by class. Columns: those
        that identify a layer and a class, the numbers, then whatever else the files hold.

    Raises
    ------
    ValueError
        If a file is empty or is no table, lacks something that identifies a manifold, or repeats a
        manifold that another file has.
    """
    return _collect_tables(paths, MANIFOLD_IDENTITY, MANIFOLD_NUMBERS, "class_index", config_digest)


def collect_centers(
    paths: Iterable[str | os.PathLike[str]], *, config_digest: str | None = None
) -> pd.DataFrame:
    """Gather the spectra of the centers, one CSV file per layer, into one table.

    Parameters
    ----------
    paths : iterable of path
        The files that the geometry jobs wrote, in any order; that of a layer without geometry has a
        header and no rows.
    config_digest : str, optional
        As of `collect_layers`.

    Returns
    -------
    DataFrame
        A row per layer and principal component of its centers, sorted as in `collect_layers` and
        then by component. Columns: those that identify a layer, ``component``, ``variance_share``,
        ``center_rank``.

    Raises
    ------
    ValueError
        As `collect_manifolds`.
    """
    return _collect_tables(paths, CENTERS_IDENTITY, CENTERS_NUMBERS, "component", config_digest)


def collect_training(
    paths: Iterable[str | os.PathLike[str]],
    identities: Iterable[Mapping[str, Any]],
    *,
    config_digest: str | None = None,
) -> pd.DataFrame:
    """Gather the training tables of all runs, a row per epoch, into one table.

    Parameters
    ----------
    paths : iterable of path
        Tables with a column ``epoch``.
    identities : iterable of mapping
        For each table what it does not say itself: at least ``model`` and ``seed``. They become the
        first columns.
    config_digest : str, optional
        Digest of the run's configuration: the last column, if given.

    Returns
    -------
    DataFrame
        Sorted by model, seed and epoch.

    Raises
    ------
    ValueError
        If there are not as many tables as identities, an identity or a table lacks something, or two
        tables are of the same run.
    """
    frames: list[pd.DataFrame] = []
    sources: list[str] = []
    named = list(identities)
    listed = [os.fspath(path) for path in paths]
    if len(named) != len(listed):
        raise UserError(
            f"{len(listed)} training tables but {len(named)} identities; give one for each table"
        )
    for source, identity in zip(listed, named, strict=True):
        frame = read_table(source)
        _require(source, frame.columns, ("epoch",))
        _require(f"the identity of {source}", identity, ("model", "seed"))
        frame = frame.drop(columns=[name for name in identity if name in frame.columns])
        for position, (name, value) in enumerate(identity.items()):
            frame.insert(position, name, value)
        frames.append(frame)
        sources.extend([source] * len(frame))
    first = tuple(dict.fromkeys(name for identity in named for name in identity))
    return _arrange(
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
        sources,
        (*(first or ("model", "seed")), "epoch"),
        key=("model", "seed", "epoch"),
        config_digest=config_digest,
    )


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


def _collect_tables(
    paths: Iterable[str | os.PathLike[str]],
    identity: Sequence[str],
    numbers: Sequence[str],
    within: str,
    config_digest: str | None,
) -> pd.DataFrame:
    """Tables of a layer each in one; `within` tells a layer's rows apart."""
    frames: list[pd.DataFrame] = []
    sources: list[str] = []
    for path in paths:
        source = os.fspath(path)
        frame = read_table(source)
        _require(source, frame.columns, identity)
        if len(frame):  # columns without values have no type, and would spoil that of the others
            frames.append(frame)
            sources.extend([source] * len(frame))
    return _arrange(
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
        sources,
        (*identity, *numbers),
        key=(*_LAYER_KEY, within),
        config_digest=config_digest,
    )


def _read_layer(source: str) -> dict[str, Any]:
    with open(source, encoding="utf-8") as file:
        try:
            row = json.load(file)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{source} is not JSON ({error}); delete it and run again to have it remade"
            ) from error
    if not isinstance(row, dict):
        raise UserError(
            f"{source} holds a {type(row).__name__} where a JSON object is due; delete it and run "
            "again to have it remade"
        )
    _require(source, row, (*LAYER_IDENTITY, "status"))
    if row["status"] == STATUS_OK:
        _require(source, row, LAYER_NUMBERS)
    row.pop("provenance", None)  # said of the run as a whole, by `provenance.collect_provenance`
    return row


def _require(source: str, has: Iterable[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in set(has)]
    if missing:
        raise UserError(
            f"{source} lacks {', '.join(missing)}; delete it and run again to have it remade"
        )


def _arrange(
    frame: pd.DataFrame,
    sources: Sequence[str],
    first: Sequence[str],
    key: Sequence[str],
    config_digest: str | None,
) -> pd.DataFrame:
    """Put columns and rows in their order; refuse two rows with the same key."""
    last = {} if config_digest is None else {"config_digest": config_digest}
    if frame.empty:
        return pd.DataFrame(columns=[*first, *last])
    keys = frame[[*key]]
    repeated = np.flatnonzero(keys.duplicated())
    if len(repeated):
        second = keys.iloc[repeated[0]]
        twins = (keys.eq(second) | (keys.isna() & second.isna())).all(axis=1)
        raise UserError(
            f"{sources[int(np.flatnonzero(twins)[0])]} and {sources[repeated[0]]} are both of "
            + ", ".join(f"{name} {second[name]}" for name in key)
            + "; give each only once"
        )
    if "split" in key:
        keys = keys.assign(split=keys["split"].map(_split_rank))
    frame = frame.loc[keys.sort_values([*key], kind="stable", na_position="last").index]
    return _in_columns(frame.reset_index(drop=True), first).assign(**last)


def _in_columns(frame: pd.DataFrame, first: Sequence[str]) -> pd.DataFrame:
    others = (name for name in frame.columns if name not in first)
    return _with_whole_numbers(frame.reindex(columns=[*first, *others]))


def _split_rank(split: str) -> str:
    # Train before test, and any other split after these by its name.
    return f"{_SPLITS.index(split) if split in _SPLITS else len(_SPLITS)}{split}"


def _with_whole_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    for name in frame.columns.intersection([*_WHOLE]):
        values = pd.to_numeric(frame[name])
        if (values.dropna() % 1 == 0).all():  # a mean over manifolds may not be whole
            frame[name] = values.astype("Int64")
    return frame


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
