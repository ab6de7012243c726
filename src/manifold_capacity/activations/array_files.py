"""Arrays in `.npy` and `.npz` files, folders of `.npy` files and zarr stores, opened without reading all of them."""

from __future__ import annotations

import math
import os
import re
import shutil
import struct
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError

# Arrays that are not layers.
LABELS, CLASS_NAMES = "labels", "class_names"
# Files that are not read, but that a few documented lines convert.
_CONVERTIBLE = (".csv", ".tsv", ".mat", ".h5", ".hdf5")
_Source = Callable[[], IO[bytes]]
_ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")
_READ_HEADER: dict[tuple[int, int], Callable[[IO[bytes]], Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

# A zip file's local header: its fixed part ends in the lengths of the name and of the extra field.
_LOCAL_HEADER = struct.Struct("<26xHH")

# Names of a zarr array's chunks, of either version: 0.3, 0 in folders, c.0.3, c.
_CHUNK = re.compile(r"c|(c\.)?\d+(\.\d+)*")


@dataclass(frozen=True)
class Entry:
    """An array that has not been read yet: `open` returns an array-like that can be sliced.

    Its dtype is None for Python objects. If one of `files` changes, so does the array; of a zarr array,
    only the newest file is named. A zarr array should have `n_chunks` files, of which `stored` are
    there, counted up to its argument; it reads as its fill value where one is missing.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    open: Callable[[], Any]
    files: Callable[[], list[str]]
    n_chunks: int = 0
    stored: Callable[[int], int] = lambda most: 0


@contextmanager
def reading(where: str, what: str = "cannot be read, or is damaged") -> Iterator[None]:
    """A UserError in place of whatever a library raises on bytes that it does not understand."""
    try:
        yield
    except (UserError, ModuleNotFoundError):
        raise
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        cause = cause if len(cause) <= 200 else f"{cause[:200]}..."
        raise UserError(f"{where} {what}: {cause}") from error


def array_entries(path: Path) -> dict[str, Entry]:
    """All arrays of a file or folder by their names, in the order of the layers."""
    where = f"activations.path: {path}"
    with reading(where):
        if not path.exists():
            raise UserError(f"activations.path: there is no file or folder {path.absolute()}")
        if problem := name_problem(str(path)):
            raise UserError(f"activations.path: {str(path)!r} {problem}; rename it")
        if path.is_dir():
            if any((path / mark).is_file() for mark in _ZARR_MARKS):
                return _zarr_entries(where, path)
            files = {file.stem: file for file in path.glob("*.npy") if not file.is_dir()}
            if not files:
                raise UserError(f"{where} is neither a zarr store nor a folder of .npy files")
            return {name: _npy_entry(where, files[name]) for name in sorted(files, key=_natural)}
        if path.suffix == ".npz":
            return _npz_entries(where, path)
        if path.suffix == ".npy":
            return {path.stem: _npy_entry(where, path)}
    convert = ""
    if path.suffix.lower() in _CONVERTIBLE:
        convert = "; docs/own_data.md#from-csv-hdf5-and-matlab shows how to convert it"
    raise UserError(
        f"{where} is not supported; use a zarr store, an .npz, an .npy or a folder of .npy files{convert}"
    )


def labels_entry(path: Path, what: str = LABELS) -> Entry:
    """The labels (or groups) in an `.npy` or `.npz` file of their own."""
    where = f"activations.{what}: {path}"
    with reading(where):
        return _labels_entry(where, path, what)


def _labels_entry(where: str, path: Path, what: str) -> Entry:
    if not path.is_file():
        raise UserError(f"activations.{what}: there is no file {path.absolute()}")
    if path.suffix == ".npy":
        return _npy_entry(where, path)
    if path.suffix != ".npz":
        raise UserError(f"{where} is not supported; use an .npy, or an .npz with `{what}`")
    entries = _npz_entries(where, path)
    if what not in entries:
        raise UserError(f"{where} has no array `{what}`; it has {', '.join(entries)}")
    return entries[what]


def _natural(name: str) -> list[tuple[int, str]]:
    """Key that sorts conv2 before conv10."""
    return [(int(d or 0), text) for text, d in re.findall(r"(\D*)(\d*)", name)] + [(0, name)]


def name_problem(name: str) -> str:
    """Why a name cannot stand in tables and messages; empty if it can."""
    if not name:
        return "is empty"
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        return "has control characters in it"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    return ""


def _npy_entry(where: str, file: Path) -> Entry:
    if not file.is_file():
        raise UserError(f"{where}: {file.name} is no file, or a link to one that is gone")
    source = partial(_open, file)
    with reading(f"{where}: {file.name}"), source() as stream:
        return _entry(f"{where}: {file.name}", file, stream, file.stat().st_size, source)


def _npz_entries(where: str, path: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    with (
        reading(where, "is not an .npz file, or damaged"),
        zipfile.ZipFile(path) as archive,
        open(path, "rb") as raw,
    ):
        for member in archive.infolist():
            begin, source = 0, partial(_unpack, path, member)
            if member.compress_type == zipfile.ZIP_STORED:
                raw.seek(member.header_offset)
                lengths = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
                begin = member.header_offset + _LOCAL_HEADER.size + sum(lengths)
                source = partial(_verified, path, member)
            name = member.filename.removesuffix(".npy")
            if name in entries:
                raise UserError(f"{where} has two arrays {name!r}; save each under its own name")
            with archive.open(member) as stream:
                entries[name] = _entry(
                    f"{where}: {member.filename}", path, stream, member.file_size, source, begin
                )
    return entries


def _entry(
    where: str, file: Path, stream: IO[bytes], size: int, source: _Source, begin: int = 0
) -> Entry:
    """An array of `size` bytes in .npy format, at the start of `stream`, and at byte `begin` of `source`."""
    with reading(where, "is not an .npy file"):
        version = np.lib.format.read_magic(stream)
        if version not in _READ_HEADER:
            raise ValueError(f"format {version} is not that of an array of numbers")
        shape, fortran, dtype = _READ_HEADER[version](stream)
        if any(length < 0 or isinstance(length, bool) for length in shape):
            raise ValueError(f"its shape is {shape}")
    header_bytes = stream.tell()
    n_bytes = math.prod(shape) * dtype.itemsize
    n_there = size - header_bytes
    if not dtype.hasobject and n_there != n_bytes:
        problem = "is truncated" if n_there < n_bytes else "is more than one array"
        raise UserError(
            f"{where} {problem}: {n_there} bytes in place of {n_bytes}; copy it again, or save it again"
        )

    def mapped() -> NDArray[Any]:
        if not n_bytes:  # cannot be mapped
            return np.zeros(shape, dtype)
        order: Any = "F" if fortran else "C"
        with reading(where), source() as opened:  # the mapping keeps the file's content
            return np.memmap(opened, dtype, "r", begin + header_bytes, shape, order)

    return Entry(shape, None if dtype.hasobject else dtype, mapped, lambda: [str(file)])


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _verified(path: Path, member: zipfile.ZipInfo) -> IO[bytes]:
    """The file itself, once an uncompressed member's checksum was found to be right."""
    with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        while stream.read(2**20):
            pass
    return _open(path)


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
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            shutil.copyfileobj(stream, unpacked, 2**20)
        unpacked.flush()
    except BaseException:
        unpacked.close()
        raise
    return unpacked


def _zarr_entries(where: str, path: Path) -> dict[str, Entry]:
    import zarr

    with reading(where, "cannot be read as zarr"):
        # Without a copy of all metadata in one file, which may be out of date and name any folder
        store = zarr.open(path, mode="r", use_consolidated=False)
        if isinstance(store, zarr.Array):
            return {path.stem: _zarr_entry(path, store)}
        arrays: Mapping[str, Any] = dict(store.arrays())
        if not arrays:
            groups = ", ".join(store.group_keys()) or "nothing"
            raise UserError(
                f"{where} is a zarr group without arrays (it has {groups}); give the path of the group whose "
                "arrays are the layers"
            )
        return {
            name: _zarr_entry(path / name, arrays[name]) for name in sorted(arrays, key=_natural)
        }


def _zarr_entry(folder: Path, array: Any) -> Entry:
    where = f"activations.path: {folder}"
    metadata = array.metadata
    codecs = [getattr(metadata, name, None) for name in ("codecs", "filters", "compressor")]
    if "pickle" in str(codecs).lower():
        raise UserError(
            f"{where} is stored with a pickle codec, and nothing is unpickled; store numbers or text"
        )
    dtype = array.dtype if isinstance(array.dtype, np.dtype) else np.dtype(str(array.dtype))
    if 0 in array.chunks:
        raise UserError(f"{where} has chunks of shape {array.chunks}; store it again")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    chunk_bytes = math.prod(array.chunks) * dtype.itemsize
    if chunk_bytes > memory:
        raise UserError(
            f"{where} has chunks of shape {array.chunks}, {chunk_bytes / 2**30:,.0f} GiB each, more than "
            f"the {memory / 2**30:,.0f} GiB of this machine's memory; store it in smaller chunks"
        )
    lengths = zip(array.shape, array.shards or array.chunks, strict=True)
    return Entry(
        array.shape,
        dtype,
        lambda: array,
        lambda: [str(folder)],
        math.prod(-(-length // chunk) for length, chunk in lengths),
        lambda most: sum(1 for _ in islice(_chunk_files(folder), most)),
    )


def _chunk_files(folder: Path) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from filter(_CHUNK.fullmatch, names)


def nothing_stored(entry: Entry) -> str:
    """Why a zarr array cannot be what its header says: (almost) none of its chunks are stored."""
    least = math.ceil(entry.n_chunks / 100)
    if not least or (stored := entry.stored(least)) >= least:
        return ""
    return f"has the shape {entry.shape}, but {stored} of its {entry.n_chunks} chunks"


def refuse_objects(where: str, entry: Entry) -> None:
    if entry.dtype is None:
        raise UserError(
            f"{where}: Python objects, which would have to be unpickled; save text or numbers: "
            "numpy.asarray(labels, dtype=str)"
        )


def read_whole(where: str, entry: Entry) -> NDArray[Any]:
    """A small array of numbers or text."""
    refuse_objects(where, entry)
    if problem := nothing_stored(entry):
        raise UserError(f"{where} {problem}; copy the store again")
    if missing := entry.n_chunks - entry.stored(entry.n_chunks):
        raise UserError(
            f"{where}: {missing} of {entry.n_chunks} chunks are not stored; copy the store again, or save "
            "it in a single chunk (zarr does not store chunks that are 0)"
        )
    with reading(where):
        values = np.asarray(entry.open()[...])
        return values.astype(bytes) if values.dtype.kind == "O" else values


def as_texts(where: str, values: NDArray[Any]) -> list[str]:
    """Labels as text for the tables: 45.0 becomes 45."""

    def as_text(value: Any) -> str:
        if isinstance(value, bytes):
            return value.decode()
        return str(value).removesuffix(".0") if isinstance(value, np.floating) else str(value)

    with reading(where, "is not text"):  # bytes, or numbers of characters, that stand for none
        return [as_text(value) for value in values]
