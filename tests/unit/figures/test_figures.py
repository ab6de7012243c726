"""Figures drawn from tables: what they show, and that it can be read."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image

from manifold_capacity.figures.centers import plot_centers
from manifold_capacity.figures.controls import plot_controls
from manifold_capacity.figures.dynamics import plot_dynamics
from manifold_capacity.figures.layers import plot_layers
from manifold_capacity.figures.manifolds import plot_manifolds
from manifold_capacity.figures.radius_dimension import plot_radius_dimension
from manifold_capacity.figures.registry import FIGURES as REGISTRY
from manifold_capacity.figures.style import save
from manifold_capacity.figures.training import plot_training
from manifold_capacity.geometry.balls import ball_capacity

NAMES = ["cat", "dog", "owl", "bee", "fox"]
QUANTITIES = {"capacity": 0.05, "radius": 1.4, "dimension": 30.0, "center_correlation": 0.3}
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
    """A table of layers with made-up numbers, each of them different."""
    rng = np.random.default_rng(0)
    rows = []
    for (model, names), seed, epoch, split in itertools.product(
        networks.items(), seeds, epochs, splits
    ):
        for name in names:
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
                "status": "all activations are zero" if (epoch, name) in dead else "ok",
            }
            for quantity, size in QUANTITIES.items():
                alive = row["status"] == "ok"
                row[quantity] = size * (1 + 0.3 * rng.random()) if alive else math.nan
                if quantity != "center_correlation":
                    row[f"{quantity}_stderr"] = 0.01 * size if alive else math.nan
            rows.append(row)
    return pd.DataFrame(rows)


def external(name: str) -> pd.DataFrame:
    """The same of activations that exist already, in a file of this name."""
    layers = table({name: ["1_V1", "2_V4"]}, epochs=(None,), splits=("all",))
    return layers.assign(dataset=f"{name}.npz", weights="external", checkpoint="external")


def with_control(layers: pd.DataFrame) -> pd.DataFrame:
    """The same, and the control with shuffled labels, a third as large."""
    shuffled = layers.assign(labels="shuffled")
    shuffled[[*QUANTITIES]] /= 3
    return pd.concat([layers, shuffled], ignore_index=True)


def of_centers(layers: pd.DataFrame, classes: int) -> pd.DataFrame:
    """A table of centers, whose variance is the more alike in all directions the later the layer."""
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
    """Training tables; nothing is known of the training split before the first epoch."""
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


NETWORKS = {"small_cnn": SIX, "vgg16": many(17), "resnet50": many(54)}
FIGURES: dict[str, Callable[[], Figure]] = {
    "6 layers, 2 checkpoints, 2 splits": lambda: plot_layers(table({"small_cnn": SIX})),
    "17 layers, 6 checkpoints": lambda: plot_layers(
        table({"vgg16": many(17)}, epochs=(0, 1, 2, 5, 10, 20))
    ),
    "54 layers": lambda: plot_layers(table({"resnet50": many(54)})),
    "400 layers": lambda: plot_layers(table({"deep": many(400)}, epochs=(5,), splits=("test",))),
    "one line": lambda: plot_layers(table({"a": SIX}, epochs=(15,), splits=("test",))),
    "one layer": lambda: plot_layers(table({"a": ["0_Input"]}, seeds=(0, 1))),
    "3 models, 5 seeds": lambda: plot_layers(table(NETWORKS, seeds=range(5))),
    "3 models with the same layers": lambda: plot_layers(
        table({"a": SIX, "b": SIX, "c": SIX}, seeds=range(2), epochs=(0, 5, 15))
    ),
    "dead layers": lambda: plot_layers(
        table({"a": SIX}, epochs=(0, None), dead=[(0, SIX[2]), (None, SIX[2])])
    ),
    "nothing but dead layers": lambda: plot_layers(
        table({"a": SIX}, epochs=(0,), dead=[(0, name) for name in SIX])
    ),
    "training": lambda: plot_training(metrics(["a"], [0], 15)),
    "training of 3 models, 5 seeds": lambda: plot_training(metrics("abc", range(5), 60)),
    "training of one epoch": lambda: plot_training(metrics(["a"], [0], 1)),
    "10 classes": lambda: plot_manifolds(of_classes(table({"a": SIX}), 10)),
    "100 classes": lambda: plot_manifolds(of_classes(table({"vgg16": many(17)}), 100)),
    "classes of 2 models": lambda: plot_manifolds(
        of_classes(table({"a": SIX, "b": many(30)}, seeds=(0, 1)), 3)
    ),
    "classes of a file with a long name": lambda: plot_manifolds(
        of_classes(external("monkey_A_session_2021-03-04_V1_V4_IT"), 5)
    ),
    "classes in one layer": lambda: plot_manifolds(of_classes(table({"a": ["0_Input"]}), 3)),
    "6 layers over training": lambda: plot_dynamics(table({"a": SIX}, epochs=(0, 5, 15))),
    "54 layers over training": lambda: plot_dynamics(
        table({"a": many(54)}, epochs=(0, 5, 20), dead=[(5, "0_Input")])
    ),
    "2 models over training": lambda: plot_dynamics(
        table({"a": SIX, "b": many(17)}, epochs=(*range(0, 200, 20), None), seeds=(0, 1))
    ),
    "radius and dimension of 6 layers": lambda: plot_radius_dimension(table({"small_cnn": SIX})),
    "radius and dimension of 3 models, 5 seeds": lambda: plot_radius_dimension(
        table(NETWORKS, seeds=range(5))
    ),
    "radius and dimension of one layer": lambda: plot_radius_dimension(
        table({"a": ["0_Input"]}, epochs=(15,), splits=("test",))
    ),
    "radius and dimension of points": lambda: plot_radius_dimension(
        table({"a": SIX}).assign(radius=0.0, dimension=0.0)
    ),
    "radius and dimension of dead layers": lambda: plot_radius_dimension(
        table({"a": SIX}, epochs=(0,), dead=[(0, name) for name in SIX])
    ),
    "centers in 6 layers": lambda: plot_centers(of_centers(table({"a": SIX}), 10)),
    "centers of 2 classes": lambda: plot_centers(of_centers(table({"a": SIX}), 2)),
    "centers in 54 layers": lambda: plot_centers(of_centers(table({"a": many(54)}), 100)),
    "centers of 2 models": lambda: plot_centers(
        of_centers(table({"a": SIX, "b": many(17)}, epochs=(None,), seeds=(0, 1)), 30)
    ),
    "controls of 6 layers": lambda: plot_controls(with_control(table({"small_cnn": SIX}))),
    "controls of 17 layers, 3 seeds": lambda: plot_controls(
        with_control(table({"vgg16": many(17)}, seeds=range(3)))
    ),
    "controls of 54 layers": lambda: plot_controls(with_control(table({"resnet50": many(54)}))),
    "controls of 2 models": lambda: plot_controls(
        with_control(table({"a": SIX, "b": many(17)}, epochs=(None,)))
    ),
    "classes of 2 models, 2 splits": lambda: plot_manifolds(
        of_classes(table({"vgg16": many(17), "resnet50": many(54)}), 30)
    ),
    "2 models, 2 splits over training": lambda: plot_dynamics(
        table({"vgg16": many(17), "resnet50": many(54)}, epochs=(0, 1, 5, 20))
    ),
    "30 epochs over training": lambda: plot_dynamics(table({"a": SIX}, epochs=range(30))),
    "nothing but dead layers over training": lambda: plot_dynamics(
        table({"a": SIX}, epochs=(0,), dead=[(0, name) for name in SIX])
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_clipped_and_no_texts_overlap(name: str) -> None:
    figure = FIGURES[name]()
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
                    box = text.get_window_extent()
                    assert edge.x0 <= box.x0, text
                    assert edge.x1 >= box.x1, text
                    assert edge.y0 <= box.y0, text
                    assert edge.y1 >= box.y1, text
            for first, second in itertools.pairwise(labels):
                assert apart(first, second), (first, second)
    boxes = [axis.get_tightbbox() for axis in figure.axes]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    boxes += [text.get_window_extent() for text in figure.texts]
    title = figure.get_suptitle()
    assert title
    for first_box, second_box in itertools.combinations(boxes, 2):
        # constrained layout keeps 0.06 inch around each; what tick labels reach over is under that
        assert not first_box.padded(-4).overlaps(second_box.padded(-4))
    for legend in figure.legends:
        assert edge.containsx(legend.get_window_extent().x1)
        assert edge.containsy(legend.get_window_extent().y0)
    # A page has 7.1 x 9.5 inches.
    width, height = figure.get_size_inches()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]  # type: ignore[attr-defined]
    smallest = min(text.get_fontsize() for text in texts)  # type: ignore[attr-defined]
    assert smallest * min(1, 7.1 / width, 9.5 / height) >= 6


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
        untrained, trained = ("epoch-000", "epoch-015")
        assert lines[f"a {untrained} train"].get_color() != lines[f"a {trained} train"].get_color()
        for checkpoint in (untrained, trained):
            train, test = lines[f"a {checkpoint} train"], lines[f"a {checkpoint} test"]
            assert train.get_color() == test.get_color()
            assert (train.get_linestyle(), test.get_linestyle()) == ("-", "--")
            assert test.get_markerfacecolor() == "white"
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels == ["0 Input", "1 Conv2d", "4 Conv2d", "8 Linear", "10 Linear", "12 Linear"]
    assert legend_of(figure) == [
        "epoch 0 (untrained)",
        "epoch 15",
        "train split",
        "test split",
        "± standard error",
    ]
    assert figure.get_suptitle() == "digits · a"


def test_curves_do_not_depend_on_the_order_of_the_rows() -> None:
    layers = table({"a": SIX}, epochs=(0, 5, None))
    shuffled = layers.sample(frac=1, random_state=1)
    for one, other in zip(plot_layers(layers).axes, plot_layers(shuffled).axes, strict=True):
        found = curves(other)
        for label, line in curves(one).items():
            np.testing.assert_array_equal(found[label].get_ydata(), line.get_ydata())
            assert found[label].get_color() == line.get_color()


def test_bars_are_the_standard_errors() -> None:
    layers = table({"a": SIX}, epochs=(15,), splits=("train",))
    axis = plot_layers(layers).axes[1]
    (bars,) = (container.lines[2][0] for container in axis.containers)
    ends = np.array(bars.get_segments())[:, :, 1]
    np.testing.assert_allclose(ends.mean(axis=1), layers["radius"])
    np.testing.assert_allclose(np.ptp(ends, axis=1), 2 * layers["radius_stderr"])


def test_one_line_needs_no_legend() -> None:
    figure = plot_layers(table({"a": SIX}, epochs=(15,), splits=("test",)))
    assert figure.legends == []
    assert figure.get_suptitle() == "digits · a · epoch 15 · test split · bars: standard error"


def test_activations_that_exist_already_are_told_by_their_file() -> None:
    figure = plot_layers(external("recording"))
    assert figure.get_suptitle() == "recording.npz · recording · bars: standard error"
    (line,) = (
        line for line in figure.axes[0].lines if line.get_label() == "recording external all"
    )
    assert line.get_linestyle() == "-"
    long = "monkey_A_session_2021-03-04_V1_V4_IT"
    figure = plot_manifolds(of_classes(external(long), 5))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    title = figure._suptitle  # type: ignore[attr-defined]
    assert not title.get_window_extent().overlaps(legend.get_window_extent())
    assert "".join(figure.get_suptitle().split()) == f"{long}.npz·{long}"
    assert figure.axes[0].get_title() == "no split"


def test_seeds_become_a_mean_and_a_band() -> None:
    layers = table({"a": SIX}, seeds=(0, 1, 2), epochs=(15,), splits=("train",))
    figure = plot_layers(layers)
    groups = layers.groupby("layer_index")["radius"]
    axis = figure.axes[1]
    (line,) = curves(axis).values()
    np.testing.assert_allclose(line.get_ydata(), groups.mean())
    (band,) = (shape for shape in axis.collections if isinstance(shape, PolyCollection))
    corners = band.get_paths()[0].vertices
    for place, (mean, spread) in enumerate(zip(groups.mean(), groups.std(), strict=True)):
        heights = corners[corners[:, 0] == place][:, 1]
        np.testing.assert_allclose([heights.min(), heights.max()], [mean - spread, mean + spread])
    assert legend_of(figure) == ["± 1 s.d. of 3 seeds"]
    assert "mean of 3 seeds" in figure.get_suptitle()


def test_dead_layer_is_a_gap_with_a_cross() -> None:
    figure = plot_layers(
        table({"a": SIX}, epochs=(15,), splits=("train",), dead=[(15, SIX[2])]),
    )
    for axis in figure.axes:
        (line,) = curves(axis).values()
        np.testing.assert_array_equal(np.isnan(line.get_ydata()), [0, 0, 1, 0, 0, 0])
        (cross,) = (mark for mark in axis.lines if mark.get_marker() == "x")
        assert list(cross.get_xdata()) == [2]
        foot = axis.transAxes.inverted().transform(
            cross.get_transform().transform(cross.get_xydata())
        )
        assert 0 < foot[0, 1] < 0.1
    assert legend_of(figure) == ["no geometry"]


def test_layer_that_is_dead_for_one_seed_only_is_drawn() -> None:
    layers = table({"a": SIX}, seeds=(0, 1), epochs=(15,), splits=("train",))
    layers.loc[2, ["capacity", "radius", "dimension", "center_correlation"]] = math.nan
    layers.loc[2, "status"] = "dead"
    axis = plot_layers(layers).axes[0]
    (line,) = curves(axis).values()
    assert line.get_ydata()[2] == layers.loc[2 + len(SIX), "capacity"]
    assert not [mark for mark in axis.lines if mark.get_marker() == "x"]


def test_infinite_capacity_is_a_gap() -> None:
    layers = table({"a": SIX}, seeds=(0, 1), epochs=(0, 1, 2), splits=("train",))
    layers.loc[2, ["capacity", "capacity_stderr"]] = math.inf
    lines = curves(plot_layers(layers[layers["seed"] == 0]).axes[0])
    assert np.isnan(lines["a epoch-000 train"].get_ydata()).tolist() == [False, False, True] + 3 * [
        False
    ]
    plot_dynamics(layers).draw_without_rendering()


def test_models_share_panels_only_if_they_share_layers() -> None:
    together = plot_layers(table({"a": SIX, "b": SIX}, splits=("train",)))
    assert len(together.axes) == 4
    assert len(curves(together.axes[0])) == 4
    assert legend_of(together)[:4] == ["a", "b", "epoch 0 (untrained)", "epoch 15"]
    side_by_side = plot_layers(table({"a": SIX, "b": many(9), "c": SIX}, splits=("train",)))
    assert len(side_by_side.axes) == 8
    titles = [axis.get_title() for axis in side_by_side.axes]
    assert [title for title in titles if title] == ["a, c", "b"]
    first, second = side_by_side.axes[0], side_by_side.axes[1]
    assert first.get_ylim() == second.get_ylim()
    colors = {line.get_color() for line in curves(together.axes[0]).values()}
    assert len(colors) == 4


def test_more_labels_than_fit_are_thinned_out() -> None:
    figure = plot_layers(table({"deep": many(400)}, epochs=(5,), splits=("test",)))
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels[0] == "0 Input"
    assert labels[-1] == "1200 LongNamedLinear"
    assert 40 < len(labels) < 400
    fewer = plot_layers(table({"resnet50": many(54)})).axes[-1].get_xticklabels()
    assert len(fewer) == 54
    both = plot_layers(table({"vgg16": many(17), "resnet50": many(54)}, splits=("train",)))
    assert [len(axis.get_xticklabels()) for axis in both.axes[-2:]] == [17, 27]


def test_training_curves() -> None:
    losses = metrics(["a", "b"], [0, 1], 4)
    figure = plot_training(losses)
    loss, accuracy = figure.axes
    for axis, part in ((loss, "loss"), (accuracy, "accuracy")):
        lines = curves(axis)
        assert len(lines) == 4
        for model, split in itertools.product("ab", ("train", "test")):
            mine = losses[losses["model"] == model].groupby("epoch")[f"{split}_{part}"].mean()
            np.testing.assert_allclose(lines[f"{model}  {split}"].get_ydata(), mine)
    assert legend_of(figure) == ["a", "b", "train split", "test split", "± 1 s.d. of 2 seeds"]
    figure.draw_without_rendering()
    assert all(label.get_text().endswith("%") for label in accuracy.get_yticklabels())


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


def test_class_and_layer_that_are_missing_in_one_split() -> None:
    manifolds = of_classes(table({"a": SIX}), 4)
    test = manifolds["split"] == "test"
    gone = (manifolds["class_index"] == 3) | (manifolds["layer"] == SIX[3])
    figure = plot_manifolds(manifolds[~(test & gone)])
    train_axis, test_axis = figure.axes[:2]
    # A thin line for each class, the accents and the median.
    assert len(train_axis.lines) == 4 + 2 + 1
    assert len(test_axis.lines) == 3 + 1 + 1
    (median,) = (line for line in test_axis.lines if line.get_color() == "black")
    np.testing.assert_array_equal(np.isnan(median.get_ydata()), [0, 0, 0, 1, 0, 0])


def test_maps_hold_the_numbers_in_the_order_of_layers_and_training() -> None:
    layers = table({"a": SIX}, epochs=(5, 0, None), splits=("test",), dead=[(5, SIX[1])])
    figure = plot_dynamics(layers)
    maps = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert len(maps) == len(QUANTITIES)
    for axis, quantity in zip(maps, QUANTITIES, strict=True):
        (mesh,) = (shape for shape in axis.collections if isinstance(shape, QuadMesh))
        wanted = layers.pivot(index="layer_index", columns="checkpoint", values=quantity)
        wanted = wanted[["epoch-000", "epoch-005", "pretrained"]]
        np.testing.assert_array_equal(np.ma.filled(mesh.get_array(), math.nan), wanted)
        (cross,) = axis.lines
        assert cross.get_xydata().tolist() == [[1.5, 1.5]]
        low, high = axis.get_ylim()
        assert low > high  # the first layer stands on top
    assert [label.get_text() for label in maps[0].get_xticklabels()] == ["0", "5", "pretrained"]
    assert [label.get_text() for label in maps[0].get_yticklabels()][:2] == ["0 Input", "1 Conv2d"]


def test_the_control_stands_in_no_other_figure() -> None:
    layers = table({"a": SIX}, epochs=(0, 15))
    for plot in (plot_layers, plot_radius_dimension):
        for one, other in zip(plot(layers).axes, plot(with_control(layers)).axes, strict=True):
            assert [*curves(one)] == [*curves(other)]
            for label, line in curves(one).items():
                np.testing.assert_array_equal(line.get_ydata(), curves(other)[label].get_ydata())


def test_paths_pass_through_radius_and_dimension() -> None:
    layers = table({"a": SIX}, dead=[(15, SIX[2])])
    (axis,) = plot_radius_dimension(layers).axes
    lines = curves(axis)
    assert len(lines) == 4
    mine = layers[(layers["epoch"] == 15) & (layers["split"] == "test")]
    np.testing.assert_array_equal(lines["a epoch-015 test"].get_xdata(), mine["radius"])
    np.testing.assert_array_equal(lines["a epoch-015 test"].get_ydata(), mine["dimension"])
    (contours,) = (shape for shape in axis.collections if isinstance(shape, ContourSet))
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        radius, dimension = path.vertices.T
        np.testing.assert_allclose(ball_capacity(radius, dimension), level, rtol=0.01)


def test_a_narrow_range_has_lines_of_equal_capacity_too() -> None:
    layers = table({"a": SIX}, splits=("train",))
    layers["radius"] = np.linspace(1.45, 1.55, len(layers))
    layers["dimension"] = np.linspace(30, 35, len(layers))
    (axis,) = plot_radius_dimension(layers).axes
    (contours,) = (shape for shape in axis.collections if isinstance(shape, ContourSet))
    assert sum(len(path.vertices) > 1 for path in contours.get_paths()) >= 3


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


def test_the_dot_is_at_the_number_of_directions_taken_out() -> None:
    centers = of_centers(table({"a": SIX}, splits=("train",)), 10)
    figure = plot_centers(centers)
    panels = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert [axis.get_title() for axis in panels] == ["epoch 0 (untrained)", "epoch 15"]
    for axis, checkpoint in zip(panels, ("epoch-000", "epoch-015"), strict=True):
        mine = centers[centers["checkpoint"] == checkpoint]
        for name in SIX:
            layer = mine[mine["layer"] == name].set_index("component")
            rank = layer["center_rank"].iloc[0]
            shares = [line.get_ydata() for line in axis.lines if len(line.get_ydata()) > 1]
            assert any(np.array_equal(share, layer["variance_share"]) for share in shares)
            dots = {tuple(dot.get_xydata()[0]) for dot in axis.lines if len(dot.get_xydata()) == 1}
            if rank:  # there is no component 0
                assert (rank, layer.loc[rank, "variance_share"]) in dots


def test_controls_stand_beside_the_last_checkpoint() -> None:
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
    for role, (checkpoint, labels) in wanted.items():
        mine = layers[(layers["checkpoint"] == checkpoint) & (layers["labels"] == labels)]
        np.testing.assert_array_equal(lines[f"a {role} train"].get_ydata(), mine["radius"])
    assert legend_of(plot_controls(with_control(external("recording"))))[:2] == [
        "classes",
        "labels shuffled",
    ]
    # A network that was never trained is no control of itself.
    untrained = plot_controls(layers[layers["epoch"] == 0])
    assert legend_of(untrained)[:2] == ["last checkpoint", "labels shuffled"]


@pytest.mark.parametrize("plot", [plot_layers, plot_radius_dimension, plot_controls, plot_training])
def test_plotted_values_are_those_of_the_curves(plot: Callable[[pd.DataFrame], Figure]) -> None:
    if plot is plot_training:
        frame = metrics(["a", "b"], [0, 1], 4)
    else:
        frame = with_control(table({"a": SIX, "b": SIX}, seeds=(0, 1), epochs=(0, 15)))
    values = REGISTRY[plot.__name__.removeprefix("plot_")].values(frame)
    drawn = [
        np.asarray(line.get_ydata(), dtype=float)
        for axis in plot(frame).axes
        for line in curves(axis).values()
    ]
    keys = [name for name in ("model", "checkpoint", "curve", "split") if name in values.columns]
    if plot is plot_radius_dimension:
        values = values[values["quantity"] == "dimension"]
    tabulated = [part["value"].to_numpy() for _, part in values.groupby([*keys, "quantity"])]
    assert len(tabulated) == len(drawn)
    for numbers in tabulated:
        assert any(np.array_equal(numbers, line, equal_nan=True) for line in drawn)


def test_plotted_values_of_classes_and_maps() -> None:
    layers = table({"a": SIX}, epochs=(0, 5, 15))
    manifolds = REGISTRY["manifolds"].values(of_classes(layers, 5))
    last = layers[(layers["epoch"] == 15) & (layers["split"] == "test")]
    mine = manifolds[(manifolds["split"] == "test") & (manifolds["quantity"] == "capacity")]
    np.testing.assert_allclose(mine["median"], 1.2 * last["capacity"])
    np.testing.assert_allclose(mine["highest_value"], 1.4 * last["capacity"])
    assert set(mine["highest_class"]) == {NAMES[4]}
    assert set(mine["lowest_class"]) == {NAMES[0]}
    maps = REGISTRY["dynamics"].values(layers)
    assert len(maps) == len(layers) * len(QUANTITIES)


@pytest.mark.parametrize(
    "plot",
    [
        plot_layers,
        plot_training,
        plot_manifolds,
        plot_dynamics,
        plot_radius_dimension,
        plot_centers,
        plot_controls,
    ],
)
def test_empty_table_is_an_error(plot: Callable[[pd.DataFrame], Figure]) -> None:
    with pytest.raises(ValueError, match=r"table has no rows; there is nothing to draw"):
        plot(pd.DataFrame(columns=["model", "status"]))


@pytest.mark.parametrize("plot", [plot_layers, plot_dynamics, plot_radius_dimension])
def test_same_table_gives_the_same_bytes(
    plot: Callable[[pd.DataFrame], Figure], tmp_path: Path
) -> None:
    layers = table({"a": SIX[:2]}, splits=("train",), dead=[(15, SIX[1])])
    save(plot(layers), tmp_path / "first")
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 30, "svg.fonttype": "path"}):
        save(plot(layers), tmp_path / "second")
    for suffix in (".svg", ".png"):
        first, second = (tmp_path / f"{stem}{suffix}" for stem in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_files_that_are_written(tmp_path: Path) -> None:
    figure = plot_layers(table({"a": SIX}))
    save(figure, tmp_path / "layers.v1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layers.v1.png", "layers.v1.svg"]
    with Image.open(tmp_path / "layers.v1.png") as image:
        assert image.size == tuple((figure.get_size_inches() * 200).round())
    texts = [
        "".join(element.itertext()).strip()
        for element in ElementTree.parse(tmp_path / "layers.v1.svg").iter()
        if element.tag.endswith("}text")
    ]
    assert {"10 Linear", "epoch 0 (untrained)", "test split", "digits · a"} <= set(texts)
    assert "<dc:date>" not in (tmp_path / "layers.v1.svg").read_text()


def curves(axis: Axes) -> dict[str, Line2D]:
    """The labelled lines of a panel."""
    return {
        str(line.get_label()): line
        for line in axis.lines
        if not str(line.get_label()).startswith("_")
    }


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def tick_labels(axis: Axis) -> list[Text]:
    """The labels that are drawn: there may be ticks beyond the ends of the axis."""
    low, high = sorted(axis.get_view_interval())
    labels = [
        label
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if low <= tick.get_loc() <= high
    ]
    return [label for label in labels if label.get_visible() and label.get_text()]


def apart(first: Text, second: Text) -> bool:
    """Whether two labels of one axis, both turned alike, leave each other room."""
    angle = math.radians(first.get_rotation())
    if angle == 0:
        return not first.get_window_extent().overlaps(second.get_window_extent())
    one, other = (text.get_transform().transform(text.get_position()) for text in (first, second))
    height = first.get_fontsize() / 72 * first.get_figure().dpi
    return abs(other[0] - one[0]) * math.sin(angle) >= height


def test_colors_of_checkpoints_darken() -> None:
    figure = plot_layers(table({"a": SIX}, epochs=(0, 1, 5, 15), splits=("train",)))
    shades = []
    for line in curves(figure.axes[0]).values():
        red, green, blue = (int(to_hex(line.get_color())[i : i + 2], 16) for i in (1, 3, 5))
        shades.append(0.299 * red + 0.587 * green + 0.114 * blue)
    assert shades == sorted(shades, reverse=True)
    assert (
        min(a - b for a, b in itertools.pairwise(shades)) > 15
    )  # of 255: still told apart in gray
