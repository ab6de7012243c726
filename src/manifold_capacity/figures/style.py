"""What all figures look like: colors, dashes, fonts; and how they are saved."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib import rcsetup
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from manifold_capacity.errors import UserError
from manifold_capacity.files import atomic_path
from manifold_capacity.summary.rows import SPLIT as NO_SPLIT

LABELS = {
    "capacity": r"Capacity $\alpha_\mathrm{M}$",
    "radius": r"Radius $R_\mathrm{M}$",
    "dimension": r"Dimension $D_\mathrm{M}$",
    "center_correlation": r"Center correlation $\rho$",
}
# Okabe and Ito's colors, which color-blind readers can tell apart, without their yellow: too pale on white.
MODEL_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# Viridis from light to dark, from where it is dark enough for a line on white.
CHECKPOINT_COLORS = LinearSegmentedColormap.from_list(
    "checkpoints", matplotlib.colormaps["viridis_r"](np.linspace(0.25, 0.95, 64))
)
GRAY = "#606060"
DASHES: dict[str, Any] = {"train": "-", "test": (0, (4, 1.5))}
_OTHER_DASHES: Any = (0, (1, 1.2))
_LIGHTEST_TINT = 0.6  # share of white in a model's color at the first checkpoint
_PNG_DPI = 200
# Of text with names in it: between two dollar signs, matplotlib would look for a formula.
LITERAL: dict[str, Any] = {"parse_math": False}
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.titlesize": 10,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": rcsetup.cycler(color=MODEL_COLORS),
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.8,
    "svg.fonttype": "none",  # text stays text, to be searched and copied
    "svg.hashsalt": "manifold-capacity",  # without it the ids in the file are random
}
"""The one style of all figures: settings of matplotlib, for `rcParams.update` in your own notebook."""


_OF_ALL_TABLES = ("model", "seed", "epoch")


@contextmanager
def in_style() -> Iterator[None]:
    with matplotlib.style.context(["default", STYLE]):
        yield


def figure_of_table(plot: Callable[[pd.DataFrame], Figure]) -> Callable[[pd.DataFrame], Figure]:
    """Refuse a table without rows or names, and draw in the one style whatever matplotlib's settings are."""

    @functools.wraps(plot)
    def draw(table: pd.DataFrame) -> Figure:
        if table.empty:
            raise UserError("the table has no rows; there is nothing to draw")
        if lacking := [name for name in _OF_ALL_TABLES if name not in table.columns]:
            raise UserError(
                f"the table lacks the columns {', '.join(lacking)}; it must be one of a run's (`read_table`) or of "
                "`measure_layers`"
            )
        with in_style():
            return plot(table)

    return draw


def save(figure: Figure, stem: str | os.PathLike[str]) -> None:
    """Write a figure as ``stem.svg``, its text as text, and as ``stem.png``, 200 dots per inch."""
    for ending in ("svg", "png"):
        write(figure, f"{os.fspath(stem)}.{ending}")


def write(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as SVG, PNG (200 dots per inch) or PDF, by the path's ending."""
    # With the time of writing, the same figure would give another file each time.
    times = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    kind = os.path.splitext(path)[1][1:]
    with in_style(), atomic_path(path) as part:
        figure.savefig(part, dpi=_PNG_DPI, format=kind, metadata=times.get(kind))


def tint(color: str, place: float) -> str:
    """A color, mixed with more white the earlier its place in training, from 0 to 1."""
    white = _LIGHTEST_TINT * (1 - place)
    red, green, blue = (white + (1 - white) * part for part in to_rgb(color))
    return to_hex((red, green, blue))


def line_style(color: str, split: str = "train") -> dict[str, Any]:
    return {
        "color": color,
        "linestyle": "-" if split == NO_SPLIT else DASHES.get(split, _OTHER_DASHES),
        "marker": "o",
        "markerfacecolor": "white" if split == "test" else color,
    }


def legend_line(label: str, **style: Any) -> Line2D:
    """A sample for a legend: a gray line, unless `style` says otherwise."""
    usual: dict[str, Any] = {"color": GRAY, "linewidth": 1.5, "markersize": 6}
    return Line2D([], [], label=label, **usual | style)


def legend_mark(label: str, marker: str, size: float = 6) -> Line2D:
    return legend_line(label, linestyle="none", marker=marker, markersize=size)
