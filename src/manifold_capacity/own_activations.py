"""Activations that exist already: a recording, another framework's, an earlier run's.

They come as a zarr store (v2 or v3), an `.npz`, an `.npy` or a folder of `.npy` files, an array per
layer. With labels an array is (sample, feature...): a class is a manifold, and classes may differ in
size. Without labels it is (manifold, point, feature...). Further axes are flattened into features.

Nothing is unpickled, and no layer is read whole: `.npy` files and the members of an uncompressed
`.npz` are mapped into memory, zarr arrays are read by blocks of features.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError
from manifold_capacity.layers import Layer, select_layers, unmatched

__all__ = ["EXTERNAL", "SPLIT", "OwnActivations", "default_name", "open_own_layer"]

# What the tables say instead of a checkpoint and of where the weights come from.
EXTERNAL = "external"
# What they say instead of the training or the test split.
SPLIT = "all"
# Arrays that are no layers.
LABELS, CLASS_NAMES = "labels", "class_names"

# What is read of a layer at a time. The moments keep two of these, besides their own buffers.
_BLOCK_BYTES = 48 * 2**20
# Rows of a mapped array that are read before its pages are given back.
_MAPPED_ROWS = 512
_ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")
# A zip file's local header: its fixed part ends in the lengths of the name and of the extra field.
_LOCAL_HEADER = struct.Struct("<26xHH")


@dataclass(frozen=True)
class _Entry:
    """An array of the set, not read yet.

    Attributes
    ----------
    shape, dtype : as NumPy has them; dtype is None for Python objects
    open : callable
        Makes something that can be sliced.
    files : callable
        The files (or, of a zarr array, the newest of them) whose change changes the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    open: Callable[[], Any]
    files: Callable[[], list[str]]


