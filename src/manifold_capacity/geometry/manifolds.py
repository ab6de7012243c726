"""Manifolds as a user passes them, checked and read in blocks of features."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError, warn_caller
from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.labeled import Labeled, Naming, Rows, by_label, read_labels
from manifold_capacity.geometry.not_finite import NotFinite
from manifold_capacity.geometry.user_arrays import as_array, flattened

# A chunked array is read in whole chunks unless one row of chunks would take more memory than this.
_MAX_READ_BYTES = 96 * 2**20

# Features that are read at a time where it is not the caller's choice.
_BLOCK_FEATURES = 2048

# Points with values that are not finite that a message names.
_MOST_NAMED = 5


class DegenerateManifoldsError(UserError):
    """The manifolds have no geometry: one manifold only, or a center without a direction.

    Attributes
    ----------
    manifolds : tuple of int
        Indices of the manifolds concerned.
    """

    def __init__(self, message: str, manifolds: tuple[int, ...]) -> None:
        super().__init__(message)
        self.manifolds = manifolds


def as_float64(values: NDArray[Any]) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


class Source:
    """Manifolds as blocks of features, whether they are in one array or in one array each."""

    def __init__(self, manifolds: Any, shuffle: int | Sequence[int] | None = None) -> None:
        self.naming = Naming()
        if isinstance(manifolds, Labeled):
            manifolds, self.naming = manifolds.arrays, manifolds.naming
        self._arrays = _as_arrays(manifolds)
        whole = len(self._arrays) == 1 and len(self._arrays[0].shape) == 3
        if whole:
            n_manifolds, n_points, self.n_features = (int(n) for n in self._arrays[0].shape)
            self.sizes = [n_points] * n_manifolds
        else:
            self.sizes = [int(array.shape[0]) for array in self._arrays]
            self.n_features = int(self._arrays[0].shape[1]) if self._arrays else 0
        if not self.sizes:
            raise UserError(
                "there are no manifolds; give a list of arrays (n_points, n_features), one for each "
                "manifold, or one array (n_manifolds, n_points, n_features)"
            )
        if 0 in self.sizes:
            empty = self.sizes.index(0)
            raise UserError(
                f"{self.naming.manifolds([empty])} has no points; leave it out or sample points for it"
            )
        widths = [int(array.shape[-1]) for array in self._arrays]
        different = [i for i, width in enumerate(widths) if width != self.n_features]
        if different:
            shown = ", ".join(f"{i} ({widths[i]})" for i in different[:5])
            more = f" and {len(different) - 5} more" if len(different) > 5 else ""
            raise UserError(
                f"manifolds must have the same features: manifold 0 has {self.n_features}, but "
                f"manifold {shown}{more} have another number"
            )
        if self.n_features == 0:
            raise UserError("the manifolds have no features; each point needs at least one")
        for i, array in enumerate(self._arrays):
            if _numpy_dtype(array).kind not in "fiub":
                name = "the manifolds" if whole else f"manifold {i}"
                raise UserError(f"{name}: values of type {array.dtype}; they must be real numbers")
        self.n_total = sum(self.sizes)
        self._order: NDArray[np.int64] | None = None
        if shuffle is not None:
            self._order = np.random.default_rng(shuffle).permutation(self.n_total)
            self.naming = Naming()

    def blocks(self, block_features: int) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """Yield (first feature, [points (m_i, width) of each manifold])."""
        read_features = self._read_features(block_features)
        for start in range(0, self.n_features, read_features):
            stop = min(self.n_features, start + read_features)
            read = [points for array in self._arrays for points in _read(array, start, stop)]
            if self._order is not None:
                ends = np.cumsum(self.sizes)[:-1]
                read = np.split(np.concatenate(read)[self._order], ends)
            for first in range(0, stop - start, block_features):
                part = slice(first, first + block_features)
                yield start + first, [points[:, part] for points in read]

    def centered_blocks(self, sizes: Sequence[int]) -> Iterator[FloatArray]:
        """Yield blocks of the first `sizes` points of each manifold, relative to their mean."""
        for _, block in self.blocks(min(_BLOCK_FEATURES, self.n_features)):
            self.check_finite(block)
            kept = [as_float64(values[:n]) for values, n in zip(block, sizes, strict=True)]
            points = np.concatenate(kept)
            points -= points[0]  # a large offset would cost the mean its digits
            points -= points.mean(axis=0)
            yield points

    def check_finite(self, block: Sequence[NDArray[Any]]) -> None:
        """Raise if a value of the block is NaN or infinite, naming all points of the layer that have such values."""
        if not all(np.isfinite(as_float64(points)).all() for points in block):
            raise UserError(
                f"{self.find_not_finite()[1]}; the geometry needs finite activations (leave out features or these points, in "
                "Python with drop_nan=True, or find out where in a network they come from)"
            )

    def find_not_finite(self) -> tuple[list[NDArray[np.bool_]], str]:
        """Which points of each manifold have values that are NaN or infinite, and what to say of them; empty if none."""
        bad = [np.zeros(size, dtype=bool) for size in self.sizes]
        first: dict[tuple[int, int], str] = {}
        counts = NotFinite(self.n_total, self.n_features)
        for start, block in self.blocks(min(_BLOCK_FEATURES, self.n_features)):
            wrong = [~np.isfinite(as_float64(points)) for points in block]
            counts.add(start, np.concatenate(wrong))
            for i, (points, each) in enumerate(zip(block, wrong, strict=True)):
                for point in np.flatnonzero(each.any(axis=1) & ~bad[i])[:_MOST_NAMED].tolist():
                    feature = int(each[point].argmax())
                    first[i, point] = f"feature {start + feature} is {points[point, feature]}"
                bad[i] |= each.any(axis=1)
        n_bad = int(sum(each.sum() for each in bad))
        if not n_bad:
            return bad, ""
        named = [f"{self.naming.point(*where)}, {first[where]}" for where in sorted(first)]
        more = f"; and {n_bad - _MOST_NAMED} more" if n_bad > _MOST_NAMED else ""
        return bad, (
            f"{n_bad} of {self.n_total} points have values that are NaN or infinite, {counts.text()}: "
            f"{'; '.join(named[:_MOST_NAMED])}{more}"
        )

    def without(self, bad: Sequence[NDArray[np.bool_]]) -> Labeled:
        """The manifolds without some points of each; messages go on to call the others by their numbers."""
        arrays = [*np.asarray(self._arrays[0])] if len(self._arrays[0].shape) == 3 else self._arrays
        kept = tuple(np.flatnonzero(~each) for each in bad)
        chosen = [Rows.of(array).take(rows) for array, rows in zip(arrays, kept, strict=True)]
        names = tuple(own[rows] for own, rows in zip(self.naming.rows, kept, strict=False)) or kept
        return Labeled(chosen, Naming(self.naming.classes, names))

    def _read_features(self, block_features: int) -> int:
        """Features to read at a time: whole chunks of an array that has them, if memory allows."""
        lengths = [chunks[-1] for a in self._arrays if (chunks := getattr(a, "chunks", None))]
        chunk = max((min(n, self.n_features) for n in lengths if isinstance(n, int)), default=1)
        itemsize = max(_numpy_dtype(array).itemsize for array in self._arrays)
        if chunk == 1 or chunk * self.n_total * itemsize > _MAX_READ_BYTES:
            return block_features
        return chunk * max(1, block_features // chunk)


def as_manifolds(manifolds: Any, labels: Any = None, *, drop_nan: bool = False) -> Any:
    """Manifolds as `Source` takes them: with labels (n_samples,), `manifolds` are samples, those of a label a manifold.

    With `drop_nan`, points that have NaN or infinite values are left out, and a warning says how many of which class.
    """
    if labels is not None:
        check_same_index(manifolds, labels)
        manifolds = by_label(manifolds, read_labels(labels))
    if not drop_nan:
        return manifolds
    source = Source(manifolds)
    bad, text = source.find_not_finite()
    if not text:
        return manifolds
    if emptied := [i for i, each in enumerate(bad) if each.all()]:
        raise UserError(
            f"drop_nan leaves no point of {source.naming.manifolds(emptied)}: {text}; leave out features first"
        )
    say_dropped(bad, source.naming)
    return source.without(bad)


def say_dropped(bad: Sequence[NDArray[np.bool_]], naming: Naming) -> None:
    """Warn of the points of each manifold that `drop_nan` left out."""
    counts = {i: int(each.sum()) for i, each in enumerate(bad) if each.any()}
    if counts:
        of_each = ", ".join(
            f"{'all ' if bad[i].all() else ''}{n} of {naming.manifolds([i])}"
            for i, n in counts.items()
        )
        total = sum(map(len, bad))
        warn_caller(f"drop_nan left out {sum(counts.values())} of {total} points: {of_each}")


def check_same_index(points: Any, labels: Any) -> None:
    """Refuse a table and a column of labels that do not belong together row by row."""
    mine, theirs = (getattr(each, "index", None) for each in (points, labels))
    is_index = all(hasattr(each, "equals") for each in (mine, theirs))
    if mine is not None and is_index and not mine.equals(theirs):
        raise UserError(
            "the table of points and the labels have different indices; bring both in the same order, and give "
            "labels.to_numpy() if they belong together row by row"
        )


def _as_arrays(manifolds: Any) -> list[Any]:
    """One array (P, m, N) in a list, or an array (m_i, N) for each manifold."""
    if isinstance(manifolds, Mapping):
        raise TypeError(
            f"the manifolds are given as a {type(manifolds).__name__} of {len(manifolds)} arrays; give one "
            "layer's: measure(layers[name]), or measure(list(arrays.values())) if each is a manifold"
        )
    if isinstance(manifolds, str | bytes | os.PathLike):
        raise TypeError(
            f"the manifolds are given as a path, {os.fspath(manifolds)!r}; load the file: "
            "measure(numpy.load(path)), or use the command line: manifold-capacity measure FILE"
        )
    if hasattr(manifolds, "shape") or hasattr(manifolds, "__array__"):
        array = as_array(manifolds)
        if len(array.shape) != 3:
            raise UserError(
                "one array of manifolds must have the axes (manifold, point, feature); its shape is "
                f"{tuple(array.shape)}. For points with a label each give the labels too, measure(points, labels); for "
                "manifolds of unequal sizes a list of arrays"
            )
        return [array]
    arrays = [as_array(array) for array in manifolds]
    for i, array in enumerate(arrays):
        if len(array.shape) < 2:
            raise UserError(
                f"manifold {i} has shape {tuple(array.shape)}; each manifold must be an array (n_points, n_features), or "
                "with further axes, which are flattened"
            )
    return [flattened(array) for array in arrays]


def _read(array: Any, start: int, stop: int) -> list[NDArray[Any]]:
    if len(array.shape) == 3:
        return list(np.asarray(array[:, :, start:stop]))
    return [np.asarray(array[:, start:stop])]


def _numpy_dtype(array: Any) -> np.dtype[Any]:
    """NumPy type of the values, read from one of them where the array has types of its own."""
    if isinstance(array.dtype, np.dtype):
        return array.dtype
    return np.asarray(array[(slice(0, 1),) * len(array.shape)]).dtype
