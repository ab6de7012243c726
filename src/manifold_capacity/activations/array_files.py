"""Arrays in `.npy` files, `.npz` archives, folders of `.npy` files and zarr stores, without reading them whole."""

from __future__ import annotations

import math
import os
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError

# Arrays that are no layers.
LABELS, CLASS_NAMES = "labels", "class_names"


_ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")


# A zip file's local header: its fixed part ends in the lengths of the name and of the extra field.
_LOCAL_HEADER = struct.Struct("<26xHH")


@dataclass(frozen=True)
class _Entry:
    """An array of the set, not read yet.

    Attributes
    ----------
    shape, dtype : as NumPy has them; dtype is None for Python objects
    open : callable
        Makes something that can be sliced.
    files : callable
        The files (or, of a zarr array, the newest of them) whose change changes the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    open: Callable[[], Any]
    files: Callable[[], list[str]]


def array_entries(path: Path) -> dict[str, _Entry]:
    """All arrays of a set by their names, in the order of the layers."""
    where = f"activations.path: {path}"
    if not path.exists():
        raise UserError(f"activations.path: there is no file or folder {path}")
    if path.is_dir():
        if any((path / mark).is_file() for mark in _ZARR_MARKS):
            return _zarr_entries(where, path)
        files = {file.stem: file for file in path.glob("*.npy")}
        if not files:
            raise UserError(f"{where} is neither a zarr store nor a folder of .npy files")
        return {name: _npy_entry(where, files[name]) for name in sorted(files, key=_natural)}
    if path.suffix == ".npz":
        return _npz_entries(where, path)
    if path.suffix == ".npy":
        return {path.stem: _npy_entry(where, path)}
    raise UserError(
        f"{where} is not taken; allowed: a zarr store, an .npz, an .npy, a folder of .npy files"
    )


def labels_entry(path: Path) -> _Entry:
    where = f"activations.labels: {path}"
    if not path.is_file():
        raise UserError(f"activations.labels: there is no file {path}")
    if path.suffix == ".npy":
        return _npy_entry(where, path)
    if path.suffix != ".npz":
        raise UserError(f"{where} is not taken; allowed: an .npy, or an .npz with `{LABELS}`")
    entries = _npz_entries(where, path)
    if LABELS not in entries:
        raise UserError(f"{where} has no array `{LABELS}`; it has {', '.join(entries)}")
    return entries[LABELS]


def _natural(name: str) -> list[tuple[int, str]]:
    """Key that sorts conv2 before conv10."""
    return [(int(d or 0), text) for text, d in re.findall(r"(\D*)(\d*)", name)] + [(0, name)]


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether in Fortran order, type, and where the values begin."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(file)
    else:
        raise UserError(f"its format {version} is not that of an array of numbers")
    return (*header, file.tell())


def _mapped(
    file: Any, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any], at: int
) -> NDArray[Any]:
    """Values in a file, by its path or opened: then it is closed, and the mapping keeps what it has."""
    order: Any = "F" if fortran else "C"
    with nullcontext() if isinstance(file, Path) else file:
        return np.memmap(file, dtype=dtype, mode="r", offset=at, shape=shape, order=order)


def _array_entry(
    file: Path,
    name: str,
    where: str,
    header: tuple[tuple[int, ...], bool, np.dtype[Any], int],
    begin: int,
    available: int,
    source: Callable[[], Any],
) -> _Entry:
    """An array in .npy format that begins at byte `begin` of what `source` opens."""
    shape, fortran, dtype, at = header
    n_bytes = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and at + n_bytes > available:
        raise UserError(
            f"{where}: {name!r} is cut short: {available - at} bytes in place of {n_bytes}; copy it again"
        )
    return _Entry(
        shape,
        None if dtype.hasobject else dtype,
        lambda: _mapped(source(), shape, fortran, dtype, begin + at),
        lambda: [str(file)],
    )


def _npy_entry(where: str, file: Path) -> _Entry:
    try:
        with open(file, "rb") as stream:
            header = _header(stream)
    except (ValueError, EOFError) as error:
        raise UserError(f"{where}: {file.name} is not an .npy file: {error}") from error
    return _array_entry(file, file.stem, where, header, 0, file.stat().st_size, lambda: file)


def _npz_entries(where: str, path: Path) -> dict[str, _Entry]:
    entries = {}
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as raw:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                try:
                    with archive.open(member) as stream:
                        header = _header(stream)
                except ValueError as error:
                    raise UserError(
                        f"{where}: {member.filename} in it is not an .npy file: {error}"
                    ) from error
                begin, source = 0, _extracting(path, member)
                if member.compress_type == zipfile.ZIP_STORED:
                    raw.seek(member.header_offset)
                    lengths = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
                    begin = member.header_offset + _LOCAL_HEADER.size + sum(lengths)
                    source = _same(path)
                entries[name] = _array_entry(
                    path, name, where, header, begin, member.file_size, source
                )
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, RuntimeError) as error:
        raise UserError(f"{where} is not an .npz file, or damaged: {error}") from error
    return entries


def _same(path: Path) -> Callable[[], Any]:
    return lambda: path


def _extracting(path: Path, member: zipfile.ZipInfo) -> Callable[[], Any]:
    """Unpacks a compressed member into a temporary file that is gone once nothing reads it."""

    def extract() -> Any:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if member.file_size > free:
            raise UserError(
                f"{path}: {member.filename} takes {member.file_size / 2**30:.1f} GiB unpacked, but "
                f"{tempfile.gettempdir()} has {free / 2**30:.1f} GiB free; write it with numpy.savez, which "
                "doesn't compress, or set TMPDIR to another folder"
            )
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `_mapped`
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            shutil.copyfileobj(stream, unpacked, 2**20)
        unpacked.flush()
        return unpacked

    return extract


def _zarr_entries(where: str, path: Path) -> dict[str, _Entry]:
    import zarr

    try:
        store = zarr.open(path, mode="r")
        if isinstance(store, zarr.Array):
            return {path.stem: _zarr_entry(path, store)}
        arrays: Mapping[str, Any] = dict(store.arrays())
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{where} can't be read as zarr: {error}") from error
    if not arrays:
        groups = ", ".join(store.group_keys()) or "nothing"
        raise UserError(
            f"{where} is a zarr group without arrays (it has {groups}); give the path of the group whose "
            "arrays are the layers"
        )
    return {name: _zarr_entry(path / name, arrays[name]) for name in sorted(arrays, key=_natural)}


def _zarr_entry(folder: Path, array: Any) -> _Entry:
    if "pickle" in str(array.metadata).lower():
        raise UserError(
            f"activations.path: {folder} is stored with a pickle codec, and nothing is unpickled; store "
            "numbers or text"
        )
    dtype = array.dtype if isinstance(array.dtype, np.dtype) else np.dtype(str(array.dtype))
    return _Entry(array.shape, dtype, lambda: array, lambda: [_newest(folder)])


def _newest(folder: Path) -> str:
    """The file or folder within `folder` that was changed last: a folder's own time isn't enough."""
    latest = (folder.stat().st_mtime_ns, str(folder))
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            latest = max(latest, (os.stat(path).st_mtime_ns, path))
    return latest[1]


def read_whole(where: str, entry: _Entry) -> NDArray[Any]:
    """A small array; text of any kind becomes NumPy's fixed-width text."""
    if entry.dtype is None:
        raise UserError(
            f"{where}: Python objects, which would have to be unpickled; save text or numbers: "
            "numpy.asarray(labels, dtype=str)"
        )
    values = np.asarray(entry.open()[...])
    return values.astype(str) if values.dtype.kind in "OT" else values


def as_text(value: Any) -> str:
    """A label as the tables have it: 45.0 is 45."""
    if isinstance(value, bytes):
        return value.decode()
    return str(value).removesuffix(".0") if isinstance(value, np.floating) else str(value)
