"""Pictures of a run: the geometry along the layers, over training, class by class; and the training.

Each function takes a table as `manifold_capacity.summary` makes it and returns a matplotlib figure;
`save` writes it. Nothing here touches pyplot or a user's matplotlib settings, so that the same table
gives the same bytes everywhere.

The encoding is the same in all of them. Color is the model or, where there is only one, the checkpoint
(light to dark as training goes on). A solid line with filled markers is the training split, a dashed
line with open markers the test split. With several seeds a curve is their mean and the band around
it one standard deviation; with one, bars are the standard error.

What a figure shows is also a table: `plotted_values`.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib import rcsetup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import (
    BoundaryNorm,
    LinearSegmentedColormap,
    ListedColormap,
    Normalize,
    to_hex,
    to_rgb,
)
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)
from numpy.typing import NDArray

from manifold_capacity.balls import ball_capacity
from manifold_capacity.errors import UserError
from manifold_capacity.own_activations import EXTERNAL
from manifold_capacity.own_activations import SPLIT as NO_SPLIT
from manifold_capacity.rows import ORIGINAL, SHUFFLED, STATUS_OK
from manifold_capacity.summary import checkpoint_title, layer_title, shorten, split_title

_LABELS = {
    "capacity": r"Capacity $\alpha_\mathrm{M}$",
    "radius": r"Radius $R_\mathrm{M}$",
    "dimension": r"Dimension $D_\mathrm{M}$",
    "center_correlation": r"Center correlation $\rho$",
}
_PER_MANIFOLD = ("capacity", "radius", "dimension")

# Okabe and Ito's colors, which the color-blind can tell apart; their yellow is lost on white.
_MODEL_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# Viridis from light to dark, begun where it is dark enough for a line on white.
_CHECKPOINT_COLORS = LinearSegmentedColormap.from_list(
    "checkpoints", matplotlib.colormaps["viridis_r"](np.linspace(0.25, 0.95, 64))
)
_LIGHTEST_TINT = 0.6  # of white in a model's color, at the first checkpoint
_GRAY = "#606060"
_DASHES: dict[str, Any] = {"train": "-", "test": (0, (4, 1.5))}
_OTHER_DASHES: Any = (0, (1, 1.2))
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
    "axes.prop_cycle": rcsetup.cycler(color=_MODEL_COLORS),
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.8,
    "svg.fonttype": "none",  # text stays text, to be searched and copied
    "svg.hashsalt": "manifold-capacity",  # without it the ids in the file are drawn at random
}
"""The one style of all figures: settings of matplotlib, for `rcParams.update` in a notebook of your own."""
_PNG_DPI = 200

# Sizes in inches. Tick labels are 8 points (0.11 inch) high. Fitted into a page's 7.1 x 9.5 inches,
# the largest figure has labels of 6 points.
_WIDEST = 9.4
_TALLEST = 10.0  # without title, legend and the scales of maps
_NARROWEST = 1.9  # panel; with more than 4 beside each other a figure gets wider yet
_LEGEND_WIDTH = 1.6
_LEGEND_LINE = 0.16
_BESIDE_AXES = 0.7  # of a panel's width: axis label and tick labels
_CHARACTER = 0.072  # mean width in a tick label
_TITLE_CHARACTER = 0.08  # and, with something to spare, in a title
_UPRIGHT_PITCH = 0.14  # least distance of tick labels across their direction
_SLANTED_PITCH = 0.21
_LONGEST_LABEL = 20  # characters
_MOST_LAYERS_IN_A_SQUARE = 24  # more need the page's full width
_MOST_MARKERS = 30  # on a curve; more run into each other
_LABEL_ROOM = 0.16  # around the middle of the label of a line of equal capacity
_SMALLEST_SHARE = 1e-6  # of the centers' variance that is drawn

# Curves of the figure of controls, besides that of the last checkpoint: color and marker.
_CONTROLS: dict[str, tuple[str, str]] = {
    "last checkpoint": (_MODEL_COLORS[0], "o"),
    "untrained": (_MODEL_COLORS[5], "s"),
    "labels shuffled": ("#606060", "^"),
}


@dataclass(frozen=True)
class _Curve:
    """One line: its place in the encoding, and what it passes through.

    Attributes
    ----------
    position : (n,) array
        Where its points stand: layers counted from 0, or epochs.
    value, spread : dict of (n,) arrays
        By quantity; NaN where there is none.
    dead : (n,) array of bool
        Where a layer has no geometry.
    """

    model: str
    checkpoint: str
    split: str
    n_seeds: int
    position: NDArray[np.float64]
    value: dict[str, NDArray[np.float64]]
    spread: dict[str, NDArray[np.float64]]
    dead: NDArray[np.bool_]


@dataclass(frozen=True)
class _Encoding:
    """What color and line say in one figure."""

    models: tuple[str, ...]
    checkpoints: dict[str, str]  # in the order of training -> title
    splits: tuple[str, ...]
    overlaid: bool  # several models in one panel

    def color(self, model: str, checkpoint: str) -> str:
        base = _MODEL_COLORS[self.models.index(model) % len(_MODEL_COLORS)]
        if len(self.checkpoints) < 2:
            return base
        place = [*self.checkpoints].index(checkpoint) / (len(self.checkpoints) - 1)
        return _tint(base, place) if self.overlaid else to_hex(_CHECKPOINT_COLORS(place))

    def line(self, model: str, checkpoint: str, split: str) -> dict[str, Any]:
        """Keyword arguments of a line with markers."""
        return _line(self.color(model, checkpoint), split)

    def handles(self) -> list[Artist]:
        """Samples for the legend, of all that differs between the curves of a panel."""
        samples: dict[str, dict[str, Any]] = {}
        last = [*self.checkpoints][-1]
        if self.overlaid:
            samples |= {model: _line(self.color(model, last)) for model in self.models}
        if len(self.checkpoints) > 1:
            for place, (checkpoint, title) in enumerate(self.checkpoints.items()):
                gray = _tint(_GRAY, place / (len(self.checkpoints) - 1))
                own = self.color(self.models[0], checkpoint)
                samples[title] = _line(gray if self.overlaid else own)
        if len(self.splits) > 1:
            samples |= {split_title(split): _line(_GRAY, split) for split in self.splits}
        return [Line2D([], [], label=label, **style) for label, style in samples.items()]


def save(figure: Figure, stem: str | os.PathLike[str]) -> None:
    """Write a figure as ``stem.svg``, its text as text, and as ``stem.png``, 200 dots per inch."""
    for ending in ("svg", "png"):
        write(figure, f"{os.fspath(stem)}.{ending}")


def write(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as SVG, PNG (200 dots per inch) or PDF, by the path's ending."""
    # The time of writing would make the same figure another file.
    times = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with _style():
        figure.savefig(path, dpi=_PNG_DPI, metadata=times.get(os.path.splitext(path)[1]))


