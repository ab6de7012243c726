"""The figure of radius against dimension."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet

from manifold_capacity.figures.radius_dimension import plot_radius_dimension
from manifold_capacity.geometry.balls import ball_capacity

from .helpers import SIX, curves, many, table


def contours_of(axis: Axes) -> ContourSet:
    (contours,) = (shape for shape in axis.collections if isinstance(shape, ContourSet))
    return contours


def test_paths_pass_through_radius_and_dimension() -> None:
    layers = table({"a": SIX}, dead=[(15, SIX[2])]).assign(margin=0.5)
    (axis,) = plot_radius_dimension(layers).axes
    lines = curves(axis)
    assert len(lines) == 4
    mine = layers[(layers["epoch"] == 15) & (layers["split"] == "test")]
    np.testing.assert_array_equal(lines["a epoch-015 test"].get_xdata(), mine["radius"])
    np.testing.assert_array_equal(lines["a epoch-015 test"].get_ydata(), mine["dimension"])
    ends = {line.get_marker(): line for line in axis.lines[-2:]}
    for marker, row in (("s", mine.iloc[0]), ("D", mine.iloc[-1])):
        assert ends[marker].get_xydata().tolist() == [[row["radius"], row["dimension"]]]
    contours = contours_of(axis)
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        radius, dimension = path.vertices.T
        np.testing.assert_allclose(ball_capacity(radius, dimension, 0.5), level, rtol=0.01)


def test_lines_of_equal_capacity_need_one_margin() -> None:
    layers = table({"a": SIX})
    layers["margin"] = np.where(layers["epoch"] == 0, 0.0, 0.5)
    assert not plot_radius_dimension(layers).axes[0].collections


def test_a_narrow_range_has_lines_of_equal_capacity_too() -> None:
    layers = table({"a": SIX}, splits=("train",))
    layers["radius"] = np.linspace(1.45, 1.55, len(layers))
    layers["dimension"] = np.linspace(30, 35, len(layers))
    (axis,) = plot_radius_dimension(layers).axes
    assert sum(len(path.vertices) > 1 for path in contours_of(axis).get_paths()) >= 3


def test_labels_of_equal_capacity_keep_clear_of_the_paths() -> None:
    figure = plot_radius_dimension(table({"resnet50": many(54)}))
    figure.draw_without_rendering()
    (axis,) = figure.axes
    labels = [text for text in axis.texts if text.get_text()]
    assert labels
    for label in labels:
        for line in curves(axis).values():
            path = line.get_transform().transform_path(line.get_path())
            assert not path.intersects_bbox(label.get_window_extent(), filled=False), label
