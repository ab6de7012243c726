"""Files of moments and Gram matrices: .npz archives with a version and a provenance."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError
from manifold_capacity.files import atomic_path

T = TypeVar("T")


def write_archive(
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    arrays: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Write arrays to an .npz file, which appears complete or not at all; `kind` names its content."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part, part.open("wb") as stream:
        np.savez(
            stream,
            allow_pickle=False,
            **{f"manifold_capacity_{kind}": np.int64(version)},
            **arrays,
            provenance=np.str_(json.dumps(provenance, sort_keys=True)),
        )


def read_archive(
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    build: Callable[[Mapping[str, NDArray[Any]], dict[str, Any]], T],
) -> T:
    """What `build` makes of the arrays and provenance that `write_archive` wrote.

    Raises UserError if the file is of another kind or version, or damaged.
    """
    remedy = f"delete it and compute the {kind} again"
    with open(path, "rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise UserError(f"{path} is not a {kind} file, or damaged: {remedy}")
        stream.seek(0)
        result = None
        try:
            archive = np.load(stream, allow_pickle=False)
            if ours := f"manifold_capacity_{kind}" in archive:
                found = int(archive[f"manifold_capacity_{kind}"])
                if found == version:
                    arrays = dict(archive)
                    result = build(arrays, json.loads(str(arrays.get("provenance", "{}"))))
        except MemoryError:  # says nothing of the file
            raise
        except Exception as error:  # a damaged archive makes its reader raise about anything
            raise UserError(f"{path} is damaged ({error}): {remedy}") from error
    if not ours:
        raise UserError(f"{path} is not a {kind} file (it has {archive.files}): {remedy}")
    if result is None:
        raise UserError(
            f"{path} has {kind} format {found}, but this version of manifold_capacity "
            f"reads format {version}: {remedy}"
        )
    return result
