"""All figures of a run: what draws each, from which table, when, and what the report calls it.

A new figure is a file of this folder with ``plot_NAME(table)`` and ``NAME_values(table)``, called NAME.py, and an entry here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

__all__ = ["FIGURES", "Figure", "trained"]


def trained(config: Mapping[str, Any]) -> bool:
    """Whether a run trains a network."""
    trains = any(model["weights"] == "trained" for model in config["models"])
    return trains and any(epoch > 0 for epoch in config["checkpoints"])


@dataclass(frozen=True)
class Figure:
    """What the command line, the workflow and the report know of a figure; nothing is imported for it.

    Attributes
    ----------
    name : str
        Also of the module of this folder that draws it.
    table : str
        The table that it is drawn from: ``layers``, ``manifolds``, ``centers`` or ``training``.
    title : str
        What the report calls it.
    drawn : callable
        Whether a run with this (resolved) configuration draws it.
    category : str
        The report's section.
    """

    name: str
    table: str
    title: str
    drawn: Callable[[Mapping[str, Any]], bool] = lambda config: True
    category: str = "Geometry"

    def plot(self, table: pd.DataFrame) -> Picture:
        """Draw it."""
        picture: Picture = self._function(f"plot_{self.name}")(table)
        return picture

    def values(self, table: pd.DataFrame) -> pd.DataFrame:
        """The numbers that it shows, as a table.

        Returns
        -------
        DataFrame
            In the long form: what identifies a point, then ``quantity``, ``value``, ``spread`` (what
            a bar or band shows; empty where there is none) and ``n_seeds``. Of ``manifolds`` a row per
            layer and quantity with the median, the quartiles and the two classes that stand out; of
            ``centers`` a row per layer and component.
        """
        numbers: pd.DataFrame = self._function(f"{self.name}_values")(table)
        return numbers

    def _function(self, name: str) -> Callable[[pd.DataFrame], Any]:
        module = importlib.import_module(f"manifold_capacity.figures.{self.name}")
        function: Callable[[pd.DataFrame], Any] = getattr(module, name)
        return function


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("layers", "layers", "along the layers"),
        Figure("manifolds", "manifolds", "class by class"),
        Figure(
            "dynamics",
            "layers",
            "over training",
            drawn=lambda config: trained(config) and len(config["checkpoints"]) > 2,
        ),
        Figure("radius_dimension", "layers", "radius and dimension"),
        Figure("centers", "centers", "spectrum of the centers"),
        Figure(
            "controls",
            "layers",
            "controls",
            drawn=lambda config: config["manifolds"]["shuffle_labels"],
        ),
        Figure("training", "training", "loss and accuracy", trained, "Training"),
    )
}
