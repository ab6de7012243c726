"""The layers that a network runs, found by a forward pass without data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from manifold_capacity.models.layers import INPUT_NAME, INPUT_TYPE, Layer
from manifold_capacity.models.networks import meta_model, unfit_error


def list_layers(name: str, *, n_classes: int, image_shape: Sequence[int]) -> list[Layer]:
    """The layers of a model by its name alone: needs no weights and computes nothing.

    See :func:`find_layers`.
    """
    model = meta_model(name, n_classes=n_classes, image_shape=image_shape)
    try:
        return find_layers(model, image_shape)
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise unfit_error(name, image_shape, error) from error


def leaf_modules(model: nn.Module) -> list[tuple[int, str, nn.Module]]:
    """All modules without children, in module order: (index from 1, qualified name, module)."""
    leaves = [
        (name, module) for name, module in model.named_modules() if not any(module.children())
    ]
    return [(index, name, module) for index, (name, module) in enumerate(leaves, start=1)]


def find_layers(model: nn.Module, image_shape: Sequence[int]) -> list[Layer]:
    """The table of layers: the input, then every leaf module that runs in a forward pass.

    Parameters
    ----------
    model : nn.Module
        On any device; on torch's meta device this costs nothing.
    image_shape : sequence of int
        (channels, height, width) of what the network gets.

    Returns
    -------
    list of Layer
        The index counts all leaf modules from 1 in module order, also those that don't run, so that
        a layer's number doesn't depend on what the forward pass does.

    Notes
    -----
    A leaf module that runs several times (a ReLU that a residual block shares) is one layer: its
    first call. One that is never called as a module (the projections inside
    ``nn.MultiheadAttention`` and swin's attention, whose weights are used directly), or that puts
    out something else than one tensor whose first axis is the batch, is not in the table.
    """
    parameter = next(model.parameters())
    batch = torch.zeros((2, *image_shape), device=parameter.device, dtype=parameter.dtype)
    shapes: dict[int, tuple[int, ...]] = {}

    def note(index: int, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim > 1 and output.shape[0] == len(batch):
            shapes.setdefault(index, tuple(output.shape[1:]))

    hooks = [
        module.register_forward_hook(lambda _module, _args, output, i=index: note(i, output))
        for index, _, module in leaf_modules(model)
    ]
    was_training = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    entries = [(0, INPUT_NAME, INPUT_TYPE, tuple(image_shape))]
    entries += [
        (index, name, type(module).__name__, shapes[index])
        for index, name, module in leaf_modules(model)
        if index in shapes
    ]
    return [
        Layer(index, name, kind, shape, torch.Size(shape).numel())
        for index, name, kind, shape in entries
    ]
