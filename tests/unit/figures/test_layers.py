"""The figure along the layers."""

import itertools
import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from manifold_capacity.figures.dynamics import plot_dynamics
from manifold_capacity.figures.layers import plot_layers

from .helpers import QUANTITIES, SIX, curves, external, legend_of, many, table


def test_curves_pass_through_the_numbers_and_are_told_apart() -> None:
    layers = table({"a": SIX})
    figure = plot_layers(layers)
    assert len(figure.axes) == len(QUANTITIES)
    for axis, quantity in zip(figure.axes, QUANTITIES, strict=True):
        lines = curves(axis)
        assert [*lines] == [
            f"a epoch-{epoch:03d} {split}" for epoch in (0, 15) for split in ("train", "test")
        ]
        for label, line in lines.items():
            _, checkpoint, split = label.split()
            mine = layers[(layers["checkpoint"] == checkpoint) & (layers["split"] == split)]
            np.testing.assert_array_equal(line.get_ydata(), mine[quantity])
            np.testing.assert_array_equal(line.get_xdata(), np.arange(len(SIX)))
        assert lines["a epoch-000 train"].get_color() != lines["a epoch-015 train"].get_color()
        for checkpoint in ("epoch-000", "epoch-015"):
            train, test = lines[f"a {checkpoint} train"], lines[f"a {checkpoint} test"]
            assert train.get_color() == test.get_color()
            assert (train.get_linestyle(), test.get_linestyle()) == ("-", "--")
            assert test.get_markerfacecolor() == "white"
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels == ["0 Input", "1 Conv2d", "4 Conv2d", "8 Linear", "10 Linear", "12 Linear"]
    checkpoints, splits = ["epoch 0 (untrained)", "epoch 15"], ["train split", "test split"]
    assert legend_of(figure) == [*checkpoints, *splits, "95 % interval\nover classes"]
    assert figure.get_suptitle() == "digits · a"


def test_curves_do_not_depend_on_the_order_of_the_rows() -> None:
    layers = table({"a": SIX}, epochs=(0, 5, None))
    shuffled = layers.sample(frac=1, random_state=1)
    for one, other in zip(plot_layers(layers).axes, plot_layers(shuffled).axes, strict=True):
        found = curves(other)
        for label, line in curves(one).items():
            np.testing.assert_array_equal(found[label].get_ydata(), line.get_ydata())
            assert found[label].get_color() == line.get_color()


def _band(axis: Axes) -> np.ndarray:
    """Lower and upper ends (2, n) of a panel's only band, from left to right."""
    (band,) = (shape for shape in axis.collections if isinstance(shape, PolyCollection))
    corners = band.get_paths()[0].vertices
    heights = [corners[corners[:, 0] == place][:, 1] for place in np.unique(corners[:, 0])]
    return np.array([[column.min(), column.max()] for column in heights]).T


def test_the_band_is_the_interval_of_the_table() -> None:
    layers = table({"a": SIX}, epochs=(15,), splits=("train",))
    axis = plot_layers(layers).axes[1]
    np.testing.assert_allclose(_band(axis), layers[["radius_low", "radius_high"]].to_numpy().T)
    assert axis.containers == []


def test_a_layer_without_neighbors_has_a_bar() -> None:
    layers = table({"a": SIX}, epochs=(15,), splits=("train",), dead=[(15, SIX[1])])
    axis = plot_layers(layers).axes[1]
    (bars,) = (container.lines[2][0] for container in axis.containers)
    (ends,) = (segment[:, 1] for segment in bars.get_segments())
    np.testing.assert_allclose(ends, layers.loc[0, ["radius_low", "radius_high"]].to_list())


def test_two_seeds_share_their_classes() -> None:
    layers = table({"a": SIX}, seeds=(0, 1), epochs=(15,), splits=("train",))
    ends = layers.groupby("layer_index")[["radius_low", "radius_high"]].mean().to_numpy().T
    np.testing.assert_allclose(_band(plot_layers(layers).axes[1]), ends)


def test_one_line_needs_no_legend() -> None:
    figure = plot_layers(table({"a": SIX}, epochs=(15,), splits=("test",)))
    assert figure.legends == []
    assert (
        figure.get_suptitle()
        == "digits · a · epoch 15 · test split · band: 95 % interval over classes"
    )


def test_external_activations_are_named_by_their_file() -> None:
    figure = plot_layers(external("recording"))
    assert figure.get_suptitle() == "recording.npz · recording · band: 95 % interval over classes"
    assert curves(figure.axes[0])["recording external all"].get_linestyle() == "-"


