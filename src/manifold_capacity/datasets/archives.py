"""Read the archives that image datasets are published in, as untrusted input.

Nothing is extracted to disk, no more is unpacked than such an archive can hold, and unpickling can
call nothing. The caller verifies the files' checksums first.
"""

from __future__ import annotations

import gzip
import pickle
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.datasets.catalog import CifarArchive, Dataset, IdxFiles, Split
from manifold_capacity.errors import UserError

__all__ = ["read_cifar", "read_idx", "read_idx_files"]

# 60,000 color images of 32 x 32 unpack to 187 MB, from 9 or 10 members; anything above these limits
# is another kind of archive.
LARGEST_ARCHIVE_BYTES = 512 * 1024**2
LARGEST_ARCHIVE_MEMBERS = 100


def read_idx_files(
    paths: Mapping[str, Path], dataset: Dataset, source: IdxFiles, block_length: int
) -> dict[str, Split]:
    """Both splits of a dataset in MNIST's format, from its files by name; see `read_idx`."""
    splits: dict[str, Split] = {}
    for split, (images, labels) in source.files.items():
        n_images = sum(dataset.counts[split])
        (all_labels,) = read_idx(paths[labels], (n_images,), n_images)
        blocks = read_idx(paths[images], (n_images, *dataset.image_shape[:2]), block_length)
        splits[split] = all_labels.astype(np.int64), (block[..., np.newaxis] for block in blocks)
    return splits


def read_idx(path: Path, shape: tuple[int, ...], block_length: int) -> Iterator[NDArray[np.uint8]]:
    """Read a gzipped idx file of unsigned bytes (MNIST's format), block by block.

    Yields arrays (`block_length` or less, *shape[1:]). Format: two zero bytes, 8 for unsigned bytes, the
    number of axes; each axis' length as a big-endian 32-bit integer; the values, the last axis fastest.
    The file must hold an array of the given shape: a damaged or another one is a UserError that names
    it, and no more is unpacked than `shape` has.
    """
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">u4").tobytes()
    try:
        with gzip.open(path) as file:
            found = file.read(len(header))
            if len(found) < len(header) or found[:4] != header[:4]:
                raise UserError(
                    f"{path} is not an idx file of unsigned bytes with {len(shape)} axes"
                )
            if found != header:
                axes = tuple(np.frombuffer(found[4:], dtype=">u4").tolist())
                raise UserError(
                    f"{path} holds an array of shape {axes}, but {shape} is expected; a mirror must hold "
                    "the whole dataset"
                )
            for begin in range(0, shape[0], block_length):
                block_shape = (min(block_length, shape[0] - begin), *shape[1:])
                n_bytes = int(np.prod(block_shape))
                values = file.read(n_bytes)
                if len(values) < n_bytes:
                    raise UserError(f"{path} ends before the last value of its array {shape}")
                yield np.frombuffer(values, dtype=np.uint8).reshape(block_shape)
            if file.read(1):
                raise UserError(f"{path} continues after the last value of its array {shape}")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not an intact gzip file: {error}") from error


def read_cifar(
    path: Path, dataset: Dataset, archive: CifarArchive, block_length: int
) -> dict[str, Split]:
    """Both splits of a CIFAR archive, python version: a .tar.gz of pickled dicts.

    One that is damaged, hostile, in another format or has other classes is a UserError that names the
    archive and the member.
    """
    height, width, channels = dataset.image_shape
    members = [member for of_split in archive.members.values() for member in of_split]
    content = _read_pickles(path, [*members, archive.meta])

    def entry(member: str, key: str, kind: type) -> Any:
        batch = content[member]
        if isinstance(batch, dict):
            # Python 2 wrote the originals: their keys are bytes.
            value = batch.get(key.encode(), batch.get(key))
            if isinstance(value, kind):
                return value
        what = "array" if kind is _ByteArray else "list"
        raise UserError(f"{path}: {member} holds no {what} {key!r}")

    names = entry(archive.meta, archive.class_names, list)
    names = [str(name, "utf-8") if isinstance(name, bytes) else name for name in names]
    if names != list(dataset.class_names):
        raise UserError(
            f"{path} has the classes {', '.join(map(str, names))}; those of {dataset.name} are "
            f"{', '.join(dataset.class_names)}"
        )
    splits: dict[str, Split] = {}
    for split, of_split in archive.members.items():
        batches: list[NDArray[np.uint8]] = []
        labels: list[int] = []
        for member in of_split:
            data = entry(member, "data", _ByteArray).array
            of_member = entry(member, archive.labels, list)
            expected = (len(of_member), height * width * channels)
            if data.shape != expected:
                raise UserError(
                    f"{path}: the data of {member} have shape {data.shape}, but {expected} is expected"
                )
            if not all(type(label) is int and label in range(len(names)) for label in of_member):
                raise UserError(
                    f"{path}: {member} has labels that are not integers from 0 to {len(names) - 1}"
                )
            batches.append(data.reshape(-1, channels, height, width))
            labels += of_member
        splits[split] = np.array(labels, dtype=np.int64), _channels_last(batches, block_length)
    return splits


def _channels_last(
    batches: list[NDArray[np.uint8]], block_length: int
) -> Iterator[NDArray[np.uint8]]:
    for batch in batches:
        for begin in range(0, len(batch), block_length):
            block = batch[begin : begin + block_length]
            # Faster than a transposition.
            yield np.stack([block[:, channel] for channel in range(block.shape[1])], axis=-1)


def _read_pickles(path: Path, names: list[str]) -> dict[str, Any]:
    """Members of a .tar.gz by their exact names, unpickled straight from the stream."""
    found: dict[str, Any] = {}
    try:
        with (
            _LimitedGzipFile(path) as unzipped,
            tarfile.open(fileobj=unzipped, mode="r|", bufsize=2**20) as archive,
        ):
            for position, member in enumerate(archive):
                if position == LARGEST_ARCHIVE_MEMBERS:
                    raise UserError(f"{path} has more than {LARGEST_ARCHIVE_MEMBERS} members")
                name = member.name.removeprefix("./")
                if name not in names:
                    continue
                if name in found:
                    raise UserError(f"{path} holds {name} twice")
                # A link is not a file, and a sparse file can be far larger than the archive.
                file = archive.extractfile(member) if member.isreg() else None
                if file is None or member.issparse():
                    raise UserError(f"{path}: {name} is not a regular file")
                found[name] = _unpickle(file, f"{path}: {name}")
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not an intact .tar.gz archive: {error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"{path} holds no {', '.join(missing)}")
    return found


class _LimitedGzipFile(gzip.GzipFile):
    """A gzip file that cannot be read past the size of the largest archive."""

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if self.tell() > LARGEST_ARCHIVE_BYTES:
            raise UserError(f"{self.name} unpacks to more than {LARGEST_ARCHIVE_BYTES} bytes")
        return content


def _unpickle(file: IO[bytes], what: str) -> Any:
    try:
        return _Unpickler(file, encoding="bytes").load()
    except Exception as error:
        # A damaged or hostile pickle can raise about anything.
        raise UserError(f"{what} cannot be read: {error}") from error


class _Unpickler(pickle.Unpickler):
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
            raise pickle.UnpicklingError(
                f"it holds an array of type {code!r}, not of unsigned bytes"
            )

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
