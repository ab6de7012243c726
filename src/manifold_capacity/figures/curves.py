"""From a table to curves: which rows make up a curve, and its color and line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from manifold_capacity.figures import style
from manifold_capacity.geometry.intervals import FEWEST, half_width
from manifold_capacity.summary.rows import ORIGINAL, STATUS_OK, select_rows, without_positions
from manifold_capacity.summary.text import checkpoint_title, split_title

Groups = Sequence[tuple[Sequence[str], list[str]]]  # layers, and the models that have them
Numbers = dict[str, NDArray[np.float64]]  # (n,) for each quantity; NaN where there is none


@dataclass(frozen=True)
class Curve:
    """One line of a figure: n points, which are layers or epochs."""

    model: str
    checkpoint: str
    split: str
    n_seeds: int
    names: list[Any]  # of the layers, or the epochs
    position: NDArray[np.float64]  # (n,): layers counted from 0, or epochs
    value: Numbers
    low: Numbers  # the 95 % interval's ends
    high: Numbers
    over: str  # what the interval is over; empty without one
    dead: NDArray[np.bool_]  # (n,): where a layer has no geometry


@dataclass(frozen=True)
class Encoding:
    """What color and line mean in a figure: the style of each curve, and samples for the legend."""

    style: Callable[[Curve], dict[str, Any]]
    samples: list[Artist]


def encode(
    models: Sequence[str], checkpoints: Mapping[str, str], splits: Sequence[str], *, overlaid: bool
) -> Encoding:
    """Color by model and checkpoint, line by split.

    `checkpoints` are names and titles in the order of training; with `overlaid`, several models are
    in one panel.
    """
    place = {name: i / max(1, len(checkpoints) - 1) for i, name in enumerate(checkpoints)}

    def color(model: str, checkpoint: str) -> str:
        base = style.MODEL_COLORS[models.index(model) % len(style.MODEL_COLORS)]
        if len(checkpoints) < 2:
            return base
        shade = place[checkpoint]
        return style.tint(base, shade) if overlaid else to_hex(style.CHECKPOINT_COLORS(shade))

    samples: dict[str, dict[str, Any]] = {}
    if overlaid:
        last = [*checkpoints][-1]
        samples |= {model: style.line_style(color(model, last)) for model in models}
    if len(checkpoints) > 1:
        for checkpoint, title in checkpoints.items():
            gray = style.tint(style.GRAY, place[checkpoint])
            samples[title] = style.line_style(gray if overlaid else color(models[0], checkpoint))
    return Encoding(
        lambda curve: style.line_style(color(curve.model, curve.checkpoint), curve.split),
        legend_samples(samples, splits),
    )


def encode_table(layers: pd.DataFrame, *, overlaid: bool) -> Encoding:
    models = [*layers["model"].unique()]
    return encode(models, checkpoints_of(layers), splits_of(layers), overlaid=overlaid)


def legend_samples(styles: Mapping[str, dict[str, Any]], splits: Sequence[str]) -> list[Artist]:
    """Samples of all that differs between the curves of a panel."""
    of_splits = {split_title(split): style.line_style(style.GRAY, split) for split in splits}
    shown = {**styles, **(of_splits if len(splits) > 1 else {})}
    return [style.legend_line(label, **look) for label, look in shown.items()]


def of_labels(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the control with shuffled labels."""
    return frame[frame["labels"] == ORIGINAL] if "labels" in frame.columns else frame


