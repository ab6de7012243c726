"""From a table to curves: which rows are a curve, and how its model, checkpoint and split are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from manifold_capacity.errors import UserError
from manifold_capacity.figures.style import (
    CHECKPOINT_COLORS,
    DASHES,
    GRAY,
    LABELS,
    MODEL_COLORS,
    line_style,
    tint,
)
from manifold_capacity.summary.rows import ORIGINAL, STATUS_OK
from manifold_capacity.summary.text import checkpoint_title, split_title

# Curves of the figure of controls, besides that of the last checkpoint: color and marker.
_CONTROLS: dict[str, tuple[str, str]] = {
    "last checkpoint": (MODEL_COLORS[0], "o"),
    "untrained": (MODEL_COLORS[5], "s"),
    "labels shuffled": ("#606060", "^"),
}


@dataclass(frozen=True)
class Curve:
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
class Encoding:
    """What color and line say in one figure."""

    models: tuple[str, ...]
    checkpoints: dict[str, str]  # in the order of training -> title
    splits: tuple[str, ...]
    overlaid: bool  # several models in one panel

    def color(self, model: str, checkpoint: str) -> str:
        base = MODEL_COLORS[self.models.index(model) % len(MODEL_COLORS)]
        if len(self.checkpoints) < 2:
            return base
        place = [*self.checkpoints].index(checkpoint) / (len(self.checkpoints) - 1)
        return tint(base, place) if self.overlaid else to_hex(CHECKPOINT_COLORS(place))

    def line(self, model: str, checkpoint: str, split: str) -> dict[str, Any]:
        """Keyword arguments of a line with markers."""
        return line_style(self.color(model, checkpoint), split)

    def handles(self) -> list[Artist]:
        """Samples for the legend, of all that differs between the curves of a panel."""
        samples: dict[str, dict[str, Any]] = {}
        last = [*self.checkpoints][-1]
        if self.overlaid:
            samples |= {model: line_style(self.color(model, last)) for model in self.models}
        if len(self.checkpoints) > 1:
            for place, (checkpoint, title) in enumerate(self.checkpoints.items()):
                gray = tint(GRAY, place / (len(self.checkpoints) - 1))
                own = self.color(self.models[0], checkpoint)
                samples[title] = line_style(gray if self.overlaid else own)
        if len(self.splits) > 1:
            samples |= {split_title(split): line_style(GRAY, split) for split in self.splits}
        return [Line2D([], [], label=label, **style) for label, style in samples.items()]


@dataclass(frozen=True)
class Roles:
    """Color, marker and line of the curves in the figure of controls."""

    roles: tuple[str, ...]
    splits: tuple[str, ...]
    has_checkpoints: bool

    def line(self, model: str, role: str, split: str) -> dict[str, Any]:
        color, marker = _CONTROLS[role]
        return line_style(color, split) | {"marker": marker}

    def handles(self) -> list[Artist]:
        samples = {role: self.line("", role, "train") for role in self.roles}
        if not self.has_checkpoints:
            samples = {"classes": samples.pop("last checkpoint"), **samples}
        if len(self.splits) > 1:
            samples |= {split_title(split): line_style(GRAY, split) for split in self.splits}
        return [Line2D([], [], label=label, **style) for label, style in samples.items()]


def of_classes(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the control."""
    return frame[frame["labels"] == ORIGINAL] if "labels" in frame.columns else frame


