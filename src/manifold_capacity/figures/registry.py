"""All figures of a run: from which table each is drawn, when, and what it shows.

A new figure is a file NAME.py of this folder with ``plot_NAME(table)`` and ``NAME_values(table)``, and an entry here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manifold_capacity.errors import MissingPackageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture


def trained(config: Mapping[str, Any]) -> bool:
    """Whether a run trains a network."""
    trains = any(model["weights"] == "trained" for model in config["models"])
    return trains and any(epoch > 0 for epoch in config["checkpoints"])


def several_epochs(config: Mapping[str, Any]) -> bool:
    """Whether a run measures a model at three epochs or more."""
    path = config["activations"]["path"]
    listed = [model.get("weights_files") or [] for model in config["models"]]
    listed.append(path if isinstance(path, list) else [])
    listed.append(config["checkpoints"] if trained(config) else [])
    return max(map(len, listed)) > 2


def exact(config: Mapping[str, Any]) -> bool:
    """Whether a run measures the exact capacity."""
    return "glue" in config["geometry"]["measures"]


def by_position(config: Mapping[str, Any]) -> bool:
    """Whether a run measures positions of a layer by themselves."""
    return "positions" in str([*(config["layers"].get("views") or {}).values()])


@dataclass(frozen=True)
class Figure:
    """What the command line, the workflow and the documentation know of a figure, without importing its module.

    Attributes
    ----------
    name : str
        Also of the module of this folder that draws it.
    table : str
        The table that it is drawn from: ``layers``, ``manifolds``, ``centers``, ``separability`` or ``training``.
    title : str
        In the report's menu.
    shows : str
        What it shows, as Markdown, for docs/outputs.md.
    drawn : callable
        Whether a run with this (resolved) configuration draws it.
    category : str
        The report's section.
    """

    name: str
    table: str
    title: str
    shows: str
    drawn: Callable[[Mapping[str, Any]], bool] = lambda config: True
    category: str = "Geometry"

    def plot(self, table: pd.DataFrame) -> Picture:
        """Draw it."""
        return self._function(f"plot_{self.name}")(table)

    def values(self, table: pd.DataFrame) -> pd.DataFrame:
        """The numbers that it shows, as a table.

        Returns
        -------
        DataFrame
            In the long form: what identifies a point, then ``quantity``, ``value``, ``low``, ``high`` and ``interval_over``
            (the band; empty without one) and ``n_seeds``. Of ``manifolds`` a row per layer and quantity
            with the median, the quartiles and the two colored classes; of ``centers`` a row per layer
            and component, of ``separability`` per layer and number of directions.
        """
        return self._function(f"{self.name}_values")(table)

    def _function(self, name: str) -> Any:
        try:
            return getattr(importlib.import_module(f"manifold_capacity.figures.{self.name}"), name)
        except ModuleNotFoundError as error:
            raise MissingPackageError.of_pipeline(error.name) from error


# fmt: off
FIGURES = {figure.name: figure for figure in (
    Figure("layers", "layers", "along the layers", "Capacity, radius, dimension and center correlation along the layers."),
    Figure("manifolds", "manifolds", "class by class",
           "How capacity, radius and dimension are spread over the classes, at each model's last checkpoint; the classes of highest and lowest capacity "
           "in the last layer are colored."),
    Figure("dynamics", "layers", "over training", "The same four quantities as in `layers` over layers and checkpoints, if there are three checkpoints or more.",
           drawn=several_epochs),
    Figure("radius_dimension", "layers", "radius and dimension",
           "Each layer's radius against its dimension, the layers as a path. Along a gray line, balls of that radius and dimension have the same capacity, "
           "the number on the line, by the [exact formula](theory.md#ground-truths)."),
    Figure("centers", "centers", "spectrum of the centers",
           "The spectrum of each layer's centers at the first and the last checkpoint. A dot marks the number K of directions that were projected out."),
    Figure("controls", "layers", "controls",
           "The four quantities at the last checkpoint beside the untrained network and shuffled labels, with `manifolds.shuffle_labels`.",
           drawn=lambda config: config["manifolds"]["shuffle_labels"]),
    Figure("glue", "layers", "exact capacity",
           "The [exact capacity](theory.md#exact-capacity) and its geometry at the last checkpoint and before training, with `geometry.measures: [mean_field, glue]`; "
           "beside it the mean-field capacity (thin) and the simulated one (diamonds), if measured.", exact),
    Figure("separability", "separability", "how many neurons",
           "The probability that random labels can be separated by a readout of n random directions, for each layer at the last checkpoint. "
           "A dot marks one half. With `geometry.measures: [mean_field, glue]`.", exact),
    Figure("positions", "layers", "position by position",
           "The capacity at each position of a layer with the [view](models.md#views) `positions`, at the first and the last checkpoint: a map over an image, "
           "curves over tokens or time. Other figures leave single positions out.", by_position),
    Figure("training", "training", "loss and accuracy", "Loss and accuracy by epoch, if anything was trained.", trained, "Training"),
)}
# fmt: on
