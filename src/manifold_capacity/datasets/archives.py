"""Read the archives that image datasets are published in, as untrusted input.

Nothing is extracted to disk, no more is unpacked than such an archive can hold, and unpickling can
call nothing. The caller verifies the files' checksums first.
"""

from __future__ import annotations

import gzip
import math
import pickle
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.datasets.catalog import Blocks, CifarArchive, Dataset, IdxFiles, Split
from manifold_capacity.errors import UserError, shortened

# 60,000 color images of 32 x 32 unpack to 187 MB, from 9 or 10 members; anything above these limits
# is another kind of archive.
LARGEST_ARCHIVE_BYTES = 512 * 1024**2
LARGEST_ARCHIVE_MEMBERS = 100


def read_idx_files(
    paths: Mapping[str, Path], dataset: Dataset, source: IdxFiles, block_length: int
) -> dict[str, Split]:
    """Both splits of a dataset in MNIST's format, from its files by name."""
    splits: dict[str, Split] = {}
    for split, (images, labels) in source.files.items():
        n_images = sum(dataset.counts[split])
        (all_labels,) = read_idx(paths[labels], (n_images,), n_images)
        blocks = read_idx(paths[images], (n_images, *dataset.sample_shape[:2]), block_length)
        splits[split] = all_labels.astype(np.int64), (block[..., np.newaxis] for block in blocks)
    return splits


def read_idx(path: Path, shape: tuple[int, ...], block_length: int) -> Blocks:
    """Read a gzipped idx file of unsigned bytes (MNIST's format) as blocks (block_length, *shape[1:]).

    Format: two zero bytes, 8 for unsigned bytes, the number of axes; each axis' length as a big-endian
    32-bit integer; the values, the last axis fastest. No more is unpacked than `shape` has.
    """
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">u4").tobytes()
    try:
        with gzip.open(path) as file:
            found = file.read(len(header))
            if len(found) < len(header) or found[:4] != header[:4]:
                n_axes = len(shape)
                raise UserError(f"{path} is not an idx file of unsigned bytes with {n_axes} axes")
            if found != header:
                axes = tuple(np.frombuffer(found[4:], dtype=">u4").tolist())
                raise UserError(
                    f"{path} holds an array of shape {axes}, but {shape} is expected; a mirror must hold "
                    "the whole dataset"
                )
            yield from read_blocks(file, np.uint8, shape, block_length, str(path), "values")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not an intact gzip file: {error}") from error


def read_blocks(
    file: Any, dtype: Any, shape: tuple[int, ...], length: int, where: str, what: str
) -> Iterator[NDArray[Any]]:
    """Read an array (*shape) in blocks (length, ...); an error names `where` and `what` is missing."""
    item_bytes = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    for begin in range(0, shape[0], length):
        n = min(length, shape[0] - begin)
        content = file.read(n * item_bytes)
        if len(content) < n * item_bytes:
            raise UserError(f"{where} ends before the last of its {shape[0]} {what}")
        yield np.frombuffer(content, dtype).reshape(n, *shape[1:])
    # Reading to the end makes gzip and zipfile compare their own checksums.
    if file.read(1):
        raise UserError(f"{where} continues after the last of its {shape[0]} {what}")


def read_cifar(
    path: Path, dataset: Dataset, archive: CifarArchive, block_length: int
) -> dict[str, Split]:
    """Both splits of a CIFAR archive, python version: a .tar.gz of pickled dicts."""
    height, width, channels = dataset.sample_shape
    members = [member for of_split in archive.members.values() for member in of_split]
    content = _read_pickles(path, [*members, archive.meta])

    def entry(member: str, key: str, kind: type) -> Any:
        batch = content[member] if isinstance(content[member], dict) else {}
        # Python 2 wrote the originals: their keys are bytes.
        value = batch.get(key.encode(), batch.get(key))
        if not isinstance(value, kind):
            what = "array" if kind is _ByteArray else "list"
            raise UserError(f"{path}: {member} holds no {what} {key!r}")
        return value

    names = entry(archive.meta, archive.class_names, list)
    names = [str(name, "utf-8", "replace") if isinstance(name, bytes) else name for name in names]
    if names != list(dataset.class_names):
        raise UserError(
            f"{path} has the classes {shortened(', '.join(map(str, names)))}; those of {dataset.name} are "
            f"{', '.join(dataset.class_names)}"
        )
    splits: dict[str, Split] = {}
    for split, of_split in archive.members.items():
        batches: list[NDArray[np.uint8]] = []
        labels: list[int] = []
        for member in of_split:
            data = entry(member, "data", _ByteArray).array
            of_member = entry(member, archive.labels, list)
            shape, expected = data.shape, (len(of_member), height * width * channels)
            if shape != expected:
                raise UserError(
                    f"{path}: the data of {member} have shape {shape}, but {expected} is expected"
                )
            if not all(type(label) is int and label in range(len(names)) for label in of_member):
                raise UserError(
                    f"{path}: {member} has labels that are not integers from 0 to {len(names) - 1}"
                )
            batches.append(data.reshape(-1, channels, height, width))
            labels += of_member
        splits[split] = np.array(labels, dtype=np.int64), _channels_last(batches, block_length)
    return splits


