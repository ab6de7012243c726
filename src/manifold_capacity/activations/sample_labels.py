"""One number or text per sample: the label of its class, or the name of its group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.activations import array_files
from manifold_capacity.activations.array_files import Entry
from manifold_capacity.errors import UserError


def check_header(where: str, entry: Entry, what: str) -> None:
    """Raise UserError unless the array, of labels or groups, has one value per sample."""
    array_files.refuse_objects(where, entry)
    shape, dtype = entry.shape, entry.dtype
    if len(shape) != 1 or dtype is None or dtype.kind not in "iubfUSTO" or not shape[0]:
        raise UserError(
            f"{where}: shape {shape}, type {dtype}; {what}s must be numbers or text, one "
            "per sample: shape (n_samples,)"
        )


def read_names(
    where: str, entry: Entry, what: str
) -> tuple[tuple[str, ...], NDArray[np.int64], tuple[int, ...]]:
    """The names in sorted order, each sample's place among them, and the number of samples of each.

    What is empty or spells NaN is missing, which is a UserError, and a name has no control characters.
    """
    values: NDArray[Any] = array_files.read_whole(where, entry)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise UserError(
            f"{where}: the {what} of sample {place} is {values[place]}; drop the samples without a {what}"
        )
    unique, codes, n_each = np.unique(values, return_inverse=True, return_counts=True)
    names = tuple(array_files.as_texts(where, unique))
    of = "class" if what == "label" else what
    for code, name in enumerate(names):
        problem = array_files.name_problem(name)
        if problem or name in ("nan", "NaN"):
            place = int(np.flatnonzero(codes == code)[0])
            remedy = f"drop the samples without a {what}, or name their {of}"
            if name and problem:
                remedy = f"it {problem}: give the {of} another name"
            raise UserError(f"{where}: the {what} of sample {place} is {name!r}; {remedy}")
    return names, codes.astype(np.int64), tuple(n_each.tolist())
