"""Gather what the jobs wrote into one table of layers, of manifolds, of centers and of training."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from manifold_capacity.errors import UserError
from manifold_capacity.summary.columns import (
    CENTERS_IDENTITY,
    LAYER_IDENTITY,
    LAYER_NUMBERS,
    MANIFOLD_IDENTITY,
    REQUIRED,
)
from manifold_capacity.summary.rows import STATUS_OK
from manifold_capacity.summary.tables import read_table, with_whole_numbers

Paths = Iterable[str | os.PathLike[str]]

# What no two layers have in common; tables are sorted by it, a split by its place here.
_LAYER_KEY = ("model", "seed", "epoch", "checkpoint", "split", "labels", "layer_index")
_SPLITS = ("train", "test")
_AGAIN = "delete it and run again to have it remade"


def layers_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of layers as a table with the columns of `collect_layers`, in the order given."""
    return _in_columns(pd.DataFrame([*rows]), REQUIRED["layers"])


def manifolds_table(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of manifolds as one with the columns of `collect_manifolds`, in the order given."""
    return _in_columns(_joined(tables), REQUIRED["manifolds"])


def collect_layers(paths: Paths, *, config_digest: str | None = None) -> pd.DataFrame:
    """Gather the rows of all layers, one JSON object per file, into one table.

    Parameters
    ----------
    paths : iterable of path
        The files of the geometry jobs, in any order.
    config_digest : str, optional
        Digest of the run's configuration: the last column, if given.

    Returns
    -------
    DataFrame
        A row per layer, sorted by model, seed, epoch (a checkpoint without an epoch last), split,
        labels and layer index. It has all required columns of the table, then any others of the
        files, in the order of their first appearance.

    Raises
    ------
    ValueError
        If a file is not a JSON object, lacks something that identifies a layer, or repeats the layer of
        another file.
    """
    sources = [os.fspath(path) for path in paths]
    frame = pd.DataFrame([_read_layer(source) for source in sources])
    return _arrange(frame, sources, REQUIRED["layers"], _LAYER_KEY, config_digest)


def collect_manifolds(paths: Paths, *, config_digest: str | None = None) -> pd.DataFrame:
    """Gather the tables of all manifolds, one CSV file per layer, into one table.

    As `collect_layers`, but with a row per layer and class. The file of a layer without geometry has a
    header and no rows.
    """
    key = (*_LAYER_KEY, "class_index")
    return _collect_tables(paths, "manifolds", MANIFOLD_IDENTITY, key, config_digest)


def collect_centers(paths: Paths, *, config_digest: str | None = None) -> pd.DataFrame:
    """Gather the spectra of the centers, one CSV file per layer, into one table.

    As `collect_manifolds`, but with a row per layer and principal component.
    """
    key = (*_LAYER_KEY, "component")
    return _collect_tables(paths, "centers", CENTERS_IDENTITY, key, config_digest)


def collect_training(
    paths: Paths,
    identities: Iterable[Mapping[str, Any]],
    *,
    config_digest: str | None = None,
) -> pd.DataFrame:
    """Gather the training tables of all runs, a row per epoch, into one table.

    Parameters
    ----------
    paths : iterable of path
        Tables with a column ``epoch``.
    identities : iterable of mapping
        For each table what it lacks: at least ``model`` and ``seed``. They become the first columns.
    config_digest : str, optional
        Digest of the run's configuration: the last column, if given.

    Returns
    -------
    DataFrame
        Sorted by model, seed and epoch.

    Raises
    ------
    ValueError
        If there are not as many tables as identities, an identity or a table lacks something, or two
        tables are of the same run.
    """
    frames: list[pd.DataFrame] = []
    sources: list[str] = []
    listed, named = [os.fspath(path) for path in paths], [*identities]
    if len(named) != len(listed):
        raise UserError(
            f"{len(listed)} training tables but {len(named)} identities; give one for each table"
        )
    for source, identity in zip(listed, named, strict=True):
        frame = read_table(source)
        _require(source, frame.columns, ("epoch",))
        _require(f"the identity of {source}", identity, ("model", "seed"))
        frames.append(frame.assign(**identity))
        sources += [source] * len(frame)
    first = dict.fromkeys(["model", "seed"] if not named else [n for one in named for n in one])
    key = ("model", "seed", "epoch")
    return _arrange(_joined(frames), sources, (*first, "epoch"), key, config_digest)


def _collect_tables(
    paths: Paths,
    table: str,
    identity: Sequence[str],
    key: Sequence[str],
    config_digest: str | None,
) -> pd.DataFrame:
    frames: list[pd.DataFrame] = []
    sources: list[str] = []
    for path in paths:
        source = os.fspath(path)
        frames.append(read_table(source))
        _require(source, frames[-1].columns, identity)
        sources += [source] * len(frames[-1])
    return _arrange(_joined(frames), sources, REQUIRED[table], key, config_digest)


def _joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    # Columns without values have no type, and would change that of the others.
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def _read_layer(source: str) -> dict[str, Any]:
    try:
        row = json.loads(Path(source).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{source} is not JSON ({error}); {_AGAIN}") from error
    if not isinstance(row, dict):
        raise UserError(f"{source} must be a JSON object, not a {type(row).__name__}; {_AGAIN}")
    _require(source, row, (*LAYER_IDENTITY, "status"))
    if row["status"] == STATUS_OK:
        _require(source, row, LAYER_NUMBERS)
    row.pop("provenance", None)  # `provenance.collect_provenance` gathers it for the whole run
    return row


def _require(source: str, has: Iterable[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in set(has)]
    if missing:
        raise UserError(f"{source} lacks {', '.join(missing)}; {_AGAIN}")


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
    frame = frame.loc[keys.sort_values([*key], kind="stable", na_position="last").index]
    return _in_columns(frame.reset_index(drop=True), first).assign(**last)


def _in_columns(frame: pd.DataFrame, first: Sequence[str]) -> pd.DataFrame:
    others = (name for name in frame.columns if name not in first)
    return with_whole_numbers(frame.reindex(columns=[*first, *others]))


def _split_rank(split: str) -> str:
    # Train before test, and any other split after these by its name.
    return f"{_SPLITS.index(split) if split in _SPLITS else len(_SPLITS)}{split}"
