"""Gather what the jobs wrote into one table of layers, of manifolds, of centers and of training.

Rows are sorted by what identifies them, a checkpoint without an epoch last. The required columns come
first, then any others in the order of their first appearance, then the configuration's digest, if given.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from manifold_capacity.errors import UserError
from manifold_capacity.files import AGAIN, check_file, read_json
from manifold_capacity.provenance import read_stamp
from manifold_capacity.summary import columns
from manifold_capacity.summary.rows import STATUS_OK
from manifold_capacity.summary.tables import read_table, with_whole_numbers

Paths = Iterable[str | os.PathLike[str]]

# What no two layers have in common; tables are sorted by it, a split by its place here.
_LAYER_KEY = ("model", "seed", "epoch", "checkpoint", "split", "labels", "layer_index", "layer")
_SPLITS = ("train", "test")


def check_parts(
    layers: Paths, kinds: Sequence[Paths], keys: Mapping[str, Mapping[str, str]]
) -> None:
    """Raise UserError unless the files of every layer are undamaged and of the present configuration.

    `kinds` are the paths of each kind of table, as of the `layers`; `keys` are the present ones of the geometry: of a run, such as ``vgg16/seed-0/epoch-040/train``, or of
    one of its layers, ``vgg16/seed-0/epoch-040/train/1_Conv2d``.
    """
    for layer, *tables in zip(layers, *kinds, strict=True):
        run = "/".join(Path(layer).parts[-5:-1])
        of_layer = keys.get(run) or keys[f"{run}/{Path(layer).stem}"]
        read_stamp(layer, of_layer, "geometry")
        for table in tables:
            check_file(table, layer)


def layers_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of layers as a table with the columns of `collect_layers`, in the order given."""
    return _in_columns(pd.DataFrame([*rows]), columns.REQUIRED["layers"])


def manifolds_table(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of manifolds as one with the columns of `collect_manifolds`, in the order given."""
    return joined_tables("manifolds", tables)


def joined_tables(kind: str, tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of layers as one with the columns of that kind of table, in the order given."""
    return _in_columns(_joined(tables), columns.REQUIRED[kind])


def collect_layers(paths: Paths, *, config_digest: str | None = None) -> pd.DataFrame:
    """A row per layer, each from a file with one JSON object."""
    sources = [os.fspath(path) for path in paths]
    frame = pd.DataFrame([_read_layer(source) for source in sources])
    return _arrange(frame, sources, columns.REQUIRED["layers"], _LAYER_KEY, config_digest)


def collect_manifolds(paths: Paths, *, config_digest: str | None = None) -> pd.DataFrame:
    """A row per layer and class, from a CSV file per layer; that of a layer without geometry has no rows."""
    key = (*_LAYER_KEY, "class_index")
    return _collect_tables(paths, "manifolds", columns.MANIFOLD_IDENTITY, key, config_digest)


def collect_centers(paths: Paths, *, config_digest: str | None = None) -> pd.DataFrame:
    """A row per layer and principal component of the centers, from files as of `collect_manifolds`."""
    key = (*_LAYER_KEY, "component")
    return _collect_tables(paths, "centers", columns.CENTERS_IDENTITY, key, config_digest)


def collect_separability(paths: Paths, *, config_digest: str | None = None) -> pd.DataFrame:
    """A row per layer and number of random directions, from files as of `collect_manifolds`."""
    key = (*_LAYER_KEY, "n_directions")
    identity = (*columns.LAYER_IDENTITY, "n_directions")
    return _collect_tables(paths, "separability", identity, key, config_digest)


def collect_training(
    paths: Paths, identities: Iterable[Mapping[str, Any]], *, config_digest: str | None = None
) -> pd.DataFrame:
    """A row per epoch, from a CSV file per run; its identity has at least ``model`` and ``seed``."""
    listed, named = [*paths], [*identities]
    if len(named) != len(listed):
        raise UserError(
            f"{len(listed)} training tables but {len(named)} identities; give one for each table"
        )
    for path, identity in zip(listed, named, strict=True):
        _require(f"the identity of {os.fspath(path)}", identity, ("model", "seed"))
    frames, sources = _read_tables(listed, ("epoch",))
    frames = [frame.assign(**identity) for frame, identity in zip(frames, named, strict=True)]
    first = dict.fromkeys(name for identity in named for name in identity) or ("model", "seed")
    key = ("model", "seed", "epoch")
    return _arrange(_joined(frames), sources, (*first, "epoch"), key, config_digest)


def _collect_tables(
    paths: Paths, table: str, identity: Sequence[str], key: Sequence[str], config_digest: str | None
) -> pd.DataFrame:
    frames, sources = _read_tables(paths, identity)
    return _arrange(_joined(frames), sources, columns.REQUIRED[table], key, config_digest)


def _read_tables(paths: Paths, needed: Sequence[str]) -> tuple[list[pd.DataFrame], list[str]]:
    """The tables, and the file of each of their rows."""
    frames: list[pd.DataFrame] = []
    sources: list[str] = []
    for path in paths:
        frames.append(read_table(path))
        _require(os.fspath(path), frames[-1].columns, needed)
        sources += [os.fspath(path)] * len(frames[-1])
    return frames, sources


def _joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    # Columns without values have no type, and would change that of the others.
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def _read_layer(source: str) -> dict[str, Any]:
    row = read_json(source)
    _require(source, row, (*columns.LAYER_IDENTITY, "status"))
    if row["status"] == STATUS_OK:
        _require(source, row, columns.LAYER_NUMBERS)
    # `provenance.collect_provenance` gathers that of the whole run
    return {name: row[name] for name in row if name not in ("provenance", "keys", "files")}


def _require(source: str, has: Iterable[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in set(has)]
    if missing:
        raise UserError(f"{source} lacks {', '.join(missing)}; {AGAIN}")


def _arrange(
    frame: pd.DataFrame,
    sources: Sequence[str],
    first: Sequence[str],
    key: Sequence[str],
    config_digest: str | None,
) -> pd.DataFrame:
    """Put columns and rows in their order; refuse two rows with the same key."""
    last = {} if config_digest is None else {"config_digest": config_digest}
    if frame.empty:
        return pd.DataFrame(columns=[*first, *last])
    keys = frame[[*key]]
    repeated = np.flatnonzero(keys.duplicated())
    if len(repeated):
        second = keys.iloc[repeated[0]]
        twins = (keys.eq(second) | (keys.isna() & second.isna())).all(axis=1)
        raise UserError(
            f"{sources[int(np.flatnonzero(twins)[0])]} and {sources[repeated[0]]} are both of "
            + ", ".join(f"{name} {second[name]}" for name in key)
            + "; give each only once"
        )
    if "split" in key:
        keys = keys.assign(split=keys["split"].map(_split_rank))
    if "layer" in key:  # several of one module, in the order of the files
        keys = keys.assign(layer=pd.factorize(keys["layer"])[0])
    frame = frame.loc[keys.sort_values([*key], kind="stable", na_position="last").index]
    return _in_columns(frame.reset_index(drop=True), first).assign(**last)


def _in_columns(frame: pd.DataFrame, first: Sequence[str]) -> pd.DataFrame:
    others = (name for name in frame.columns if name not in first)
    frame = with_whole_numbers(frame.reindex(columns=[*first, *others]))
    return frame.mask(frame == "")  # as it is read from a file


def _split_rank(split: str) -> str:
    # Train before test, and any other split after these by its name.
    return f"{_SPLITS.index(split) if split in _SPLITS else len(_SPLITS)}{split}"