def plot_layers(layers: pd.DataFrame) -> Figure:
    """Draw capacity, radius, dimension and center correlation along the layers.

    There is a curve for each model, checkpoint and split. Models with the same layers share their
    panels, others stand side by side on common scales. A layer without geometry is a gap in the
    curve and a cross at the foot of the panel.

    Parameters
    ----------
    layers : DataFrame
        As `summary.collect_layers` returns it, with at least one row.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    _refuse_empty(layers, "layers")
    layers = _of_classes(layers)
    groups = _models_by_layers(layers)
    curves = [curve for names, models in groups.items() for curve in _along(layers, names, models)]
    encoding = _encode(layers, overlaid=any(len(models) > 1 for models in groups.values()))
    return _plot_along([*groups.items()], curves, encoding, layers)


def plot_training(metrics: pd.DataFrame) -> Figure:
    """Draw loss and accuracy on the training and the test split, epoch by epoch.

    Parameters
    ----------
    metrics : DataFrame
        As `summary.collect_training` returns it, with at least one row: model, seed, epoch,
        {train,test}_loss, {train,test}_accuracy (a fraction).

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    _refuse_empty(metrics, "training")
    parts = {"loss": "Loss", "accuracy": "Accuracy"}
    models = tuple(dict.fromkeys(metrics["model"]))
    encoding = _Encoding(models, {"": ""}, tuple(_DASHES), overlaid=len(models) > 1)
    curves = [*_over_epochs(metrics, [*parts])]
    handles = _with_marks(encoding.handles(), curves)
    with _style():
        figure = _figure(7.6, 3.1, handles)
        axes = figure.subplots(1, 2, sharex=True)
        for axis, (part, label) in zip(axes, parts.items(), strict=True):
            _draw(axis, curves, part, encoding)
            axis.set_ylabel(label)
            axis.set_xlabel("Epoch")
            axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        axes[1].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        _head(figure, metrics)
    return figure


def plot_manifolds(manifolds: pd.DataFrame) -> Figure:
    """Draw how capacity, radius and dimension are spread over the classes, along the layers.

    A thin line per class (the mean over seeds), the median and the middle half of the classes; the
    classes with the highest and the lowest capacity in the last layer stand out. Each model is shown
    at its last checkpoint, in a column per split.

    Parameters
    ----------
    manifolds : DataFrame
        As `summary.collect_manifolds` returns it, with at least one row.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    _refuse_empty(manifolds, "manifolds")
    last = _at_last_checkpoint(_of_classes(manifolds))
    models = [*dict.fromkeys(last["model"])]
    names = {model: _layers_of(last, model) for model in models}
    columns = _models_and_splits(last)
    chosen = _extreme_classes(last)
    classes = last.drop_duplicates("class_index").set_index("class_index")["class_name"]
    accents = dict(zip(chosen, (_MODEL_COLORS[1], _MODEL_COLORS[0]), strict=False))
    ranks = ("highest capacity\nin the last layer", "lowest capacity\nin the last layer")
    handles: list[Artist] = [
        Line2D([], [], color="black", label="median of the classes"),
        Patch(color=_GRAY, alpha=0.3, linewidth=0, label="middle half"),
        Line2D([], [], color=_GRAY, linewidth=0.5, label="one class"),
        *(
            Line2D(
                [],
                [],
                color=color,
                label=f"class {shorten(str(classes[index]), _LONGEST_LABEL)}:\n{rank}",
            )
            for (index, color), rank in zip(accents.items(), ranks, strict=False)
        ),
    ]
    with _style():
        widths = _panel_widths([names[model] for model, _ in columns], 3.4)
        figure = _figure(sum(widths), 6.8, handles)
        axes = figure.subplots(
            len(_PER_MANIFOLD),
            len(columns),
            sharex="col",
            sharey="row",
            squeeze=False,
            width_ratios=widths,
        )
        for column, (model, split) in enumerate(columns):
            mine = _select(last, model=model, split=split)
            for quantity, axis in zip(_PER_MANIFOLD, axes[:, column], strict=True):
                table = _class_table(mine, quantity, names[model])
                _draw_classes(axis, table, accents)
                if column == 0:
                    axis.set_ylabel(_LABELS[quantity])
            (checkpoint,) = _checkpoints(mine).values()
            title = split_title(split)
            if len(models) > 1:
                title = f"{model}, {checkpoint}\n{title}"
            axes[0, column].set_title(title, fontweight="bold")
            axes[-1, column].set_xlim(-0.5, len(names[model]) - 0.5)
            _label_layers(axes[-1, column], "x", names[model], widths[column] - _BESIDE_AXES)
        figure.align_ylabels(axes[:, 0])
        _head(figure, last, ("dataset", "model", "seed", "checkpoint"))
    return figure


def plot_dynamics(layers: pd.DataFrame) -> Figure:
    """Draw capacity, radius, dimension and center correlation over layers and checkpoints, as maps.

    A row of maps per model and split, layers downwards, checkpoints to the right in the order of
    training and evenly spaced; a color scale per quantity. Seeds are averaged. A layer without
    geometry is a cross.

    Parameters
    ----------
    layers : DataFrame
        As `summary.collect_layers` returns it, with at least one row; worth drawing from three
        checkpoints on.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    _refuse_empty(layers, "layers")
    layers = _of_classes(layers)
    runs = _models_and_splits(layers)
    names = {model: _layers_of(layers, model) for model, _ in runs}
    several = len(names) > 1
    checkpoints = _checkpoints(layers)
    heights = [max(1.6, _UPRIGHT_PITCH * len(names[model]) + 0.3) for model, _ in runs]
    heights = [height * min(1.0, _TALLEST / sum(heights)) for height in heights]
    width = min(max(1.7, 0.2 * len(checkpoints)), (_WIDEST - 1.4) / len(_LABELS))
    gap = 0.12 / sum(heights)
    with _style(), matplotlib.rc_context({"axes.grid": False}):
        figure = _figure(len(_LABELS) * width + 1.4, sum(heights) + 1.4, [])
        axes = figure.subplots(
            len(runs), len(_LABELS), sharex=True, sharey="row", squeeze=False, height_ratios=heights
        )
        for column, (quantity, label) in enumerate(_LABELS.items()):
            values = layers[quantity].to_numpy(dtype=float, na_value=math.nan)
            known = values[np.isfinite(values)]
            scale = Normalize(*(known.min(), known.max()) if len(known) else (0, 1))
            for row, (model, split) in enumerate(runs):
                axis = axes[row, column]
                mine = _select(layers, model=model, split=split)
                image = _draw_map(axis, mine, quantity, names[model], [*checkpoints], scale)
                if column == 0:
                    title = f"{model}, {split}" if several else split_title(split)
                    axis.set_ylabel(title, fontweight="bold", labelpad=8)
                    _label_layers(axis, "y", names[model], heights[row] - 0.2)
            bar = figure.colorbar(
                image, ax=list(axes[:, column]), location="top", aspect=16, pad=gap
            )
            bar.set_label(label)
            bar.locator = MaxNLocator(4)
            bar.outline.set(visible=False)
            _label_epochs(axes[-1, column], layers, checkpoints, width)
        _head(figure, layers, ("dataset", "model", "seed"))
    return figure


