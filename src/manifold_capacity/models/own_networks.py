"""Users' own networks: built by a function that the configuration names, and checked."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from manifold_capacity import own_code
from manifold_capacity.errors import UserError

KEY = "models.factory"

logger = logging.getLogger(__name__)


def build_own(
    factory: str,
    arguments: Mapping[str, Any],
    *,
    n_classes: int,
    image_shape: Sequence[int],
    input_dtype: str | None = None,
) -> nn.Module:
    """What a user's function returns: a network, with all its parameters.

    Always in memory: what runs on torch's meta device depends on how the network is written.
    """
    logger.info("%s: %s", KEY, own_code.describe(factory, KEY))
    offered = {"n_classes": n_classes, "input_shape": tuple(image_shape)}
    model = own_code.call(factory, KEY, arguments, offered)
    if not isinstance(model, nn.Module):
        raise UserError(
            f"{KEY}: {factory!r} returned a {type(model).__name__}, but must return a torch.nn.Module"
        )
    if any(map(is_lazy, [*model.parameters(), *model.buffers()])):
        try_out(model, image_shape, input_dtype, factory)
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"{KEY}: {factory!r}: the network's state has a {type(value).__name__} as {name!r}, but "
                "only tensors can be saved; leave it out of get_extra_state"
            )
    return model


def example_batch(
    model: nn.Module, input_shape: Sequence[int], input_dtype: str | None = None
) -> Tensor:
    """Zeros in place of three samples, on the network's device; by default in the type of its weights."""
    tensors = [*model.parameters(), *model.buffers()]
    types = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
    dtype = getattr(torch, input_dtype) if input_dtype else next(iter(types), torch.float32)
    device = tensors[0].device if tensors else None
    return torch.zeros((3, *input_shape), dtype=dtype, device=device)


def try_out(
    model: nn.Module, input_shape: Sequence[int], input_dtype: str | None, factory: str
) -> Any:
    """The output for a batch of zeros, in evaluation mode; a UserError if the network fails."""
    # As samples are: whatever the type of the weights.
    batch = example_batch(model, input_shape, input_dtype or "float32")
    was_training = model.training
    try:
        with torch.no_grad():
            return model.eval()(batch)
    except Exception as error:  # anything that a user's module raises
        raise failed(factory, batch, error) from error
    finally:
        model.train(was_training)


def failed(factory: str, batch: Tensor, error: Exception) -> UserError:
    """The error for a network that cannot run."""
    kind = str(batch.dtype).removeprefix("torch.")
    return UserError(
        f"{KEY}: {factory!r}: the network fails on a batch of shape {tuple(batch.shape)} ({kind}): "
        f"{own_code.in_words(error)}"
    )


def check_trainable(model: nn.Module) -> None:
    """Raise a UserError for a network in which training could not change anything."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(
            "models.weights: trained, but the network has no parameters that can be trained; set it to random"
        )


def check_logits(outputs: object, n_samples: int, n_classes: int) -> Tensor:
    """The outputs of a network that is to be trained; a UserError unless they are one number for each class."""
    expected = (n_samples, n_classes)
    if isinstance(outputs, Tensor):
        if tuple(outputs.shape) == expected and outputs.is_floating_point():
            return outputs
        kind = str(outputs.dtype).removeprefix("torch.")
        found = f"a tensor of shape {tuple(outputs.shape)} ({kind})"
    else:
        found = f"a {type(outputs).__name__}"
    raise UserError(
        f"models.weights: trained, but the network's output for {n_samples} samples is {found}; to be "
        f"trained it must be logits, one floating-point tensor of shape {expected}: return them from "
        "forward, or set weights to random, pretrained or files"
    )