class OwnActivations:
    """A set of activations that exist already: what layers and classes it has.

    Making one reads the labels and the arrays' headers.

    Parameters
    ----------
    path : path
        A zarr store, an `.npz`, an `.npy`, or a folder of `.npy` files.
    labels : path, optional
        An `.npy` with one label per sample, or an `.npz` that holds them as `labels`. By default the
        array `labels` of the set itself, if there is one.
    class_names : sequence of str, optional
        Names of the classes in the order of the sorted labels, or of the manifolds' axis. By default
        the array `class_names` of the set if there is one, else the labels, else 0, 1, ...
    names : sequence of str
        Names or patterns of the layers, in their order; other arrays may be of any shape.

    Attributes
    ----------
    name : str
        Name of the file or folder.
    layers : tuple of Layer
        In the order of `names`; those of one pattern in the order of the `.npz`, else of their own
        names. Counted from 1.
    class_names : tuple of str
    counts : dict
        ``{"all": points per class}``.

    Raises
    ------
    ValueError
        Naming the key of the configuration, the file, what is in it and what it should be.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        labels: str | os.PathLike[str] | None = None,
        class_names: Sequence[str] | None = None,
        names: Sequence[str] = ("*",),
    ) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self._entries = _entries(self.path)
        self._labels_path = None if labels is None else Path(labels)
        if labels is not None and LABELS in self._entries:
            raise UserError(
                f"activations.labels: {os.fspath(labels)!r}, but {self.path} has an array "
                f"`{LABELS}` of its own; remove one of them"
            )
        values = self._label_values()
        self._codes: NDArray[np.int64] | None = None
        found: tuple[str, ...] = ()
        if values is not None:
            unique, codes = np.unique(values, return_inverse=True)
            self._codes = codes.astype(np.int64)
            found = tuple(map(_as_text, unique))
        self._arrays = {k: v for k, v in self._entries.items() if k not in (LABELS, CLASS_NAMES)}
        self.layers = self._find_layers(names)
        if self._codes is None:
            n_manifolds, n_points = self._lead
            self.counts: dict[str, tuple[int, ...]] = {SPLIT: (n_points,) * n_manifolds}
            found = tuple(map(str, range(n_manifolds)))
        else:
            self.counts = {SPLIT: tuple(np.bincount(self._codes, minlength=len(found)).tolist())}
        self.class_names = self._named(class_names, found)

    @property
    def _n_lead(self) -> int:
        """Axes before the features."""
        return 2 if self._codes is None else 1

    def describe(self, label: str) -> dict[str, Any]:
        """Shape and type of a layer's array: a change of either makes it another array."""
        entry = self._arrays[self._layer(label).name]
        return {"shape": list(entry.shape), "dtype": str(entry.dtype)}

    def files(self, label: str) -> list[str]:
        """Files whose change changes a layer's manifolds."""
        files = self._arrays[self._layer(label).name].files()
        if self._labels_path is not None:
            files.append(str(self._labels_path))
        elif LABELS in self._entries:
            files += self._entries[LABELS].files()
        return [*dict.fromkeys(files)]  # Snakemake doesn't want a file twice

    def open(
        self,
        label: str,
        classes: Sequence[int] | None = None,
        points_per_class: int | str = "all",
        seed: int = 0,
        draw: int = 0,
    ) -> list[Any]:
        """One layer's manifolds, read by blocks of features.

        Parameters
        ----------
        label : str
            The layer, ``1_V4``.
        classes : sequence of int, optional
            Indices of the classes, in the order of the result; by default all.
        points_per_class : int or "all"
            Points to draw from each class, without replacement. What is drawn depends on the seed and
            the class, not on the layer; a smaller number draws some of what a larger one does.
        seed : int
            Seed of the draw.
        draw : int
            Which of several draws that have no point in common, from 0.

        Returns
        -------
        list of array-likes (n_points_i, n_features)
            As `manifold_capacity.measure` and `moments_from_arrays` take them. Slicing one raises
            ValueError if a value is NaN or infinite, naming the layer, the class, the sample and the
            feature.
        """
        layer = self._layer(label)
        if classes is None:
            classes = range(len(self.class_names))
        chosen = [self._draw(index, points_per_class, seed, draw) for index in classes]
        if self._codes is None:
            rows = np.repeat(np.asarray(classes), [len(points) for points in chosen])
            lead: tuple[NDArray[np.int64], ...] = (rows, np.concatenate(chosen))
        else:
            lead = (np.concatenate(chosen),)
        names = [self.class_names[index] for index in classes]
        reader = _Reader(self._arrays[layer.name].open(), lead, layer, self.path, names, chosen)
        ends = np.cumsum([len(points) for points in chosen]).tolist()
        return [_Manifold(reader, a, b) for a, b in zip([0, *ends], ends, strict=False)]

    def _draw(
        self, index: int, points_per_class: int | str, seed: int, draw: int
    ) -> NDArray[np.int64]:
        """Points of one class: samples, or places along the points' axis."""
        if self._codes is None:
            points = np.arange(self.counts[SPLIT][index])
        else:
            points = np.flatnonzero(self._codes == index)
        if points_per_class == "all":
            return points
        assert isinstance(points_per_class, int)
        first, end = draw * points_per_class, (draw + 1) * points_per_class
        if end > len(points):
            raise UserError(
                f"manifolds.points_per_class: {points_per_class}, {draw + 1} times, but {self.path} has "
                f"only {len(points)} points of class {self.class_names[index]!r}"
            )
        drawn = np.random.default_rng([seed, index]).permutation(points)[first:end]
        return np.sort(drawn)  # reads forwards; the geometry does not depend on the order

    def _layer(self, label: str) -> Layer:
        for layer in self.layers:
            if layer.label == label:
                return layer
        known = ", ".join(layer.label for layer in self.layers)
        raise UserError(f"{self.path} has no layer {label!r}; it has {known}")

    def _label_values(self) -> NDArray[Any] | None:
        """One label per sample, or None."""
        if self._labels_path is not None:
            where = f"activations.labels: {self._labels_path}"
            entry = _labels_entry(self._labels_path)
        elif LABELS in self._entries:
            where = f"activations.path: {LABELS} of {self.path}"
            entry = self._entries[LABELS]
        else:
            return None
        values = _read_whole(where, entry)
        if values.ndim != 1 or values.dtype.kind not in "iubfUS" or not values.size:
            raise UserError(
                f"{where}: shape {values.shape}, type {values.dtype}; labels are numbers or text, one "
                "per sample: shape (n_samples,)"
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            place = int(np.flatnonzero(~np.isfinite(values))[0])
            raise UserError(
                f"{where}: the label of sample {place} is {values[place]}; drop the samples without a label"
            )
        return values

    def _named(self, given: Sequence[str] | None, found: tuple[str, ...]) -> tuple[str, ...]:
        """The classes' names: as given, as in the set, or as found."""
        where, names = "activations.class_names", given
        if CLASS_NAMES in self._entries:
            if given is not None:
                raise UserError(
                    f"activations.class_names: {list(given)}, but {self.path} has an array "
                    f"`{CLASS_NAMES}` of its own; remove one of them"
                )
            where = f"activations.path: {CLASS_NAMES} of {self.path}"
            values = _read_whole(where, self._entries[CLASS_NAMES])
            if values.ndim != 1 or values.dtype.kind not in "US":
                raise UserError(
                    f"{where}: shape {values.shape}, type {values.dtype}; they have to be text, one per "
                    f"class: shape ({len(found)},)"
                )
            names = [_as_text(value) for value in values]
        if names is None:
            return found
        if len(names) != len(found):
            raise UserError(
                f"{where}: {len(names)} names, but {self.path} has {len(found)} classes "
                f"({', '.join(found[:5])}{', ...' if len(found) > 5 else ''}); give one name for each, in "
                "this order"
            )
        if len(set(names)) < len(names):
            raise UserError(f"{where}: a name is given twice; give each class its own")
        return tuple(names)

    def _find_layers(self, patterns: Sequence[str]) -> tuple[Layer, ...]:
        """The chosen arrays in the order of the patterns, then of the set, each checked."""
        if not self._arrays:
            raise UserError(f"activations.path: {self.path} has no arrays besides the labels")
        candidates = [
            Layer(place, name, re.sub(r"\W", "_", name), shape, math.prod(shape))
            for place, (name, entry) in enumerate(self._arrays.items(), start=1)
            for shape in [entry.shape[self._n_lead :]]
        ]
        selection = {"input": False, "types": [], "names": patterns}
        problems = unmatched({self.name: candidates}, selection)
        if problems:
            raise UserError(problems[0])
        chosen = select_layers(candidates, selection, model=self.name)
        chosen.sort(
            key=lambda layer: [fnmatchcase(layer.name, pattern) for pattern in patterns].index(True)
        )
        self._lead = () if self._codes is None else self._codes.shape
        for layer in chosen:
            self._check(layer.name)
            self._lead = self._lead or self._arrays[layer.name].shape[:2]
        return tuple(replace(layer, index=index) for index, layer in enumerate(chosen, start=1))

    def _check(self, name: str) -> None:
        """Raise if an array is not a layer of this set."""
        shape, dtype = self._arrays[name].shape, self._arrays[name].dtype
        where = f"activations.path: {name!r} of {self.path}"
        leave_out = "or leave it out with `layers.names`"
        problem = None
        if dtype is None:
            problem = (
                f"{where} holds Python objects, which would have to be unpickled; save numbers"
            )
        elif dtype.kind not in "fiub":
            problem = (
                f"{where} has values of type {dtype}; activations are real numbers: convert it"
            )
        elif self._codes is None and len(shape) < 3:
            problem = (
                f"activations.labels: null, but {name!r} of {self.path} has shape {shape}; without labels "
                "an array is (n_manifolds, n_points, n_features): give the labels of the samples"
            )
        elif len(shape) < 2 or not math.prod(shape):
            problem = f"{where} has shape {shape}; an array is (n_samples, n_features), none of them 0: reshape it"
        elif self._codes is not None and shape[:1] != self._lead:
            problem = (
                f"activations.labels: {len(self._codes)} labels, but {name!r} of {self.path} has "
                f"{shape[0]} samples, the first axis of its shape {shape}; give one label per sample"
            )
        elif self._lead and shape[: self._n_lead] != self._lead:
            problem = (
                f"{where} has shape {shape}, but the layer before has {self._lead[0]} manifolds of "
                f"{self._lead[1]} points; give all layers the same"
            )
        if problem:
            raise UserError(f"{problem}, {leave_out}")


def open_own_layer(label: str, own: Mapping[str, Any], seed: int, draw: int = 0) -> list[Any]:
    """One layer's manifolds, by what the workflow says about them.

    Parameters
    ----------
    label : str
        The layer, ``1_V4``.
    own : mapping
        `source`: path and labels; `names`: of the layers; `sample`: classes and points_per_class.
    seed : int
        Seed of the draw of points.
    draw : int
        Which of several draws, from 0.

    Returns
    -------
    list of array-likes (n_points_i, n_features)
        See `OwnActivations.open`.
    """
    found = OwnActivations(**own["source"], names=own["names"])
    return found.open(label, **own["sample"], seed=seed, draw=draw)


def default_name(path: str) -> str:
    """What the set is called in paths and tables if `activations.name` doesn't say.

    >>> default_name("data/area V4, day 2.npz")
    'area_V4_day_2'
    """
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", Path(path).stem).strip("_.+-") or "activations"


class _Reader:
    """Reads blocks of a layer's features, for all chosen points, and keeps the last one.

    All manifolds are read together, since a chunk of a zarr array holds samples of many classes.
    """

    def __init__(
        self,
        array: Any,
        lead: tuple[NDArray[np.int64], ...],
        layer: Layer,
        path: Path,
        class_names: Sequence[str],
        points: Sequence[NDArray[np.int64]],
    ) -> None:
        self._array, self._lead, self._path = array, lead, path
        self.layer, self._class_names, self._points = layer, class_names, points
        self.dtype = np.dtype(array.dtype)
        # A zarr array is read by whole rows of its first axis, then of these the points are taken.
        n_read = len(lead[0])
        if not isinstance(array, np.ndarray):
            self._first, self._places = np.unique(lead[0], return_inverse=True)
            n_read = len(self._first) * math.prod(array.shape[1 : len(lead)])
        self.features = max(1, _BLOCK_BYTES // (max(n_read, len(lead[0])) * self.dtype.itemsize))
        self.features = min(self.features, layer.n_features)
        inner = _chunk_features(array, len(lead))
        if inner < self.features:
            self.features -= self.features % inner
        self._block: tuple[tuple[int, int], NDArray[Any]] | None = None

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Values (n_points, stop - start) of all points, manifold after manifold."""
        if self._block is None or self._block[0] != (start, stop):
            self._block = None  # before the next one is read
            parts = [
                self._gather(part)
                for first in range(start, stop, self.features)
                for part in _parts(
                    (), self.layer.output_shape, first, min(stop, first + self.features)
                )
            ]
            block = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
            self._check_finite(block, start)
            self._block = (start, stop), block
        return self._block[1]

    def _gather(self, part: tuple[slice, ...]) -> NDArray[Any]:
        n_points = len(self._lead[0])
        if isinstance(self._array, np.ndarray):
            some = [self._gather_mapped(part, first) for first in range(0, n_points, _MAPPED_ROWS)]
            block = some[0] if len(some) == 1 else np.concatenate(some)
        else:
            others = (slice(None),) * (len(self._lead) - 1)
            rows = np.asarray(self._array.oindex[(self._first, *others, *part)])
            block = rows[(self._places, *self._lead[1:])]
        return block.reshape(len(block), -1)

    def _gather_mapped(self, part: tuple[slice, ...], first: int) -> NDArray[Any]:
        rows = (axis[first : first + _MAPPED_ROWS] for axis in self._lead)
        block = np.asarray(self._array[cast(Any, (*rows, *part))])
        if isinstance(self._array.base, mmap.mmap):
            # Or the process would seem to hold all of the file that it, and its neighbors, have read.
            self._array.base.madvise(mmap.MADV_DONTNEED)
        return block

    def _check_finite(self, block: NDArray[Any], first_feature: int) -> None:
        if block.dtype.kind != "f" or np.isfinite(block).all():
            return
        row, column = np.argwhere(~np.isfinite(block))[0].tolist()
        manifold = 0
        while row >= len(self._points[manifold]):
            row -= len(self._points[manifold])
            manifold += 1
        what = "sample" if len(self._lead) == 1 else "point"
        value = block[sum(map(len, self._points[:manifold])) + row, column]
        raise UserError(
            f"{self._path}: layer {self.layer.name!r}, class {self._class_names[manifold]!r}, {what} "
            f"{self._points[manifold][row]}, feature {first_feature + column} is {value}; the geometry needs "
            "finite activations: drop the sample, or the feature (a neuron that wasn't always recorded)"
        )


class _Manifold:
    """One manifold's points (n_points, n_features), to be sliced."""

    def __init__(self, reader: _Reader, begin: int, end: int) -> None:
        self._reader, self._begin, self._end = reader, begin, end
        self.shape = (end - begin, reader.layer.n_features)
        self.dtype = reader.dtype
        # What `moments_from_arrays` reads at a time.
        self.chunks = (end - begin, reader.features)

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        points, features = key
        start, stop, _ = features.indices(self.shape[1])
        return self._reader.read(start, stop)[self._begin : self._end][points]


def _parts(
    index: tuple[slice, ...], shape: tuple[int, ...], start: int, stop: int
) -> Iterator[tuple[slice, ...]]:
    """Boxes of `shape` that hold the places start to stop of its flattened self, in their order."""
    if len(shape) == 1:
        yield (*index, slice(start, stop))
        return
    inner = math.prod(shape[1:])
    while start < stop:
        row, offset = divmod(start, inner)
        n_rows = (stop - start) // inner
        if offset == 0 and n_rows:
            yield (*index, slice(row, row + n_rows), *(slice(None),) * (len(shape) - 1))
            start += n_rows * inner
        else:
            end = min(stop, (row + 1) * inner)
            yield from _parts(
                (*index, slice(row, row + 1)), shape[1:], offset, offset + end - start
            )
            start = end


def _chunk_features(array: Any, n_lead: int) -> int:
    """Flattened features that come with each chunk along the first axis of features."""
    chunks = getattr(array, "chunks", None)
    if chunks is None:
        return 1
    return int(chunks[n_lead]) * math.prod(array.shape[n_lead + 1 :])


def _entries(path: Path) -> dict[str, _Entry]:
    """All arrays of a set by their names, in the order of the layers."""
    where = f"activations.path: {path}"
    if not path.exists():
        raise UserError(f"activations.path: there is no file or folder {path}")
    if path.is_dir():
        if any((path / mark).is_file() for mark in _ZARR_MARKS):
            return _zarr_entries(where, path)
        files = {file.stem: file for file in path.glob("*.npy")}
        if not files:
            raise UserError(f"{where} is neither a zarr store nor a folder of .npy files")
        return {name: _npy_entry(where, files[name]) for name in sorted(files, key=_natural)}
    if path.suffix == ".npz":
        return _npz_entries(where, path)
    if path.suffix == ".npy":
        return {path.stem: _npy_entry(where, path)}
    raise UserError(
        f"{where} is not taken; allowed: a zarr store, an .npz, an .npy, a folder of .npy files"
    )


def _labels_entry(path: Path) -> _Entry:
    where = f"activations.labels: {path}"
    if not path.is_file():
        raise UserError(f"activations.labels: there is no file {path}")
    if path.suffix == ".npy":
        return _npy_entry(where, path)
    if path.suffix != ".npz":
        raise UserError(f"{where} is not taken; allowed: an .npy, or an .npz with `{LABELS}`")
    entries = _npz_entries(where, path)
    if LABELS not in entries:
        raise UserError(f"{where} has no array `{LABELS}`; it has {', '.join(entries)}")
    return entries[LABELS]


def _natural(name: str) -> list[tuple[int, str]]:
    """Key that sorts conv2 before conv10."""
    return [(int(d or 0), text) for text, d in re.findall(r"(\D*)(\d*)", name)] + [(0, name)]


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether in Fortran order, type, and where the values begin."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(file)
    else:
        raise UserError(f"its format {version} is not that of an array of numbers")
    return (*header, file.tell())


def _mapped(
    file: Any, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any], at: int
) -> NDArray[Any]:
    """Values in a file, by its path or opened: then it is closed, and the mapping keeps what it has."""
    order: Any = "F" if fortran else "C"
    with nullcontext() if isinstance(file, Path) else file:
        return np.memmap(file, dtype=dtype, mode="r", offset=at, shape=shape, order=order)


def _array_entry(
    file: Path,
    name: str,
    where: str,
    header: tuple[tuple[int, ...], bool, np.dtype[Any], int],
    begin: int,
    available: int,
    source: Callable[[], Any],
) -> _Entry:
    """An array in .npy format that begins at byte `begin` of what `source` opens."""
    shape, fortran, dtype, at = header
    n_bytes = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and at + n_bytes > available:
        raise UserError(
            f"{where}: {name!r} is cut short: {available - at} bytes in place of {n_bytes}; copy it again"
        )
    return _Entry(
        shape,
        None if dtype.hasobject else dtype,
        lambda: _mapped(source(), shape, fortran, dtype, begin + at),
        lambda: [str(file)],
    )


def _npy_entry(where: str, file: Path) -> _Entry:
    try:
        with open(file, "rb") as stream:
            header = _header(stream)
    except (ValueError, EOFError) as error:
        raise UserError(f"{where}: {file.name} is not an .npy file: {error}") from error
    return _array_entry(file, file.stem, where, header, 0, file.stat().st_size, lambda: file)


def _npz_entries(where: str, path: Path) -> dict[str, _Entry]:
    entries = {}
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as raw:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                try:
                    with archive.open(member) as stream:
                        header = _header(stream)
                except ValueError as error:
                    raise UserError(
                        f"{where}: {member.filename} in it is not an .npy file: {error}"
                    ) from error
                begin, source = 0, _extracting(path, member)
                if member.compress_type == zipfile.ZIP_STORED:
                    raw.seek(member.header_offset)
                    lengths = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
                    begin = member.header_offset + _LOCAL_HEADER.size + sum(lengths)
                    source = _same(path)
                entries[name] = _array_entry(
                    path, name, where, header, begin, member.file_size, source
                )
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, RuntimeError) as error:
        raise UserError(f"{where} is not an .npz file, or damaged: {error}") from error
    return entries


