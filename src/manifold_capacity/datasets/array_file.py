"""Read your images from an array file: images and labels in an `.npz`."""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.datasets.catalog import SPLITS, Split
from manifold_capacity.datasets.sampling import every_fourth
from manifold_capacity.errors import UserError

__all__ = ["ArrayFile"]

logger = logging.getLogger(__name__)


class ArrayFile:
    """An `.npz` with images and labels, for each split or for all images together.

    Keys: `train_images`, `train_labels`, `test_images`, `test_labels`; or `images`, `labels`, and then
    every fourth image of each class is a test image. Images are uint8 (n_images, height, width) or
    (n_images, height, width, channels), 1 or 3 channels; floating-point values must be in [0, 1] and
    are rounded to the nearest of 256 levels. Labels count from 0. `class_names`, strings, is optional.

    The constructor reads the labels and the headers of the images; nothing is unpickled. It finds
    `class_names`, `image_shape` (height, width, channels) and `counts`, split -> images per class.
    Errors name the file, the key, what it holds and what is expected.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._was_rounded = False
        if not path.is_file():
            raise UserError(f"dataset.path: there is no file {path}")
        keys = self._read_keys()
        prefixes = ("",) if "images" in keys else tuple(f"{split}_" for split in SPLITS)
        self._labels = {prefix: self._read_labels(f"{prefix}labels") for prefix in prefixes}
        self.class_names = self._find_names("class_names" in keys)
        self.image_shape = self._find_shape()
        # Split -> prefix of the keys that hold it, and which of those images belong to it.
        if "images" in keys:
            is_test = every_fourth(self._labels[""])
            self._selections = {"train": ("", ~is_test), "test": ("", is_test)}
        else:
            self._selections = {
                prefix[:-1]: (prefix, np.ones(len(labels), dtype=bool))
                for prefix, labels in self._labels.items()
            }
        self.counts = {split: self._count(split) for split in SPLITS}

    def splits(self, block_length: int) -> dict[str, Split]:
        """Labels and images of each split, in the order of the file."""
        return {
            split: (
                self._labels[prefix][chosen],
                self._read_images(f"{prefix}images", chosen, block_length),
            )
            for split, (prefix, chosen) in self._selections.items()
        }

    def _read_keys(self) -> set[str]:
        both = {f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")}
        try:
            with zipfile.ZipFile(self._path) as archive:
                keys = {name.removesuffix(".npy") for name in archive.namelist()}
        except zipfile.BadZipFile as error:
            self._fail(f"is not an .npz file: {error}")
        if keys - {"class_names"} not in (both, {"images", "labels"}):
            self._fail(
                f"holds {', '.join(sorted(keys)) or 'nothing'}; it must hold {', '.join(sorted(both))}, "
                "or images, labels, and may hold class_names"
            )
        return keys

    def _read_labels(self, key: str) -> NDArray[np.int64]:
        labels = self._read_array(key)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
            self._fail(
                f"has {key} of type {labels.dtype} and shape {labels.shape}; they must be integers of "
                "shape (n_images,)"
            )
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
        names = self._read_array("class_names")
        if names.shape != (n_classes,) or names.dtype.kind != "U":
            self._fail(
                f"has class_names of type {names.dtype} and shape {names.shape}; for labels from 0 to "
                f"{n_classes - 1} they must be strings of shape ({n_classes},)"
            )
        if len(set(names.tolist())) < n_classes:
            self._fail("has the same class name twice")
        return tuple(names.tolist())

    def _find_shape(self) -> tuple[int, int, int]:
        shapes = {prefix: self._check_images(prefix) for prefix in self._labels}
        if len(set(shapes.values())) > 1:
            self._fail(
                f"has train_images of {shapes['train_']}, but test_images of {shapes['test_']} "
                "(height, width, channels); they must be the same"
            )
        return next(iter(shapes.values()))

    def _check_images(self, prefix: str) -> tuple[int, int, int]:
        """Height, width and channels, from the header."""
        key = f"{prefix}images"
        with self._open(key) as (_, shape, dtype):
            height, width, channels = (*shape, 1, 0, 0, 0)[1:4]
        is_image = len(shape) in (3, 4) and height and width and channels in (1, 3)
        if not is_image or (dtype != np.uint8 and dtype.kind != "f"):
            self._fail(
                f"has {key} of type {dtype} and shape {shape}; they must be uint8, or floating point in "
                "[0, 1], of shape (n_images, height, width) or (n_images, height, width, channels) with 1 "
                "or 3 channels"
            )
        if shape[0] != len(self._labels[prefix]):
            self._fail(f"has {shape[0]} {key}, but {len(self._labels[prefix])} {prefix}labels")
        return height, width, channels

    def _count(self, split: str) -> tuple[int, ...]:
        prefix, chosen = self._selections[split]
        counts = np.bincount(self._labels[prefix][chosen], minlength=len(self.class_names))
        if not counts.all():
            name = self.class_names[int(counts.argmin())]
            why = "" if prefix else ": every fourth of the class's `images` is a test image"
            self._fail(f"has no {split} images of class {name!r}{why}")
        return tuple(counts.tolist())

    def _read_images(
        self, key: str, chosen: NDArray[np.bool_], block_length: int
    ) -> Iterator[NDArray[np.uint8]]:
        with self._open(key) as (file, shape, dtype):
            image_bytes = int(np.prod(self.image_shape)) * dtype.itemsize
            for begin in range(0, shape[0], block_length):
                n_images = min(block_length, shape[0] - begin)
                content = file.read(n_images * image_bytes)
                if len(content) < n_images * image_bytes:
                    self._fail(f"ends before the last of its {shape[0]} {key}")
                block = np.frombuffer(content, dtype).reshape(n_images, *self.image_shape)
                yield self._as_uint8(key, block[chosen[begin : begin + n_images]])
            # Reading to the end makes zipfile compare its own checksum.
            if file.read(1):
                self._fail(f"continues after the last of its {shape[0]} {key}")

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
        with self._open(key) as (file, shape, dtype):
            content = file.read()
            if len(content) != int(np.prod(shape)) * dtype.itemsize:
                self._fail(f"has {key} of another length than their shape {shape}")
        return np.frombuffer(content, dtype).reshape(shape)

    @contextmanager
    def _open(self, key: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
        """One array's values as a stream, its shape and its type."""
        failed = f"has an array {key} that cannot be read"
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(f"{key}.npy") as file:
                version = np.lib.format.read_magic(file)
                if version == (1, 0):
                    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
                else:
                    shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
                if dtype.hasobject:
                    self._fail(
                        f"{failed}: it holds Python objects, which would have to be unpickled"
                    )
                if is_fortran and len(shape) > 1:
                    self._fail(
                        f"{failed}: it is in Fortran order; save numpy.ascontiguousarray of it"
                    )
                yield file, shape, dtype
        except UserError:
            raise
        except (ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            self._fail(f"{failed}: {error}")

    def _fail(self, what: str) -> NoReturn:
        raise UserError(f"dataset.path: {self._path} {what}")
