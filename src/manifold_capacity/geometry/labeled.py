"""Points with a label each, as manifolds: the points of a label are one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.user_arrays import as_array, flattened

_NO_LABEL = ("", "nan", "NaN")


@dataclass(frozen=True)
class Naming:
    """What messages call manifolds and their points: the user's classes and rows, or else numbers."""

    classes: tuple[str, ...] = ()
    rows: tuple[NDArray[np.int64], ...] = ()

    def manifolds(self, indices: Iterable[int]) -> str:
        """
        >>> Naming().manifolds([0, 2]), Naming(("cat", "dog")).manifolds([1])
        ('manifold 0, 2', "class 'dog'")
        """
        if self.classes:
            return "class " + ", ".join(repr(self.classes[index]) for index in indices)
        return "manifold " + ", ".join(map(str, indices))

    def point(self, manifold: int, point: int) -> str:
        """
        >>> Naming().point(1, 5), Naming(("cat",), (np.array([3, 9]),)).point(0, 1)
        ('point 5 of manifold 1', "row 9 (class 'cat')")
        """
        number = self.rows[manifold][point] if self.rows else point
        name = self.manifolds([manifold])
        return f"row {number} ({name})" if self.classes else f"point {number} of {name}"


@dataclass(frozen=True)
class Labeled:
    """Manifolds with their names."""

    arrays: Sequence[Any]
    naming: Naming


@dataclass(frozen=True)
class Rows:
    """Some rows of an array (n_samples, n_features), read when they are sliced; `chunks` as of an array on disk."""

    array: NDArray[Any]
    rows: NDArray[np.int64]
    chunks: tuple[int, ...] = ()

    @classmethod
    def of(cls, array: Any) -> Rows:
        """All rows."""
        return array if isinstance(array, cls) else cls(array, np.arange(len(array)))

    def take(self, places: NDArray[np.int64]) -> Rows:
        """Some of these rows, by their place among them."""
        return Rows(self.array, self.rows[places])

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.array.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        points, features = key
        return self.array[self.rows[points], features]


@dataclass(frozen=True)
class Labels:
    """The label of each sample: its place among the sorted labels, and the classes' names in that order."""

    codes: NDArray[np.int64]
    classes: tuple[str, ...]

    def rows(self) -> list[NDArray[np.int64]]:
        """The samples of each class."""
        return [np.flatnonzero(self.codes == code) for code in range(len(self.classes))]


def read_labels(labels: Any, what: str = "labels") -> Labels:
    """Labels as a user passes them, numbers or text (n_samples,), checked; `what` is what messages call them."""
    values = np.asarray(as_array(labels))
    if values.ndim != 1 or not values.size:
        raise UserError(
            f"{what} has the shape {values.shape}; it must be one number or text for each sample: (n_samples,)"
        )
    if values.dtype.kind not in "iubfUSTO":
        raise UserError(f"{what} has values of type {values.dtype}; they must be numbers or text")
    if missing := _missing(values):
        raise UserError(
            f"{what} has no value for {_listed('row', missing)}; drop these samples, or name their class"
        )
    try:
        unique, codes = np.unique(values, return_inverse=True)
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in values})
        raise UserError(
            f"{what} has values of several types ({', '.join(kinds)}); give numbers or text"
        ) from error
    return Labels(codes.astype(np.int64), tuple(map(_as_text, unique)))


def by_label(points: Any, labels: Labels, what: str = "the points") -> Labeled:
    """The points (n_samples, ...) of each label, their further axes flattened into features."""
    values = sample_array(points, len(labels.codes), what)
    rows = labels.rows()
    return Labeled([Rows(values, each) for each in rows], Naming(labels.classes, tuple(rows)))


def sample_array(points: Any, n_labels: int, what: str = "the points") -> NDArray[Any]:
    """Points (n_samples, ...) as a NumPy array (n_samples, n_features), one sample for each label."""
    try:
        values = np.asarray(as_array(points))
    except ValueError as error:
        raise UserError(
            f"{what}: with labels, give one array (n_samples, ...), not manifolds of unequal sizes: {error}"
        ) from error
    shape = values.shape
    if len(shape) < 2 or not values.size:
        raise UserError(
            f"{what} have the shape {shape}; with labels it must be (n_samples, n_features), or (n_samples, ...) with "
            "further axes, none of them 0"
        )
    if shape[0] != n_labels:
        raise UserError(
            f"labels: {n_labels}, but {what} have {shape[0]} samples, the first axis of their shape {shape}; give "
            "one label for each sample"
        )
    return flattened(values)


def points_text(n_points: NDArray[np.int64]) -> str:
    """
    >>> points_text(np.array([5, 5])), points_text(np.array([5, 9]))
    ('5 points', '5 to 9 points')
    """
    least, most = int(n_points.min()), int(n_points.max())
    return f"{least} points" if least == most else f"{least} to {most} points"


def _missing(values: NDArray[Any]) -> list[int]:
    """Samples without a label: no number, no text, or the text that a table makes of a missing one."""
    if values.dtype.kind == "f":
        absent = ~np.isfinite(values)
    elif values.dtype.kind == "O":
        import pandas as pd

        absent = np.array([bool(pd.isna(value)) or value in _NO_LABEL for value in values])
    elif values.dtype.kind in "UST":
        absent = np.isin(values.astype(str), _NO_LABEL)
    else:
        return []
    return np.flatnonzero(absent).tolist()


def _as_text(value: Any) -> str:
    """45.0 becomes 45."""
    if isinstance(value, bytes):
        return value.decode()
    return str(value).removesuffix(".0") if isinstance(value, float | np.floating) else str(value)


def _listed(word: str, places: Sequence[int], most: int = 10) -> str:
    """
    >>> _listed("row", [3, 4], most=1)
    '2 rows (3, ...)'
    """
    shown = ", ".join(map(str, places[:most])) + (", ..." if len(places) > most else "")
    return f"{len(places)} {word}{'s' if len(places) > 1 else ''} ({shown})"
