"""The figure of the geometry over training."""

import math

import numpy as np
from matplotlib.collections import QuadMesh

from manifold_capacity.figures.dynamics import dynamics_values, plot_dynamics

from .helpers import QUANTITIES, SIX, panels, table, with_control


def test_maps_hold_the_numbers_in_the_order_of_layers_and_training() -> None:
    layers = table({"a": SIX}, epochs=(5, 0, None), splits=("test",), dead=[(5, SIX[1])])
    maps = panels(plot_dynamics(with_control(layers)))
    for axis, quantity in zip(maps, QUANTITIES, strict=True):
        (mesh,) = (shape for shape in axis.collections if isinstance(shape, QuadMesh))
        wanted = layers.pivot(index="layer_index", columns="checkpoint", values=quantity)
        wanted = wanted[["epoch-000", "epoch-005", "pretrained"]]
        np.testing.assert_array_equal(np.ma.filled(mesh.get_array(), math.nan), wanted)
        assert mesh.get_clim() == (wanted.min(axis=None), wanted.max(axis=None))
        (cross,) = axis.lines
        assert cross.get_xydata().tolist() == [[1.5, 1.5]]
        low, high = axis.get_ylim()
        assert low > high  # the first layer is on top
    assert [label.get_text() for label in maps[0].get_xticklabels()] == ["0", "5", "pretrained"]
    assert [label.get_text() for label in maps[0].get_yticklabels()][:2] == ["0 Input", "1 Conv2d"]


def test_values() -> None:
    layers = table({"a": SIX}, epochs=(0, 5, 15))
    values = dynamics_values(layers)
    assert len(values) == len(layers) * len(QUANTITIES)
    for quantity, part in values.groupby("quantity"):
        keys = ["checkpoint", "split", "layer"]
        found = part.set_index(keys)["value"].sort_index()
        assert found.equals(layers.set_index(keys)[quantity].sort_index().rename("value"))
