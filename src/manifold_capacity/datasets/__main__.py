"""Update the table of named datasets in a page: `python -m manifold_capacity.datasets docs/datasets.md`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from manifold_capacity.datasets.catalog import NAMED, SPLITS, NamedDataset, Published

BEGIN = "<!-- Generated from src/manifold_capacity/datasets/catalog.py by `make docs`; change it there. -->\n"
HEAD = (
    "| `dataset.name` | images | classes | training | test | source |\n|---|---|---|---|---|---|\n"
)


def with_table(page: str) -> str:
    """The text of a page, with a row for every named dataset in the table that begins with `BEGIN`."""
    table = BEGIN + HEAD + "".join(map(_row, NAMED.values()))
    return re.sub(rf"{re.escape(BEGIN)}(\|.*\n)*", lambda match: table, page)


def _row(dataset: NamedDataset) -> str:
    height, width, channels = dataset.sample_shape
    source = "included in scikit-learn, no download"
    if isinstance(dataset.source, Published):
        n_files = len(dataset.source.sha256)
        source = f"{n_files} file{'s' if n_files > 1 else ''}, {dataset.source.megabytes} MB"
    size = f"{height} x {width}, {'gray' if channels == 1 else 'color'}"
    train, test = (f"{sum(dataset.counts[split]):,}" for split in SPLITS)
    n_classes = len(dataset.class_names)
    return f"| `{dataset.name}` | {size} | {n_classes} | {train} | {test} | {source} |\n"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
