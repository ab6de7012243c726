"""Figures of all sizes can be read: nothing is clipped, and no texts overlap."""

import itertools
import math
from collections.abc import Callable

import pandas as pd
import pytest
from matplotlib.axis import Axis
from matplotlib.text import Text

from manifold_capacity.figures.layers import plot_layers
from manifold_capacity.figures.registry import FIGURES

from .helpers import (
    SIX,
    external,
    many,
    metrics,
    of_centers,
    of_classes,
    of_positions,
    of_separability,
    table,
    with_control,
    with_glue,
)

THREE = {"small_cnn": SIX, "vgg16": many(17), "resnet50": many(54)}
TWO = {"vgg16": many(17), "resnet50": many(54)}
ALL_DEAD = {"epochs": (0,), "dead": [(0, name) for name in SIX]}
ONE_LINE = {"epochs": (15,), "splits": ("test",)}
LONG_NAME = "monkey_A_session_2021-03-04_V1_V4_IT"
EXAMPLES: dict[str, dict[str, Callable[[], pd.DataFrame]]] = {
    "layers": {
        "6 layers, 2 checkpoints, 2 splits": lambda: table({"small_cnn": SIX}),
        "17 layers, 6 checkpoints": lambda: table({"vgg16": many(17)}, epochs=(0, 1, 2, 5, 10, 20)),
        "54 layers": lambda: table({"resnet50": many(54)}),
        "400 layers": lambda: table({"deep": many(400)}, **ONE_LINE),
        "one line": lambda: table({"a": SIX}, **ONE_LINE),
        "one layer": lambda: table({"a": ["0_Input"]}, seeds=(0, 1)),
        "3 models, 5 seeds": lambda: table(THREE, seeds=range(5)),
        "3 models with the same layers": lambda: table(
            {"a": SIX, "b": SIX, "c": SIX}, seeds=range(2), epochs=(0, 5, 15)
        ),
        "dead layers": lambda: table(
            {"a": SIX}, epochs=(0, None), dead=[(0, SIX[2]), (None, SIX[2])]
        ),
        "only dead layers": lambda: table({"a": SIX}, **ALL_DEAD),
    },
    "training": {
        "15 epochs": lambda: metrics(["a"], [0], 15),
        "3 models, 5 seeds": lambda: metrics("abc", range(5), 60),
        "one epoch": lambda: metrics(["a"], [0], 1),
    },
    "manifolds": {
        "10 classes": lambda: of_classes(table({"a": SIX}), 10),
        "100 classes": lambda: of_classes(table({"vgg16": many(17)}), 100),
        "2 models": lambda: of_classes(table({"a": SIX, "b": many(30)}, seeds=(0, 1)), 3),
        "2 models, 2 splits": lambda: of_classes(table(TWO), 30),
        "a file with a long name": lambda: of_classes(external(LONG_NAME), 5),
        "one layer": lambda: of_classes(table({"a": ["0_Input"]}), 3),
    },
    "dynamics": {
        "6 layers": lambda: table({"a": SIX}, epochs=(0, 5, 15)),
        "54 layers": lambda: table({"a": many(54)}, epochs=(0, 5, 20), dead=[(5, "0_Input")]),
        "2 models, 11 checkpoints": lambda: table(
            {"a": SIX, "b": many(17)}, epochs=(*range(0, 200, 20), None), seeds=(0, 1)
        ),
        "2 models, 2 splits": lambda: table(TWO, epochs=(0, 1, 5, 20)),
        "30 epochs": lambda: table({"a": SIX}, epochs=range(30)),
        "only dead layers": lambda: table({"a": SIX}, **ALL_DEAD),
    },
    "radius_dimension": {
        "6 layers": lambda: table({"small_cnn": SIX}),
        "3 models, 5 seeds": lambda: table(THREE, seeds=range(5)),
        "one layer": lambda: table({"a": ["0_Input"]}, **ONE_LINE),
        "manifolds that are points": lambda: table({"a": SIX}).assign(radius=0.0, dimension=0.0),
        "only dead layers": lambda: table({"a": SIX}, **ALL_DEAD),
    },
    "centers": {
        "6 layers": lambda: of_centers(table({"a": SIX}), 10),
        "2 classes": lambda: of_centers(table({"a": SIX}), 2),
        "54 layers": lambda: of_centers(table({"a": many(54)}), 100),
        "2 models": lambda: of_centers(
            table({"a": SIX, "b": many(17)}, epochs=(None,), seeds=(0, 1)), 30
        ),
    },
    "controls": {
        "6 layers": lambda: with_control(table({"small_cnn": SIX})),
        "17 layers, 3 seeds": lambda: with_control(table({"vgg16": many(17)}, seeds=range(3))),
        "54 layers": lambda: with_control(table({"resnet50": many(54)})),
        "2 models": lambda: with_control(table({"a": SIX, "b": many(17)}, epochs=(None,))),
    },
    "glue": {
        "6 layers": lambda: with_glue(table({"small_cnn": SIX})),
        "17 layers, 6 checkpoints": lambda: with_glue(
            table({"vgg16": many(17)}, epochs=(0, 1, 2, 5, 10, 20))
        ),
        "54 layers": lambda: with_glue(table({"resnet50": many(54)}, dead=[(15, "3_Conv2d")])),
        "one line": lambda: with_glue(table({"a": SIX}, **ONE_LINE), simulated=False),
        "one layer": lambda: with_glue(table({"a": ["0_Input"]}, seeds=(0, 1))),
        "3 models, 5 seeds": lambda: with_glue(table(THREE, seeds=range(5))),
        "2 models with the same layers": lambda: with_glue(table({"a": SIX, "b": SIX})),
        "a file with a long name": lambda: with_glue(external(LONG_NAME)),
        "only dead layers": lambda: with_glue(table({"a": SIX}, **ALL_DEAD)),
    },
    "positions": {
        "a map, two checkpoints": lambda: of_positions(table({"small_cnn": SIX}), 7, 7),
        "a wide map, one checkpoint": lambda: of_positions(table({"a": SIX}, **ONE_LINE), 3, 56),
        "tokens": lambda: of_positions(table({"small_cnn": SIX}, seeds=(0, 1)), 24),
        "6 layers, one split": lambda: of_positions(table({"a": SIX}, **ONE_LINE), 4, 4, layers=6),
        "3 models": lambda: of_positions(table(THREE, splits=("test",)), 100),
        "a file with a long name": lambda: of_positions(external(LONG_NAME), 2, 2),
    },
    "separability": {
        "6 layers": lambda: of_separability(table({"small_cnn": SIX})),
        "17 layers, one split": lambda: of_separability(table({"vgg16": many(17)}, **ONE_LINE)),
        "54 layers": lambda: of_separability(table({"resnet50": many(54)})),
        "3 models, 3 seeds": lambda: of_separability(table(THREE, seeds=range(3))),
        "one layer": lambda: of_separability(table({"a": ["0_Input"]})),
        "a file with a long name": lambda: of_separability(external(LONG_NAME)),
    },
}


