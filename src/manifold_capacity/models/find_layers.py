"""The layers that a network runs, found by a forward pass without data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from manifold_capacity.models.layers import Layer
from manifold_capacity.models.networks import (
    SMALL_CNN,
    build_model,
    seeded,
    skeleton,
    unfit_error,
)
from manifold_capacity.models.own_networks import (
    check_logits,
    check_trainable,
    example_batch,
    try_out,
)


def list_layers(
    name: str, *, n_classes: int, image_shape: Sequence[int], to_train: bool = False, **own: Any
) -> list[Layer]:
    """The layers of a model, given the arguments of ``build_model``: :func:`find_layers` without weights.

    A UserError if a network of the user's that is `to_train` has an output that cannot be trained.
    """
    sizes: dict[str, Any] = {"n_classes": n_classes, "image_shape": image_shape}
    factory, dtype = own.get("factory"), own.get("input_dtype")
    if name == SMALL_CNN and factory is None:
        # It computes in milliseconds. What torch loads for a forward pass without data takes seconds.
        with seeded(0):
            model = build_model(name, **sizes, **own)
    else:
        model = skeleton(name, **sizes, **own)
    if factory is not None:
        outputs = try_out(model, image_shape, dtype, factory)
        if to_train:
            check_trainable(model)
            check_logits(outputs, len(example_batch(model, image_shape)), n_classes)
        return find_layers(model, image_shape, dtype or "float32")
    try:
        return find_layers(model, image_shape)
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise unfit_error(name, image_shape, error) from error


def leaf_modules(model: nn.Module) -> list[tuple[int, str, nn.Module]]:
    """All modules without children, in module order: (index from 1, qualified name, module)."""
    leaves = (named for named in model.named_modules() if not any(named[1].children()))
    return [(index, *named) for index, named in enumerate(leaves, start=1)]


def find_layers(
    model: nn.Module, image_shape: Sequence[int], input_dtype: str | None = None
) -> list[Layer]:
    """The table of layers: the input, then every leaf module that runs in a forward pass.

    Parameters
    ----------
    model : nn.Module
        On any device; on torch's meta device nothing is computed.
    image_shape : sequence of int
        (channels, height, width) of the network's input.
    input_dtype : str, optional
        Type of the network's input, such as ``int64``; by default that of its weights.

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
    batch = example_batch(model, image_shape, input_dtype)
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
