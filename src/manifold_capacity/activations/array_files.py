"""Arrays in `.npy` and `.npz` files, folders of `.npy` files and zarr stores, opened without reading all of them."""

from __future__ import annotations

import math
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError

# Arrays that are not layers.
LABELS, CLASS_NAMES = "labels", "class_names"
_Source = Callable[[], IO[bytes]]
_ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")
_READ_HEADER: dict[tuple[int, int], Callable[[IO[bytes]], Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

# A zip file's local header: its fixed part ends in the lengths of the name and of the extra field.
_LOCAL_HEADER = struct.Struct("<26xHH")


@dataclass(frozen=True)
class Entry:
    """An array that has not been read yet: `open` returns an array-like that can be sliced.

    Its dtype is None for Python objects. If one of `files` changes, so does the array; of a zarr array,
    only the newest file is named.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    open: Callable[[], Any]
    files: Callable[[], list[str]]


def array_entries(path: Path) -> dict[str, Entry]:
    """All arrays of a file or folder by their names, in the order of the layers."""
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
        f"{where} is not supported; use a zarr store, an .npz, an .npy or a folder of .npy files"
    )


def labels_entry(path: Path) -> Entry:
    """The labels in an `.npy` or `.npz` file of their own."""
    where = f"activations.labels: {path}"
    if not path.is_file():
        raise UserError(f"activations.labels: there is no file {path}")
    if path.suffix == ".npy":
        return _npy_entry(where, path)
    if path.suffix != ".npz":
        raise UserError(f"{where} is not supported; use an .npy, or an .npz with `{LABELS}`")
    entries = _npz_entries(where, path)
    if LABELS not in entries:
        raise UserError(f"{where} has no array `{LABELS}`; it has {', '.join(entries)}")
    return entries[LABELS]


def _natural(name: str) -> list[tuple[int, str]]:
    """Key that sorts conv2 before conv10."""
    return [(int(d or 0), text) for text, d in re.findall(r"(\D*)(\d*)", name)] + [(0, name)]


def _npy_entry(where: str, file: Path) -> Entry:
    source = partial(_open, file)
    with source() as stream:
        return _entry(f"{where}: {file.name}", file, stream, file.stat().st_size, source)


def _npz_entries(where: str, path: Path) -> dict[str, Entry]:
    entries = {}
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as raw:
            for member in archive.infolist():
                begin, source = 0, partial(_unpack, path, member)
                if member.compress_type == zipfile.ZIP_STORED:
                    raw.seek(member.header_offset)
                    lengths = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
                    begin = member.header_offset + _LOCAL_HEADER.size + sum(lengths)
                    source = partial(_open, path)
                with archive.open(member) as stream:
                    entries[member.filename.removesuffix(".npy")] = _entry(
                        f"{where}: {member.filename}", path, stream, member.file_size, source, begin
                    )
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, RuntimeError) as error:
        raise UserError(f"{where} is not an .npz file, or damaged: {error}") from error
    return entries


def _entry(
    where: str, file: Path, stream: IO[bytes], size: int, source: _Source, begin: int = 0
) -> Entry:
    """An array of `size` bytes in .npy format, at the start of `stream`, and at byte `begin` of `source`."""
    try:
        version = np.lib.format.read_magic(stream)
        if version not in _READ_HEADER:
            raise UserError(f"format {version} is not that of an array of numbers")
        shape, fortran, dtype = _READ_HEADER[version](stream)
    except ValueError as error:
        raise UserError(f"{where} is not an .npy file: {error}") from error
    header_bytes = stream.tell()
    n_bytes = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and header_bytes + n_bytes > size:
        raise UserError(
            f"{where} is truncated: {size - header_bytes} bytes in place of {n_bytes}; copy it again"
        )

    def mapped() -> NDArray[Any]:
        order: Any = "F" if fortran else "C"
        with source() as opened:  # the mapping keeps the file's content
            return np.memmap(opened, dtype, "r", begin + header_bytes, shape, order)

    return Entry(shape, None if dtype.hasobject else dtype, mapped, lambda: [str(file)])


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _unpack(path: Path, member: zipfile.ZipInfo) -> IO[bytes]:
    """Unpack a compressed member into a temporary file, which is gone once nothing reads it."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if member.file_size > free:
        raise UserError(
            f"{path}: {member.filename} takes {member.file_size / 2**30:.1f} GiB unpacked, but {folder} "
            f"has only {free / 2**30:.1f} GiB free; write it with numpy.savez, which does not compress, "
            "or set TMPDIR to another folder"
        )
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller
    with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        shutil.copyfileobj(stream, unpacked, 2**20)
    unpacked.flush()
    return unpacked


def _zarr_entries(where: str, path: Path) -> dict[str, Entry]:
    import zarr

    try:
        store = zarr.open(path, mode="r")
        if isinstance(store, zarr.Array):
            return {path.stem: _zarr_entry(path, store)}
        arrays: Mapping[str, Any] = dict(store.arrays())
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{where} cannot be read as zarr: {error}") from error
    if not arrays:
        groups = ", ".join(store.group_keys()) or "nothing"
        raise UserError(
            f"{where} is a zarr group without arrays (it has {groups}); give the path of the group whose "
            "arrays are the layers"
        )
    return {name: _zarr_entry(path / name, arrays[name]) for name in sorted(arrays, key=_natural)}


def _zarr_entry(folder: Path, array: Any) -> Entry:
    if "pickle" in str(array.metadata).lower():
        raise UserError(
            f"activations.path: {folder} is stored with a pickle codec, and nothing is unpickled; store "
            "numbers or text"
        )
    dtype = array.dtype if isinstance(array.dtype, np.dtype) else np.dtype(str(array.dtype))
    return Entry(array.shape, dtype, lambda: array, lambda: [str(folder)])


def read_whole(where: str, entry: Entry) -> NDArray[Any]:
    """A small array; text of any kind becomes NumPy's fixed-width text."""
    if entry.dtype is None:
        raise UserError(
            f"{where}: Python objects, which would have to be unpickled; save text or numbers: "
            "numpy.asarray(labels, dtype=str)"
        )
    values = np.asarray(entry.open()[...])
    return values.astype(str) if values.dtype.kind in "OT" else values


def as_text(value: Any) -> str:
    """A label as text for the tables: 45.0 becomes 45."""
    if isinstance(value, bytes):
        return value.decode()
    return str(value).removesuffix(".0") if isinstance(value, np.floating) else str(value)
