"""`LayerTable`: what measuring several layers in Python returns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from manifold_capacity.errors import CaveatWarning, UserError, warn_caller
from manifold_capacity.figures.registry import FIGURES
from manifold_capacity.geometry.caveats import CAVEATS
from manifold_capacity.library.measure_layer import Measured
from manifold_capacity.summary import collect, comparisons
from manifold_capacity.summary.columns import NEEDED_COLUMNS
from manifold_capacity.summary.rows import STATUS_OK
from manifold_capacity.summary.text import format_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What a caveat's title leaves to say, in the words of the functions that return a table.
_REMEDIES = {"unequal": "; points_per_class='equal' draws equally many from each"}


class LayerTable(pd.DataFrame):
    """A row for each layer, with the columns of ``summary/layers.csv`` of a run; a pandas ``DataFrame``.

    ``print(table)`` shows capacity, radius and dimension with their intervals, and the caveats, as at the end of a run.

    Attributes
    ----------
    manifolds : DataFrame
        A row for each layer and class, as of ``summary/manifolds.csv``.
    centers : DataFrame
        A row for each layer and principal component of the centers, as of ``summary/centers.csv``.
    separability : DataFrame
        With exact capacity, a row for each layer and number of random directions, as of ``summary/separability.csv``.
    """

    _metadata = ["manifolds", "centers", "separability"]  # noqa: RUF012 - of pandas: kept where rows are chosen
    manifolds: pd.DataFrame
    centers: pd.DataFrame
    separability: pd.DataFrame

    @property
    def _constructor(self) -> Any:
        return LayerTable

    @classmethod
    def of(cls, measured: Iterable[Measured]) -> LayerTable:
        """The table of layers in the order given; warns of their caveats, and of layers without a geometry."""
        found = [*measured]
        table = cls(collect.layers_table([each.row for each in found]))
        for kind in cls._metadata:
            setattr(
                table, kind, collect.joined_tables(kind, [getattr(each, kind) for each in found])
            )
        _warn(each.row for each in found)
        return table

    def __str__(self) -> str:
        if not NEEDED_COLUMNS["layers"] <= {*self.columns}:
            return repr(self)
        return format_table(pd.DataFrame(self))

    def plot(self, figure: str = "layers") -> Figure:  # type: ignore[override]
        """Draw a figure, by default capacity, radius, dimension and center correlation along the layers.

        Parameters
        ----------
        figure : str
            Name of a figure, as of ``manifold_capacity.figures.registry.FIGURES``: ``layers``, ``manifolds``,
            ``radius_dimension``, ``centers``, and with exact capacity ``glue`` and ``separability``.

        Returns
        -------
        matplotlib.figure.Figure
            For its ``savefig``; a notebook shows it.
        """
        tables = {"layers": self} | {name: getattr(self, name) for name in self._metadata}
        known = [name for name, each in FIGURES.items() if each.table in tables]
        if figure not in known:
            raise UserError(f"figure is {figure!r}; choose one of {', '.join(known)}")
        return FIGURES[figure].plot(pd.DataFrame(tables[FIGURES[figure].table]))

    def compare(  # type: ignore[override]
        self, other: LayerTable | None = None, *, by: str = "model"
    ) -> pd.DataFrame:
        """Differences, with single and simultaneous 95 % intervals: as `manifold_capacity.summary.comparisons.compare`.

        Parameters
        ----------
        other : LayerTable, optional
            Another table, of the same layers and classes, to compare with, and of another `name`.
        by : {"model", "layer"}
            "model": groups (or networks, checkpoints and splits) with each other, layer by layer. "layer": each layer
            with each one before it, such as the areas of a recording.

        Returns
        -------
        DataFrame
            A row for each comparison, layer and quantity, as of ``summary/comparisons.csv``.
        """
        if by not in ("model", "layer"):
            raise UserError(f"by is {by!r}; choose 'model' or 'layer'")
        tables = [self] if other is None else [self, other]
        layers = pd.concat([pd.DataFrame(table) for table in tables], ignore_index=True)
        manifolds = pd.concat([table.manifolds for table in tables], ignore_index=True)
        if by == "layer":
            if layers.duplicated("layer").any():
                raise UserError(
                    "by='layer' compares the layers of one group: choose its rows first"
                )
            layers, manifolds = _as_models(layers), _as_models(manifolds)
        found = comparisons.compare(layers, manifolds)
        if found.empty:
            raise UserError(
                "there is nothing to compare: it takes groups or tables of different names, with the same layers and "
                "classes, or by='layer' and several layers of the same classes"
            )
        return found.assign(comparison="layer") if by == "layer" else found


def _as_models(frame: pd.DataFrame) -> pd.DataFrame:
    """Each layer in the place of a model with one layer."""
    return frame.assign(model=frame["layer_name"], layer="all", layer_index=1, layer_name="all")


def _warn(rows: Iterable[Mapping[str, Any]]) -> None:
    """Say each caveat once, with the layers that have it."""
    of_codes, without = defaultdict(list), {}
    for row in rows:
        name = f"{row['layer_name']} of {row['group']}" if "group" in row else row["layer_name"]
        if row["status"] != STATUS_OK:
            without[name] = row["status"]
        for code in str(row.get("caveats") or "").split():
            of_codes[code].append(name)
    for code in (code for code in CAVEATS if code in of_codes):
        remedy = _REMEDIES.get(code, "")
        warn_caller(
            f"{code}: {CAVEATS[code][0]}{remedy} ({', '.join(of_codes[code])})", CaveatWarning
        )
    for name, status in without.items():
        warn_caller(f"{name} has no geometry: {status}")
