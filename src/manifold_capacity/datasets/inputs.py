"""Inputs that are no images: handed to a network as they are, in one of three number formats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError

# Kind of a number, as numpy names it -> number format in which inputs are stored.
_STORED = {"f": "float32", "i": "int64", "u": "int64", "b": "bool"}
# Values of one sample; more would not fit into memory beside the network.
MOST_VALUES = 4096 * 4096
ALLOWED = (
    "they must be floating point, integers or booleans of shape (n, length), (n, channels, length) or any "
    f"other with at least 2 axes and at most {MOST_VALUES:,} values per sample"
)


def stored_dtype(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str | None:
    """Number format in which inputs (n, ...) of a type are stored; None if they cannot be inputs."""
    n_values = int(np.prod(shape[1:], dtype=object))
    return _STORED.get(dtype.kind) if len(shape) > 1 and 0 < n_values <= MOST_VALUES else None


def as_stored(values: NDArray[Any], dtype: str, first: int, where: str) -> NDArray[Any]:
    """Inputs (n, ...) in the number format in which they are stored.

    An error says `where` they are from and names the sample, counted from `first`, that has no such numbers.
    """
    with np.errstate(over="ignore"):
        stored = values.astype(dtype)
    if dtype == "float32":
        good, problem = np.isfinite(stored), "NaN or infinite values, or some beyond float32"
    elif values.dtype.kind == "u":
        good, problem = stored >= 0, "integers beyond int64"
    else:
        return stored
    if not good.all():
        place = first + int(good.reshape(len(good), -1).all(axis=1).argmin())
        raise UserError(f"{where}: sample {place} holds {problem}; leave it out or replace them")
    return stored