def _channels_last(batches: Blocks, block_length: int) -> Blocks:
    for batch in batches:
        for begin in range(0, len(batch), block_length):
            block = batch[begin : begin + block_length]
            # Faster than a transposition.
            yield np.stack([block[:, channel] for channel in range(block.shape[1])], axis=-1)


def _read_pickles(path: Path, names: list[str]) -> dict[str, Any]:
    """Members of a .tar.gz by their exact names, unpickled straight from the stream."""
    found: dict[str, Any] = {}
    try:
        with _LimitedGzipFile(path) as file, tarfile.open(None, "r|", file, 2**20) as archive:
            for position, member in enumerate(archive):
                if position == LARGEST_ARCHIVE_MEMBERS:
                    raise UserError(f"{path} has more than {LARGEST_ARCHIVE_MEMBERS} members")
                name = member.name.removeprefix("./")
                if name not in names:
                    continue
                if name in found:
                    raise UserError(f"{path} holds {name} twice")
                # A link is not a file, and a sparse file can be far larger than the archive.
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or member.issparse():
                    raise UserError(f"{path}: {name} is not a regular file")
                try:
                    found[name] = _Unpickler(content, encoding="bytes").load()
                except Exception as error:  # a damaged or hostile pickle can raise about anything
                    reason = shortened(str(error) or type(error).__name__)
                    raise UserError(f"{path}: {name} cannot be read: {reason}") from error
            while file.read(2**20):  # to the end, where gzip compares its checksum
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not an intact .tar.gz archive: {error}") from error
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{path} holds no {', '.join(missing)}")
    return found


class _LimitedGzipFile(gzip.GzipFile):
    """A gzip file that cannot be read past the size of the largest archive."""

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if self.tell() > LARGEST_ARCHIVE_BYTES:
            raise UserError(f"{self.name} unpacks to more than {LARGEST_ARCHIVE_BYTES} bytes")
        return content


class _Unpickler(pickle._Unpickler):  # in Python: in C, a few bytes can ask for a memo of gigabytes
    """Makes dicts, lists, strings, numbers and arrays of bytes; refuses everything else.

    A pickle is a program that calls what it names. CIFAR's name three things of numpy, for which
    stand-ins are called here: not even numpy's own code runs on what a pickle says.
    """

    def find_class(self, module: str, name: str) -> Any:
        known = {
            "numpy.core.multiarray._reconstruct": _ByteArray,
            "numpy._core.multiarray._reconstruct": _ByteArray,  # the same, since numpy 2
            "numpy.ndarray": None,  # an argument of the above
            "numpy.dtype": _ByteType,
            "_codecs.encode": _latin1_bytes,  # bytes that Python 3 wrote for Python 2
        }
        full_name = f"{module}.{name}"
        if full_name not in known:
            raise pickle.UnpicklingError(
                f"it asks for {full_name}, which no image archive needs; nothing was called"
            )
        return known[full_name]


class _ByteType:
    """Stands in for numpy.dtype, and is unsigned bytes."""

    def __init__(self, code: object, *arguments: object) -> None:
        if code not in ("u1", b"u1"):
            found = f"an array of type {code!r}"
            raise pickle.UnpicklingError(f"it holds {found}, not of unsigned bytes")

    def __setstate__(self, state: object) -> None:
        """Byte order and the like: a byte has none."""


class _ByteArray:
    """Stands in for a pickled array: created empty, then given a shape, a type and bytes."""

    def __init__(self, *arguments: object) -> None:
        self.array = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: tuple[object, tuple[int, ...], _ByteType, bool, bytes]) -> None:
        _, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, _ByteType) or not isinstance(content, bytes) or is_fortran:
            raise pickle.UnpicklingError("it holds an array that is not rows of unsigned bytes")
        self.array = np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _latin1_bytes(text: str, encoding: object) -> bytes:
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"it holds bytes in the encoding {encoding!r}")
    return text.encode("latin1")
