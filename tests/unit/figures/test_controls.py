"""The figure of the controls."""

import numpy as np

from manifold_capacity.figures.controls import plot_controls
from manifold_capacity.figures.layers import plot_layers
from manifold_capacity.figures.radius_dimension import plot_radius_dimension

from .helpers import SIX, curves, external, legend_of, table, with_control


def test_controls_are_beside_the_last_checkpoint() -> None:
    layers = with_control(table({"a": SIX}, epochs=(0, 5, 15), splits=("train",)))
    figure = plot_controls(layers)
    assert legend_of(figure)[:3] == ["last checkpoint", "untrained", "labels shuffled"]
    lines = curves(figure.axes[1])
    wanted = {
        "last checkpoint": ("epoch-015", "original"),
        "untrained": ("epoch-000", "original"),
        "labels shuffled": ("epoch-015", "shuffled"),
    }
    assert len(lines) == len(wanted)
    for name, (checkpoint, labels) in wanted.items():
        mine = layers[(layers["checkpoint"] == checkpoint) & (layers["labels"] == labels)]
        np.testing.assert_array_equal(lines[f"a {name} train"].get_ydata(), mine["radius"])
    looks = {(line.get_color(), line.get_marker()) for line in lines.values()}
    assert len(looks) == 3


def test_a_network_that_was_never_trained_is_no_control_of_itself() -> None:
    figure = plot_controls(with_control(table({"a": SIX}, epochs=(0,))))
    assert legend_of(figure)[:2] == ["last checkpoint", "labels shuffled"]


def test_external_activations_have_no_checkpoint() -> None:
    figure = plot_controls(with_control(external("recording")))
    assert legend_of(figure)[:2] == ["classes", "labels shuffled"]


def test_the_control_is_in_no_other_figure() -> None:
    layers = table({"a": SIX}, epochs=(0, 15))
    for plot in (plot_layers, plot_radius_dimension):
        for one, other in zip(plot(layers).axes, plot(with_control(layers)).axes, strict=True):
            assert [*curves(one)] == [*curves(other)]
            for label, line in curves(one).items():
                np.testing.assert_array_equal(line.get_ydata(), curves(other)[label].get_ydata())
