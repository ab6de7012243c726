"""Gather what the geometry jobs wrote into one table of layers, one of manifolds and one of centers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from manifold_capacity.errors import UserError
from manifold_capacity.summary.columns import (
    LAYER_COLUMNS,
    LAYER_NUMBERS,
    MANIFOLD_COLUMNS,
    MANIFOLD_NUMBERS,
)
from manifold_capacity.summary.rows import (
    CENTERS_IDENTITY,
    CENTERS_NUMBERS,
    LAYER_IDENTITY,
    MANIFOLD_IDENTITY,
    STATUS_OK,
)
from manifold_capacity.summary.tables import read_table, with_whole_numbers

_SPLITS = ("train", "test")


_LAYER_KEY = ("model", "seed", "epoch", "checkpoint", "split", "labels", "layer_index")


def layers_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of layers as a table with the columns of `collect_layers`, in the order given."""
    return _in_columns(pd.DataFrame([*rows]), LAYER_COLUMNS)


def manifolds_table(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of manifolds as one with the columns of `collect_manifolds`, in the order given."""
    # Columns without values have no type, and would spoil that of the others.
    filled = [table for table in tables if len(table)]
    frame = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
    return _in_columns(frame, MANIFOLD_COLUMNS)


def collect_layers(
    paths: Iterable[str | os.PathLike[str]], *, config_digest: str | None = None
) -> pd.DataFrame:
    """Gather the rows of all layers, one JSON object per file, into one table.

    Parameters
    ----------
    paths : iterable of path
        The files that the geometry jobs wrote, in any order.
    config_digest : str, optional
        Digest of the run's configuration: the last column, if given.

    Returns
    -------
    DataFrame
        A row per layer, sorted by model, seed, epoch (a checkpoint without an epoch last), split,
        labels and layer index. Columns: those that identify a layer, ``status``, the numbers that every table
        has, then whatever else the files hold, in the order of their first appearance.

    Raises
    ------
    ValueError
        If a file holds no JSON object, lacks something that identifies a layer, or repeats a layer
        that another file has.
    """
    sources = [os.fspath(path) for path in paths]
    return _arrange(
        pd.DataFrame([_read_layer(source) for source in sources]),
        sources,
        LAYER_COLUMNS,
        key=_LAYER_KEY,
        config_digest=config_digest,
    )


def collect_manifolds(
    paths: Iterable[str | os.PathLike[str]], *, config_digest: str | None = None
) -> pd.DataFrame:
    """Gather the tables of all manifolds, one CSV file per layer, into one table.

    Parameters
    ----------
    paths : iterable of path
        The files that the geometry jobs wrote, in any order; that of a layer without geometry has a
        header and no rows.
    config_digest : str, optional
        Digest of the run's configuration: the last column, if given.

    Returns
    -------
    DataFrame
        A row per layer and class, sorted as in `collect_layers` and then by class. Columns: those
        that identify a layer and a class, the numbers, then whatever else the files hold.

    Raises
    ------
    ValueError
        If a file is empty or is no table, lacks something that identifies a manifold, or repeats a
        manifold that another file has.
    """
    return _collect_tables(paths, MANIFOLD_IDENTITY, MANIFOLD_NUMBERS, "class_index", config_digest)


def collect_centers(
    paths: Iterable[str | os.PathLike[str]], *, config_digest: str | None = None
) -> pd.DataFrame:
    """Gather the spectra of the centers, one CSV file per layer, into one table.

    Parameters
    ----------
    paths : iterable of path
        The files that the geometry jobs wrote, in any order; that of a layer without geometry has a
        header and no rows.
    config_digest : str, optional
        As of `collect_layers`.

    Returns
    -------
    DataFrame
        A row per layer and principal component of its centers, sorted as in `collect_layers` and
        then by component. Columns: those that identify a layer, ``component``, ``variance_share``,
        ``center_rank``.

    Raises
    ------
    ValueError
        As `collect_manifolds`.
    """
    return _collect_tables(paths, CENTERS_IDENTITY, CENTERS_NUMBERS, "component", config_digest)


def collect_training(
    paths: Iterable[str | os.PathLike[str]],
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
        For each table what it does not say itself: at least ``model`` and ``seed``. They become the
        first columns.
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
    named = list(identities)
    listed = [os.fspath(path) for path in paths]
    if len(named) != len(listed):
        raise UserError(
            f"{len(listed)} training tables but {len(named)} identities; give one for each table"
        )
    for source, identity in zip(listed, named, strict=True):
        frame = read_table(source)
        _require(source, frame.columns, ("epoch",))
        _require(f"the identity of {source}", identity, ("model", "seed"))
        frame = frame.drop(columns=[name for name in identity if name in frame.columns])
        for position, (name, value) in enumerate(identity.items()):
            frame.insert(position, name, value)
        frames.append(frame)
        sources.extend([source] * len(frame))
    first = tuple(dict.fromkeys(name for identity in named for name in identity))
    return _arrange(
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
        sources,
        (*(first or ("model", "seed")), "epoch"),
        key=("model", "seed", "epoch"),
        config_digest=config_digest,
    )


def _collect_tables(
    paths: Iterable[str | os.PathLike[str]],
    identity: Sequence[str],
    numbers: Sequence[str],
    within: str,
    config_digest: str | None,
) -> pd.DataFrame:
    """Tables of a layer each in one; `within` tells a layer's rows apart."""
    frames: list[pd.DataFrame] = []
    sources: list[str] = []
    for path in paths:
        source = os.fspath(path)
        frame = read_table(source)
        _require(source, frame.columns, identity)
        if len(frame):  # columns without values have no type, and would spoil that of the others
            frames.append(frame)
            sources.extend([source] * len(frame))
    return _arrange(
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
        sources,
        (*identity, *numbers),
        key=(*_LAYER_KEY, within),
        config_digest=config_digest,
    )


def _read_layer(source: str) -> dict[str, Any]:
    with open(source, encoding="utf-8") as file:
        try:
            row = json.load(file)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{source} is not JSON ({error}); delete it and run again to have it remade"
            ) from error
    if not isinstance(row, dict):
        raise UserError(
            f"{source} holds a {type(row).__name__} where a JSON object is due; delete it and run "
            "again to have it remade"
        )
    _require(source, row, (*LAYER_IDENTITY, "status"))
    if row["status"] == STATUS_OK:
        _require(source, row, LAYER_NUMBERS)
    row.pop("provenance", None)  # said of the run as a whole, by `provenance.collect_provenance`
    return row


def _require(source: str, has: Iterable[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in set(has)]
    if missing:
        raise UserError(
            f"{source} lacks {', '.join(missing)}; delete it and run again to have it remade"
        )


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
