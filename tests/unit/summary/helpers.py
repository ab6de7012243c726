"""Rows and files as the geometry jobs write them."""

from pathlib import Path
from typing import Any

import pandas as pd

from manifold_capacity.files import write_json
from manifold_capacity.summary import columns
from manifold_capacity.summary.collect import collect_layers
from manifold_capacity.summary.rows import manifold_table, write_columns

# From `n_manifolds` to `n_unconverged`.
_LAYER = (
    10,
    40,
    0.0,
    300,
    1,
    "active_set",
    0.123456,
    0.1221,
    0.1246,
    0.0003,
    1.234567,
    1.21,
    1.25,
    0.004,
)
_LAYER += (12.34567, 12.11, 12.52, 0.05, 0.33333, 0.31, 0.35, "classes", 0.05, 4)
_LAYER += (4, 5, 0.1234, 0.124, 1.23, 1.24, 12.3, 12.4, "", "", 1e-13, 0)
NUMBERS: dict[str, Any] = dict(zip(columns.LAYER_NUMBERS, _LAYER, strict=True))
MANIFOLD_NUMBERS = columns.REQUIRED["manifolds"][len(columns.MANIFOLD_IDENTITY) :]


def layer_row(index: int = 1, kind: str = "Conv2d", **changes: Any) -> dict[str, Any]:
    """A layer's row; a `status` among the changes makes it one without geometry."""
    epoch = changes.get("epoch", 15)
    checkpoint = "pretrained" if epoch is None else f"epoch-{epoch:03d}"
    run = ("digits", "small_cnn", "trained", 0, checkpoint, epoch, "train", "original")
    layer = (f"{index}_{kind}", index, f"features.{index}", kind, "64x8x8", 4096, "flatten", "")
    row = dict(zip(columns.LAYER_IDENTITY, (*run, *layer), strict=True)) | {"status": "ok"}
    return {**row, **({} if "status" in changes else NUMBERS), **changes}


def write(folder: Path, *rows: dict[str, Any]) -> list[Path]:
    """Rows of layers as a JSON file each; the paths, in the order given."""
    paths = [folder / f"{place}.json" for place in range(len(rows))]
    for path, row in zip(paths, rows, strict=True):
        write_json(path, row)
    return paths


def collected(folder: Path, *rows: dict[str, Any]) -> pd.DataFrame:
    return collect_layers(write(folder, *rows))


def write_manifolds(path: Path, row: dict[str, Any], classes: dict[int, str]) -> Path:
    """One layer's table of manifolds, a row per class."""
    numbers = {name: [NUMBERS[name]] * len(classes) for name in MANIFOLD_NUMBERS}
    write_columns(manifold_table(row, classes, numbers), path)
    return path
