"""Write activations to a zarr store, one array per layer."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.codecs import BytesCodec, Crc32cCodec

from manifold_capacity.activations.grid import Bill, grid_of
from manifold_capacity.activations.store import FORMAT_VERSION, StoreError
from manifold_capacity.errors import UserError
from manifold_capacity.models.layers import Layer

DTYPES = ("float32", "float16")


REMEDY = (
    "make space, or set results to a folder on a larger disk, choose fewer layers (layers), fewer "
    "points (manifolds.points_per_class), or activations.dtype: float16; the removed store is made "
    "anew by the next run"
)


def gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.3g} GiB"


def check_space(cost: Bill, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if cost.total > free:
        raise StoreError(
            f"activations: the store takes {gib(cost.total)} ({cost.total} bytes), but {folder} has "
            f"only {gib(free)} ({free} bytes) free; {REMEDY}"
        )


class Writer:
    """Writes whole shards: one layer's part of one forward pass."""

    def __init__(
        self, path: Path, layers: Sequence[Layer], indices: np.ndarray, row_points: int, dtype: str
    ) -> None:
        n_manifolds, n_points = indices.shape
        self.path, self.dtype, self.indices = path, dtype, indices
        self.layers = {layer.index: layer for layer in layers}
        self.grids = {
            layer.index: grid_of(layer, n_manifolds, n_points, row_points, dtype)
            for layer in layers
        }
        self.arrays: dict[int, zarr.Array[Any]] = {}
        self.waiting: set[int] = set()
        self.row = (0, 0, 0)

    def create(self, attributes: Mapping[str, Any]) -> None:
        sample = np.ascontiguousarray(self.indices, dtype="<i8")
        self.group = zarr.create_group(
            self.path,
            zarr_format=3,
            attributes={
                "format": "manifold_capacity activations",
                "format_version": FORMAT_VERSION,
                "complete": False,
                "dtype": self.dtype,
                "sample_indices_digest": hashlib.sha256(sample.data).hexdigest(),
                **attributes,
            },
        )
        for index, layer in self.layers.items():
            grid = self.grids[index]
            self.arrays[index] = self.group.create_array(
                layer.label,
                shape=grid.shape,
                dtype=self.dtype,
                chunks=grid.chunk,
                shards=grid.shard,
                filters=None,
                serializer=BytesCodec(endian="little"),
                # A checksum is not a compression, but zarr sorts it there. No compressor: float32
                # activations lose a tenth of their size for several times the time.
                compressors=[Crc32cCodec()],
                # With zarr's own, 0, a chunk of a dead ReLU would look like one never written.
                fill_value=float("nan"),
                dimension_names=("manifold", "point", "feature"),
                attributes={
                    "layer_index": layer.index,
                    "layer_name": layer.name,
                    "layer_type": layer.type,
                    "output_shape": list(layer.output_shape),
                    "format_version": FORMAT_VERSION,
                },
                config={"write_empty_chunks": True},
            )

    def start(self, manifold: int, first_point: int, n_points: int) -> None:
        self.row = (manifold, first_point, n_points)
        self.waiting = set(self.layers)

    def write(self, index: int, output: Tensor) -> None:
        """Store one layer's values of the current batch; later calls of the same batch don't count."""
        if index not in self.waiting:
            return
        manifold, first, n_points = self.row
        layer = self.layers[index]
        if tuple(output.shape) != (n_points, *layer.output_shape):
            raise UserError(
                f"layer {layer.label} ({layer.name}) puts out {tuple(output.shape[1:])} for an image, "
                f"the table of layers says {layer.output_shape}; make the table anew"
            )
        values = output.detach().reshape(1, n_points, -1).to("cpu", getattr(torch, self.dtype))
        if self.dtype == "float16" and bool(values.isinf().any() and not output.isinf().any()):
            raise UserError(
                f"activations.dtype: layer {layer.label} ({layer.name}) has values up to "
                f"{output.abs().max().item():.4g}, float16 holds up to 65504; set it to float32"
            )
        self.arrays[index][manifold : manifold + 1, first : first + n_points] = values.numpy()
        self.waiting.discard(index)

    def finish(self) -> None:
        if self.waiting:
            names = ", ".join(self.layers[index].label for index in sorted(self.waiting))
            raise UserError(
                f"these layers did not run in the forward pass: {names}; make the table of layers anew"
            )

    def complete(self) -> None:
        self.group.attrs["complete"] = True
