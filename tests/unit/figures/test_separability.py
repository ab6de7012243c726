"""The figure of how many directions a readout must see."""

import numpy as np
import pandas as pd

from manifold_capacity.figures.separability import plot_separability, separability_values

from .helpers import SIX, curves, many, of_separability, panels, table, with_control


def _one_split(**options) -> pd.DataFrame:
    return table({"a": SIX}, splits=("test",), **options)


def test_curves_are_those_of_the_last_checkpoint_and_dots_are_at_one_half() -> None:
    layers = _one_split()
    figure = plot_separability(of_separability(with_control(layers)))
    (axis,) = panels(figure)
    lines = curves(axis)
    assert [*lines] == SIX
    last = layers[layers["checkpoint"] == "epoch-015"]
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    for (name, line), dot, capacity in zip(lines.items(), dots, last["capacity"], strict=True):
        assert dot.get_color() is not None
        np.testing.assert_array_equal(dot.get_color(), line.get_color())
        n, (half,) = float(dot.get_xdata()[0]), dot.get_ydata()
        assert half == 0.5
        assert abs(n - 10 / capacity) < 1, name
        assert abs(np.interp(n, *line.get_data()) - 0.5) < 1e-12
    assert len({tuple(line.get_color()) for line in lines.values()}) == len(SIX)
    assert figure.get_suptitle() == "digits · a · epoch 15 · test split"


def test_layer_that_is_never_separable_is_a_flat_line_without_a_dot() -> None:
    separability = of_separability(_one_split(epochs=(15,)))
    separability.loc[separability["layer"] == SIX[2], "probability"] = 0.0
    (axis,) = panels(plot_separability(separability))
    x, y = curves(axis)[SIX[2]].get_data()
    assert (x[0], x[-1]) == axis.get_xlim()
    assert not np.any(y)
    assert len([line for line in axis.lines if line.get_marker() == "o"]) == len(SIX) - 1


def test_only_layers_that_are_never_separable_can_be_drawn() -> None:
    separability = of_separability(_one_split(epochs=(15,))).assign(probability=0.0)
    figure = plot_separability(separability)
    figure.draw_without_rendering()
    assert not [line for line in panels(figure)[0].lines if line.get_marker() == "o"]


def test_axis_is_logarithmic_only_if_it_spans_much() -> None:
    narrow = _one_split(epochs=(15,))
    wide = narrow.assign(capacity=narrow["capacity"] / 2.0 ** np.arange(len(SIX)))
    scales = [panels(plot_separability(of_separability(t)))[0].get_xscale() for t in (narrow, wide)]
    assert scales == ["linear", "log"]


def test_seeds_are_averaged_at_each_number_of_directions() -> None:
    parts = [
        pd.DataFrame({"seed": seed, "n_directions": n, "probability": probability})
        for seed, n, probability in ((0, [10, 20], [0.0, 1.0]), (1, [15, 25], [0.0, 0.8]))
    ]
    row = of_separability(_one_split(epochs=(15,))).iloc[0].drop(["n_directions", "probability"])
    frame = pd.concat(part.assign(**row.drop("seed").to_dict()) for part in parts)
    values = separability_values(frame)
    assert [*values["n_directions"]] == [10, 15, 20, 25]
    np.testing.assert_allclose(values["probability"], [0, 0.25, 0.7, 0.9])
    assert set(values["n_seeds"]) == {2}


def test_a_panel_for_each_model_and_split() -> None:
    separability = of_separability(table({"a": SIX, "b": many(9)}))
    keep = (separability["model"] == "a") | (separability["split"] == "test")
    axes = panels(plot_separability(separability[keep]))
    titles = [axis.get_title() for axis in axes if axis.get_visible()]
    assert titles == ["a, train split", "a, test split", "b, test split"]
    assert len({axis.get_xlim() for axis in axes}) == 1
