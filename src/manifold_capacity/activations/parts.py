"""Which layers share a store: all of a run, or as many as there is space for. Does not import torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from manifold_capacity.activations.grid import StoreSize
from manifold_capacity.errors import UserError
from manifold_capacity.models.layers import Layer

GIB = 2**30


@dataclass(frozen=True)
class Part:
    """Layers that are extracted in one forward pass, into one store.

    Attributes
    ----------
    suffix : str
        What follows the run in the store's path: ``-layers-3-7`` for the third to the seventh of the
        chosen layers, nothing for all of them. So the path says what is in a store, whatever the limit.
    layers : tuple of Layer
    n_bytes : int
        Size of the store on disk.
    """

    suffix: str
    layers: tuple[Layer, ...]
    n_bytes: int

    def __str__(self) -> str:
        labels = dict.fromkeys((self.layers[0].label, self.layers[-1].label))
        n_layers = f"{len(self.layers)} layer{'s' * (len(self.layers) > 1)}"
        return f"{' to '.join(labels)} ({n_layers}, {self.n_bytes / GIB:.3g} GiB)"


def divide(chosen: Sequence[Layer], size: StoreSize, max_gib: float | None) -> tuple[Part, ...]:
    """The stores of a run, each as full as the limit allows, in the layers' order.

    Parameters
    ----------
    chosen : sequence of Layer
    size : StoreSize
        Of a store with all of them.
    max_gib : float or None
        `activations.max_gib`; None: no limit.

    Raises
    ------
    UserError
        If one layer alone exceeds the limit.
    """
    most = float("inf") if max_gib is None else max_gib * GIB
    if size.total <= most:
        return (Part("", tuple(chosen), size.total),)
    each = [n_bytes for _, _, n_bytes in size.entries]
    firsts, filled = [0], 0
    for place, (layer, n_bytes) in enumerate(zip(chosen, each, strict=True)):
        if n_bytes > most:
            takes = f"{n_bytes / GIB:.4g} GiB"
            raise UserError(
                f"activations.max_gib: {max_gib:g}, but layer {layer.label} ({layer.name}) alone takes "
                f"{takes}; allowed: {takes} or more, or choose fewer points (manifolds.points_per_class, "
                "geometry.repeats), activations.dtype: float16, activations.projection, or other layers (layers)"
            )
        if filled + n_bytes > most:
            firsts.append(place)
            filled = 0
        filled += n_bytes
    ends = [*firsts[1:], len(chosen)]
    return tuple(
        Part(f"-layers-{first + 1}-{end}", tuple(chosen[first:end]), sum(each[first:end]))
        for first, end in zip(firsts, ends, strict=True)
    )


def layers_of_part(chosen: Sequence[Layer], suffix: str) -> list[Layer]:
    """The layers, of all that are chosen, in the store whose path has this suffix."""
    first, last = map(int, re.findall(r"\d+", suffix) or (1, len(chosen)))
    return list(chosen[first - 1 : last])
