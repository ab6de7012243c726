"""Forward passes that hand the outputs of chosen layers to a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from manifold_capacity.errors import UserError
from manifold_capacity.models import device as devices
from manifold_capacity.models.find_layers import first_key, tensors_of
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.views import points_of


class Forward:
    """A network with hooks on its layers; called with a batch, it runs a forward pass.

    It is a context: the hooks are removed at its end, and no gradients are computed in it.

    Parameters
    ----------
    model : nn.Module
        It is put in evaluation mode and moved to the device.
    layers : sequence of Layer
        Chosen from the model's own table of layers, as `manifold_capacity.models.views.arrays_of` gives them.
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
        self._calls: dict[str, int] = {}
        self._n_points = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        modules = dict(self._model.named_modules())
        of_module: dict[str, list[Layer]] = {}
        for layer in self._layers:
            if layer.index:
                of_module.setdefault(layer.name, []).append(layer)
        with ExitStack() as stack:
            for name, layers in of_module.items():
                module = modules.get(name)
                if type(module).__name__ != layers[0].type:
                    raise UserError(
                        f"layer {layers[0].label} ({name}) is not in the model, which has "
                        f"{'no such module' if module is None else f'a {type(module).__name__} there'}; "
                        "make the table of layers again"
                    )
                hook = partial(self._after_call, name, layers)
                stack.enter_context(module.register_forward_hook(hook))  # type: ignore[union-attr]
            stack.enter_context(torch.no_grad())
            stack.enter_context(devices.arithmetic(self._precision))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, batch: Tensor | Mapping[str, Tensor]) -> None:
        """Run a batch of the network's input through it; every layer must run.

        A mapping is given as keyword arguments, and its first tensor counts as the input.
        """
        first = batch if isinstance(batch, Tensor) else next(iter(batch.values()))
        self._n_points = len(first)
        self._missing = {layer.label for layer in self._layers}
        self._calls = {}
        for layer in self._layers:
            if layer.index == 0:
                self._pass_on(layer, first)
        with devices.autocast(self._precision, self._device):
            self._model(batch) if isinstance(batch, Tensor) else self._model(**batch)
        if self._missing:
            names = ", ".join(layer.label for layer in self._layers if layer.label in self._missing)
            raise UserError(
                f"layers that did not run in the forward pass: {names}; make the table of layers again"
            )

    def _after_call(
        self,
        name: str,
        layers: Sequence[Layer],
        _module: object,
        _arguments: object,
        output: object,
    ) -> None:
        call = self._calls[name] = self._calls.get(name, 0) + 1
        wanted = [layer for layer in layers if layer.call == call]
        tensors = dict(tensors_of(output)) if wanted else {}
        with_batch = {
            key: t for key, t in tensors.items() if t.ndim > 1 and len(t) == self._n_points
        }
        for layer in wanted:
            key = layer.output or first_key(with_batch.items())
            if key is None or key not in tensors:
                raise UserError(
                    f"layer {layer.label} ({layer.name}) has no output {layer.output!r} in this batch; make the "
                    "table of layers again"
                )
            self._pass_on(layer, tensors[key])

    def _pass_on(self, layer: Layer, output: Tensor) -> None:
        expected = layer.shape_of_module or layer.output_shape
        if tuple(output.shape) != (self._n_points, *expected):
            raise UserError(
                f"layer {layer.label} ({layer.name}) has output of shape {tuple(output.shape[1:])} "
                f"for a sample, but {expected} in the table of layers; make the table again"
            )
        self._missing.discard(layer.label)
        self._receive(layer, points_of(output.detach(), layer))
