"""Images of the user's own: a folder of class folders, or arrays in an .npz file."""

from __future__ import annotations

import logging
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError
from manifold_capacity.logs import Progress

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ArrayFile", "ImageFolder", "every_fourth"]

logger = logging.getLogger(__name__)

SPLITS = ("train", "test")
# Endings of files that are taken for images, in lower case, and the formats that may be in them.
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
IMAGE_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# Labels, and the images (n, height, width, channels) block by block.
Split = tuple[NDArray[np.int64], Iterable[NDArray[np.uint8]]]


def every_fourth(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of the fourth, eighth, ... image of each class: the test split where data bring none.

    Parameters
    ----------
    labels : (n_images,) array of int

    Returns
    -------
    (n_images,) array of bool

    Examples
    --------
    >>> every_fourth(np.array([0, 0, 1, 0, 0, 1]))
    array([False, False, False, False,  True, False])
    """
    is_test = np.zeros(len(labels), dtype=bool)
    for index in np.unique(labels):
        is_test[np.flatnonzero(labels == index)[3::4]] = True
    return is_test


class ImageFolder:
    """A folder with `train/<class>/` and `test/<class>/`, image files in each.

    Making one lists the files, and reads the header of the first image if no size is given.

    Parameters
    ----------
    root : Path
        The folder.
    image_size : int or None
        Images are resized so that the shorter side has this many pixels (bilinear, antialiased), then
        cropped to the square in the middle, as torchvision's `Resize` and `CenterCrop` do. None: all
        have the same size already.

    Attributes
    ----------
    class_names : tuple of str
        Names of the class folders, sorted.
    image_shape : tuple of int
        Height, width, 3: gray images are given three channels, transparency is dropped.
    counts : dict
        Split -> images per class.

    Raises
    ------
    ValueError
        Naming the file or folder that is not as it has to be.
    """

    def __init__(self, root: Path, image_size: int | None) -> None:
        if image_size is not None and image_size < 1:
            raise UserError(f"dataset.image_size: {image_size}; at least 1 pixel is needed")
        self._image_size = image_size
        found = {split: _list_classes(root, split) for split in SPLITS}
        train, test = (set(found[split]) for split in SPLITS)
        if train != test:
            alone = [
                f"only {split} has {', '.join(sorted(names))}"
                for split, names in (("train", train - test), ("test", test - train))
                if names
            ]
            raise UserError(
                f"dataset.path: {root}/train and {root}/test have to hold the same classes; "
                + "; ".join(alone)
            )
        self.class_names = tuple(sorted(train))
        self._files = {split: [found[split][name] for name in self.class_names] for split in SPLITS}
        self.counts = {split: tuple(map(len, self._files[split])) for split in SPLITS}
        self.image_shape = self._find_shape()

    def splits(self, block_length: int, threads: int) -> dict[str, Split]:
        """Labels and images of each split; class after class, files in the order of their names."""
        return {
            split: (
                np.repeat(np.arange(len(self.class_names)), self.counts[split]).astype(np.int64),
                self._decode_all(split, block_length, threads),
            )
            for split in SPLITS
        }

    def _find_shape(self) -> tuple[int, int, int]:
        if self._image_size is not None:
            return self._image_size, self._image_size, 3
        with _open_image(self._files["train"][0][0]) as image:
            return image.height, image.width, 3

    def _decode_all(
        self, split: str, block_length: int, threads: int
    ) -> Iterator[NDArray[np.uint8]]:
        paths = [path for of_class in self._files[split] for path in of_class]
        progress = Progress(f"decoding {split} images", len(paths), "images")
        with ThreadPoolExecutor(threads) as pool:
            for begin in range(0, len(paths), block_length):
                some = paths[begin : begin + block_length]
                block = np.empty((len(some), *self.image_shape), dtype=np.uint8)
                for position, image in enumerate(pool.map(self._decode, some)):
                    block[position] = image
                    progress.update(1)
                yield block

    def _decode(self, path: Path) -> NDArray[np.uint8]:
        """Pixels of one image, `image_shape`."""
        with _open_image(path) as opened:
            # Pillow wants transparency in a palette to be made a channel before it is dropped.
            has_key = opened.mode == "P" and "transparency" in opened.info
            image = (opened.convert("RGBA") if has_key else opened).convert("RGB")
        if self._image_size is not None:
            image = _resize_and_crop(image, self._image_size)
        pixels = np.asarray(image)
        if pixels.shape != self.image_shape:
            raise UserError(
                f"dataset.path: the image {path} has {pixels.shape[0]} x {pixels.shape[1]} pixels, but the "
                f"first has {self.image_shape[0]} x {self.image_shape[1]}; set dataset.image_size to bring "
                "them to one size"
            )
        return pixels


class ArrayFile:
    """An .npz with images and labels, for both splits or for all images together.

    Keys: `train_images`, `train_labels`, `test_images`, `test_labels`; or `images`, `labels`, of which
    every fourth of each class is for testing. Images are uint8 (n_images, height, width) or
    (n_images, height, width, channels), 1 or 3 channels; floating-point values have to be in [0, 1] and
    are rounded to the nearest of 256 levels. Labels count from 0. `class_names`, strings, is optional.

    Making one reads the labels and the headers of the images. Nothing is unpickled.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    class_names : tuple of str
    image_shape : tuple of int
        Height, width, channels.
    counts : dict
        Split -> images per class.

    Raises
    ------
    ValueError
        Naming the file, the key, what it holds and what is expected.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._was_rounded = False
        if not path.is_file():
            raise UserError(f"dataset.path: there is no file {path}")
        keys = self._read_keys()
        self._prefixes = ("",) if "images" in keys else tuple(f"{split}_" for split in SPLITS)
        self._labels = {prefix: self._read_labels(f"{prefix}labels") for prefix in self._prefixes}
        self.class_names = self._find_names("class_names" in keys)
        self.image_shape = self._find_shape()
        # For each split: whose keys hold it, and which of those images are its own.
        if self._prefixes == ("",):
            is_test = every_fourth(self._labels[""])
            self._selections = {"train": ("", ~is_test), "test": ("", is_test)}
        else:
            self._selections = {
                split: (f"{split}_", np.ones(len(self._labels[f"{split}_"]), dtype=bool))
                for split in SPLITS
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
                f"holds {', '.join(sorted(keys)) or 'nothing'}; it has to hold {', '.join(sorted(both))}, "
                "or images, labels, and may hold class_names"
            )
        return keys

    def _read_labels(self, key: str) -> NDArray[np.int64]:
        labels = self._read_array(key)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
            self._fail(
                f"has {key} of type {labels.dtype} and shape {labels.shape}; they have to be integers of "
                "shape (n_images,)"
            )
        # With as many classes as images, or more, there is one without images.
        if labels.min() < 0 or labels.max() >= labels.size:
            self._fail(
                f"has {key} from {labels.min()} to {labels.max()}; they have to count from 0 to the "
                "number of classes less one, with images of every class"
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
                f"{n_classes - 1} they have to be strings of shape ({n_classes},)"
            )
        if len(set(names.tolist())) < n_classes:
            self._fail("has the same class name twice")
        return tuple(names.tolist())

    def _find_shape(self) -> tuple[int, int, int]:
        shapes = {prefix: self._check_images(prefix) for prefix in self._prefixes}
        if len(set(shapes.values())) > 1:
            self._fail(
                f"has train_images of {shapes['train_']}, but test_images of {shapes['test_']} "
                "(height, width, channels); they have to agree"
            )
        return shapes[self._prefixes[0]]

    def _check_images(self, prefix: str) -> tuple[int, int, int]:
        """Height, width and channels, from the header."""
        key = f"{prefix}images"
        with self._open(key) as (_, shape, dtype):
            height, width, channels = (*shape, 1, 0, 0, 0)[1:4]
        is_image = len(shape) in (3, 4) and height and width and channels in (1, 3)
        if not is_image or (dtype != np.uint8 and dtype.kind != "f"):
            self._fail(
                f"has {key} of type {dtype} and shape {shape}; they have to be uint8, or floating point in "
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
            why = "" if prefix else ": of `images`, every fourth of a class is for testing"
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
            # To the end: that is where the archive's own checksum is compared.
            if file.read(1):
                self._fail(f"goes on after the last of its {shape[0]} {key}")

    def _as_uint8(self, key: str, block: NDArray[Any]) -> NDArray[np.uint8]:
        if block.dtype == np.uint8:
            return block
        if not ((block >= 0) & (block <= 1)).all():  # NaN is neither
            self._fail(
                f"has {key} from {block.min()} to {block.max()}; floating-point values have to be in [0, 1]"
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
            self._fail(f"has {key} that are not the {shape} values that they begin with")
        return np.frombuffer(content, dtype).reshape(shape)

    @contextmanager
    def _open(self, key: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
        """One array's values as a stream, its shape and its type."""
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(f"{key}.npy") as file:
                version = np.lib.format.read_magic(file)
                if version == (1, 0):
                    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
                else:
                    shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
                if dtype.hasobject:
                    raise UserError("it holds Python objects, which would have to be unpickled")
                if is_fortran and len(shape) > 1:
                    raise UserError("it is in Fortran order; save numpy.ascontiguousarray of it")
                yield file, shape, dtype
        except _ArrayFileError:
            raise
        except (ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            self._fail(f"has an array {key} that cannot be read: {error}")

    def _fail(self, what: str) -> NoReturn:
        raise _ArrayFileError(f"dataset.path: {self._path} {what}")


class _ArrayFileError(UserError):
    """What is wrong with an .npz, its path included."""


def _list_classes(root: Path, split: str) -> dict[str, list[Path]]:
    """Class name -> its image files in the order of their names."""
    folder = root / split
    if not folder.is_dir():
        raise UserError(
            f"dataset.path: there is no folder {folder}; an image folder has {root}/train/<class>/ and "
            f"{root}/test/<class>/"
        )
    classes = {entry.name: _list_images(entry) for entry in _visible(folder)}
    if not classes:
        raise UserError(f"dataset.path: {folder} has no class folders")
    return classes


def _list_images(folder: os.DirEntry[str]) -> list[Path]:
    if not folder.is_dir():
        raise UserError(
            f"dataset.path: {folder.path} is not a folder; only class folders may be beside it"
        )
    files = []
    for entry in _visible(Path(folder.path)):
        if not (entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file()):
            raise UserError(
                f"dataset.path: {entry.path} is not an image file; a class folder may hold nothing but "
                f"files {', '.join(IMAGE_SUFFIXES)}"
            )
        files.append(Path(entry.path))
    if not files:
        raise UserError(f"dataset.path: the class folder {folder.path} has no images")
    return files


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """Entries in the order of their names, but for hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(
            (entry for entry in entries if not entry.name.startswith(".")),
            key=lambda entry: entry.name,
        )


@contextmanager
def _open_image(path: Path) -> Iterator[Image.Image]:
    """An image with 8 bits a channel, not decoded yet; an error names the file."""
    from PIL import Image

    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.mode.startswith(("I", "F")):
                raise UserError(f"it has more than 8 bits per channel (mode {image.mode})")
            yield image
    except Exception as error:
        # A damaged file makes a decoder raise about anything.
        raise UserError(f"dataset.path: the image {path} cannot be read: {error}") from error


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    from PIL.Image import Resampling

    shorter = min(image.size)
    width, height = (int(size * side / shorter) for side in image.size)
    image = image.resize((width, height), Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))