def plot_radius_dimension(layers: pd.DataFrame) -> Figure:
    """Draw each layer's radius against its dimension, the layers of a network as a path.

    Gray lines are the radii and dimensions at which balls have the same capacity (`balls`). A panel
    for each model; color and line as in `plot_layers`.

    Parameters
    ----------
    layers : DataFrame
        As `summary.collect_layers` returns it, with at least one row.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    _refuse_empty(layers, "layers")
    layers = _of_classes(layers)
    models = [*dict.fromkeys(layers["model"])]
    encoding = _encode(layers, overlaid=False)
    drawn = [(curve.value["radius"], curve.value["dimension"]) for curve in _paths(layers)]
    handles = [
        *encoding.handles(),
        Line2D(
            [], [], color=_GRAY, linestyle="none", marker="s", markersize=6, label="first layer"
        ),
        Line2D([], [], color=_GRAY, linestyle="none", marker="D", markersize=6, label="last layer"),
        Line2D([], [], color="#b0b0b0", linewidth=0.9, label="equal capacity\nof balls"),
    ]
    known = layers[layers["status"] == STATUS_OK]
    with _style(), matplotlib.rc_context({"axes.grid": False}):
        side = min(3.7, max(_NARROWEST, (_WIDEST - _LEGEND_WIDTH) / len(models)))
        figure = _figure(side * len(models), max(side, 0.22 * len(handles)), handles)
        axes = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
        _frame_logarithmic(axes[0], *zip(*drawn, strict=True))
        for axis, model in zip(axes, models, strict=True):
            for curve in _paths(layers, model):
                style = encoding.line(model, curve.checkpoint, curve.split)
                x, y = (curve.value[quantity] for quantity in ("radius", "dimension"))
                label = f"{model} {curve.checkpoint} {curve.split}"
                every: dict[str, Any] = {"markevery": []} if len(x) > _MOST_MARKERS else {}
                axis.plot(
                    x, y, label=label, **style | every | {"linewidth": 1.0, "markersize": 3.0}
                )
                ends = np.flatnonzero((x > 0) & (y > 0))
                for place, marker in zip(ends[[0, -1]] if len(ends) else [], "sD", strict=False):
                    size = style | {"marker": marker, "markersize": 6, "linestyle": "none"}
                    axis.plot(x[place], y[place], **size)
            axis.set(xscale="log", yscale="log", xlabel=_LABELS["radius"])
            if len(models) > 1:
                axis.set_title(model, fontweight="bold")
        axes[0].set_ylabel(_LABELS["dimension"])
        margins = known["margin"].unique() if "margin" in known else [0.0]
        for axis in axes:
            _plain_ticks(axis)
            if len(margins) == 1:
                _draw_equal_capacity(axis, float(margins[0]), side - _BESIDE_AXES)
        _head(figure, layers, ("dataset", "model", "seed", "checkpoint", "split"))
    return figure


def plot_centers(centers: pd.DataFrame) -> Figure:
    """Draw the spectrum of each layer's centers, and how many directions were taken out of them.

    A line for each layer, light to dark along the network: the share of the centers' variance in
    each principal component, the mean over seeds. A dot at component K says that K directions were
    taken out: fitted ones, not these components. A row for each model, its first and its last
    checkpoint side by side; the training split where it was measured.

    Parameters
    ----------
    centers : DataFrame
        As `summary.collect_centers` returns it, with at least one row.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    _refuse_empty(centers, "centers")
    values = _center_values(centers)
    panels: dict[str, list[str]] = {
        model: [*dict.fromkeys(_select(values, model=model)["checkpoint"])]
        for model in dict.fromkeys(values["model"])
    }
    titles = _checkpoints(centers)
    n_columns = max(map(len, panels.values()))
    handles = [
        Line2D([], [], color=_GRAY, label="one layer"),
        Line2D(
            [],
            [],
            color=_GRAY,
            linestyle="none",
            marker="o",
            label="K, the number of\ndirections taken out",
        ),
    ]
    with _style():
        height = min(3.2, _TALLEST / len(panels))
        figure = _figure(3.2 * n_columns + 1.3, height * len(panels), handles)
        axes = figure.subplots(len(panels), n_columns, sharex=True, sharey=True, squeeze=False)
        for row, (model, checkpoints) in enumerate(panels.items()):
            names = _layers_of(centers, model)
            colors = _CHECKPOINT_COLORS(np.linspace(0, 1, len(names)))
            for axis in axes[row, len(checkpoints) :]:
                axis.set_visible(False)
            for axis, checkpoint in zip(axes[row], checkpoints, strict=False):
                mine = _select(values, model=model, checkpoint=checkpoint)
                for name, color in zip(names, colors, strict=True):
                    line = _select(mine, layer=name)
                    line = line[line["variance_share"] > _SMALLEST_SHARE]
                    if line.empty:
                        continue
                    alone = "." if len(line) == 1 else ""
                    axis.plot(
                        line["component"],
                        line["variance_share"],
                        color=color,
                        linewidth=1.0,
                        marker=alone,
                    )
                    at = line["component"] == round(line["center_rank"].iloc[0])
                    axis.plot(line["component"][at], line["variance_share"][at], "o", color=color)
                title = titles[checkpoint]
                axis.set_title(f"{model}, {title}" if len(panels) > 1 else title, fontweight="bold")
                axis.set(xscale="log", yscale="log")
            axes[row, 0].set_ylabel("Share of the centers' variance")
            _layer_bar(figure, list(axes[row]), names, height - 0.6)
        most = int(values["component"].max())
        ticks = [step * 10**power for power in range(len(str(most))) for step in (1, 2, 5)]
        for axis in axes[-1]:
            axis.set_xlabel("Principal component of the centers")
            axis.set_xticks([tick for tick in ticks if tick <= most])
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_locator(NullLocator())
        _head(
            figure,
            centers.assign(split=values["split"].iloc[0]),
            ("dataset", "model", "seed", "split"),
        )
    return figure


