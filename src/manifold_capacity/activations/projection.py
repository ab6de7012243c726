"""A random projection of wide layers, in which every feature is added to one coordinate, with a random sign.

Inner products are right on average. Over the signs, that of x and y has the variance
``sum over i != j of p_ij (x_i**2 y_j**2 + x_i y_i x_j y_j)``, where p_ij is the probability that features i and
j are added to the same coordinate: 1/k in the count sketch with k coordinates (Charikar, Chen & Farach-Colton
2002), as of a dense matrix of signs, and less than of a Gaussian one; Weinberger et al. 2009 (lemma 2), Kane &
Nelson 2014. Here coordinates are not drawn for each feature but in blocks: k features next to each other go to k
different coordinates, in their order from a random one on. So p_ij is 1/k between blocks and 0 within one,
and both the layer and the sum are read in the order of memory. Loading this does not import torch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from manifold_capacity.models.layers import Layer

if TYPE_CHECKING:
    from torch import Tensor


def stored_features(layer: Layer, projection: int | None) -> int:
    """Features of a layer after its projection to at most so many; None: no projection."""
    return layer.n_features if projection is None else min(layer.n_features, projection)


class Projection:
    """Projects the outputs of layers that have more features than so many, and leaves others as they are.

    A layer's projection depends on its name, its width and their number alone: it is the same for all
    checkpoints, seeds and splits, and on all devices.

    Parameters
    ----------
    n_features : int or None
        `activations.projection`; None: nothing is projected.
    """

    def __init__(self, n_features: int | None) -> None:
        self.n_features = n_features
        self._drawn: dict[Layer, tuple[Tensor, Tensor]] = {}

    def __call__(self, layer: Layer, output: Tensor) -> Tensor:
        """A layer's values (n_points, n_features), projected in float32 on their device."""
        if self.n_features is None or layer.n_features <= self.n_features:
            return output
        if layer not in self._drawn:
            signs, starts = draw(layer, self.n_features)
            self._drawn[layer] = signs.to(output.device), starts.to(output.device)
        # Many small sums on a GPU would take longer to start than to compute.
        add = add_blocks if output.device.type == "cpu" else add_all_blocks
        return add(output, *self._drawn[layer], self.n_features)


def draw(layer: Layer, n_features: int) -> tuple[Tensor, Tensor]:
    """The sign of each feature, and the coordinate to which the first feature of each block is added."""
    import torch

    rng = np.random.default_rng([layer.n_features, n_features, *layer.name.encode()])
    signs = 2 * rng.integers(2, size=layer.n_features, dtype=np.int8) - 1
    starts = rng.integers(n_features, size=math.ceil(layer.n_features / n_features))
    return torch.from_numpy(signs.astype(np.float32)), torch.from_numpy(starts)


def add_blocks(output: Tensor, signs: Tensor, starts: Tensor, n_features: int) -> Tensor:
    """The projection, one block after the other: without a copy of the output."""
    import torch

    # Beyond the last coordinate, a block continues at the first one.
    total = torch.zeros(len(output), 2 * n_features, device=output.device)
    for block, start in enumerate(starts.tolist()):
        part = slice(block * n_features, (block + 1) * n_features)
        values = output[:, part].float()
        total[:, start : start + values.shape[1]].addcmul_(values, signs[part])
    return total[:, :n_features] + total[:, n_features:]


def add_all_blocks(output: Tensor, signs: Tensor, starts: Tensor, n_features: int) -> Tensor:
    """The same sums in a few operations, with copies of the output."""
    import torch

    n_blocks = len(starts)
    rest = n_blocks * n_features - output.shape[1]
    signed = torch.nn.functional.pad(output.float() * signs, (0, rest))
    coordinates = torch.arange(n_features, device=output.device)
    blocks = torch.arange(n_blocks, device=output.device)[:, None]
    places = (coordinates - starts[:, None]) % n_features + blocks * n_features
    return signed[:, places.ravel()].reshape(len(output), n_blocks, n_features).sum(1)