def _same(path: Path) -> Callable[[], Any]:
    return lambda: path


def _extracting(path: Path, member: zipfile.ZipInfo) -> Callable[[], Any]:
    """Unpacks a compressed member into a temporary file that is gone once nothing reads it."""

    def extract() -> Any:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if member.file_size > free:
            raise UserError(
                f"{path}: {member.filename} takes {member.file_size / 2**30:.1f} GiB unpacked, but "
                f"{tempfile.gettempdir()} has {free / 2**30:.1f} GiB free; write it with numpy.savez, which "
                "doesn't compress, or set TMPDIR to another folder"
            )
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `_mapped`
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            shutil.copyfileobj(stream, unpacked, 2**20)
        unpacked.flush()
        return unpacked

    return extract


def _zarr_entries(where: str, path: Path) -> dict[str, _Entry]:
    import zarr

    try:
        store = zarr.open(path, mode="r")
        if isinstance(store, zarr.Array):
            return {path.stem: _zarr_entry(path, store)}
        arrays: Mapping[str, Any] = dict(store.arrays())
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{where} can't be read as zarr: {error}") from error
    if not arrays:
        groups = ", ".join(store.group_keys()) or "nothing"
        raise UserError(
            f"{where} is a zarr group without arrays (it has {groups}); give the path of the group whose "
            "arrays are the layers"
        )
    return {name: _zarr_entry(path / name, arrays[name]) for name in sorted(arrays, key=_natural)}


