"""Arrays of other libraries, as NumPy arrays: tables of pandas, tensors of torch on any device and of any precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from manifold_capacity.errors import UserError


def as_array(values: Any) -> Any:
    """`values` as a NumPy array, or as they are if they have a shape and can be sliced (arrays on disk)."""
    if _is(values, "torch", "Tensor"):
        return _from_tensor(values)
    if _is(values, "pandas", "DataFrame"):
        return _from_table(values)
    if hasattr(values, "to_numpy"):  # pandas' columns, and tables of other libraries
        return values.to_numpy()
    return values if hasattr(values, "shape") else np.asarray(values)


def flattened(values: Any) -> Any:
    """An array (n, ...) as (n, n_features); one on disk is read as a whole if it has further axes."""
    if len(values.shape) < 3:
        return values
    return np.asarray(values).reshape(values.shape[0], -1)


def _is(values: Any, package: str, name: str) -> bool:
    """Whether it is of another package's class, which need not be imported to tell."""
    return any(
        kind.__name__ == name and kind.__module__.partition(".")[0] == package
        for kind in type(values).__mro__
    )


def _from_tensor(tensor: Any) -> Any:
    try:
        return tensor.numpy(force=True)
    except TypeError:
        if not tensor.is_floating_point():
            raise
        return tensor.detach().float().numpy(force=True)  # NumPy lacks bfloat16; no digit is lost


def _from_table(table: Any) -> Any:
    from pandas.api.types import is_numeric_dtype

    wrong = [str(name) for name, dtype in table.dtypes.items() if not is_numeric_dtype(dtype)]
    if wrong:
        raise UserError(
            f"the table of points has columns that hold no numbers: {', '.join(wrong[:5])}"
            f"{', ...' if len(wrong) > 5 else ''}; leave them out (labels are given beside the points)"
        )
    values = table.to_numpy()
    return table.to_numpy(dtype=np.float64, na_value=np.nan) if values.dtype == object else values
