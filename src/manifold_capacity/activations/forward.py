"""Forward passes that hand the outputs of chosen layers to a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from manifold_capacity.errors import UserError
from manifold_capacity.models import device as devices
from manifold_capacity.models.find_layers import leaf_modules
from manifold_capacity.models.layers import Layer


class Forward:
    """A network with hooks on its layers; called with a batch, it runs a forward pass.

    It is a context: the hooks are removed at its end, and no gradients are computed in it.

    Parameters
    ----------
    model : nn.Module
        It is put in evaluation mode and moved to the device.
    layers : sequence of Layer
        Chosen from the model's own table of layers.
    receive : callable
        Called with a layer and its output (n_points, n_features), on the device, once in every batch. The
        next module may change an output in place, as VGG's ReLUs do: `receive` must copy what it keeps.
    precision : str
        ``float32``, ``tf32`` or ``bfloat16``, of the network's arithmetic.
    device : torch.device
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        receive: Callable[[Layer, Tensor], None],
        *,
        precision: str,
        device: torch.device,
    ) -> None:
        self._model = model.to(device).eval()
        self._layers, self._receive = layers, receive
        self._precision, self._device = precision, device
        self._missing: set[str] = set()
        self._n_points = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            leaves = {index: (name, module) for index, name, module in leaf_modules(self._model)}
            for layer in self._layers:
                if layer.index == 0:
                    continue
                name, module = leaves.get(layer.index, ("", None))
                if module is None or (name, type(module).__name__) != (layer.name, layer.type):
                    raise UserError(
                        f"layer {layer.label} ({layer.name}) is not in the model, whose leaf module "
                        f"{layer.index} is {name or 'missing'}; make the table of layers again"
                    )
                hook = partial(self._pass_on, layer)
                stack.enter_context(module.register_forward_hook(hook))
            stack.enter_context(torch.no_grad())
            stack.enter_context(devices.arithmetic(self._precision))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, batch: Tensor) -> None:
        """Run a batch of the network's input through it; every layer must run."""
        self._n_points = len(batch)
        self._missing = {layer.label for layer in self._layers}
        for layer in self._layers:
            if layer.index == 0:
                self._pass_on(layer, None, None, batch)
        with devices.autocast(self._precision, self._device):
            self._model(batch)
        if self._missing:
            names = ", ".join(layer.label for layer in self._layers if layer.label in self._missing)
            raise UserError(
                f"layers that did not run in the forward pass: {names}; make the table of layers again"
            )

    def _pass_on(self, layer: Layer, _module: object, _arguments: object, output: Tensor) -> None:
        """The output of a layer's first call."""
        if layer.label not in self._missing:
            return
        self._missing.discard(layer.label)
        if tuple(output.shape) != (self._n_points, *layer.output_shape):
            raise UserError(
                f"layer {layer.label} ({layer.name}) has output of shape {tuple(output.shape[1:])} "
                f"for an image, but {layer.output_shape} in the table of layers; make the table again"
            )
        self._receive(layer, output.detach().reshape(self._n_points, -1))