def plot_controls(layers: pd.DataFrame) -> Figure:
    """Draw what training does beside two controls: the untrained network, and shuffled labels.

    Along the layers, at each model's last checkpoint: the classes, and manifolds of the same points
    dealt at random; and the classes in the untrained network, if it was measured. A column for each
    model.

    Parameters
    ----------
    layers : DataFrame
        As `summary.collect_layers` returns it, with at least one row.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    _refuse_empty(layers, "layers")
    models = [*dict.fromkeys(layers["model"])]
    names = {model: _layers_of(layers, model) for model in models}
    curves = [*_controls(layers)]
    roles = _Roles(
        tuple(dict.fromkeys(curve.checkpoint for curve in curves)),
        tuple(_splits(layers)),
        has_checkpoints=bool((layers["checkpoint"] != EXTERNAL).any()),
    )
    groups = [(names[model], [model]) for model in models]
    return _plot_along(groups, curves, roles, _at_last_checkpoint(layers))


def _plot_along(
    groups: Sequence[tuple[Sequence[str], list[str]]],
    curves: Sequence[_Curve],
    look: _Encoding | _Roles,
    headed: pd.DataFrame,
) -> Figure:
    """Draw the four quantities along the layers.

    Parameters
    ----------
    groups : sequence of (layers, models)
        A column of panels each; a single one of few layers is a square of panels.
    curves
        Of all models.
    look
        What color and line say.
    headed
        The rows whose common properties stand above the figure.
    """
    deepest = max(len(names) for names, _ in groups)
    if deepest == 1:
        curves = _spread_out(curves)
    handles = _with_marks(look.handles(), curves)
    with _style():
        if len(groups) == 1 and deepest <= _MOST_LAYERS_IN_A_SQUARE:
            widths = _panel_widths([groups[0][0]], 3.6)
            figure = _figure(2 * widths[0], 5.6, handles)
            axes = figure.subplots(2, 2, sharex=True, squeeze=False)
            panels = axes.reshape(1, -1)
        else:
            widths = _panel_widths([names for names, _ in groups], 3.0 if len(groups) > 1 else 7.0)
            figure = _figure(sum(widths), 8.6, handles)
            axes = figure.subplots(
                len(_LABELS),
                len(groups),
                sharex="col",
                sharey="row",
                squeeze=False,
                width_ratios=widths,
            )
            panels = axes.T
        feet = axes[-1].reshape(len(groups), -1)
        for column, (names, models) in enumerate(groups):
            mine = [curve for curve in curves if curve.model in models]
            for quantity, axis in zip(_LABELS, panels[column], strict=True):
                _draw(axis, mine, quantity, look)
                if column == 0:
                    axis.set_ylabel(_LABELS[quantity])
            for axis in feet[column]:
                axis.set_xlim(-0.5, len(names) - 0.5)
                _label_layers(axis, "x", names, widths[column] - _BESIDE_AXES)
            if len(groups) > 1:
                panels[column][0].set_title(", ".join(models), fontweight="bold")
        figure.align_ylabels()
        _head(figure, headed, barred=not handles and _has_spread(curves))
    return figure


def plotted_values(figure: str, table: pd.DataFrame) -> pd.DataFrame:
    """The numbers that a figure shows, as a table.

    Parameters
    ----------
    figure : str
        Name of a function that draws one, ``plot_layers``.
    table : DataFrame
        What that function is given.

    Returns
    -------
    DataFrame
        In the long form: what identifies a point, then ``quantity``, ``value``, ``spread`` (what a
        bar or band shows; empty where there is none) and ``n_seeds``. Of `plot_manifolds` a row per
        layer and quantity with the median, the quartiles and the two classes that stand out; of
        `plot_centers` a row per layer and component.
    """
    values: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "plot_layers": lambda table: _tabulated(_paths(table), table, [*_LABELS]),
        "plot_radius_dimension": lambda table: _tabulated(
            _paths(table), table, ["radius", "dimension"]
        ),
        "plot_dynamics": lambda table: _tabulated(_paths(table), table, [*_LABELS]).drop(
            columns="spread"
        ),
        "plot_controls": lambda table: _tabulated(_controls(table), table, [*_LABELS]).rename(
            columns={"checkpoint": "curve"}
        ),
        "plot_training": lambda table: (
            _tabulated(_over_epochs(table, ["loss", "accuracy"]), None, ["loss", "accuracy"])
            .drop(columns="checkpoint")
            .rename(columns={"layer": "epoch"})
        ),
        "plot_manifolds": _manifold_values,
        "plot_centers": _center_values,
    }
    return values[figure](table)


@dataclass(frozen=True)
class _Roles:
    """Color, marker and line of the curves in the figure of controls."""

    roles: tuple[str, ...]
    splits: tuple[str, ...]
    has_checkpoints: bool

    def line(self, model: str, role: str, split: str) -> dict[str, Any]:
        color, marker = _CONTROLS[role]
        return _line(color, split) | {"marker": marker}

    def handles(self) -> list[Artist]:
        samples = {role: self.line("", role, "train") for role in self.roles}
        if not self.has_checkpoints:
            samples = {"classes": samples.pop("last checkpoint"), **samples}
        if len(self.splits) > 1:
            samples |= {split_title(split): _line(_GRAY, split) for split in self.splits}
        return [Line2D([], [], label=label, **style) for label, style in samples.items()]


def _of_classes(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the control."""
    return frame[frame["labels"] == ORIGINAL] if "labels" in frame.columns else frame


