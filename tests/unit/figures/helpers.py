"""Tables with made-up numbers, and what a drawn figure shows."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

NAMES = ["cat", "dog", "owl", "bee", "fox"]
QUANTITIES = {"capacity": 0.05, "radius": 1.4, "dimension": 30.0, "center_correlation": 0.3}
GLUE = [
    *("capacity", "radius", "dimension", "utility"),
    *("center_alignment", "axis_alignment", "center_axis_alignment"),
]
SIX = ["0_Input", "1_Conv2d", "4_Conv2d", "8_Linear", "10_Linear", "12_Linear"]


def many(n: int) -> list[str]:
    """As many layers as a deep network has, one with a long name."""
    return ["0_Input", *(f"{3 * i}_Conv2d" for i in range(1, n - 1)), f"{3 * n}_LongNamedLinear"]


def table(
    networks: dict[str, list[str]],
    *,
    seeds: Sequence[int] = (0,),
    epochs: Sequence[int | None] = (0, 15),
    splits: Sequence[str] = ("train", "test"),
    dead: Sequence[tuple[int | None, str]] = (),
) -> pd.DataFrame:
    """A table of layers, each of its numbers different."""
    rng = np.random.default_rng(0)
    rows = []
    for model, seed, epoch, split in itertools.product(networks, seeds, epochs, splits):
        for name in networks[model]:
            alive = (epoch, name) not in dead
            row: dict[str, Any] = {
                "dataset": "digits",
                "model": model,
                "weights": "trained",
                "seed": seed,
                "checkpoint": "pretrained" if epoch is None else f"epoch-{epoch:03d}",
                "epoch": math.nan if epoch is None else epoch,
                "split": split,
                "labels": "original",
                "layer": name,
                "layer_index": int(name.split("_")[0]),
                "status": "ok" if alive else "all activations are zero",
            }
            for quantity, size in QUANTITIES.items():
                row[quantity] = size * (1 + 0.3 * rng.random()) if alive else math.nan
                row[f"{quantity}_low"] = row[quantity] - 0.02 * size
                row[f"{quantity}_high"] = row[quantity] + 0.03 * size
            row["interval_over"] = "classes" if alive else math.nan
            rows.append(row)
    return pd.DataFrame(rows)


def external(name: str) -> pd.DataFrame:
    """The same for external activations, in a file of this name."""
    layers = table({name: ["1_V1", "2_V4"]}, epochs=(None,), splits=("all",))
    return layers.assign(dataset=f"{name}.npz", weights="external", checkpoint="external")


def with_control(layers: pd.DataFrame) -> pd.DataFrame:
    """The same, and the control with shuffled labels, a third as large."""
    shuffled = layers.assign(labels="shuffled")
    shuffled[[name + end for name in QUANTITIES for end in ("", "_low", "_high")]] /= 3
    return pd.concat([layers, shuffled], ignore_index=True)


def with_glue(layers: pd.DataFrame, simulated: bool = True) -> pd.DataFrame:
    """The same with exact capacities, whose numbers are the mean-field ones times 1 to 1.7, and simulated ones."""
    found = layers.assign(glue_interval_over=layers["interval_over"])
    for place, name in enumerate(GLUE):
        source = [*QUANTITIES][place % len(QUANTITIES)]
        for end in ("", "_low", "_high"):
            found[f"glue_{name}{end}"] = layers[f"{source}{end}"] * (1 + place / 10)
    found["glue_separable_fraction"] = layers["capacity"].where(layers["capacity"].isna(), 1.0)
    return found.assign(simulated_capacity=1.05 * layers["capacity"]) if simulated else found


def of_separability(layers: pd.DataFrame, classes: int = 10) -> pd.DataFrame:
    """A table of separability: half of the labels at classes / capacity directions."""
    parts = []
    for row in layers[layers["status"] == "ok"].to_dict("records"):
        middle = classes / row["capacity"]
        n = np.unique(np.linspace(0.6 * middle, 1.5 * middle, 41).round().astype(int))
        shares = 1 / (1 + np.exp(-(n - middle) / (0.06 * middle)))
        part = {name: row[name] for name in layers.columns[:10]}
        parts.append(pd.DataFrame(part | {"n_directions": n, "probability": shares}))
    return pd.concat(parts, ignore_index=True)


def of_positions(table: pd.DataFrame, *lengths: int, layers: int = 1) -> pd.DataFrame:
    """A table of layers with that of every position of each model's second layer, or of so many."""
    chosen = table.groupby("model")["layer"].transform(
        lambda names: names.isin(names.unique()[1 : 1 + layers] if layers == 1 else names.unique())
    )
    parts = [table.assign(position="")]
    for place, position in enumerate(np.ndindex(*lengths)):
        part = table[chosen.astype(bool)].copy()
        part["layer"] += "_position_" + "_".join(map(str, position))
        part["position"] = ", ".join(map(str, position))
        for name in ("capacity", "capacity_low", "capacity_high"):
            part[name] *= 1 + place / 50
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def of_centers(layers: pd.DataFrame, classes: int) -> pd.DataFrame:
    """A table of centers, whose spectrum is flatter in later layers."""
    parts = []
    for place, row in enumerate(layers[layers["status"] == "ok"].to_dict("records")):
        shares = (1 + np.arange(classes - 1)) ** (-2 + place / len(layers))
        part = {name: row[name] for name in layers.columns[:10]}
        part |= {"component": np.arange(1, classes), "variance_share": shares / shares.sum()}
        parts.append(pd.DataFrame(part | {"center_rank": place % (classes // 2)}))
    return pd.concat(parts, ignore_index=True)


def of_classes(layers: pd.DataFrame, classes: int) -> pd.DataFrame:
    """A table of manifolds: class k has 1 + k/10 times the layer's numbers."""
    parts = []
    for index in range(classes):
        part = layers[layers["status"] == "ok"].copy()
        part[["capacity", "radius", "dimension"]] *= 1 + index / 10
        parts.append(part.assign(class_index=index, class_name=NAMES[index % len(NAMES)]))
    return pd.concat(parts, ignore_index=True)


def metrics(models: Sequence[str], seeds: Sequence[int], epochs: int) -> pd.DataFrame:
    """A table of training; the training split has no values before the first epoch."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "dataset": "digits",
            "model": model,
            "seed": seed,
            "epoch": epoch,
            "train_loss": rng.random() if epoch else math.nan,
            "train_accuracy": rng.random() if epoch else math.nan,
            "test_loss": rng.random(),
            "test_accuracy": rng.random(),
        }
        for model, seed, epoch in itertools.product(models, seeds, range(epochs + 1))
    )


def tables(layers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A table of every kind, as of one run."""
    return {
        "layers": of_positions(with_glue(layers), 2, 2),
        "manifolds": of_classes(layers, 5),
        "centers": of_centers(layers, 10),
        "separability": of_separability(layers),
        "training": metrics([*layers["model"].unique()], [*layers["seed"].unique()], 4),
    }


def curves(axis: Axes) -> dict[str, Line2D]:
    """The labelled lines of a panel."""
    lines = {str(line.get_label()): line for line in axis.lines}
    return {label: line for label, line in lines.items() if not label.startswith("_")}


def panels(figure: Figure) -> list[Axes]:
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]