def _zarr_entry(folder: Path, array: Any) -> _Entry:
    if "pickle" in str(array.metadata).lower():
        raise UserError(
            f"activations.path: {folder} is stored with a pickle codec, and nothing is unpickled; store "
            "numbers or text"
        )
    dtype = array.dtype if isinstance(array.dtype, np.dtype) else np.dtype(str(array.dtype))
    return _Entry(array.shape, dtype, lambda: array, lambda: [_newest(folder)])


def _newest(folder: Path) -> str:
    """The file or folder within `folder` that was changed last: a folder's own time isn't enough."""
    latest = (folder.stat().st_mtime_ns, str(folder))
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            latest = max(latest, (os.stat(path).st_mtime_ns, path))
    return latest[1]


def _read_whole(where: str, entry: _Entry) -> NDArray[Any]:
    """A small array; text of any kind becomes NumPy's fixed-width text."""
    if entry.dtype is None:
        raise UserError(
            f"{where}: Python objects, which would have to be unpickled; save text or numbers: "
            "numpy.asarray(labels, dtype=str)"
        )
    values = np.asarray(entry.open()[...])
    return values.astype(str) if values.dtype.kind in "OT" else values


def _as_text(value: Any) -> str:
    """A label as the tables have it: 45.0 is 45."""
    if isinstance(value, bytes):
        return value.decode()
    return str(value).removesuffix(".0") if isinstance(value, np.floating) else str(value)
