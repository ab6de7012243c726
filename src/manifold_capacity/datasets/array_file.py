"""Read your images, or other inputs, from an array file: with their labels in an `.npz`."""

from __future__ import annotations

import io
import logging
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from manifold_capacity.datasets import inputs
from manifold_capacity.datasets.archives import read_blocks
from manifold_capacity.datasets.catalog import SPLITS, Blocks, Split
from manifold_capacity.datasets.sampling import every_fourth
from manifold_capacity.errors import UserError, shortened
from manifold_capacity.files import mb

logger = logging.getLogger(__name__)

# More would fill the memory, and compressed they may be a small file: images are read one by one,
# labels and names of classes as a whole.
MOST_IMAGES = 20_000_000
MOST_PIXELS = 4096 * 4096
MOST_BYTES = 8 * MOST_IMAGES
# An array of images has a header of 128 bytes.
_LONGEST_HEADER = 10_000


class _Header(NamedTuple):
    """What an array is, and where its values begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    n_bytes: int


class ArrayFile:
    """An `.npz` with images, or other inputs, and labels, of each split or of all together; see docs/datasets.md.

    The constructor reads all headers, compares them, and then reads the labels; nothing is unpickled. It
    finds `class_names`, `sample_shape` (of images: height, width, channels), `counts`, split -> samples per
    class, and `input_dtype`, the number format of inputs that are no images.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._was_rounded = False
        if not path.is_file():
            raise UserError(f"dataset.path: there is no file {path.absolute()}")
        keys = self._read_keys()
        self._kind = "inputs" if {"inputs", "train_inputs"} & keys else "images"
        all_together = self._kind in keys
        prefixes = ("",) if all_together else tuple(f"{split}_" for split in SPLITS)
        self._headers = {key: self._read_header(key) for key in sorted(keys)}
        check = self._check_images if self._kind == "images" else self._check_inputs
        found = {prefix: check(prefix) for prefix in prefixes}
        self._labels = {prefix: self._read_labels(f"{prefix}labels") for prefix in prefixes}
        self.class_names = self._find_names("class_names" in keys)
        if len(set(found.values())) > 1:
            is_images = self._kind == "images"
            train, test = (
                str(shape) if is_images else f"{shape} {dtype}" for shape, dtype in found.values()
            )
            axes = " (height, width, channels)" if is_images else ""
            self._fail(
                f"has train_{self._kind} of {train}, but test_{self._kind} of {test}{axes}; they must be "
                "the same"
            )
        self.sample_shape, self.input_dtype = found[prefixes[0]]
        # Split -> prefix of the keys that hold it, and which of those images belong to it.
        self._selections = {
            prefix[:-1]: (prefix, np.ones(len(labels), dtype=bool))
            for prefix, labels in self._labels.items()
        }
        if all_together:
            is_test = every_fourth(self._labels[""])
            self._selections = {"train": ("", ~is_test), "test": ("", is_test)}
        self.counts = {split: self._count(split) for split in SPLITS}

    def splits(self, block_length: int) -> dict[str, Split]:
        """Labels and samples of each split, in the order of the file."""
        return {
            split: (self._labels[prefix][chosen], self._read_samples(prefix, chosen, block_length))
            for split, (prefix, chosen) in self._selections.items()
        }

    def _read_keys(self) -> set[str]:
        allowed = [
            {f"{prefix}{each}" for prefix in prefixes for each in (kind, "labels")}
            for kind in ("images", "inputs")
            for prefixes in ([f"{split}_" for split in SPLITS], [""])
        ]
        try:
            with zipfile.ZipFile(self._path) as archive:
                keys = {name.removesuffix(".npy") for name in archive.namelist()}
        except Exception as error:  # a damaged directory makes zipfile raise about anything
            self._fail(f"is not an .npz file: {error}")
        if keys - {"class_names"} not in allowed:
            self._fail(
                f"holds {', '.join(sorted(keys)) or 'nothing'}; it must hold {', '.join(sorted(allowed[0]))}, "
                "or images, labels, or the same with inputs in place of images, and may hold class_names"
            )
        return keys

    def _read_labels(self, key: str) -> NDArray[np.int64]:
        labels = self._read_array(key)
        # With as many classes as images, or more, one has no images.
        if labels.min() < 0 or labels.max() >= labels.size:
            self._fail(
                f"has {key} from {labels.min()} to {labels.max()}; they must count from 0 to the number "
                "of classes minus 1, with images of every class"
            )
        return labels.astype(np.int64)

    def _find_names(self, given: bool) -> tuple[str, ...]:
        n_classes = 1 + max(int(labels.max()) for labels in self._labels.values())
        if not given:
            return tuple(map(str, range(n_classes)))
        shape, dtype, _ = self._headers["class_names"]
        if shape != (n_classes,) or dtype.kind != "U" or not dtype.itemsize:
            self._fail(
                f"has class_names of type {dtype} and shape {shape}; for labels from 0 to "
                f"{n_classes - 1} they must be strings of shape ({n_classes},)"
            )
        array = self._read_array("class_names")
        try:
            names = tuple(array.tolist())
            "".join(names).encode()
        except (ValueError, SystemError) as error:  # the latter for code points beyond the last one
            self._fail(f"has class_names that are not Unicode: {error}")
        if len(set(names)) < n_classes:
            self._fail("has the same class name twice")
        return names

    def _check_inputs(self, prefix: str) -> tuple[tuple[int, ...], str | None]:
        """Check the headers of inputs and of their labels: shape of a sample, number format."""
        shape, dtype, _ = self._headers[f"{prefix}inputs"]
        stored = inputs.stored_dtype(shape, dtype)
        if stored is None:
            self._fail(f"has {prefix}inputs of type {dtype} and shape {shape}; {inputs.ALLOWED}")
        self._check_labels(prefix)
        return shape[1:], stored

    def _check_labels(self, prefix: str) -> None:
        key, labels = f"{prefix}{self._kind}", self._headers[f"{prefix}labels"]
        if len(labels.shape) != 1 or labels.dtype.kind not in "iu" or not labels.shape[0]:
            self._fail(
                f"has {prefix}labels of type {labels.dtype} and shape {labels.shape}; they must be "
                f"integers of shape (n_{self._kind},)"
            )
        n_samples = self._headers[key].shape[0]
        if n_samples != labels.shape[0]:
            self._fail(f"has {n_samples} {key}, but {labels.shape[0]} {prefix}labels")
        if n_samples > MOST_IMAGES:
            self._fail(f"has {n_samples:,} {key}; at most {MOST_IMAGES:,} can be read")

    def _check_images(self, prefix: str) -> tuple[tuple[int, ...], str | None]:
        """Check the headers of images and of their labels: height, width, channels; no number format."""
        key = f"{prefix}images"
        shape, dtype, _ = self._headers[key]
        height, width, channels = (*shape, 1, 0, 0, 0)[1:4]
        is_image = len(shape) in (3, 4) and height and width and channels in (1, 3)
        if not is_image or (dtype != np.uint8 and dtype.kind != "f"):
            self._fail(
                f"has {key} of type {dtype} and shape {shape}; they must be uint8, or floating point in "
                "[0, 1], of shape (n_images, height, width) or (n_images, height, width, channels) with 1 "
                "or 3 channels"
            )
        if height * width > MOST_PIXELS:
            self._fail(
                f"has {key} of shape {shape}; images of at most {MOST_PIXELS:,} pixels can be read"
            )
        self._check_labels(prefix)
        return (height, width, channels), None

    def _count(self, split: str) -> tuple[int, ...]:
        prefix, chosen = self._selections[split]
        counts = np.bincount(self._labels[prefix][chosen], minlength=len(self.class_names))
        if not counts.all():
            name = self.class_names[int(counts.argmin())]
            kind = self._kind
            why = "" if prefix else f": every fourth of the class's `{kind}` is a test {kind[:-1]}"
            self._fail(f"has no {split} {kind} of class {name!r}{why}")
        return tuple(counts.tolist())

    def _read_samples(self, prefix: str, chosen: NDArray[np.bool_], block_length: int) -> Blocks:
        key = f"{prefix}{self._kind}"
        n_samples, dtype = self._headers[key].shape[0], self._headers[key].dtype
        shape, where = (n_samples, *self.sample_shape), f"dataset.path: {self._path}"
        first = 0
        with self._open(key) as file:
            for block in read_blocks(file, dtype, shape, block_length, where, key):
                picked = chosen[first : first + len(block)]
                if self.input_dtype is None:
                    yield self._as_uint8(key, block[picked])
                else:
                    where_found = f"{where} {key}"
                    yield inputs.as_stored(block, self.input_dtype, first, where_found)[picked]
                first += len(block)

    def _as_uint8(self, key: str, block: NDArray[Any]) -> NDArray[np.uint8]:
        if block.dtype == np.uint8:
            return block
        if not ((block >= 0) & (block <= 1)).all():  # NaN is neither
            self._fail(
                f"has {key} from {block.min()} to {block.max()}; floating-point values must be in [0, 1]"
                ", others uint8"
            )
        levels = block.astype(np.float64) * 255
        rounded = np.rint(levels)
        # float16 moves a level by up to 0.06.
        if not self._was_rounded and np.abs(levels - rounded).max(initial=0) > 0.1:
            self._was_rounded = True
            logger.warning("%s: %s are rounded to the nearest of 256 levels", self._path, key)
        return rounded.astype(np.uint8)

    def _read_array(self, key: str) -> NDArray[Any]:
        shape, dtype, _ = self._headers[key]
        if (n_bytes := math.prod(shape) * dtype.itemsize) > MOST_BYTES:
            self._fail(f"has {key} of {mb(n_bytes)}; at most {mb(MOST_BYTES)} can be read")
        with self._open(key) as file:
            content = file.read()
        return np.frombuffer(content, dtype).reshape(shape)

    def _read_header(self, key: str) -> _Header:
        with self._opened(key) as (archive, file):
            member = archive.getinfo(f"{key}.npy")
            # zipfile unpacks others, whatever their size, all at once.
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("it is compressed in another way than numpy.savez_compressed does")
            start = io.BytesIO(file.read(_LONGEST_HEADER))
            is_old = npy.read_magic(start) == (1, 0)
            read_header = npy.read_array_header_1_0 if is_old else npy.read_array_header_2_0
            shape, is_fortran, dtype = read_header(start)
            if dtype.hasobject:
                raise ValueError("it holds Python objects, which would have to be unpickled")
            if is_fortran and len(shape) > 1:
                raise ValueError("it is in Fortran order; save numpy.ascontiguousarray of it")
            if min(shape, default=0) < 0:
                raise ValueError(f"its header gives the shape {shape}")
            found = member.file_size - start.tell()
            if found != (expected := math.prod(shape) * dtype.itemsize):
                raise ValueError(f"it has {found} bytes, but its shape {shape} needs {expected}")
        return _Header(shape, dtype, start.tell())

    @contextmanager
    def _open(self, key: str) -> Iterator[IO[bytes]]:
        """One array's values as a stream; zipfile compares the checksum at its end."""
        with self._opened(key) as (_, file):
            file.read(self._headers[key].n_bytes)
            yield file

    @contextmanager
    def _opened(self, key: str) -> Iterator[tuple[zipfile.ZipFile, IO[bytes]]]:
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(f"{key}.npy") as file:
                yield archive, file
        except UserError:
            raise
        except (
            Exception
        ) as error:  # a damaged file makes zipfile, zlib and numpy raise about anything
            self._fail(f"has an array {key} that cannot be read: {error}")

    def _fail(self, what: str) -> NoReturn:
        raise UserError(f"dataset.path: {self._path} {shortened(what, 500)}")
