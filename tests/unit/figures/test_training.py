"""The figure of loss and accuracy."""

import itertools

import numpy as np

from manifold_capacity.figures.training import plot_training

from .helpers import curves, legend_of, metrics


def test_training_curves() -> None:
    losses = metrics(["a", "b"], [0, 1, 2], 4)
    figure = plot_training(losses)
    for axis, part in zip(figure.axes, ("loss", "accuracy"), strict=True):
        lines = curves(axis)
        assert len(lines) == 4
        for model, split in itertools.product("ab", ("train", "test")):
            mine = losses[losses["model"] == model].groupby("epoch")[f"{split}_{part}"].mean()
            np.testing.assert_allclose(lines[f"{model}  {split}"].get_ydata(), mine)
            np.testing.assert_array_equal(lines[f"{model}  {split}"].get_xdata(), range(5))
    assert legend_of(figure) == [
        "a",
        "b",
        "train split",
        "test split",
        "95 % interval\nover 3 seeds",
    ]
    figure.draw_without_rendering()
    assert all(label.get_text().endswith("%") for label in figure.axes[1].get_yticklabels())
