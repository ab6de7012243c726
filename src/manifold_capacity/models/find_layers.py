"""The layers that a network runs, found by a forward pass without data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from manifold_capacity.models.layers import Layer
from manifold_capacity.models.networks import SMALL_CNN, build_model, meta_model, unfit_error


def list_layers(name: str, *, n_classes: int, image_shape: Sequence[int]) -> list[Layer]:
    """The layers of a model, given its name: :func:`find_layers` without weights."""
    if name == SMALL_CNN:
        # It computes in milliseconds. What torch loads for a forward pass without data takes seconds.
        with torch.random.fork_rng(devices=[]):
            model = build_model(name, n_classes=n_classes, image_shape=image_shape)
    else:
        model = meta_model(name, n_classes=n_classes, image_shape=image_shape)
    try:
        return find_layers(model, image_shape)
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise unfit_error(name, image_shape, error) from error


def leaf_modules(model: nn.Module) -> list[tuple[int, str, nn.Module]]:
    """All modules without children, in module order: (index from 1, qualified name, module)."""
    leaves = (named for named in model.named_modules() if not any(named[1].children()))
    return [(index, *named) for index, named in enumerate(leaves, start=1)]


def find_layers(model: nn.Module, image_shape: Sequence[int]) -> list[Layer]:
    """The table of layers: the input, then every leaf module that runs in a forward pass.

    Parameters
    ----------
    model : nn.Module
        On any device; on torch's meta device nothing is computed.
    image_shape : sequence of int
        (channels, height, width) of the network's input.

    Returns
    -------
    list of Layer
        The index counts all leaf modules from 1 in module order, also those that do not run: it does
        not depend on what the forward pass does.

    Notes
    -----
    A leaf module that runs several times (a ReLU that a residual block shares) is one layer: its
    first call. Not in the table are modules that are never called (the projections inside
    ``nn.MultiheadAttention`` and swin's attention, whose weights are used directly), and modules
    whose output is not a single tensor with the batch as its first axis.
    """
    parameter = next(model.parameters())
    batch = torch.zeros((2, *image_shape), device=parameter.device, dtype=parameter.dtype)
    shapes: dict[int, tuple[int, ...]] = {}

    def note(index: int, _module: nn.Module, _arguments: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim > 1 and output.shape[0] == len(batch):
            shapes.setdefault(index, tuple(output.shape[1:]))

    leaves = leaf_modules(model)
    was_training = model.training
    with ExitStack() as stack, torch.no_grad():
        stack.callback(model.train, was_training)
        for index, _, module in leaves:
            hook = partial(note, index)
            stack.enter_context(module.register_forward_hook(hook))
        model.eval()(batch)
    shape = tuple(image_shape)
    return [Layer(0, "input", "Input", shape, math.prod(shape))] + [
        Layer(index, name, type(module).__name__, shapes[index], math.prod(shapes[index]))
        for index, name, module in leaves
        if index in shapes
    ]