def _at_last_checkpoint(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(
        _select(frame, model=model, checkpoint=[*_checkpoints(frame, model)][-1])
        for model in dict.fromkeys(frame["model"])
    )


def _paths(layers: pd.DataFrame, model: str | None = None) -> Iterator[_Curve]:
    """The curves of the classes along the layers, of one model or all."""
    layers = _of_classes(layers)
    for name in [model] if model else dict.fromkeys(layers["model"]):
        yield from _along(layers, _layers_of(layers, name), [name])


def _controls(layers: pd.DataFrame) -> Iterator[_Curve]:
    """Curves whose `checkpoint` says which control they are."""
    classes = _of_classes(layers)
    last = _at_last_checkpoint(layers)
    untrained = classes[classes["epoch"] == 0].merge(
        last[["model", "checkpoint"]].drop_duplicates(),
        on=["model", "checkpoint"],
        how="left",
        indicator=True,
    )
    parts = {
        "last checkpoint": _of_classes(last),
        "untrained": untrained[untrained["_merge"] == "left_only"],
        "labels shuffled": last[last["labels"] == SHUFFLED],
    }
    for role, part in parts.items():
        for model in dict.fromkeys(part["model"]):
            for curve in _along(part, _layers_of(layers, model), [model]):
                yield replace(curve, checkpoint=role)


def _over_epochs(metrics: pd.DataFrame, parts: Sequence[str]) -> Iterator[_Curve]:
    """The curves of training, on both splits."""
    for model in dict.fromkeys(metrics["model"]):
        mine = _select(metrics, model=model)
        epochs = sorted(mine["epoch"].unique())
        for split in _DASHES:
            of_split = mine[["seed", "epoch"]].assign(
                **{part: mine[f"{split}_{part}"] for part in parts}
            )
            yield _Curve(
                model,
                "",
                split,
                mine["seed"].nunique(),
                np.array(epochs, dtype=float),
                *_mean_and_spread(of_split, "epoch", epochs, parts),
                np.zeros(len(epochs), dtype=bool),
            )


def _tabulated(
    curves: Iterator[_Curve], layers: pd.DataFrame | None, quantities: Sequence[str]
) -> pd.DataFrame:
    """A row per point of each curve and quantity; of layers by their names, else by position."""
    columns = ["model", "checkpoint", "split", "layer", "quantity", "value", "spread", "n_seeds"]
    names = {}
    if layers is not None:
        names = {model: _layers_of(layers, model) for model in dict.fromkeys(layers["model"])}
    rows = [
        (
            curve.model,
            curve.checkpoint,
            curve.split,
            names[curve.model][int(place)] if names else int(place),
            quantity,
            curve.value[quantity][index],
            curve.spread[quantity][index],
            curve.n_seeds,
        )
        for curve in curves
        for quantity in quantities
        for index, place in enumerate(curve.position)
    ]
    return pd.DataFrame(rows, columns=columns)


def _class_table(frame: pd.DataFrame, quantity: str, names: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds, a row per class and a column per layer."""
    table = frame.pivot_table(index="class_index", columns="layer", values=quantity, observed=True)
    return table.reindex(columns=[*names])


def _manifold_values(manifolds: pd.DataFrame) -> pd.DataFrame:
    last = _at_last_checkpoint(_of_classes(manifolds))
    chosen = _extreme_classes(last)
    classes = last.drop_duplicates("class_index").set_index("class_index")["class_name"]
    parts = []
    for model, split in _models_and_splits(last):
        mine = _select(last, model=model, split=split)
        for quantity in _PER_MANIFOLD:
            names = _layers_of(last, model)
            table = _class_table(mine, quantity, names)
            low, middle, high = table.quantile([0.25, 0.5, 0.75]).to_numpy()
            part = {
                "model": model,
                "checkpoint": mine["checkpoint"].iloc[0],
                "split": split,
                "layer": names,
                "quantity": quantity,
                "lower_quartile": low,
                "median": middle,
                "upper_quartile": high,
            }
            # A single class is both.
            for rank, index in zip(("highest", "lowest"), [*chosen, chosen[0]], strict=False):
                part[f"{rank}_class"] = classes[index]
                part[f"{rank}_value"] = table.reindex([index]).to_numpy()[0]
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _center_values(centers: pd.DataFrame) -> pd.DataFrame:
    """First and last checkpoint of each model, the mean over seeds."""
    keys = ["model", "checkpoint", "split", "layer", "component"]
    classes = _of_classes(centers)
    parts = []
    for model in dict.fromkeys(classes["model"]):
        checkpoints = [*_checkpoints(classes, model)]
        for checkpoint in dict.fromkeys([checkpoints[0], checkpoints[-1]]):
            mine = _select(classes, model=model, checkpoint=checkpoint)
            mine = _select(mine, split=_splits(mine)[0]).sort_values(
                ["layer_index", "component"], kind="stable"
            )
            numbers = mine.groupby(keys, sort=False)[["variance_share", "center_rank"]].mean()
            parts.append(numbers.reset_index())
    return pd.concat(parts, ignore_index=True)


def _frame_logarithmic(
    axis: Axes, x: Sequence[NDArray[np.float64]], y: Sequence[NDArray[np.float64]]
) -> None:
    """Limits of both axes around all points, with a margin, at least a factor of 1.5 apart."""
    for values, set_limits in ((x, axis.set_xlim), (y, axis.set_ylim)):
        all_values = np.concatenate(values)
        known = all_values[np.isfinite(all_values) & (all_values > 0)]
        low, high = (known.min(), known.max()) if len(known) else (1.0, 1.0)
        room = max((high / low) ** 0.08, (1.5 * low / high) ** 0.5)
        set_limits(low / room, high * room)


def _plain_ticks(axis: Axes) -> None:
    """Numbers in place of powers of ten, at 1, 2 and 5 of each; all digits where the range is narrow."""
    for one in (axis.xaxis, axis.yaxis):
        low, high = sorted(one.get_view_interval())
        one.set_major_locator(
            LogLocator(subs=(1.0, 2.0, 5.0))
            if high / low > 8
            else MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
        )
        one.set_minor_locator(NullLocator())
        one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_equal_capacity(axis: Axes, margin: float, width: float) -> None:
    """Contours of the capacity of balls behind what is drawn, within the limits of axes of `width` inches."""
    limits = axis.get_xlim(), axis.get_ylim()
    radii, dimensions = (np.geomspace(*ends, 40) for ends in limits)
    dimensions = np.maximum(dimensions, 1.0)
    capacity = ball_capacity(radii[None], dimensions[:, None], margin)
    steps = np.array([1, 1.5, 2, 3, 5, 7])
    levels = np.sort(np.outer(10.0 ** np.arange(-6, 1), steps).ravel())
    levels = levels[(levels > capacity.min()) & (levels < capacity.max())]
    if len(levels) < 3:  # a narrow range: even steps
        levels = np.array(MaxNLocator(5).tick_values(capacity.min(), capacity.max()))
        levels = levels[(levels > capacity.min()) & (levels < capacity.max())]
    contours = axis.contour(
        radii, dimensions, capacity, levels, colors="#b0b0b0", linewidths=0.9, zorder=0.5
    )
    axis.set(xlim=limits[0], ylim=limits[1])
    places = _places_of_labels(axis, contours.get_paths(), _LABEL_ROOM / width)
    if places:
        axis.clabel(
            contours,
            fmt=lambda level: f"{level:g}",
            fontsize=STYLE["xtick.labelsize"],
            colors="#707070",
            manual=places,
        )


def _places_of_labels(axis: Axes, paths: Sequence[Path], room: float) -> list[tuple[float, float]]:
    """On each path the point farthest from what is drawn; none where all are within `room` of it or of the edge."""
    to_axes = axis.transScale + axis.transLimits
    drawn = np.concatenate(
        [_along_line(to_axes.transform(line.get_xydata())) for line in axis.lines]
    )
    places = []
    for path in paths:
        vertices = np.asarray(path.vertices)
        points = to_axes.transform(vertices)
        inside = ((points > room) & (points < 1 - room)).all(axis=1)
        if inside.any():
            gaps = points[inside][:, None] - drawn[None]
            clear = np.hypot(*np.moveaxis(gaps, -1, 0)).min(axis=1, initial=1.0)
            if clear.max() > room:
                x, y = vertices[inside][clear.argmax()]
                places.append((float(x), float(y)))
    return places


def _along_line(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points close to each other on a line through those of (n, 2) that are known."""
    points = points[np.isfinite(points).all(axis=1)]
    between = np.linspace(0, 1, 20)[:, None, None]
    return np.concatenate([points, *(points[:-1] + between * np.diff(points, axis=0))])


def _layer_bar(figure: Figure, axes: list[Axes], names: Sequence[str], length: float) -> None:
    """A color bar that names the layers, the first on top."""
    colors = ListedColormap(_CHECKPOINT_COLORS(np.linspace(0, 1, len(names))))
    scale = BoundaryNorm(np.arange(len(names) + 1), len(names))
    bar = figure.colorbar(
        ScalarMappable(scale, colors), ax=axes, aspect=24, pad=0.02, spacing="proportional"
    )
    bar.outline.set(visible=False)
    bar.ax.invert_yaxis()
    bar.ax.minorticks_off()
    _label_layers(bar.ax, "y", names, length)
    bar.ax.tick_params(length=0)


def _tint(color: str, place: float) -> str:
    """A color, mixed with white the more the earlier its place in training, from 0 to 1."""
    white = _LIGHTEST_TINT * (1 - place)
    red, green, blue = (white + (1 - white) * part for part in to_rgb(color))
    return to_hex((red, green, blue))


def _line(color: str, split: str = "train") -> dict[str, Any]:
    return {
        "color": color,
        "linestyle": "-" if split == NO_SPLIT else _DASHES.get(split, _OTHER_DASHES),
        "marker": "o",
        "markerfacecolor": "white" if split == "test" else color,
    }


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.style.context(["default", STYLE]):
        yield


def _figure(width: float, height: float, handles: Sequence[Artist]) -> Figure:
    """An empty figure with its legend, if there is anything to say: at the right, or below a wide one."""
    if not handles:
        return Figure((width, height), layout="constrained")
    if width + _LEGEND_WIDTH <= _WIDEST:
        figure = Figure((width + _LEGEND_WIDTH, height), layout="constrained")
        figure.legend(handles=handles, loc="outside right upper", handlelength=2.6)
        return figure
    columns = int(width / (1.2 * _LEGEND_WIDTH))
    lines = max(str(handle.get_label()).count("\n") + 1 for handle in handles)
    below = _LEGEND_LINE * lines * math.ceil(len(handles) / columns) + 0.2
    figure = Figure((width, height + below), layout="constrained")
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, handlelength=2.6)
    return figure


def _refuse_empty(frame: pd.DataFrame, what: str) -> None:
    if frame.empty:
        raise UserError(f"the table of {what} has no rows; there is nothing to draw")


def _select(frame: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    return frame


def _splits(frame: pd.DataFrame) -> list[str]:
    found = [*dict.fromkeys(frame["split"])]
    return [*(s for s in _DASHES if s in found), *(s for s in found if s not in _DASHES)]


def _models_and_splits(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return [
        (model, split)
        for model in dict.fromkeys(frame["model"])
        for split in _splits(_select(frame, model=model))
    ]


def _checkpoints(frame: pd.DataFrame, model: str | None = None) -> dict[str, str]:
    """Checkpoints and their titles in the order of training; those without an epoch last."""
    if model is not None:
        frame = _select(frame, model=model)
    ordered = frame.drop_duplicates("checkpoint").sort_values("epoch", na_position="last")
    return {record["checkpoint"]: checkpoint_title(record) for record in ordered.to_dict("records")}


def _layers_of(frame: pd.DataFrame, model: str) -> list[str]:
    mine = _select(frame, model=model).sort_values("layer_index", kind="stable")
    return [*dict.fromkeys(mine["layer"])]


def _models_by_layers(layers: pd.DataFrame) -> dict[tuple[str, ...], list[str]]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for model in dict.fromkeys(layers["model"]):
        groups.setdefault(tuple(_layers_of(layers, model)), []).append(model)
    return groups


def _encode(frame: pd.DataFrame, overlaid: bool) -> _Encoding:
    models = tuple(dict.fromkeys(frame["model"]))
    return _Encoding(models, _checkpoints(frame), tuple(_splits(frame)), overlaid)


def _mean_and_spread(
    frame: pd.DataFrame, by: str, order: list[Any], quantities: Sequence[str]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Over seeds, mean and standard deviation; of a single seed, its value and standard error."""
    several = frame["seed"].nunique() > 1

    def aggregated(column: str, how: str) -> NDArray[np.float64]:
        if column not in frame.columns:
            return np.full(len(order), math.nan)
        finite = frame[column].astype(float).replace([math.inf, -math.inf], math.nan)
        numbers = finite.groupby(frame[by]).agg(how)
        return np.asarray(numbers.reindex(order), dtype=float)

    value = {quantity: aggregated(quantity, "mean") for quantity in quantities}
    if several:
        return value, {quantity: aggregated(quantity, "std") for quantity in quantities}
    return value, {quantity: aggregated(f"{quantity}_stderr", "mean") for quantity in quantities}


def _along(layers: pd.DataFrame, names: Sequence[str], models: Sequence[str]) -> Iterator[_Curve]:
    """The curves of models that have the same layers."""
    for model in models:
        for checkpoint in _checkpoints(layers, model):
            of_checkpoint = _select(layers, model=model, checkpoint=checkpoint)
            for split in _splits(of_checkpoint):
                mine = _select(of_checkpoint, split=split)
                measured = set(mine["layer"])
                alive = set(_select(mine, status=STATUS_OK)["layer"])
                yield _Curve(
                    model,
                    checkpoint,
                    split,
                    mine["seed"].nunique(),
                    np.arange(len(names), dtype=float),
                    *_mean_and_spread(mine, "layer", [*names], [*_LABELS]),
                    np.array([name in measured - alive for name in names]),
                )


def _draw(
    axis: Axes, curves: Sequence[_Curve], quantity: str, encoding: _Encoding | _Roles
) -> None:
    buried = 0
    if any(curve.dead.any() for curve in curves):
        axis.margins(y=0.12)  # room for the crosses
    for curve in curves:
        style = encoding.line(curve.model, curve.checkpoint, curve.split)
        x, value, spread = curve.position, curve.value[quantity], curve.spread[quantity]
        if len(x) > _MOST_MARKERS:
            style["markevery"] = [*np.flatnonzero(_lonely(value))]
        axis.plot(x, value, label=f"{curve.model} {curve.checkpoint} {curve.split}", **style)
        barred = np.isfinite(value) & np.isfinite(spread)
        if curve.n_seeds > 1:
            axis.fill_between(
                x, value - spread, value + spread, color=style["color"], alpha=0.18, linewidth=0
            )
            barred &= _lonely(value)  # a band has no width at a single point
        if barred.any():
            axis.errorbar(
                x[barred],
                value[barred],
                spread[barred],
                fmt="none",
                ecolor=style["color"],
                elinewidth=0.9,
                capsize=1.8,
                capthick=0.9,
            )
        if curve.dead.any():
            axis.plot(
                x[curve.dead],
                np.full(curve.dead.sum(), 0.03 + buried * min(0.04, 0.2 / len(curves))),
                transform=axis.get_xaxis_transform(),
                linestyle="none",
                marker="x",
                markersize=4.5,
                color=style["color"],
            )
            buried += 1


def _spread_out(curves: Sequence[_Curve]) -> list[_Curve]:
    """Curves of a single point each, put beside each other."""
    places = np.linspace(-0.2, 0.2, len(curves)) if len(curves) > 1 else [0.0]
    return [
        replace(curve, position=curve.position + place)
        for curve, place in zip(curves, places, strict=True)
    ]


def _lonely(value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Points without a neighbor."""
    known = np.concatenate([[False], np.isfinite(value), [False]])
    return known[1:-1] & ~known[:-2] & ~known[2:]


def _has_spread(curves: Sequence[_Curve]) -> bool:
    return any(np.isfinite(s).any() for curve in curves for s in curve.spread.values())


def _with_marks(samples: list[Artist], curves: Sequence[_Curve]) -> list[Artist]:
    """The legend's samples with those of what stands around a curve."""
    most_seeds = max(curve.n_seeds for curve in curves)
    if most_seeds > 1:
        samples.append(
            Patch(color=_GRAY, alpha=0.25, linewidth=0, label=f"± 1 s.d. of {most_seeds} seeds")
        )
    elif samples and _has_spread(curves):
        samples.append(
            Line2D(
                [],
                [],
                color=_GRAY,
                linestyle="none",
                marker="|",
                markersize=8,
                label="± standard error",
            )
        )
    if any(curve.dead.any() for curve in curves):
        samples.append(
            Line2D(
                [],
                [],
                color=_GRAY,
                linestyle="none",
                marker="x",
                markersize=4.5,
                label="no geometry",
            )
        )
    return samples


def _extreme_classes(manifolds: pd.DataFrame) -> list[Any]:
    """The classes of the highest and the lowest capacity in the last layer, over all that is shown."""
    last = manifolds.groupby(["model", "split"], observed=True)["layer_index"].transform("max")
    capacity = manifolds[manifolds["layer_index"] == last].groupby("class_index")["capacity"].mean()
    return [*dict.fromkeys([capacity.idxmax(), capacity.idxmin()])]


def _draw_classes(axis: Axes, table: pd.DataFrame, accents: dict[Any, str]) -> None:
    """Lines of one quantity: `table` has a row per class and a column per layer."""
    values = table.to_numpy(dtype=float)
    x = np.arange(values.shape[1], dtype=float)
    single = "o" if values.shape[1] == 1 else ""
    faint = min(1.0, 0.15 + 6 / len(values))
    axis.plot(x, values.T, color=_GRAY, linewidth=0.5, alpha=faint, marker=single, markersize=2)
    low, middle, high = table.quantile([0.25, 0.5, 0.75]).to_numpy()
    axis.fill_between(x, low, high, color=_GRAY, alpha=0.3, linewidth=0)
    for index, color in accents.items():
        if index in table.index:
            line = table.loc[index].to_numpy(dtype=float)
            axis.plot(x, line, color=color, linewidth=1.1, marker=single)
    axis.plot(x, middle, color="black", marker=single)


def _draw_map(
    axis: Axes,
    frame: pd.DataFrame,
    quantity: str,
    names: list[str],
    checkpoints: list[str],
    scale: Normalize,
) -> Any:
    cells = [frame["layer"], frame["checkpoint"]]

    def arranged(column: pd.Series) -> pd.DataFrame:
        table = column.astype(float).groupby(cells).mean().unstack("checkpoint")
        return table.reindex(index=names, columns=checkpoints)

    values = arranged(frame[quantity]).to_numpy()
    dead = arranged(frame["status"] == STATUS_OK).to_numpy() == 0  # of no seed
    image = axis.pcolormesh(values, cmap="viridis", norm=scale, edgecolors="white", linewidth=0.5)
    below, right = np.nonzero(dead)
    axis.plot(right + 0.5, below + 0.5, "x", color=_GRAY, markersize=4.5)
    axis.set(xlim=(0, len(checkpoints)), ylim=(len(names), 0))
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    return image


def _label_epochs(
    axis: Axes, layers: pd.DataFrame, checkpoints: dict[str, str], width: float
) -> None:
    epochs = layers.drop_duplicates("checkpoint").set_index("checkpoint")["epoch"]
    labels = [name if pd.isna(epochs[name]) else f"{epochs[name]:.0f}" for name in checkpoints]
    axis.set_xlabel("Epoch")
    _label(axis, "x", labels, width - 0.2, offset=0.5)


def _panel_widths(groups: Sequence[Sequence[str]], least: float) -> list[float]:
    """A width for each column, by its number of layers; no more together than `_WIDEST` if that is possible."""
    wanted = [max(least, 1.05 * _UPRIGHT_PITCH * len(names) + _BESIDE_AXES) for names in groups]
    room, columns, most = max(_WIDEST, _NARROWEST * len(wanted)), len(wanted), 0.0
    for width in sorted(wanted):  # the widest ones share what the others leave
        most = room / columns
        if width > most:
            break
        room, columns = room - width, columns - 1
    return [min(width, most) for width in wanted]


def _label_layers(
    axes: Axes, direction: Literal["x", "y"], names: Sequence[str], length: float
) -> None:
    labels = [shorten(layer_title(name), _LONGEST_LABEL) for name in names]
    _label(axes, direction, labels, length, offset=0.5 if direction == "y" else 0.0)


def _label(
    axes: Axes, direction: Literal["x", "y"], labels: Sequence[str], length: float, offset: float
) -> None:
    """Put evenly spaced labels on an axis of `length` inches, turned and thinned out to fit."""
    pitch = length / len(labels)
    # The first and the last are named in any case.
    step = max(1, math.ceil(_UPRIGHT_PITCH / pitch))
    shown = np.linspace(0, len(labels) - 1, (len(labels) - 1) // step + 1).round().astype(int)
    turned: dict[str, Any] = {}
    if direction == "x" and _CHARACTER * max(map(len, labels)) + 0.1 > pitch:
        turned = {"rotation": 90}
        if pitch >= _SLANTED_PITCH:
            turned = {"rotation": 45, "rotation_mode": "anchor", "ha": "right", "va": "top"}
    axis = axes.xaxis if direction == "x" else axes.yaxis
    axis.set_ticks(
        [place + offset for place in shown], [labels[place] for place in shown], **turned
    )


def _head(
    figure: Figure,
    frame: pd.DataFrame,
    names: Sequence[str] = ("dataset", "model", "seed", "checkpoint", "split"),
    barred: bool = False,
) -> None:
    """Write above a figure what all its curves share, and what its bars are if no legend says it."""
    shared = {name: [*dict.fromkeys(frame[name])] for name in names if name in frame.columns}
    parts = []
    for name, found in shared.items():
        if name == "seed" and len(found) > 1:
            parts.append(f"mean of {len(found)} seeds")
        elif found in ([EXTERNAL], [NO_SPLIT]):
            continue  # the file's name has said it
        elif name == "checkpoint" and len(found) == 1:
            parts.extend(_checkpoints(frame).values())
        elif name != "seed" and len(found) == 1:
            parts.append(split_title(found[0]) if name == "split" else str(found[0]))
    if barred:
        parts.append("bars: standard error")
    room = figure.get_figwidth() - 0.2
    for legend in figure.legends:
        width = legend.get_window_extent().width / figure.dpi
        room -= width if width < figure.get_figwidth() / 2 else 0  # else it stands below
    text = textwrap.fill(" · ".join(parts), max(_LONGEST_LABEL, int(room / _TITLE_CHARACTER)))
    figure.suptitle(text, x=0.01, ha="left")
