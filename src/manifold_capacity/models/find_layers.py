"""The layers that a network runs, found by a forward pass without data."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

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
    model: nn.Module,
    image_shape: Sequence[int] = (),
    input_dtype: str | None = None,
    *,
    example: Tensor | Mapping[str, Tensor] | None = None,
) -> list[Layer]:
    """The table of layers: the input, then every module that runs in a forward pass.

    Parameters
    ----------
    model : nn.Module
        On any device; on torch's meta device nothing is computed.
    image_shape : sequence of int
        (channels, height, width) of the network's input.
    input_dtype : str, optional
        Type of the network's input, such as ``int64``; by default that of its weights.
    example : tensor or mapping of tensors, optional
        A batch in place of zeros of that shape and type; a mapping is given as keyword arguments.

    Returns
    -------
    list of Layer
        A row per module, call and tensor of its output, blocks after their last leaf. The index counts all leaf
        modules from 1 in module order, also those that do not run: it does not depend on what the forward pass
        does.

    Notes
    -----
    Not in the table are modules that are never called (the projections inside ``nn.MultiheadAttention`` and swin's
    attention, whose weights are used directly), and tensors without the batch as their first axis.
    """
    batch = example_batch(model, image_shape, input_dtype) if example is None else example
    n_samples = len(batch) if isinstance(batch, Tensor) else len(next(iter(batch.values())))
    found: dict[str, list[dict[str, Tensor]]] = {}

    def note(name: str, _module: nn.Module, _arguments: object, output: object) -> None:
        tensors = {
            key: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
            for key, tensor in tensors_of(output)
            if tensor.ndim > 1 and len(tensor) == n_samples
        }
        found.setdefault(name, []).append(tensors)

    modes = {module: module.training for module in model.modules()}
    with ExitStack() as stack, torch.no_grad():
        for name, module in model.named_modules():
            if name:
                stack.enter_context(module.register_forward_hook(partial(note, name)))
        try:
            model.eval()
            model(batch) if isinstance(batch, Tensor) else model(**batch)
        finally:
            for module, mode in modes.items():
                module.training = mode
    first = batch if isinstance(batch, Tensor) else next(iter(batch.values()))
    shape = tuple(first.shape[1:])
    places = _places(model, {name for name, calls in found.items() if any(calls)})
    rows = [
        _row(place, name, call, key, tensor)
        for name, place in places.items()
        for call, tensors in enumerate(found[name], start=1)
        for key, tensor in _keyed(tensors)
    ]
    channels = (0 if len(shape) > 2 else 1) if len(shape) > 1 else None
    given = Layer(0, "input", "Input", shape, math.prod(shape), channel_axis=channels)
    return [given, *rows]


class _Place(NamedTuple):
    """Where a module is in the table, and which axis of its output are the channels, if that is known."""

    leaf: int
    type: str
    is_block: bool
    channels: str


def tensors_of(output: object, key: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in a module's output, with dotted keys: ``""`` of a tensor, ``"0"``, ``"hidden_states.3"``."""
    dot = f"{key}." if key else ""
    if isinstance(output, Tensor):
        yield key, output
    elif isinstance(output, Mapping):
        for name, value in output.items():
            yield from tensors_of(value, f"{dot}{name}")
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        for name in output._fields:
            yield from tensors_of(getattr(output, name), f"{dot}{name}")
    elif isinstance(output, tuple | list):
        for index, value in enumerate(output):
            yield from tensors_of(value, f"{dot}{index}")
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        for field in dataclasses.fields(output):
            yield from tensors_of(getattr(output, field.name), f"{dot}{field.name}")


def first_key(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The key of the tensor that is measured by default: the first of floating-point numbers, else the first."""
    each = list(tensors)
    floating = [key for key, tensor in each if tensor.is_floating_point()]
    return next(iter([*floating, *(key for key, _ in each)]), None)


def _keyed(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The default tensor without a key, then each that has one with it."""
    key = first_key(tensors.items())
    if key is not None:
        yield "", tensors[key]
    yield from ((key, tensor) for key, tensor in tensors.items() if key)


def _row(place: _Place, name: str, call: int, key: str, tensor: Tensor) -> Layer:
    shape = tuple(tensor.shape[1:])
    known = {"first": 0, "last": len(shape) - 1, "": 0 if len(shape) > 2 else len(shape) - 1}
    return Layer(
        place.leaf,
        name,
        place.type,
        shape,
        math.prod(shape),
        is_block=place.is_block,
        call=call,
        output=key,
        channel_axis=known[place.channels] if len(shape) > 1 else None,
    )


# Where these have their channels, by the class's name. Any other module leaves them where they are.
_CHANNELS_FIRST = re.compile(
    r"Conv\w*[123]d|\w*Pool[123]d|\w*BatchNorm\w*|GroupNorm|InstanceNorm\w*"
)
_CHANNELS_LAST = re.compile(
    r"\w*Linear|LayerNorm|RMSNorm|Embedding\w*|MultiheadAttention|RNN|LSTM|GRU|Transformer\w*"
)


def _places(model: nn.Module, running: set[str]) -> dict[str, _Place]:
    """The running modules in the order of the table: by the last leaf that runs in them, inner ones first."""
    known = ""
    last: dict[str, tuple[int, str]] = {}
    for index, name, module in leaf_modules(model):
        kind = type(module).__name__
        if _CHANNELS_FIRST.fullmatch(kind):
            known = "first"
        elif _CHANNELS_LAST.fullmatch(kind):
            known = "last"
        parts = name.split(".")
        for n_parts in range(1, len(parts) + 1):
            around = ".".join(parts[:n_parts])
            if name in running or around not in last:
                last[around] = (index, known)
    places = {}
    for name, module in model.named_modules():
        if name and name in running:
            index, channels = last[name]
            is_block = any(module.children())
            places[name] = _Place(index, type(module).__name__, is_block, channels)

    def order(item: tuple[str, _Place]) -> tuple[int, bool, int]:
        name, place = item
        return place.leaf, place.is_block, -name.count(".")

    return dict(sorted(places.items(), key=order))
