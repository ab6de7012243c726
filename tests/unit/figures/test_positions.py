"""Views and positions in figures: further views are drawn apart, single positions only in their own figure."""

import numpy as np
import pandas as pd
import pytest

from manifold_capacity.figures.curves import of_classes
from manifold_capacity.figures.layers import plot_layers
from manifold_capacity.figures.positions import plot_positions, positions_values

from .helpers import SIX, of_positions, panels, table


def test_further_views_of_the_same_modules_are_a_model_of_their_own() -> None:
    layers = table({"net": SIX}, splits=("test",)).assign(view="flatten")
    layers["layer_name"] = layers["layer"]
    means = layers[layers["layer"].isin(SIX[1:3])].assign(view="mean")
    only = layers[layers["layer"] == SIX[4]].assign(view="token--1")
    both = pd.concat(
        [layers[layers["layer"] != SIX[4]], means.assign(layer=means["layer"] + "_mean"), only]
    )
    models = of_classes(both).groupby("model")["layer"].unique()
    assert [*models["net, mean"]] == [f"{name}_mean" for name in SIX[1:3]]
    # A module with one view stays, whatever the view.
    assert {*models["net"]} == {*SIX}
    titles = {axis.get_title() for axis in panels(plot_layers(both))}
    assert {"net", "net, mean"} <= titles


def test_a_map_has_the_capacity_of_each_position() -> None:
    layers = of_positions(table({"net": SIX}, splits=("test",), epochs=(0, 5, 15)), 2, 3)
    values = positions_values(layers)
    assert values["checkpoint"].unique().tolist() == ["epoch-000", "epoch-015"]
    first = values[values["checkpoint"] == "epoch-000"]
    (image,) = panels(plot_positions(layers))[0].collections
    assert image.get_array().ravel().tolist() == first["value"].tolist()


@pytest.mark.parametrize(("seeds", "over"), [((0, 1), "classes"), ((0, 1, 2), "3 seeds")])
def test_the_interval_of_a_position_is_over_seeds_from_three_on(seeds, over) -> None:
    layers = of_positions(table({"net": SIX}, splits=("test",), seeds=seeds), 4)
    values = positions_values(layers).query("checkpoint == 'epoch-015' and position == '2'")
    shown = layers[(layers["checkpoint"] == "epoch-015") & (layers["position"] == "2")]
    means = shown[["capacity", "capacity_low", "capacity_high"]].mean()
    half = 4.302653 * shown["capacity"].std() / 3**0.5  # the t value of three
    ends = means[1:] if over == "classes" else means["capacity"] + half * np.array([-1, 1])
    assert values[["value", "low", "high"]].to_numpy()[0] == pytest.approx([means.iloc[0], *ends])
    assert values[["quantity", "interval_over"]].to_numpy().tolist() == [["capacity", over]]
    assert f"95 % interval over {over}" in plot_positions(layers).get_suptitle().replace("\n", " ")


def test_without_positions_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="measure layers with the view `positions`"):
        plot_positions(table({"net": SIX}))
