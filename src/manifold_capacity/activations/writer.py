"""Writing activations to a zarr store, one array per layer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from zarr.codecs import BytesCodec, Crc32cCodec

from manifold_capacity.activations.grid import Grid, grid_of
from manifold_capacity.activations.store import CHECKSUM_BYTES, FORMAT_VERSION, STAMP
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
        self.path = path
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
        self.grids: dict[str, Grid] = {}
        for layer in layers:
            grid = grid_of(layer, n_manifolds, n_points, row_points, dtype, projection)
            projected = grid.shape[2] < layer.n_features
            self.grids[layer.label] = grid
            self.group.create_array(
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

    def write(
        self, layer: Layer, manifold: int, first_point: int, values: np.ndarray, too_large: float
    ) -> None:
        """Store one layer's values (n_points, n_features) for one batch; `too_large`: one that cannot be stored.

        The file is what zarr would write (a test compares them), in half the time and without two more copies
        of the values.
        """
        if too_large:
            raise UserError(
                f"activations.dtype: layer {layer.label} ({layer.name}) has values up to "
                f"{too_large:.4g}, but float16 holds up to 65504; set it to float32"
            )
        grid = self.grids[layer.label]
        rows, row = grid.chunk[1], first_point // grid.chunk[1]
        path = self.path / layer.label / "c" / str(manifold) / str(row) / "0"
        path.parent.mkdir(parents=True, exist_ok=True)
        places, end = [], 0
        with open(path, "wb") as file:
            for first in range(0, grid.shard[2], grid.features):
                part = values[:, first : first + grid.features]
                if part.shape != (rows, grid.features):  # at the ends of both axes
                    missing = rows - part.shape[0], grid.features - part.shape[1]
                    part = np.pad(part, [(0, n) for n in missing], constant_values=np.nan)
                chunk = part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes()
                file.write(chunk)
                file.write(crc32c(chunk).to_bytes(CHECKSUM_BYTES, "little"))
                places.append((end, len(chunk) + CHECKSUM_BYTES))
                end += len(chunk) + CHECKSUM_BYTES
            index = np.array(places, "<u8").tobytes()
            file.write(index + crc32c(index).to_bytes(CHECKSUM_BYTES, "little"))

    def complete(self) -> None:
        """Mark the store as complete, and write the checksums of its metadata."""
        self.group.attrs["complete"] = True
        metadata = [self.path / "zarr.json"]
        metadata += [self.path / label / "zarr.json" for label in self.grids]
        write_json(self.path.parent / STAMP, {"files": checksums(metadata, self.path.parent)})
