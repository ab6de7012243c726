"""The figure of the spread over classes."""

import numpy as np

from manifold_capacity.figures.manifolds import manifolds_values, plot_manifolds

from .helpers import NAMES, SIX, external, legend_of, of_classes, table


def test_classes_are_spread_around_their_median() -> None:
    layers = table({"a": SIX}, seeds=(0, 1), epochs=(0, 15))
    figure = plot_manifolds(of_classes(layers, 5))
    assert len(figure.axes) == 3 * 2
    assert [axis.get_title() for axis in figure.axes[:2]] == ["train split", "test split"]
    assert "epoch 15" in figure.get_suptitle()
    last = layers[(layers["epoch"] == 15) & (layers["split"] == "test")]
    expected = 1.2 * last.groupby("layer_index")["radius"].mean()  # class 2 of 0 to 4
    axis = figure.axes[3]
    (median,) = (line for line in axis.lines if line.get_color() == "black")
    np.testing.assert_allclose(median.get_ydata(), expected)
    (band,) = axis.collections
    corners = band.get_paths()[0].vertices
    heights = corners[corners[:, 0] == 0][:, 1]
    low, high = expected.iloc[0] * 1.1 / 1.2, expected.iloc[0] * 1.3 / 1.2
    np.testing.assert_allclose([heights.min(), heights.max()], [low, high])
    assert legend_of(figure)[-2:] == [
        "class fox:\nhighest capacity\nin the last layer",
        "class cat:\nlowest capacity\nin the last layer",
    ]
    colored = [legend.get_color() for legend in figure.legends[0].get_lines()[-2:]]
    for color, factor in zip(colored, (1.4 / 1.2, 1 / 1.2), strict=True):
        (line,) = (line for line in axis.lines if line.get_color() == color)
        np.testing.assert_allclose(line.get_ydata(), expected * factor)


def test_class_and_layer_that_are_missing_in_one_split() -> None:
    manifolds = of_classes(table({"a": SIX}), 4)
    test = manifolds["split"] == "test"
    gone = (manifolds["class_index"] == 3) | (manifolds["layer"] == SIX[3])
    figure = plot_manifolds(manifolds[~(test & gone)])
    train_axis, test_axis = figure.axes[:2]
    # A thin line for each class, the two colored ones and the median.
    assert len(train_axis.lines) == 4 + 2 + 1
    assert len(test_axis.lines) == 3 + 1 + 1
    (median,) = (line for line in test_axis.lines if line.get_color() == "black")
    np.testing.assert_array_equal(np.isnan(median.get_ydata()), [0, 0, 0, 1, 0, 0])


def test_long_name_of_a_file_does_not_reach_the_legend() -> None:
    name = "monkey_A_session_2021-03-04_V1_V4_IT"
    figure = plot_manifolds(of_classes(external(name), 5))
    figure.draw_without_rendering()
    (legend,), (title,) = figure.legends, figure.texts
    assert not title.get_window_extent().overlaps(legend.get_window_extent())
    assert "".join(figure.get_suptitle().split()) == f"{name}.npz·{name}"
    assert figure.axes[0].get_title() == "no split"


def test_values() -> None:
    layers = table({"a": SIX}, epochs=(0, 5, 15))
    values = manifolds_values(of_classes(layers, 5))
    assert len(values) == 2 * 3 * len(SIX)
    last = layers[(layers["epoch"] == 15) & (layers["split"] == "test")]
    mine = values[(values["split"] == "test") & (values["quantity"] == "capacity")]
    names = ["lowest_value", "lower_quartile", "median", "upper_quartile", "highest_value"]
    factors = [1.0, 1.1, 1.2, 1.3, 1.4]
    np.testing.assert_allclose(mine[names], np.outer(last["capacity"], factors))
    assert set(mine["highest_class"]) == {NAMES[4]}
    assert set(mine["lowest_class"]) == {NAMES[0]}


def test_a_single_class_is_both_the_highest_and_the_lowest() -> None:
    values = manifolds_values(of_classes(table({"a": SIX}), 1))
    assert set(values["highest_class"]) == set(values["lowest_class"]) == {NAMES[0]}