def at_last_checkpoint(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(
        select_rows(frame, model=model, checkpoint=[*checkpoints_of(frame, model)][-1])
        for model in dict.fromkeys(frame["model"])
    )


def over_epochs(metrics: pd.DataFrame, parts: Sequence[str]) -> Iterator[Curve]:
    """The curves of training, on both splits."""
    for model in dict.fromkeys(metrics["model"]):
        mine = select_rows(metrics, model=model)
        epochs = sorted(mine["epoch"].unique())
        for split in DASHES:
            of_split = mine[["seed", "epoch"]].assign(
                **{part: mine[f"{split}_{part}"] for part in parts}
            )
            yield Curve(
                model,
                "",
                split,
                mine["seed"].nunique(),
                np.array(epochs, dtype=float),
                *_mean_and_spread(of_split, "epoch", epochs, parts),
                np.zeros(len(epochs), dtype=bool),
            )


def tabulated(
    curves: Iterator[Curve], layers: pd.DataFrame | None, quantities: Sequence[str]
) -> pd.DataFrame:
    """A row per point of each curve and quantity; of layers by their names, else by position."""
    columns = ["model", "checkpoint", "split", "layer", "quantity", "value", "spread", "n_seeds"]
    names = {}
    if layers is not None:
        names = {model: layers_of(layers, model) for model in dict.fromkeys(layers["model"])}
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


def refuse_empty(frame: pd.DataFrame, what: str) -> None:
    if frame.empty:
        raise UserError(f"the table of {what} has no rows; there is nothing to draw")


def select_rows(frame: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    return frame


def splits_of(frame: pd.DataFrame) -> list[str]:
    found = [*dict.fromkeys(frame["split"])]
    return [*(s for s in DASHES if s in found), *(s for s in found if s not in DASHES)]


def models_and_splits(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return [
        (model, split)
        for model in dict.fromkeys(frame["model"])
        for split in splits_of(select_rows(frame, model=model))
    ]


def checkpoints_of(frame: pd.DataFrame, model: str | None = None) -> dict[str, str]:
    """Checkpoints and their titles in the order of training; those without an epoch last."""
    if model is not None:
        frame = select_rows(frame, model=model)
    ordered = frame.drop_duplicates("checkpoint").sort_values("epoch", na_position="last")
    return {record["checkpoint"]: checkpoint_title(record) for record in ordered.to_dict("records")}


def layers_of(frame: pd.DataFrame, model: str) -> list[str]:
    mine = select_rows(frame, model=model).sort_values("layer_index", kind="stable")
    return [*dict.fromkeys(mine["layer"])]


def models_by_layers(layers: pd.DataFrame) -> dict[tuple[str, ...], list[str]]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for model in dict.fromkeys(layers["model"]):
        groups.setdefault(tuple(layers_of(layers, model)), []).append(model)
    return groups


def encode_curves(frame: pd.DataFrame, overlaid: bool) -> Encoding:
    models = tuple(dict.fromkeys(frame["model"]))
    return Encoding(models, checkpoints_of(frame), tuple(splits_of(frame)), overlaid)


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


def curves_along(
    layers: pd.DataFrame, names: Sequence[str], models: Sequence[str]
) -> Iterator[Curve]:
    """The curves of models that have the same layers."""
    for model in models:
        for checkpoint in checkpoints_of(layers, model):
            of_checkpoint = select_rows(layers, model=model, checkpoint=checkpoint)
            for split in splits_of(of_checkpoint):
                mine = select_rows(of_checkpoint, split=split)
                measured = set(mine["layer"])
                alive = set(select_rows(mine, status=STATUS_OK)["layer"])
                yield Curve(
                    model,
                    checkpoint,
                    split,
                    mine["seed"].nunique(),
                    np.arange(len(names), dtype=float),
                    *_mean_and_spread(mine, "layer", [*names], [*LABELS]),
                    np.array([name in measured - alive for name in names]),
                )


def isolated(value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Points without a neighbor."""
    known = np.concatenate([[False], np.isfinite(value), [False]])
    return known[1:-1] & ~known[:-2] & ~known[2:]


def has_spread(curves: Sequence[Curve]) -> bool:
    return any(np.isfinite(s).any() for curve in curves for s in curve.spread.values())


def paths_of(layers: pd.DataFrame, model: str | None = None) -> Iterator[Curve]:
    """The curves of the classes along the layers, of one model or all."""
    layers = of_classes(layers)
    for name in [model] if model else dict.fromkeys(layers["model"]):
        yield from curves_along(layers, layers_of(layers, name), [name])
