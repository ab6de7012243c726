"""Reading the store of activations: one zarr array per layer, axes (manifold, point, feature).

Reads by blocks of features, checked: a chunk that is damaged or was never written is an error that
names it, never a fill value. Writing is `manifold_capacity.activations.extract`, which needs torch; reading
does not.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manifold_capacity.errors import UserError

if TYPE_CHECKING:
    import zarr


STORE = "activations.zarr"


FORMAT_VERSION = 1


# A shard ends in the place and length of each inner chunk (two 8-byte numbers) and their checksum.
INDEX_ENTRY_BYTES = 16


CHECKSUM_BYTES = 4


_NEVER_WRITTEN = 2**64 - 1


class StoreError(UserError):
    """A store of activations that is missing, incomplete, damaged, or doesn't fit on the disk."""


class LayerArray:
    """One layer's activations[manifold, point, feature], read with every chunk accounted for.

    Attributes
    ----------
    shape : tuple of int, (n_manifolds, n_points, n_features)
    dtype : numpy dtype
    chunks : tuple of int
        What is read at the least, along each axis.
    attributes : dict
        What the store says about itself and about this layer.
    """

    ndim = 3

    def __init__(self, path: Path, label: str, group: zarr.Group) -> None:
        import zarr

        array = group[label]
        assert isinstance(array, zarr.Array)
        self._array, self._path, self.label = array, path, label
        self.shape: tuple[int, int, int] = array.shape  # type: ignore[assignment]
        self.dtype = np.dtype(str(array.dtype))
        self.chunks: tuple[int, ...] = array.chunks
        self.attributes: dict[str, Any] = {**group.attrs.asdict(), **array.attrs.asdict()}
        shards = array.shards
        assert shards is not None
        self._shard: tuple[int, ...] = shards
        self._check_shards()

    def __getitem__(self, key: Any) -> np.ndarray:
        try:
            return np.asarray(self._array[key])
        except (ValueError, OSError) as error:
            raise self._explained(error) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise UserError("activations are read from disk: that is a copy")
        return np.asarray(self[...], dtype=dtype)

    def _shard_path(self, manifold: int, row: int) -> Path:
        return self._path / self.label / "c" / str(manifold) / str(row) / "0"

    def _check_shards(self) -> None:
        """Every chunk was written, and every shard is as long as it must be."""
        for manifold in range(self.shape[0]):
            for row in range(math.ceil(self.shape[1] / self._shard[1])):
                problem = self._shard_problem(self._shard_path(manifold, row))
                if problem:
                    raise self._damage(manifold, row, problem)

    def _shard_problem(self, path: Path) -> str | None:
        from google_crc32c import value as crc32c

        n_chunks = self._shard[2] // self.chunks[2]
        index_bytes = n_chunks * INDEX_ENTRY_BYTES
        try:
            with open(path, "rb") as file:
                size = file.seek(0, 2)
                if size < index_bytes + CHECKSUM_BYTES:
                    return f"is cut short ({size} bytes)"
                file.seek(size - index_bytes - CHECKSUM_BYTES)
                tail = file.read()
        except FileNotFoundError:
            return "was never written"
        index, checksum = tail[:index_bytes], tail[index_bytes:]
        if crc32c(index) != int.from_bytes(checksum, "little"):
            return "is damaged (checksum of its index)"
        places = np.frombuffer(index, dtype="<u8").reshape(n_chunks, 2)
        if (places == _NEVER_WRITTEN).any():
            return "was never written whole"
        if (places.sum(axis=1) > size).any():
            return "is cut short"
        return None

    def _explained(self, error: Exception) -> Exception:
        """The error, naming the first chunk that can't be read; or as it is, if all can be."""
        step_points, step_features = self.chunks[1], self.chunks[2]
        for manifold in range(self.shape[0]):
            for point in range(0, self.shape[1], step_points):
                for feature in range(0, self.shape[2], step_features):
                    try:
                        self._array[
                            manifold,
                            point : point + step_points,
                            feature : feature + step_features,
                        ]
                    except (ValueError, OSError) as found:
                        last = min(feature + step_features, self.shape[2]) - 1
                        problem = f"is damaged in features {feature} to {last} ({found})"
                        return self._damage(manifold, point // step_points, problem)
        return error

    def _damage(self, manifold: int, row: int, problem: str) -> StoreError:
        first = row * self._shard[1]
        last = min(first + self._shard[1], self.shape[1]) - 1
        return StoreError(
            f"layer {self.label}: the chunk of manifold {manifold}, points {first} to {last} "
            f"{problem}: {self._shard_path(manifold, row)}; delete {self._path.parent} and run again"
        )


class Draw:
    """One of several draws of points, a range of a layer's points.

    Attributes
    ----------
    shape : tuple of int, (n_manifolds, n_points, n_features)
        Of the draw.
    dtype, chunks, attributes : as of the layer's array
    """

    ndim = 3

    def __init__(self, layer: LayerArray, draw: int, n_draws: int) -> None:
        n_manifolds, n_points, n_features = layer.shape
        if n_points % n_draws or not 0 <= draw < n_draws:
            raise StoreError(
                f"layer {layer.label}: {n_points} points per manifold are not {n_draws} draws of equal "
                f"size with a draw {draw}; extract the activations again"
            )
        size = n_points // n_draws
        self._layer, self._first = layer, draw * size
        self.shape = (n_manifolds, size, n_features)
        self.dtype, self.chunks = layer.dtype, layer.chunks
        self.attributes = layer.attributes

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        manifolds, points, features = key
        start, stop, step = points.indices(self.shape[1])
        return self._layer[
            manifolds, slice(self._first + start, self._first + stop, step), features
        ]


def open_draw(folder: Path, label: str, draw: int, n_draws: int) -> LayerArray | Draw:
    """Open one of the equal draws of points that a layer of a store consists of.

    Parameters
    ----------
    folder, label
        As of `open_layer`.
    draw, n_draws : int
        Which, from 0, of how many.
    """
    layer = open_layer(folder, label)
    return layer if n_draws == 1 else Draw(layer, draw, n_draws)


def open_layer(folder: Path, label: str) -> LayerArray:
    """Open one layer of a store for reading.

    Parameters
    ----------
    folder : Path
        What `manifold_capacity.activations.extract.extract` was given.
    label : str
        ``1_Conv2d``.

    Raises
    ------
    StoreError
        If there is no store, it isn't complete, its format is a newer one, it has no such layer, or
        a chunk is missing or cut short. Reading raises it for a chunk whose checksum is wrong.
    """
    import zarr

    path = folder / STORE
    if not (path / "zarr.json").is_file():
        raise StoreError(f"there is no store of activations at {path}; run the extraction")
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
    except (ValueError, KeyError) as error:
        raise StoreError(
            f"{path / 'zarr.json'} can't be read ({error}); delete {folder} and run again"
        ) from error
    version = group.attrs.get("format_version")
    if version != FORMAT_VERSION:
        raise StoreError(
            f"{path} has format version {version}, this release reads {FORMAT_VERSION}; "
            f"use the release that wrote it, or delete {folder} and run again"
        )
    if group.attrs.get("complete") is not True:
        raise StoreError(
            f"{path} is not complete: its extraction was interrupted; delete {folder} and run again"
        )
    if label not in group:
        labels = sorted(group.array_keys(), key=lambda key: int(key.split("_")[0]))
        raise StoreError(f"{path} has no layer {label!r}; it has {', '.join(labels)}")
    return LayerArray(path, label, group)
