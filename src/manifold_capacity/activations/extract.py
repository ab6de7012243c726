"""Writing the store of activations: one zarr array per layer, axes (manifold, point, feature).

Written in one pass by one writer, one forward pass at a time: each layer's part of a batch is a whole
shard, written from within the forward pass, so that memory holds one batch and one such part. Reading
is `manifold_capacity.activations.store`, which needs no torch.
"""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from manifold_capacity.activations.grid import bill, points_per_batch
from manifold_capacity.activations.store import STORE, StoreError
from manifold_capacity.activations.writer import DTYPES, REMEDY, Writer, check_space, gib
from manifold_capacity.errors import UserError
from manifold_capacity.logs import Progress, duration
from manifold_capacity.models.augment import Draws, apply_draws, draw_augmentation, seeded_generator
from manifold_capacity.models.device import arithmetic, autocast, check_precision, resolve_device
from manifold_capacity.models.find_layers import leaf_modules
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.preprocess import Preprocess, to_batch

logger = logging.getLogger(__name__)


_SPLITS = ("train", "test")


def extract(
    model: nn.Module,
    layers: Sequence[Layer],
    images: np.ndarray,
    indices: np.ndarray,
    folder: Path,
    *,
    preprocess: Preprocess,
    classes: Sequence[int],
    class_names: Sequence[str],
    split: str,
    seed: int,
    dtype: str = "float32",
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "float32",
    augment: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Run images through a network and store what comes out of the chosen layers.

    Parameters
    ----------
    model : nn.Module
        Is put in evaluation mode and on the device.
    layers : sequence of Layer
        Chosen from the model's own table of layers. Values are stored flattened: (channel, row,
        column) of a convolution, (token, channel) of a transformer's block.
    images : array of uint8, (n_images, height, width, n_channels)
        A split of the dataset; may be memory-mapped.
    indices : array of int, (n_manifolds, n_points)
        Which images make up which manifold.
    folder : Path
        Where ``activations.zarr`` is made; one that is there is replaced.
    preprocess : Preprocess
    classes : sequence of int
        The class of each manifold; with seed, split and the place within the manifold it determines
        an image's augmentation, whatever the other classes, the number of points, the batch size
        and the device.
    class_names : sequence of str
        Name of each manifold.
    split : str
        ``train`` or ``test``.
    seed : int
    dtype : str
        ``float32`` or ``float16``, of what is stored.
    batch_size : int
        Most images in one forward pass. It may be less: points are split evenly, and one layer's
        part of a batch is kept below 128 MiB.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    precision : str
        ``float32``, ``tf32`` or ``bfloat16``, of what the network computes.
    augment : mapping, optional
        Keyword arguments of ``manifold_capacity.models.augment.augment_batch``, to measure augmented
        images.
    attributes : mapping, optional
        More that the store should say: model, checkpoint, digests; anything JSON can hold.

    Raises
    ------
    StoreError
        If the disk has too little space for the store: before anything is written, and also when it
        fills up meanwhile.
    ValueError
        If a layer isn't one of the model's or has values that ``dtype`` can't hold, or if the device
        doesn't have the precision.
    """
    n_manifolds, n_points = indices.shape
    if not n_manifolds == len(classes) == len(class_names):
        raise UserError(
            f"indices are of {n_manifolds} manifolds, but there are {len(classes)} classes "
            f"and {len(class_names)} class names"
        )
    if split not in _SPLITS:
        raise UserError(f"split: {split!r}; allowed: {', '.join(_SPLITS)}")
    if dtype not in DTYPES:
        raise UserError(f"activations.dtype: {dtype!r}; allowed: {', '.join(DTYPES)}")
    target = resolve_device(device)
    check_precision(precision, target, "activations.precision")
    path = folder / STORE
    if path.exists():
        shutil.rmtree(path)
    cost = bill(layers, n_manifolds, n_points, dtype, batch_size=batch_size)
    logger.info("activations to be written to %s:\n%s", path, cost)
    check_space(cost, folder)

    row_points = points_per_batch(layers, n_points, batch_size)
    writer = Writer(path, layers, indices, row_points, dtype)
    writer.create(
        {
            "split": split,
            "seed": seed,
            "classes": [int(index) for index in classes],
            "class_names": [str(name) for name in class_names],
            "augment": None if augment is None else dict(augment),
            "precision": precision,
            **(attributes or {}),
        }
    )
    model = model.to(target).eval()
    progress = Progress("writing", cost.total, "GiB", scale=2**30)
    rows = [(i, first) for i in range(n_manifolds) for first in range(0, n_points, row_points)]
    try:
        with _Hooks(model, layers, writer), torch.no_grad(), arithmetic(precision):
            for manifold, first in rows:
                places = range(first, min(first + row_points, n_points))
                batch = to_batch(images[indices[manifold, first : places.stop]], target)
                if augment is not None:
                    key = (seed, _SPLITS.index(split), int(classes[manifold]))
                    # Drawn image by image, each from its own generator; applied to all at once
                    draws = [
                        draw_augmentation(1, seeded_generator(*key, place, 1), **augment)
                        for place in places
                    ]
                    batch = apply_draws(batch, Draws.join(draws))
                batch = preprocess(batch)
                writer.start(manifold, first, len(batch))
                writer.write(0, batch)
                with autocast(precision, target):
                    model(batch)
                writer.finish()
                progress.update(len(batch) * cost.total // indices.size)
        writer.complete()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        shutil.rmtree(path)
        raise StoreError(
            f"the disk filled up while {path} was written: it takes {gib(cost.total)}; {REMEDY}"
        ) from error
    took = duration(time.monotonic() - progress.started)
    logger.info("wrote %s for %s images in %s", gib(cost.total), f"{indices.size:,}", took)


class _Hooks:
    """Hands the outputs of the chosen layers to the writer, from within the forward pass.

    What a hook gets is the very tensor that the next module may change in place (VGG's ReLUs do).
    The writer is done with it before the hook returns.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer], writer: Writer) -> None:
        leaves = {index: (name, module) for index, name, module in leaf_modules(model)}
        self._handles = []
        for layer in layers:
            if layer.index == 0:
                continue
            name, module = leaves.get(layer.index, ("", None))
            if module is None or (name, type(module).__name__) != (layer.name, layer.type):
                raise UserError(
                    f"layer {layer.label} ({layer.name}) is not in the model, whose leaf module "
                    f"{layer.index} is {name or 'missing'}; make the table of layers anew"
                )
            self._handles.append(module.register_forward_hook(self._hook(layer.index, writer)))

    @staticmethod
    def _hook(index: int, writer: Writer) -> Any:
        return lambda _module, _arguments, output: writer.write(index, output)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
