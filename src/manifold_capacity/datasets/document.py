"""Make the documentation's table of named datasets from the catalog."""

from __future__ import annotations

import re

from manifold_capacity.datasets.catalog import NAMED, NamedDataset, Published

__all__ = ["with_table"]

BEGIN = "<!-- Generated from src/manifold_capacity/datasets/catalog.py by `make docs`; change it there. -->\n"
HEAD = (
    "| `dataset.name` | images | classes | training | test | source |\n|---|---|---|---|---|---|\n"
)


def with_table(page: str) -> str:
    """The text of a page, with a row for every named dataset in the table that begins with `BEGIN`."""
    table = BEGIN + HEAD + "".join(map(_row, NAMED.values()))
    return re.sub(rf"{re.escape(BEGIN)}(\|.*\n)*", lambda match: table, page)


def _row(dataset: NamedDataset) -> str:
    height, width, channels = dataset.image_shape
    source = "included in scikit-learn, no download"
    if isinstance(dataset.source, Published):
        n_files = len(dataset.source.sha256)
        source = f"{n_files} file{'s' if n_files > 1 else ''}, {dataset.source.megabytes} MB"
    cells = [
        f"`{dataset.name}`",
        f"{height} x {width}, {'gray' if channels == 1 else 'color'}",
        f"{len(dataset.class_names)}",
        *(f"{sum(dataset.counts[split]):,}" for split in ("train", "test")),
        source,
    ]
    return f"| {' | '.join(cells)} |\n"
