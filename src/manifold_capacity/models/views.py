"""Views of a layer: which numbers of a module's output are a point. Does not import torch.

For one sample an output has an axis of channels, and maybe axes of positions: the rows and columns of an
image, the tokens of a text, the steps of a time series.

- ``flatten``: everything, in memory order;
- ``mean``, ``max``: over positions, the channels remain;
- ``first``, ``last``, ``token-K``: one token or timestep, K from 0, or from the end if it is negative;
- ``center``: the position in the middle;
- ``positions-K``: every K-th position along each axis, each a layer of its own.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from manifold_capacity.errors import UserError
from manifold_capacity.models.layers import Layer

if TYPE_CHECKING:
    from torch import Tensor

WORDS = ("flatten", "mean", "max", "first", "last", "center", "positions")
ALLOWED = f"{', '.join(WORDS)}, {{token: k}} or {{positions: k}}"
_OF_POSITION = re.compile(r"_position((?:_\d+)+)$")


def view_text(view: Any, where: str) -> str:
    """A view as the configuration has it, in the form of `Layer.view`.

    >>> view_text("mean", ""), view_text({"token": -1}, ""), view_text("positions", "")
    ('mean', 'token--1', 'positions-1')
    """
    if isinstance(view, Mapping) and len(view) == 1:
        ((word, number),) = view.items()
        is_whole = isinstance(number, int) and not isinstance(number, bool)
        if word == "token" and is_whole:
            return f"token-{number}"
        if word == "positions" and is_whole and number > 0:
            return f"positions-{number}"
    elif view in WORDS:
        return "positions-1" if view == "positions" else str(view)
    raise UserError(f"{where}: {view!r} is not a view; allowed: {ALLOWED}, or a list of them")


def viewed(layer: Layer, view: str, where: str) -> list[Layer]:
    """The layers that a view makes of a module's output: one, but for each position one."""
    if view == "flatten":
        return [layer]
    axis, shape = layer.channel_axis, layer.output_shape
    if axis is None:
        raise UserError(
            f"{where}: {view!r} needs channels at several positions, but {layer.name} has output of shape "
            f"{shape} for a sample; measure it flat, or choose another layer"
        )
    n_channels, lengths = shape[axis], shape[:axis] + shape[axis + 1 :]
    word, _, number = view.partition("-")
    if word in ("first", "last", "token") and len(lengths) > 1:
        raise UserError(
            f"{where}: {view!r} is of tokens or timesteps, but {layer.name} has positions along "
            f"{len(lengths)} axes, {lengths}; use center, mean, max or positions"
        )
    if word == "token" and not -lengths[0] <= int(number) < lengths[0]:
        raise UserError(
            f"{where}: token {number}, but {layer.name} has {lengths[0]}; allowed: {-lengths[0]} to {lengths[0] - 1}"
        )
    suffix = layer.suffix + "_" + view.replace("--", "_minus_").replace("-", "_")
    made = replace(
        layer,
        output_shape=(n_channels,),
        n_features=n_channels,
        view=view,
        suffix=suffix,
        shape_of_module=shape,
    )
    if word != "positions":
        return [made]
    return _one_by_one(replace(made, suffix=f"{layer.suffix}_positions"))


def _one_by_one(array: Layer) -> list[Layer]:
    """The layers of the positions in an array."""
    axis, shape = array.channel_axis, array.shape_of_module
    assert axis is not None
    places = grid(shape[:axis] + shape[axis + 1 :], int(array.view.partition("-")[2]))
    stem = array.suffix.removesuffix("s")
    one = replace(array, output_shape=(shape[axis],), n_features=shape[axis])
    return [
        replace(one, position=place, suffix=f"{stem}_{'_'.join(map(str, place))}")
        for place in places
    ]


def grid(lengths: Sequence[int], every: int) -> list[tuple[int, ...]]:
    """Every so-many-th position along each axis, as many left out before the first as after the last.

    >>> grid((5,), 2), grid((4,), 3)
    ([(0,), (2,), (4,)], [(0,), (3,)])
    >>> grid((2, 1), 1)
    [(0, 0), (1, 0)]
    """
    starts = [(n - 1) % every // 2 for n in lengths]
    along = [range(start, n, every) for start, n in zip(starts, lengths, strict=True)]
    return list(itertools.product(*along))


def arrays_of(layers: Sequence[Layer]) -> list[Layer]:
    """What is stored for the layers: each by itself, but all positions of an output as one array.

    Its axes are (position, channel), and its label ends in ``_positions``.
    """
    arrays: dict[str, Layer] = {}
    for layer in layers:
        label = array_label(layer.label) if layer.position else layer.label
        if not layer.position:
            arrays[label] = layer
        elif label not in arrays:
            axis, shape = layer.channel_axis, layer.shape_of_module
            assert axis is not None
            places = grid(shape[:axis] + shape[axis + 1 :], int(layer.view.partition("-")[2]))
            stored = (len(places), *layer.output_shape)
            suffix = _OF_POSITION.sub("_positions", layer.suffix)
            arrays[label] = replace(
                layer, position=(), suffix=suffix, output_shape=stored, n_features=math.prod(stored)
            )
    return list(arrays.values())


def layers_of(arrays: Sequence[Layer]) -> list[Layer]:
    """The layers that are in the arrays of `arrays_of`."""
    return [
        layer
        for array in arrays
        for layer in (_one_by_one(array) if array.view.startswith("positions") else [array])
    ]


def array_label(label: str) -> str:
    """Label of the array that a layer is stored in.

    >>> array_label("6_Conv2d_position_3_7"), array_label("6_Conv2d")
    ('6_Conv2d_positions', '6_Conv2d')
    """
    return _OF_POSITION.sub("_positions", label)


def place_in_array(label: str, shape_of_module: Sequence[int], axis: int, view: str) -> int:
    """Which of an array's positions a layer's is."""
    found = _OF_POSITION.search(label)
    assert found is not None
    position = tuple(map(int, found[1].split("_")[1:]))
    lengths = [n for place, n in enumerate(shape_of_module) if place != axis]
    return grid(lengths, int(view.partition("-")[2])).index(position)


def points_of(output: Tensor, layer: Layer) -> Tensor:
    """The points (n_samples, n_features) of a layer, of `arrays_of`, in a batch of its module's output."""
    if layer.view == "flatten":
        return output.reshape(len(output), -1)
    axis = layer.channel_axis
    assert axis is not None
    channels = output.movedim(axis + 1, 1)
    lengths = tuple(channels.shape[2:])
    word, _, number = layer.view.partition("-")
    if word == "center":
        for length in reversed(lengths):
            channels = channels[..., length // 2]
        return channels
    flat = channels.flatten(2)
    if word == "mean":
        return flat.float().mean(2)  # bfloat16 would lose digits in the sum
    if word == "max":
        return flat.amax(2)
    if word == "positions":
        places = [_place(position, lengths) for position in grid(lengths, int(number))]
        return flat[:, :, places].transpose(1, 2).flatten(1)
    return flat[:, :, {"first": 0, "last": -1}.get(word, int(number or 0))]


def _place(position: Sequence[int], lengths: Sequence[int]) -> int:
    """Place of a position among all, in memory order."""
    place = 0
    for index, length in zip(position, lengths, strict=True):
        place = place * length + index
    return place
