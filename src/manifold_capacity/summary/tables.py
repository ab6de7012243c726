"""Read and write tables as CSV, Parquet or JSON."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import pandas as pd

from manifold_capacity.errors import UserError
from manifold_capacity.summary.columns import WHOLE, WORDS


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table that the pipeline wrote, as it was written.

    Only an empty field is a missing value, since a class may be called "null" or "007", and whole
    numbers stay whole where some are missing.

    Parameters
    ----------
    path : path
        CSV, or Parquet if its name ends in ``.parquet``.

    Raises
    ------
    ValueError
        If the file is empty or is not a table.
    """
    try:
        if os.fspath(path).endswith(".parquet"):
            frame = pd.read_parquet(path, engine="pyarrow")
            return frame.where(frame.notna())  # NaN for None, as from CSV
        frame = pd.read_csv(
            path,
            keep_default_na=False,
            na_values=[""],
            dtype=dict.fromkeys(WORDS, "str"),
        )
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) is not None:  # the system's; pyarrow's has none
            raise
        raise UserError(
            f"{os.fspath(path)} is not a table ({error}); delete it and run again to have it remade"
        ) from error
    return with_whole_numbers(frame)


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as CSV, Parquet or JSON, by the ending of the path; whole or not at all.

    Parameters
    ----------
    frame : DataFrame
    path : path
        ``.csv``, ``.parquet`` (needs pyarrow) or ``.json``: a list of objects, one per row, ``null``
        where there is no value; infinite numbers are the text ``"inf"``, as in CSV.

    Raises
    ------
    ValueError
        For another ending.
    """
    name = os.fspath(path)
    temporary = f"{name}.tmp"
    if name.endswith(".csv"):
        frame.to_csv(temporary, index=False)
    elif name.endswith(".parquet"):
        frame.to_parquet(temporary, engine="pyarrow", index=False)
    elif name.endswith(".json"):
        rows = [
            {key: _as_json(value) for key, value in row.items()} for row in frame.to_dict("records")
        ]
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1, allow_nan=False)
            file.write("\n")
    else:
        raise UserError(f"{name} is not taken; allowed: .csv, .parquet, .json")
    os.replace(temporary, name)


def _as_json(value: Any) -> Any:
    if pd.isna(value):
        return None
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def with_whole_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    for name in frame.columns.intersection([*WHOLE]):
        values = pd.to_numeric(frame[name])
        if (values.dropna() % 1 == 0).all():  # a mean over manifolds may not be whole
            frame[name] = values.astype("Int64")
    return frame
