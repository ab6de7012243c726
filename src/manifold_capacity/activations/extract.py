"""Extracting activations: forward passes with hooks that write layers' outputs to a store.

Each layer's part of a batch is a whole shard, written while the forward pass goes on, so that memory holds
one batch and a few such parts.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from manifold_capacity.activations.forward import Forward
from manifold_capacity.activations.grid import points_per_batch, store_size
from manifold_capacity.activations.overlap import Overlap
from manifold_capacity.activations.parts import layers_of_part
from manifold_capacity.activations.projection import Projection
from manifold_capacity.activations.store import STORE, StoreError
from manifold_capacity.activations.writer import Writer
from manifold_capacity.errors import UserError
from manifold_capacity.files import DISK_FULL
from manifold_capacity.logs import Progress, duration
from manifold_capacity.models import device as devices
from manifold_capacity.models.augment import Draws, apply_draws, draw_augmentation, seeded_generator
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.preprocess import Preprocess, to_batch
from manifold_capacity.models.views import arrays_of

logger = logging.getLogger(__name__)

_SPLITS = ("train", "test")

_REMEDY = (
    "make space, or set results to a folder on a larger disk, choose fewer layers (layers), fewer "
    "points (manifolds.points_per_class), activations.dtype: float16 or activations.projection: 5000; "
    "the next run makes the store again"
)


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
    projection: int | None = None,
    part: str = "",
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Run images through a network and store the outputs of the chosen layers.

    Parameters
    ----------
    model : nn.Module
        It is put in evaluation mode and moved to the device.
    layers : sequence of Layer
        Chosen from the model's own table of layers. Values are stored flattened: (channel, row,
        column) of a convolution, (token, channel) of a transformer's block.
    images : array of uint8, (n_images, height, width, n_channels)
        A split of the dataset; may be memory-mapped. Or other inputs, as the network takes them.
    indices : array of int, (n_manifolds, n_points)
        Indices of each manifold's images.
    folder : Path
        Folder for the store, ``activations.zarr``; an existing one is replaced.
    preprocess : Preprocess
    classes : sequence of int
        The class of each manifold. An image's augmentation depends on the seed, the split, the class
        and the image's place in the manifold, not on the other classes, the number of points, the
        batch size or the device.
    class_names : sequence of str
        Name of each manifold.
    split : str
        ``train`` or ``test``.
    seed : int
        Of the augmentation.
    dtype : str
        ``float32`` or ``float16``, of the stored values.
    batch_size : int
        Most images in one forward pass. It may be fewer: points are divided evenly, and one layer's
        part of a batch is at most 128 MiB.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    precision : str
        ``float32``, ``tf32`` or ``bfloat16``, of the network's arithmetic.
    augment : mapping, optional
        Keyword arguments of ``manifold_capacity.models.augment.draw_augmentation``, to measure
        augmented images.
    projection : int, optional
        Layers with more features are projected to so many (``manifold_capacity.activations.projection``).
    part : str
        Which of the layers to store, as ``manifold_capacity.activations.parts.Part.suffix``; all by default.
        Batches are divided by the widths of all layers, so that a layer is the same in any part.
    attributes : mapping, optional
        More metadata for the store: model, checkpoint, digests; anything JSON can hold.

    Raises
    ------
    StoreError
        If the disk has too little space for the store, before anything is written or while writing.
    UserError
        If a layer is not one of the model's or has values that ``dtype`` cannot hold, or if the device
        does not support the precision.
    """
    n_manifolds, n_points = indices.shape
    if not n_manifolds == len(classes) == len(class_names):
        raise UserError(
            f"indices are of {n_manifolds} manifolds, but there are {len(classes)} classes "
            f"and {len(class_names)} class names"
        )
    devices.check_choice("split", split, _SPLITS)
    devices.check_choice("activations.dtype", dtype, ("float32", "float16"))
    target = devices.resolve_device(device)
    devices.check_precision(precision, target, "activations.precision")
    path = folder / STORE
    if path.exists():
        shutil.rmtree(path)
    layers = arrays_of(layers)
    row_points = points_per_batch(layers, n_points, batch_size)
    layers = layers_of_part(layers, part)
    size = store_size(
        layers, n_manifolds, n_points, dtype, batch_size=row_points, projection=projection
    )
    logger.info("writing %s of activations to %s\n%s", _gib(size.total), path, size)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if size.total > free:
        raise StoreError(
            f"activations: the store takes {_gib(size.total)} ({size.total} bytes), but {folder} has "
            f"only {_gib(free)} ({free} bytes) free; {_REMEDY}"
        )
    about = {
        "split": split,
        "seed": seed,
        "classes": [int(index) for index in classes],
        "class_names": [str(name) for name in class_names],
        "augment": None if augment is None else dict(augment),
        "precision": precision,
        **(attributes or {}),
    }
    writer = Writer(path, layers, indices, row_points, dtype, about, projection)
    project = Projection(projection)
    progress = Progress("writing", size.total, "GiB", scale=2**30)
    rows = [(i, first) for i in range(n_manifolds) for first in range(0, n_points, row_points)]
    widest = max(grid.shape[2] for grid in writer.grids.values())
    overlap = Overlap(row_points * widest, dtype, target)

    def store(layer: Layer, output: Tensor) -> None:
        overlap(project(layer, output), partial(writer.write, layer, manifold, first))

    run = Forward(model, layers, store, precision=precision, device=target)
    try:
        with run, overlap:
            for manifold, first in rows:
                places = range(first, min(first + row_points, n_points))
                batch = to_batch(images[indices[manifold, first : places.stop]], target)
                if augment is not None:
                    # Each image's changes are drawn from its own generator.
                    key = (seed, _SPLITS.index(split), int(classes[manifold]))
                    draws = [
                        draw_augmentation(1, seeded_generator(*key, place, 1), **augment)
                        for place in places
                    ]
                    batch = apply_draws(batch, Draws.join(draws))
                run(preprocess(batch))
                progress.update(len(places) * size.total // indices.size)
            overlap.finish()
        writer.complete()
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        shutil.rmtree(path)
        raise StoreError(
            f"the disk filled up while {path} was written: it takes {_gib(size.total)}; {_REMEDY}"
        ) from error
    took = duration(time.monotonic() - progress.started)
    logger.info("wrote %s for %s images in %s", _gib(size.total), f"{indices.size:,}", took)


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.3g} GiB"
