"""Outputs that are there whole or not at all, whatever kills the job that writes them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole"]


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write a file or folder to, which becomes `path` once all is written.

    Snakemake marks a job's outputs while it runs, but looks at these marks before it knows the jobs
    that follow from a checkpoint: what such a job left half-written would pass for finished.

    Parameters
    ----------
    path : path
        Replaced if it is there.

    Yields
    ------
    Path
        Beside `path`, with `.part` at its end. If writing fails, it stays behind, and the next
        attempt gets it again.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    yield part
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(part, path)
