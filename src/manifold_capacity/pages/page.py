"""One page of the report: a table to sort, search and filter."""

from __future__ import annotations

import base64
import gzip
import html
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from manifold_capacity.summary.columns import TITLES
from manifold_capacity.summary.text import checkpoint_title, layer_title, with_errors

__all__ = ["MOST_BYTES", "MOST_ROWS"]


MOST_BYTES = 1_500_000
"""The largest page. Snakemake shows a page of its report in a frame whose address is the page itself, in base64;
Chromium leaves a frame with an address of more than 2 MiB empty."""


MOST_ROWS = 10_000
"""The most rows of a table on a page, so that it stays below `MOST_BYTES`; of classes, as many as there is room for."""


_TEMPLATE = Path(__file__).with_name("page.html")


_DIGITS = 4  # of numbers without an error


_DIGITS_OF = {"worst_gap": 2}


# What tells a table's rows apart, in words: columns only where it differs, and what to choose rows by.
IDENTITY = ("dataset", "model", "weights", "seed", "checkpoint", "split", "labels")


_KEY = ("model", "seed", "checkpoint", "split", "labels", "layer")


_TEXTS = (*IDENTITY, "layer", "layer_name", "output_shape", "status", "solver", "class_name")


_WORDS = (*_TEXTS, "comparison", "reference", "quantity", "interval_over", "centers_stopped")


# Said once, above a table, where all rows have the same.
_SETTINGS = ("n_manifolds", "n_points", "margin", "n_gaussians", "n_repeats", "solver")


_NOT_SHOWN = ("config_digest", "layer_index", "layer_type", "epoch", "class_index")


DIGEST = "config_digest"


def render_page(title: str, body: str, data: Mapping[str, Any] | None) -> str:
    packed = ""
    if data is not None:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        packed = base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()
    page = _TEMPLATE.read_text(encoding="utf-8")
    for name, value in (("title", html.escape(title)), ("data", packed), ("body", body)):
        page = page.replace(f"<!--{name}-->", value)
    return page


def largest(page: Callable[[int], str], n: int) -> str:
    """The page of as many of n parts as fit."""
    made = page(n)
    if (size := len(made.encode())) <= MOST_BYTES:
        return made
    least = len(page(0).encode())
    while n > 0 and size > MOST_BYTES:
        # Parts are about equally large; one fewer at least, if they are not.
        n = max(min(n - 1, int(0.98 * n * (MOST_BYTES - least) / (size - least))), 0)
        made = page(n)
        size = len(made.encode())
    return made


def intro(text: str, frame: pd.DataFrame) -> str:
    """A line on how to use the table, and what all its rows have in common."""
    same = []
    for name in (*IDENTITY, *_SETTINGS):
        if name in frame and frame[name].nunique(dropna=False) == 1:
            value = table_column(frame.iloc[:1], name)["texts"][0]
            same += [f"{TITLES[name][0]}: {value}"] if value else []
    common = f"<p class=faint>{html.escape(' · '.join(same))}</p>" if same else ""
    return f"<p>{html.escape(text)}</p>\n{common}\n"


def note_left_out(n: int, table: str) -> str:
    if n <= MOST_ROWS:
        return ""
    return f"<p class=warning>The first {MOST_ROWS:,} of {n:,} rows; all are in {table}.</p>\n"


def titled(
    name: str, texts: Sequence[str], *, notes: Sequence[str] | None = None, number: bool
) -> dict[str, Any]:
    label, about = TITLES.get(name, (name.replace("_", " ").capitalize(), ""))
    column = {"label": label, "about": about, "number": number, "texts": [*texts]}
    return column if notes is None else column | {"notes": [*notes]}


def table_column(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    """One column of a table; with its standard error, if the table has one."""
    values = frame[name]
    error = f"{name}_stderr"
    if name in _WORDS:
        if name == "layer":
            texts = [layer_title(layer) for layer in values]
        elif name == "checkpoint" and "epoch" in frame:
            texts = [checkpoint_title(row) for row in frame[[name, "epoch"]].to_dict("records")]
        else:
            texts = ["" if pd.isna(value) else str(value) for value in values]
        return titled(name, texts, number=False)
    if error in frame:
        texts, errors, _ = with_errors(*(float_values(frame[column]) for column in (name, error)))
        notes = [
            f" ± {spread}" if text and spread != "nan" else ""
            for text, spread in zip(texts, errors, strict=True)
        ]
        return titled(name, texts, notes=notes, number=True)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return titled(
            name, _plain_texts(float_values(values), _DIGITS_OF.get(name, _DIGITS)), number=True
        )
    texts = ["" if pd.isna(value) else str(value) for value in values]
    return titled(name, texts, number=False)


def float_values(values: pd.Series) -> NDArray[np.float64]:
    return values.to_numpy(dtype=float, na_value=math.nan)


def _plain_texts(values: NDArray[np.float64], digits: int) -> list[str]:
    """Whole numbers as such, others with as many significant digits each; "" without a value."""
    known = values[np.isfinite(values)]
    form = ".0f" if (known % 1 == 0).all() and (np.abs(known) < 1e15).all() else f"#.{digits}g"
    return ["" if math.isnan(value) else f"{value:{form}}" for value in values]


def number_columns(frame: pd.DataFrame, left_out: Iterable[str]) -> list[dict[str, Any]]:
    """All columns of numbers that say something: not the same in every row, not empty."""
    out = {*left_out, *_NOT_SHOWN}
    columns = []
    for name in frame.columns:
        constant = name in _SETTINGS and frame[name].nunique(dropna=False) < 2
        if name in out or name.endswith("_stderr") or constant or frame[name].isna().all():
            continue
        columns.append(table_column(frame, name))
    return columns


def kept_rows(column: Mapping[str, Any], kept: NDArray[np.bool_]) -> dict[str, Any]:
    """A column with some of its rows."""
    lists = {key: [*compress(column[key], kept)] for key in ("texts", "notes") if key in column}
    return {**column, **lists}


def rows_of_layers(manifolds: pd.DataFrame, layers: pd.DataFrame) -> Any:
    """The row in the table of layers that each manifold is of, or -1."""
    keys = [pd.MultiIndex.from_frame(frame[[*_KEY]]) for frame in (layers, manifolds)]
    return keys[0].get_indexer(keys[1])
