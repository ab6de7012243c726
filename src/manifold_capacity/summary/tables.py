"""Read and write tables as CSV, Parquet or JSON."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd

from manifold_capacity.errors import UserError
from manifold_capacity.files import atomic_path
from manifold_capacity.summary.columns import WHOLE_NUMBERS, WORDS


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table of the pipeline with the values that were written.

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
        text = dict.fromkeys(WORDS, "str")
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=text)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) is not None:  # of the system; pyarrow's OSError has none
            raise
        raise UserError(
            f"{os.fspath(path)} is not a table ({error}); delete it and run again to have it remade"
        ) from error
    return with_whole_numbers(frame)


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as CSV, Parquet or JSON, by the path's ending; completely or not at all.

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
    ending = Path(path).suffix
    if ending not in (".csv", ".parquet", ".json"):
        raise UserError(f"{os.fspath(path)} is not supported; use one of .csv, .parquet, .json")
    with atomic_path(path) as temporary:
        if ending == ".csv":
            frame.to_csv(temporary, index=False)
        elif ending == ".parquet":
            frame.to_parquet(temporary, engine="pyarrow", index=False)
        else:
            rows = [
                {key: _as_json(value) for key, value in row.items()}
                for row in frame.to_dict("records")
            ]
            text = json.dumps(rows, indent=1, allow_nan=False)
            temporary.write_text(f"{text}\n", encoding="utf-8")


def _as_json(value: Any) -> Any:
    if pd.isna(value):
        return None
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def with_whole_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Give columns of whole numbers a type that allows missing values, or they would read "15.0"."""
    for name in frame.columns.intersection([*WHOLE_NUMBERS]):
        values = pd.to_numeric(frame[name])
        if (values.dropna() % 1 == 0).all():  # a mean over draws may not be whole
            frame[name] = values.astype("Int64")
    return frame