def of_classes(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the control with shuffled labels, and without single positions, unless there is nothing else."""
    return views_apart(without_positions(of_labels(frame)))


def views_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Further views of the same modules as a model of their own: a curve must not go to and fro between views."""
    if not {"view", "layer_name"} <= {*frame.columns}:
        return frame
    layers = frame.drop_duplicates(["model", "layer"])
    modules = layers.groupby(["model", "layer_name"], sort=False)["view"]
    later = layers[modules.transform(lambda views: pd.factorize(views)[0]) > 0]
    names = {
        (row["model"], row["layer"]): f"{row['model']}, {row['view'].replace('-', ' ', 1)}"
        for row in later[["model", "layer", "view"]].to_dict("records")
    }
    pairs = zip(frame["model"], frame["layer"], strict=True)
    return frame.assign(model=[names.get(pair, pair[0]) for pair in pairs])


def at_last_checkpoint(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(
        select_rows(frame, model=model, checkpoint=[*checkpoints_of(frame, model)][-1])
        for model in frame["model"].unique()
    )


def splits_of(frame: pd.DataFrame) -> list[str]:
    known, found = [*style.DASHES], frame["split"].unique()
    return [*(s for s in known if s in found), *(s for s in found if s not in known)]


def models_and_splits(frame: pd.DataFrame) -> list[tuple[str, str]]:
    models = frame["model"].unique()
    return [
        (model, split) for model in models for split in splits_of(select_rows(frame, model=model))
    ]


def checkpoints_of(frame: pd.DataFrame, model: str | None = None) -> dict[str, str]:
    """Checkpoints and their titles in the order of training; those without an epoch last."""
    if model is not None:
        frame = select_rows(frame, model=model)
    ordered = frame.drop_duplicates("checkpoint").sort_values("epoch", na_position="last")
    return {record["checkpoint"]: checkpoint_title(record) for record in ordered.to_dict("records")}


def layers_of_models(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Each model's layers, in their order."""
    ordered = frame.sort_values("layer_index", kind="stable")
    models = frame["model"].unique()
    return {model: [*select_rows(ordered, model=model)["layer"].unique()] for model in models}


def models_with_the_same_layers(frame: pd.DataFrame) -> list[tuple[tuple[str, ...], list[str]]]:
    """Layers, and the models that have them."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for model, names in layers_of_models(frame).items():
        groups.setdefault(tuple(names), []).append(model)
    return [*groups.items()]


def layers_in_groups(groups: Groups) -> dict[str, list[str]]:
    """Each model's layers, the models in the order of the groups."""
    return {model: [*names] for names, models in groups for model in models}


def curves_along(
    layers: pd.DataFrame, names: Mapping[str, list[str]], quantities: Iterable[str] = style.LABELS
) -> Iterator[Curve]:
    """The curves of some models along their layers, a curve for each checkpoint and split."""
    for model, of_model in names.items():
        for checkpoint in checkpoints_of(layers, model):
            of_checkpoint = select_rows(layers, model=model, checkpoint=checkpoint)
            for split in splits_of(of_checkpoint):
                rows = select_rows(of_checkpoint, split=split)
                n, place = rows["seed"].nunique(), np.arange(len(of_model), dtype=float)
                of_layers = mean_and_interval(rows, "layer", of_model, quantities)
                gone = {*rows["layer"]} - {*select_rows(rows, status=STATUS_OK)["layer"]}
                dead = np.array([name in gone for name in of_model])
                yield Curve(model, checkpoint, split, n, of_model, place, *of_layers, dead)


def class_curves(layers: pd.DataFrame) -> list[Curve]:
    """The curves of all models along their layers, without the control."""
    classes = of_classes(layers)
    return [*curves_along(classes, layers_of_models(classes))]


def mean_and_interval(
    frame: pd.DataFrame, by: str, order: list[Any], quantities: Iterable[str]
) -> tuple[Numbers, Numbers, Numbers, str]:
    """Means over seeds, and the ends of their 95 % intervals and what these are over.

    From three seeds on, over seeds. Else those in the table, their ends averaged over seeds: too wide rather than
    too narrow, as the seeds share their classes.
    """

    def aggregated(column: str, how: Any) -> NDArray[np.float64]:
        if column not in frame.columns:
            return np.full(len(order), math.nan)
        finite = frame[column].astype(float).replace([math.inf, -math.inf], math.nan)
        return finite.groupby(frame[by]).agg(how).reindex(order).to_numpy(dtype=float)

    value = {quantity: aggregated(quantity, "mean") for quantity in quantities}
    n_seeds = frame["seed"].nunique()
    if n_seeds >= FEWEST:
        half = {q: aggregated(q, _half_width_of_seeds) for q in value}
        low, high = ({q: value[q] + sign * half[q] for q in value} for sign in (-1, 1))
        over = f"{n_seeds} seeds"
    else:
        low, high = (
            {q: aggregated(f"{q}_{end}", "mean") for q in value} for end in ("low", "high")
        )
        known = frame.get("interval_over", pd.Series(dtype=str)).dropna()
        over = " or ".join(known.unique())
    shown = any(np.isfinite(ends).any() for ends in high.values())
    return value, low, high, over if shown else ""


def _half_width_of_seeds(values: pd.Series) -> float:
    values = values.dropna()
    return float(half_width(values - values.mean()))


def tabulate(curves: Iterable[Curve], quantities: Iterable[str] = style.LABELS) -> pd.DataFrame:
    """A row per point of each curve and quantity."""
    rows = [
        {
            **{"model": curve.model, "checkpoint": curve.checkpoint, "split": curve.split},
            "layer": name,
            "quantity": quantity,
            "value": curve.value[quantity][index],
            "low": curve.low[quantity][index],
            "high": curve.high[quantity][index],
            "interval_over": curve.over,
            "n_seeds": curve.n_seeds,
        }
        for curve in curves
        for quantity in quantities
        for index, name in enumerate(curve.names)
    ]
    return pd.DataFrame(rows)


def isolated(value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Points without a neighbor."""
    known = np.concatenate([[False], np.isfinite(value), [False]])
    return known[1:-1] & ~known[:-2] & ~known[2:]


def interval_text(curves: Sequence[Curve]) -> str:
    """'95 % interval over 5 seeds', or over classes or draws; empty if no curve has one."""
    over = dict.fromkeys(curve.over for curve in curves if curve.over)
    return f"95 % interval over {' or '.join(over)}" if over else ""