def test_seeds_become_a_mean_and_a_band() -> None:
    layers = table({"a": SIX}, seeds=(0, 1, 2), epochs=(15,), splits=("train",))
    figure = plot_layers(layers)
    groups = layers.groupby("layer_index")["radius"]
    axis = figure.axes[1]
    (line,) = curves(axis).values()
    np.testing.assert_allclose(line.get_ydata(), groups.mean())
    reach = 4.302653 * groups.std() / math.sqrt(3)  # of the t distribution with 2 degrees
    ends = [groups.mean() - reach, groups.mean() + reach]
    np.testing.assert_allclose(_band(axis), ends, rtol=1e-6)
    title = " ".join(figure.get_suptitle().split())
    assert title.endswith("band: 95 % interval over 3 seeds")
    assert "mean of 3 seeds" in figure.get_suptitle()


def test_dead_layer_is_a_gap_with_a_cross() -> None:
    dead = [(epoch, SIX[2]) for epoch in (0, 15)]
    figure = plot_layers(table({"a": SIX}, splits=("train",), dead=dead))
    for axis in figure.axes:
        for line in curves(axis).values():
            np.testing.assert_array_equal(np.isnan(line.get_ydata()), [0, 0, 1, 0, 0, 0])
        crosses = [mark for mark in axis.lines if mark.get_marker() == "x"]
        assert [list(cross.get_xdata()) for cross in crosses] == [[2], [2]]
        heights = [float(cross.get_ydata()[0]) for cross in crosses]  # as a share of the panel
        assert 0 < heights[0] < heights[1] < 0.1
    assert legend_of(figure)[-1] == "no geometry"


def test_layer_that_is_dead_for_one_seed_only_is_drawn() -> None:
    layers = table({"a": SIX}, seeds=(0, 1), epochs=(15,), splits=("train",))
    layers.loc[2, [*QUANTITIES]] = math.nan
    layers.loc[2, "status"] = "dead"
    axis = plot_layers(layers).axes[0]
    (line,) = curves(axis).values()
    assert line.get_ydata()[2] == layers.loc[2 + len(SIX), "capacity"]
    assert not [mark for mark in axis.lines if mark.get_marker() == "x"]


def test_infinite_capacity_is_a_gap() -> None:
    layers = table({"a": SIX}, seeds=(0, 1), epochs=(0, 1, 2), splits=("train",))
    layers.loc[2, ["capacity", "capacity_stderr"]] = math.inf
    line = curves(plot_layers(layers[layers["seed"] == 0]).axes[0])["a epoch-000 train"]
    np.testing.assert_array_equal(np.isnan(line.get_ydata()), [0, 0, 1, 0, 0, 0])
    plot_dynamics(layers).draw_without_rendering()


def test_models_share_panels_only_if_they_share_layers() -> None:
    together = plot_layers(table({"a": SIX, "b": SIX}, splits=("train",)))
    assert len(together.axes) == 4
    colors = {line.get_color() for line in curves(together.axes[0]).values()}
    assert len(colors) == 4
    assert legend_of(together)[:4] == ["a", "b", "epoch 0 (untrained)", "epoch 15"]
    side_by_side = plot_layers(table({"a": SIX, "b": many(9), "c": SIX}, splits=("train",)))
    assert len(side_by_side.axes) == 8
    titles = [axis.get_title() for axis in side_by_side.axes]
    assert [title for title in titles if title] == ["a, c", "b"]
    assert side_by_side.axes[0].get_ylim() == side_by_side.axes[1].get_ylim()
    assert [len(curves(axis)) for axis in side_by_side.axes[:2]] == [4, 2]


def test_single_points_are_side_by_side() -> None:
    axis = plot_layers(table({"a": ["0_Input"]})).axes[0]
    places = [float(line.get_xdata()[0]) for line in curves(axis).values()]
    np.testing.assert_allclose(places, np.linspace(-0.2, 0.2, 4))


def test_colors_of_checkpoints_darken() -> None:
    figure = plot_layers(table({"a": SIX}, epochs=(0, 1, 5, 15), splits=("train",)))
    shades = []
    for line in curves(figure.axes[0]).values():
        red, green, blue = (int(to_hex(line.get_color())[i : i + 2], 16) for i in (1, 3, 5))
        shades.append(0.299 * red + 0.587 * green + 0.114 * blue)
    # Of 255: still told apart in gray.
    assert min(a - b for a, b in itertools.pairwise(shades)) > 15
