"""Writing activations to a zarr store, one array per layer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.codecs import BytesCodec, Crc32cCodec

from manifold_capacity.activations.grid import grid_of
from manifold_capacity.activations.store import FORMAT_VERSION, STAMP
from manifold_capacity.errors import UserError
from manifold_capacity.files import checksums, write_json
from manifold_capacity.models.layers import Layer


class Writer:
    """A new store, written in whole shards: one layer's part of one forward pass."""

    def __init__(
        self,
        path: Path,
        layers: Sequence[Layer],
        indices: np.ndarray,
        row_points: int,
        dtype: str,
        attributes: Mapping[str, Any],
        projection: int | None = None,
    ) -> None:
        self.path, self.dtype = path, dtype
        self.start(0, 0)
        sample = np.ascontiguousarray(indices, dtype="<i8")
        self.group = zarr.create_group(
            path,
            zarr_format=3,
            attributes={
                "format": "manifold_capacity activations",
                "format_version": FORMAT_VERSION,
                "complete": False,
                "dtype": dtype,
                "sample_indices_digest": hashlib.sha256(sample.data).hexdigest(),
                **attributes,
            },
        )
        n_manifolds, n_points = indices.shape
        self.arrays: dict[str, zarr.Array[Any]] = {}
        for layer in layers:
            grid = grid_of(layer, n_manifolds, n_points, row_points, dtype, projection)
            projected = grid.shape[2] < layer.n_features
            self.arrays[layer.label] = self.group.create_array(
                layer.label,
                shape=grid.shape,
                dtype=dtype,
                chunks=grid.chunk,
                shards=grid.shard,
                filters=None,
                serializer=BytesCodec(endian="little"),
                # zarr counts checksums as compressors. No real one: it would save a tenth of the
                # size of float32 activations, and take several times as long.
                compressors=[Crc32cCodec()],
                # With zarr's default, 0, a chunk of a dead ReLU would look like one never written.
                fill_value=float("nan"),
                dimension_names=("manifold", "point", "feature"),
                attributes={
                    "layer_index": layer.index,
                    "layer_name": layer.name,
                    "layer_type": layer.type,
                    "output_shape": list(layer.output_shape),
                    **({"projected_features": grid.shape[2]} if projected else {}),
                    "format_version": FORMAT_VERSION,
                },
                config={"write_empty_chunks": True},
            )

    def start(self, manifold: int, first_point: int) -> None:
        """Say which points the next batch has."""
        self.manifold, self.first_point = manifold, first_point

    def write(self, layer: Layer, output: Tensor) -> None:
        """Store one layer's values (n_points, n_features) for the present batch."""
        values = output[None].to("cpu", getattr(torch, self.dtype))
        if self.dtype == "float16" and bool(values.isinf().any() and not output.isinf().any()):
            raise UserError(
                f"activations.dtype: layer {layer.label} ({layer.name}) has values up to "
                f"{output.abs().max().item():.4g}, but float16 holds up to 65504; set it to float32"
            )
        points = slice(self.first_point, self.first_point + len(output))
        self.arrays[layer.label][self.manifold : self.manifold + 1, points] = values.numpy()

    def complete(self) -> None:
        """Mark the store as complete, and write the checksums of its metadata."""
        self.group.attrs["complete"] = True
        metadata = [self.path / "zarr.json"]
        metadata += [self.path / label / "zarr.json" for label in self.arrays]
        write_json(self.path.parent / STAMP, {"files": checksums(metadata, self.path.parent)})
