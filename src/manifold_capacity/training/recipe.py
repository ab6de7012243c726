"""A training's recipe: its checks, its learning rates, and a digest of all that the weights depend on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manifold_capacity.errors import UserError
from manifold_capacity.files import file_sha256
from manifold_capacity.models.device import check_choice, check_precision


def check_recipe(
    recipe: Mapping[str, Any],
    labels: Mapping[str, np.ndarray],
    n_classes: int,
    checkpoints: Iterable[int],
    device: torch.device,
) -> None:
    """Raise a UserError if a network with `n_classes` outputs cannot be trained by a recipe."""
    check_choice("training.optimizer", recipe["optimizer"], ("sgd",))
    check_choice("training.schedule", recipe["schedule"], ("constant", "cosine"))
    check_precision(recipe["precision"], device, "training.precision")
    for split, values in labels.items():
        if len(values) < 2:
            n_images = len(values)
            raise UserError(f"the {split} split has {n_images} images; training needs at least 2")
        if values.min() < 0 or values.max() >= n_classes:
            raise UserError(
                f"the {split} labels are {values.min()} to {values.max()}, but the network has "
                f"{n_classes} outputs, for labels 0 to {n_classes - 1}"
            )
    for epoch in checkpoints:
        if not 0 <= epoch <= recipe["epochs"]:
            raise UserError(
                f"checkpoints: {epoch}, but training.epochs is {recipe['epochs']}; "
                f"allowed: 0 to {recipe['epochs']}"
            )


def steps_per_epoch(n_images: int, batch_size: int) -> int:
    """Steps of an epoch, without a last batch of one image, which batch normalization cannot use."""
    return math.ceil(n_images / batch_size) - (n_images % batch_size == 1)


def learning_rate(recipe: Mapping[str, Any], step: int, n_steps: int) -> float:
    """The learning rate of a step, counted from 0 over all `n_steps` of the training."""
    rate: float = recipe["learning_rate"]
    if recipe["schedule"] == "constant":
        return rate
    return rate * 0.5 * (1 + math.cos(math.pi * step / n_steps))


def training_digest(initial: Path, arrays: Iterable[np.ndarray], **about: Any) -> str:
    """Digest of everything that the final weights depend on: 16 hexadecimal digits.

    `initial` is the first checkpoint, `arrays` are images and labels, `about` is anything else.
    """
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(bytes.fromhex(file_sha256(initial)))
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        for start in range(0, len(array), 4096):  # images may not fit into memory
            digest.update(np.ascontiguousarray(array[start : start + 4096]).data)
    return digest.hexdigest()[:16]
