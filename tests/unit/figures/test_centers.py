"""The figure of the spectrum of the centers."""

import numpy as np

from manifold_capacity.figures.centers import centers_values, plot_centers

from .helpers import SIX, of_centers, panels, table


def test_the_dot_is_at_the_number_of_directions_projected_out() -> None:
    centers = of_centers(table({"a": SIX}, epochs=(0, 5, 15)), 10)
    figure = plot_centers(centers)
    assert [axis.get_title() for axis in panels(figure)] == ["epoch 0 (untrained)", "epoch 15"]
    for axis, checkpoint in zip(panels(figure), ("epoch-000", "epoch-015"), strict=True):
        mine = centers[(centers["checkpoint"] == checkpoint) & (centers["split"] == "train")]
        for name in SIX:
            layer = mine[mine["layer"] == name].set_index("component")
            rank = layer["center_rank"].iloc[0]
            shares = [line.get_ydata() for line in axis.lines if len(line.get_ydata()) > 1]
            assert any(np.array_equal(share, layer["variance_share"]) for share in shares)
            dots = {tuple(dot.get_xydata()[0]) for dot in axis.lines if len(dot.get_xydata()) == 1}
            if rank:  # there is no component 0
                assert (rank, layer.loc[rank, "variance_share"]) in dots


def test_values_are_means_over_seeds_in_order() -> None:
    centers = of_centers(table({"a": SIX}, seeds=(0, 1), epochs=(0, 15)), 4)
    values = centers_values(centers.sample(frac=1, random_state=0))
    assert len(values) == 2 * len(SIX) * 3
    assert values["component"].tolist() == [1, 2, 3] * (2 * len(SIX))
    mine = centers[(centers["epoch"] == 15) & (centers["split"] == "train")]
    expected = mine.groupby(["layer_index", "component"])["variance_share"].mean()
    found = values[values["checkpoint"] == "epoch-015"]["variance_share"]
    np.testing.assert_allclose(found, expected)
