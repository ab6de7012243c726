"""The figure of exact capacity along the layers."""

import numpy as np
import pytest

from manifold_capacity.figures.glue import glue_values, plot_glue

from .helpers import GLUE, SIX, curves, legend_of, many, table, with_control, with_glue


def test_curves_pass_through_the_numbers_of_the_last_checkpoint_and_the_first() -> None:
    layers = with_glue(table({"a": SIX}, epochs=(0, 5, 15), splits=("train",)))
    figure = plot_glue(with_control(layers))
    quantities = [*(f"glue_{name}" for name in GLUE), "glue_separable_fraction"]
    for axis, quantity in zip(figure.axes, quantities, strict=True):
        lines = curves(axis)
        for checkpoint in ("epoch-000", "epoch-015"):
            mine = layers[layers["checkpoint"] == checkpoint]
            np.testing.assert_array_equal(
                lines[f"a {checkpoint} train"].get_ydata(), mine[quantity]
            )
        assert not [label for label in lines if "epoch-005" in label]
    assert legend_of(figure) == [
        *("epoch 0 (untrained)", "epoch 15", "mean-field capacity", "simulated capacity"),
        "95 % interval\nover classes",
    ]


def test_other_capacities_are_beside_the_exact_one() -> None:
    layers = with_glue(table({"a": SIX}, epochs=(15,), splits=("test",)))
    axis, *others = plot_glue(layers).axes
    lines = curves(axis)
    mean_field = lines["a epoch-015 test mean-field capacity"]
    simulated = lines["a epoch-015 test simulated capacity"]
    np.testing.assert_array_equal(mean_field.get_ydata(), layers["capacity"])
    np.testing.assert_array_equal(simulated.get_ydata(), layers["simulated_capacity"])
    assert mean_field.get_linewidth() < lines["a epoch-015 test"].get_linewidth()
    assert (simulated.get_linestyle(), simulated.get_marker()) == ("None", "D")
    assert all(len(curves(other)) == 1 for other in others)


def test_only_what_was_simulated_is_in_the_legend() -> None:
    layers = with_glue(table({"a": SIX}, epochs=(15,), splits=("test",)), simulated=False)
    figure = plot_glue(layers)
    assert legend_of(figure) == ["mean-field capacity", "95 % interval\nover classes"]
    assert [*curves(figure.axes[0])] == ["a epoch-015 test", "a epoch-015 test mean-field capacity"]
    assert "simulated_capacity" not in set(glue_values(layers)["quantity"])


def test_bands_are_over_what_the_intervals_of_the_exact_capacity_are_over() -> None:
    layers = with_glue(table({"a": SIX}, epochs=(15,))).assign(glue_interval_over="draws")
    assert legend_of(plot_glue(layers))[-1] == "95 % interval\nover draws"
    values = glue_values(layers)
    radius = values[(values["quantity"] == "glue_radius") & (values["split"] == "train")]
    mine = layers[layers["split"] == "train"]
    np.testing.assert_array_equal(
        radius[["low", "high"]], mine[["glue_radius_low", "glue_radius_high"]]
    )
    assert set(values["interval_over"]) == {"draws"}


def test_capacity_of_labels_that_are_not_separable_is_a_gap() -> None:
    layers = with_glue(table({"a": SIX}, epochs=(15,), splits=("test",)))
    layers.loc[5, ["glue_separable_fraction", "glue_capacity"]] = [0.0, 99.0]
    layers.loc[4, "glue_separable_fraction"] = 0.6
    axes = plot_glue(layers).axes
    capacity = curves(axes[0])["a epoch-015 test"].get_ydata()
    np.testing.assert_array_equal(np.isnan(capacity), [0, 0, 0, 0, 0, 1])
    assert curves(axes[7])["a epoch-015 test"].get_ydata()[5] == 0
    assert layers.loc[5, "glue_capacity"] == 99


def test_many_layers_are_two_columns_and_models_side_by_side() -> None:
    alone = plot_glue(with_glue(table({"a": many(54)})))
    assert len({round(axis.get_position().x0, 1) for axis in alone.axes}) == 2
    both = plot_glue(with_glue(table({"a": SIX, "b": many(9)})))
    assert [axis.get_title() for axis in both.axes if axis.get_title()] == ["a", "b"]
    assert len(both.axes) == 16


def test_table_without_exact_capacity_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"no column glue_capacity; measure with `geometry\.measures"
    ):
        plot_glue(table({"a": SIX}))
