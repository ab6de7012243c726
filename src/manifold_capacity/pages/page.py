"""A page of the report: a table that can be sorted, searched and filtered."""

from __future__ import annotations

import base64
import gzip
import html
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from manifold_capacity.summary.columns import TITLES
from manifold_capacity.summary.text import checkpoint_title, layer_title, with_intervals

# The largest page. Snakemake's report shows a page in a frame whose address is the page itself, in
# base64; Chromium leaves a frame with an address of more than 2 MiB empty.
MOST_BYTES = 1_500_000
# Rows of a table on a page, so that it stays below `MOST_BYTES`. The table of classes has as many as fit.
MOST_ROWS = 10_000
# What distinguishes the rows of a table: columns only if they differ, and filters.
IDENTITY = ("dataset", "model", "weights", "seed", "checkpoint", "split", "labels")
_TEMPLATE = Path(__file__).with_name("page.html")
_DIGITS_OF = {"worst_gap": 2}  # significant digits of numbers without an error; 4 of all others
_TEXTS = {
    *IDENTITY,
    *("layer", "layer_name", "output_shape", "status", "solver", "class_name"),
    *("comparison", "reference", "quantity", "interval_over", "centers_stopped", "caveats"),
}
# Stated once, above a table, where they are the same in all rows.
_SETTINGS = (
    "n_manifolds",
    "n_points",
    "margin",
    "n_gaussians",
    "n_repeats",
    "solver",
    "interval_over",
)
# Ends of intervals stand behind their value; the Gaussian samples' errors are for the tables.
_ENDS = ("_low", "_high", "_gaussian_stderr")
_NOT_SHOWN = ("caveats_text", "config_digest", "layer_index", "layer_type", "epoch", "class_index")


def render(title: str, body: str, data: Mapping[str, Any] | None) -> str:
    """The template with a title, a body in HTML and the data that its script shows."""
    packed = ""
    if data is not None:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        packed = base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()
    page = _TEMPLATE.read_text(encoding="utf-8")
    for name, value in (("title", html.escape(title)), ("data", packed), ("body", body)):
        page = page.replace(f"<!--{name}-->", value)
    return page


def largest(page: Callable[[int], str], n: int) -> str:
    """The page with as many of n parts as fit into `MOST_BYTES`."""
    made, least = page(n), 0
    while n > 0 and (size := len(made.encode())) > MOST_BYTES:
        least = least or len(page(0).encode())
        # Parts are about equally large. If they are not, it takes more than one step.
        n = max(min(n - 1, int(0.98 * n * (MOST_BYTES - least) / (size - least))), 0)
        made = page(n)
    return made


def intro(text: str, frame: pd.DataFrame, table: str) -> str:
    """How to use a table, what all its rows have in common, and how many of them are left out."""
    counts = frame.filter([*IDENTITY, *_SETTINGS]).nunique(dropna=False)
    names = counts.index[counts == 1]
    values = {name: table_column(frame.iloc[:1], name)["texts"][0] for name in names}
    same = [f"{TITLES[name][0]}: {value}" for name, value in values.items() if value]
    lines = [f"<p>{html.escape(text)}</p>"]
    if same:
        lines.append(f"<p class=faint>{html.escape(' · '.join(same))}</p>")
    if len(frame) > MOST_ROWS:
        rows = f"The first {MOST_ROWS:,} of {len(frame):,} rows; all are in summary/{table}.csv."
        lines.append(f"<p class=warning>{rows}</p>")
    return "\n".join([*lines, ""])


def titled(
    name: str, texts: Sequence[str], *, notes: Sequence[str] | None = None, number: bool
) -> dict[str, Any]:
    """A column of texts under its title; `notes` are shown after the texts, in gray."""
    label, about = TITLES.get(name, (name.replace("_", " ").capitalize(), ""))
    column = {"label": label, "about": about, "number": number, "texts": [*texts]}
    return column if notes is None else column | {"notes": [*notes]}


def table_column(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    """A column of a table, with its interval if the table has one."""
    values, ends = frame[name], (f"{name}_low", f"{name}_high")
    is_text = name in _TEXTS or pd.api.types.is_bool_dtype(values)
    if not is_text and ends[0] in frame:
        columns = (float_values(frame[column]) for column in (name, *ends))
        texts, intervals = with_intervals(*columns)
        return titled(name, texts, notes=[f" {text}" for text in intervals], number=True)
    if not is_text and pd.api.types.is_numeric_dtype(values):
        digits = _DIGITS_OF.get(name, 4)
        return titled(name, _plain_texts(float_values(values), digits), number=True)
    if name == "layer":
        texts = [layer_title(layer) for layer in values]
    elif name == "checkpoint" and "epoch" in frame:
        texts = [checkpoint_title(row) for row in frame[[name, "epoch"]].to_dict("records")]
    else:
        texts = ["" if pd.isna(value) else str(value) for value in values]
    return titled(name, texts, number=False)


def float_values(values: pd.Series) -> NDArray[np.float64]:
    return values.to_numpy(dtype=float, na_value=math.nan)


def _plain_texts(values: NDArray[np.float64], digits: int) -> list[str]:
    """Integers as such, other numbers with equally many significant digits; "" for NaN."""
    known = values[np.isfinite(values)]
    form = ".0f" if (known % 1 == 0).all() and (np.abs(known) < 1e15).all() else f"#.{digits}g"
    return ["" if math.isnan(value) else f"{value:{form}}" for value in values]


def number_columns(frame: pd.DataFrame, left_out: Iterable[str]) -> list[dict[str, Any]]:
    """All other columns, but for empty ones and settings that are the same in all rows."""
    out = {*left_out, *_NOT_SHOWN}
    names = [str(name) for name in frame.columns]
    out |= {
        name
        for name in names
        if (name.endswith(_ENDS) and "_rank_" not in name) or frame[name].isna().all()
    }
    out |= {name for name in names if name in _SETTINGS and frame[name].nunique(dropna=False) < 2}
    return [table_column(frame, name) for name in names if name not in out]
