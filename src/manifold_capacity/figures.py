"""Pictures of a run: the geometry along the layers, over training, class by class; and the training.

Each function takes a table as `manifold_capacity.summary` makes it and returns a matplotlib figure;
`save` writes it. Nothing here touches pyplot or a user's matplotlib settings, so that the same table
gives the same bytes everywhere.

The encoding is the same in all of them. Color is the model or, where there is only one, the checkpoint
(light to dark as training goes on). A solid line with filled markers is the training split, a dashed
line with open markers the test split. With several seeds a curve is their mean and the band around
it one standard deviation; with one, bars are the Monte-Carlo standard error.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from manifold_capacity.own_activations import EXTERNAL
from manifold_capacity.own_activations import SPLIT as NO_SPLIT
from manifold_capacity.rows import STATUS_OK
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
_STYLE: dict[str, Any] = {
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
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.8,
    "svg.fonttype": "none",  # text stays text, to be searched and copied
    "svg.hashsalt": "manifold-capacity",  # without it the ids in the file are drawn at random
}
_PNG_DPI = 200

# Sizes in inches. Tick labels are 8 points (0.11 inch) high.
_WIDEST = 30.0
_TALLEST = 30.0
_LEGEND_WIDTH = 1.6
_BESIDE_AXES = 0.7  # of a panel's width: axis label and tick labels
_CHARACTER = 0.072  # mean width in a tick label
_TITLE_CHARACTER = 0.08  # and, with something to spare, in a title
_UPRIGHT_PITCH = 0.14  # least distance of tick labels across their direction
_SLANTED_PITCH = 0.21
_LONGEST_LABEL = 20  # characters
_MOST_LAYERS_IN_A_SQUARE = 24  # more need the page's full width
_MOST_MARKERS = 30  # on a curve; more run into each other


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
    groups = _models_by_layers(layers)
    curves = [curve for names, models in groups.items() for curve in _along(layers, names, models)]
    if max(map(len, groups)) == 1:
        curves = _spread_out(curves)
    encoding = _encode(layers, overlaid=any(len(models) > 1 for models in groups.values()))
    handles = _with_marks(encoding.handles(), curves)
    side_by_side = len(groups) > 1
    with _style():
        if side_by_side or max(map(len, groups)) > _MOST_LAYERS_IN_A_SQUARE:
            widths = _panel_widths(groups, 3.0 if side_by_side else 7.0)
            figure = _figure(sum(widths), 8.6, handles)
            axes = figure.subplots(
                len(_LABELS),
                len(groups),
                sharex="col",
                sharey="row",
                squeeze=False,
                width_ratios=widths,
            )
            panels = [list(axes[:, column]) for column in range(len(groups))]
            feet = [[axes[-1, column]] for column in range(len(groups))]
        else:
            widths = _panel_widths(groups, 3.6)
            figure = _figure(2 * widths[0], 5.6, handles)
            axes = figure.subplots(2, 2, sharex=True, squeeze=False)
            panels = [list(axes.flat)]
            feet = [list(axes[-1])]
        for column, (names, models) in enumerate(groups.items()):
            mine = [curve for curve in curves if curve.model in models]
            for quantity, axis in zip(_LABELS, panels[column], strict=True):
                _draw(axis, mine, quantity, encoding)
                if column == 0:
                    axis.set_ylabel(_LABELS[quantity])
            for axis in feet[column]:
                axis.set_xlim(-0.5, len(names) - 0.5)
                _label_layers(axis, "x", names, widths[column] - _BESIDE_AXES)
            if side_by_side:
                panels[column][0].set_title(", ".join(models), fontweight="bold")
        figure.align_ylabels(axes[:, 0])
        _head(figure, layers)
    return figure


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
    curves = []
    for model in models:
        mine = _select(metrics, model=model)
        epochs = sorted(mine["epoch"].unique())
        for split in encoding.splits:
            of_split = mine[["seed", "epoch"]].assign(
                **{part: mine[f"{split}_{part}"] for part in parts}
            )
            curves.append(
                _Curve(
                    model,
                    "",
                    split,
                    mine["seed"].nunique(),
                    np.array(epochs, dtype=float),
                    *_mean_and_spread(of_split, "epoch", epochs, [*parts]),
                    np.zeros(len(epochs), dtype=bool),
                )
            )
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
    models = [*dict.fromkeys(manifolds["model"])]
    last = pd.concat(
        _select(manifolds, model=model, checkpoint=[*_checkpoints(manifolds, model)][-1])
        for model in models
    )
    names = {model: _layers_of(last, model) for model in models}
    columns = _models_and_splits(last)
    chosen = _extreme_classes(last)
    classes = last.drop_duplicates("class_index").set_index("class_index")["class_name"]
    accents = dict(zip(chosen, (_MODEL_COLORS[1], _MODEL_COLORS[0]), strict=False))
    handles: list[Artist] = [
        Line2D([], [], color="black", label="median of the classes"),
        Patch(color=_GRAY, alpha=0.3, linewidth=0, label="middle half"),
        Line2D([], [], color=_GRAY, linewidth=0.5, label="one class"),
        *(
            Line2D(
                [],
                [],
                color=color,
                label=f"class {shorten(str(classes[index]), _LONGEST_LABEL)}: {rank}",
            )
            for (index, color), rank in zip(
                accents.items(), ("highest capacity", "lowest capacity"), strict=False
            )
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
                table = mine.pivot_table(
                    index="class_index", columns="layer", values=quantity, observed=True
                ).reindex(columns=names[model])
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
    runs = _models_and_splits(layers)
    names = {model: _layers_of(layers, model) for model, _ in runs}
    several = len(names) > 1
    checkpoints = _checkpoints(layers)
    heights = [max(1.6, _UPRIGHT_PITCH * len(names[model]) + 0.3) for model, _ in runs]
    heights = [height * min(1.0, _TALLEST / sum(heights)) for height in heights]
    width = max(1.7, 0.2 * len(checkpoints))
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
    with matplotlib.style.context(["default", _STYLE]):
        yield


def _figure(width: float, height: float, handles: Sequence[Artist]) -> Figure:
    """An empty figure with its legend, if there is anything to say, at the right."""
    figure = Figure((width + (_LEGEND_WIDTH if handles else 0), height), layout="constrained")
    if handles:
        figure.legend(handles=handles, loc="outside right upper", handlelength=2.6)
    return figure


def _refuse_empty(frame: pd.DataFrame, what: str) -> None:
    if frame.empty:
        raise ValueError(f"the table of {what} has no rows; there is nothing to draw")


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


def _draw(axis: Axes, curves: Sequence[_Curve], quantity: str, encoding: _Encoding) -> None:
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


def _with_marks(samples: list[Artist], curves: Sequence[_Curve]) -> list[Artist]:
    """The legend's samples with those of what stands around a curve."""
    most_seeds = max(curve.n_seeds for curve in curves)
    if most_seeds > 1:
        samples.append(
            Patch(color=_GRAY, alpha=0.25, linewidth=0, label=f"± 1 s.d. of {most_seeds} seeds")
        )
    elif samples and any(np.isfinite(s).any() for curve in curves for s in curve.spread.values()):
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


def _panel_widths(
    groups: Sequence[Sequence[str]] | dict[tuple[str, ...], Any], least: float
) -> list[float]:
    widths = [max(least, 1.05 * _UPRIGHT_PITCH * len(names) + _BESIDE_AXES) for names in groups]
    return [width * min(1.0, _WIDEST / sum(widths)) for width in widths]


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
    shown = range(0, len(labels), max(1, math.ceil(_UPRIGHT_PITCH / pitch)))
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
) -> None:
    """Write above a figure what all its curves share."""
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
    room = figure.get_figwidth() - 0.2
    for legend in figure.legends:
        room -= legend.get_window_extent().width / figure.dpi
    text = textwrap.fill(" · ".join(parts), max(_LONGEST_LABEL, int(room / _TITLE_CHARACTER)))
    figure.suptitle(text, x=0.01, ha="left")