def test_every_figure_has_examples() -> None:
    assert EXAMPLES.keys() == FIGURES.keys()


@pytest.mark.parametrize(
    ("name", "example"), [(name, example) for name in EXAMPLES for example in EXAMPLES[name]]
)
def test_nothing_is_clipped_and_no_texts_overlap(name: str, example: str) -> None:
    figure = FIGURES[name].plot(EXAMPLES[name][example]())
    figure.draw_without_rendering()
    edge = figure.bbox.padded(1)
    for axis in figure.axes:
        inside = axis.get_window_extent()
        if axis.get_label() != "<colorbar>":  # pixels at 100 dpi: there is room for curves
            assert inside.width > 60
            assert inside.height > 60
        for direction in (axis.xaxis, axis.yaxis):
            labels = tick_labels(direction)
            for text in [direction.label, axis.title, *labels]:
                if text.get_visible() and text.get_text():
                    assert edge.fully_contains(*text.get_window_extent().min), text
                    assert edge.fully_contains(*text.get_window_extent().max), text
            for first, second in itertools.pairwise(labels):
                assert apart(first, second), (first, second)
    boxes = [axis.get_tightbbox() for axis in figure.axes]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    boxes += [text.get_window_extent() for text in figure.texts]
    assert figure.get_suptitle()
    for first_box, second_box in itertools.combinations(boxes, 2):
        # constrained layout keeps 0.06 inch around each; tick labels reach over by less than that
        assert not first_box.padded(-4).overlaps(second_box.padded(-4))
    for legend in figure.legends:
        assert edge.containsx(legend.get_window_extent().x1)
        assert edge.containsy(legend.get_window_extent().y0)
    # A page has 7.1 x 9.5 inches.
    width, height = figure.get_size_inches()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    smallest = min(text.get_fontsize() for text in texts)
    assert smallest * min(1, 7.1 / width, 9.5 / height) >= 6


def test_more_labels_than_fit_are_thinned_out() -> None:
    figure = plot_layers(table({"deep": many(400)}, **ONE_LINE))
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels[0] == "0 Input"
    assert labels[-1] == "1200 LongNamedLinear"
    assert 40 < len(labels) < 400
    both = plot_layers(table(TWO, splits=("train",)))
    assert [len(axis.get_xticklabels()) for axis in both.axes[-2:]] == [17, 27]
    alone = plot_layers(table({"resnet50": many(54)}, **ONE_LINE))
    assert len(alone.axes[-1].get_xticklabels()) == 54


def tick_labels(direction: Axis) -> list[Text]:
    """The labels that are drawn: there may be ticks beyond the ends of the axis."""
    low, high = sorted(direction.get_view_interval())
    labels = [
        label
        for tick in direction.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if low <= tick.get_loc() <= high
    ]
    return [label for label in labels if label.get_visible() and label.get_text()]


def apart(first: Text, second: Text) -> bool:
    """Whether two labels of one axis, equally rotated, do not touch."""
    angle = math.radians(first.get_rotation())
    if angle == 0:
        return not first.get_window_extent().overlaps(second.get_window_extent())
    one, other = (text.get_transform().transform(text.get_position()) for text in (first, second))
    height = first.get_fontsize() / 72 * first.get_figure().dpi
    return abs(other[0] - one[0]) * math.sin(angle) >= height
