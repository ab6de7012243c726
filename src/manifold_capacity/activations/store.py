"""Reading the store of activations: one zarr array per layer, axes (manifold, point, feature).

Everything read is checked: a chunk that is damaged or was never written is an error that names it, never
a fill value. Reading does not need torch.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manifold_capacity.errors import UserError
from manifold_capacity.files import check_file
from manifold_capacity.models.views import array_label, place_in_array

if TYPE_CHECKING:
    import zarr

STORE = "activations.zarr"
# Beside it: the checksums of its metadata. Its shards have their own.
STAMP = "checksums.json"
# Version 1 had no checksums of the metadata.
FORMAT_VERSION = 2

# A shard ends in the offset and length of each inner chunk (two 8-byte numbers) and their checksum.
INDEX_ENTRY_BYTES = 16
CHECKSUM_BYTES = 4
_NEVER_WRITTEN = 2**64 - 1


class StoreError(UserError):
    """A store of activations is missing, incomplete or damaged, or does not fit on the disk."""


class LayerArray:
    """One layer's activations[manifold, point, feature], with every chunk checked.

    Attributes
    ----------
    shape : tuple of int, (n_manifolds, n_points, n_features)
    dtype : numpy dtype
    chunks : tuple of int
        The smallest part that is read, along each axis.
    attributes : dict
        The metadata of the store and of this layer.
    """

    ndim = 3

    def __init__(self, path: Path, label: str, group: zarr.Group) -> None:
        import zarr

        array = group[label]
        assert isinstance(array, zarr.Array)
        assert array.shards is not None
        self._array, self._path, self.label = array, path, label
        self.shape: tuple[int, int, int] = array.shape  # type: ignore[assignment]
        self.dtype = np.dtype(str(array.dtype))
        self.chunks: tuple[int, ...] = array.chunks
        self._n_chunks = array.shards[2] // self.chunks[2]
        self.attributes: dict[str, Any] = {**group.attrs.asdict(), **array.attrs.asdict()}
        for manifold, row in np.ndindex(self.shape[0], math.ceil(self.shape[1] / self.chunks[1])):
            problem = self._shard_problem(self._shard_path(manifold, row))
            if problem:
                raise self._damage(manifold, row, problem)

    def __getitem__(self, key: Any) -> np.ndarray:
        try:
            return np.asarray(self._array[key])
        except (ValueError, OSError) as error:
            raise self._damaged_chunk() or error from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise UserError("activations are read from disk, which makes a copy")
        return np.asarray(self[...], dtype=dtype)

    def _shard_path(self, manifold: int, row: int) -> Path:
        return self._path / self.label / "c" / str(manifold) / str(row) / "0"

    def _shard_problem(self, path: Path) -> str | None:
        """What is wrong with a shard, judged by its length and its index."""
        from google_crc32c import value as crc32c

        index_bytes = self._n_chunks * INDEX_ENTRY_BYTES
        try:
            with open(path, "rb") as file:
                size = file.seek(0, 2)
                if size < index_bytes + CHECKSUM_BYTES:
                    return f"is truncated ({size} bytes)"
                file.seek(size - index_bytes - CHECKSUM_BYTES)
                index, checksum = file.read(index_bytes), file.read()
        except FileNotFoundError:
            return "was never written"
        if crc32c(index) != int.from_bytes(checksum, "little"):
            return "is damaged (checksum of its index)"
        places = np.frombuffer(index, dtype="<u8").reshape(self._n_chunks, 2)
        if (places == _NEVER_WRITTEN).any():
            return "was never written completely"
        if (places.sum(axis=1) > size).any():
            return "is truncated"
        return None

    def _damaged_chunk(self) -> StoreError | None:
        """An error that names the first chunk that cannot be read; None if all can be."""
        starts = (range(0, n, step) for n, step in zip(self.shape, self.chunks, strict=True))
        for manifold, point, feature in itertools.product(*starts):
            stop = min(feature + self.chunks[2], self.shape[2])
            try:
                self._array[manifold, point : point + self.chunks[1], feature:stop]
            except (ValueError, OSError) as error:
                problem = f"is damaged in features {feature} to {stop - 1} ({error})"
                return self._damage(manifold, point // self.chunks[1], problem)
        return None

    def _damage(self, manifold: int, row: int, problem: str) -> StoreError:
        first = row * self.chunks[1]
        last = min(first + self.chunks[1], self.shape[1]) - 1
        return StoreError(
            f"layer {self.label}: the chunk of manifold {manifold}, points {first} to {last} "
            f"{problem}: {self._shard_path(manifold, row)}; delete {self._path.parent} and run again"
        )


class Part:
    """A range of a layer's points and of its features.

    Attributes
    ----------
    shape : tuple of int, (n_manifolds, n_points, n_features)
        Of the part.
    dtype, chunks, attributes : as of the layer's array
    """

    ndim = 3

    def __init__(self, layer: LayerArray, points: range, features: range) -> None:
        self._layer, self._first = layer, (points.start, features.start)
        self.shape = (layer.shape[0], len(points), len(features))
        self.dtype, self.chunks = layer.dtype, layer.chunks
        self.attributes = layer.attributes

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        manifolds, *others = key
        moved = []
        for wanted, first, length in zip(others, self._first, self.shape[1:], strict=True):
            start, stop, step = wanted.indices(length)
            moved.append(slice(first + start, first + stop, step))
        return self._layer[manifolds, moved[0], moved[1]]


def open_draw(folder: Path, label: str, draw: int, n_draws: int) -> LayerArray | Part:
    """Open one of the `n_draws` equal draws of points that a layer consists of, counted from 0.

    See `open_layer` for `folder` and `label`. The layer of one position is a part of the array of all.
    """
    layer = open_layer(folder, array_label(label))
    n_points, n_features = layer.shape[1:]
    if n_points % n_draws or not 0 <= draw < n_draws:
        raise StoreError(
            f"layer {layer.label}: {n_points} points per manifold are not {n_draws} draws of equal "
            f"size with a draw {draw}; extract the activations again"
        )
    size = n_points // n_draws
    features = range(n_features)
    if label != layer.label:
        about = layer.attributes
        shape = about["shape_of_module"], about["channel_axis"]
        place = place_in_array(label, *shape, about["view"])
        width = shape[0][shape[1]]
        features = range(place * width, (place + 1) * width)
    if n_draws == 1 and len(features) == n_features:
        return layer
    return Part(layer, range(draw * size, (draw + 1) * size), features)


def open_layer(folder: Path, label: str) -> LayerArray:
    """Open one layer of a store for reading.

    Parameters
    ----------
    folder : Path
        The folder that `manifold_capacity.activations.extract.extract` was given.
    label : str
        ``1_Conv2d``.

    Raises
    ------
    StoreError
        If the store is missing, incomplete or of a newer format, has no such layer, or a chunk is
        missing or truncated. Reading raises it for a chunk with a wrong checksum.
    """
    import zarr

    path = folder / STORE
    again = f"delete {folder} and run again"
    if not (path / "zarr.json").is_file():
        raise StoreError(f"there is no store of activations at {path}; run the extraction")
    stamp = folder / STAMP
    for part in (path, path / label):
        if stamp.is_file() and (part / "zarr.json").is_file():
            check_file(part / "zarr.json", stamp)
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
    except (ValueError, KeyError) as error:
        raise StoreError(f"{path / 'zarr.json'} cannot be read ({error}); {again}") from error
    version = group.attrs.get("format_version")
    if version not in (1, FORMAT_VERSION):
        raise StoreError(
            f"{path} has format version {version}, but this release reads 1 and {FORMAT_VERSION}; "
            f"use the release that wrote it, or {again}"
        )
    if group.attrs.get("complete") is not True:
        raise StoreError(f"{path} is incomplete: its extraction was interrupted; {again}")
    if version > 1 and not stamp.is_file():
        raise StoreError(f"there is no {stamp}, the checksums of {path}; {again}")
    if label not in group:
        labels = sorted(group.array_keys(), key=lambda key: int(key.split("_")[0]))
        raise StoreError(f"{path} has no layer {label!r}; it has {', '.join(labels)}")
    return LayerArray(path, label, group)
