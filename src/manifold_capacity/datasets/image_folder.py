"""Read your images from an image folder: a folder for each class, in one for each split."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.datasets.catalog import SPLITS, Blocks, Split
from manifold_capacity.errors import UserError, shortened
from manifold_capacity.logs import Progress

if TYPE_CHECKING:
    from PIL import Image

# Suffixes of image files, in lower case, and the formats that may be in them.
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
IMAGE_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# More can be a small file that needs all memory; Pillow only warns.
MOST_PIXELS = 89_478_485
# A longer image is cropped to this ratio of its sides before it is resized.
LONGEST_RATIO = 20


class ImageFolder:
    """A folder with `train/<class>/` and `test/<class>/`, image files in each; see docs/datasets.md.

    The constructor lists the files, and reads the header of the first image if no `image_size` is given.
    It finds `class_names`, the sorted names of the class folders; `sample_shape` (height, width, 3); and
    `counts`, split -> images per class.
    """

    input_dtype = None  # of inputs that are no images

    def __init__(self, root: Path, image_size: int | None) -> None:
        if image_size is not None and image_size < 1:
            raise UserError(f"dataset.image_size: {image_size}; it must be at least 1 pixel")
        self._image_size = image_size
        found = {split: _list_classes(root, split) for split in SPLITS}
        train, test = (set(found[split]) for split in SPLITS)
        if train != test:
            of_one = {"train": train - test, "test": test - train}
            only = [f"only {s} has {', '.join(sorted(n))}" for s, n in of_one.items() if n]
            raise UserError(
                f"dataset.path: {root}/train and {root}/test must have the same classes; {'; '.join(only)}"
            )
        self.class_names = tuple(sorted(train))
        self._files = {split: [found[split][name] for name in self.class_names] for split in SPLITS}
        self.counts = {split: tuple(map(len, self._files[split])) for split in SPLITS}
        if image_size is None:
            with _open_image(self._files["train"][0][0]) as image:
                self.sample_shape = (image.height, image.width, 3)
        else:
            self.sample_shape = (image_size, image_size, 3)

    def splits(self, block_length: int, threads: int) -> dict[str, Split]:
        """Labels and images of each split; class after class, files in the order of their names."""
        labels = np.arange(len(self.class_names), dtype=np.int64)
        return {
            split: (
                np.repeat(labels, self.counts[split]),
                self._blocks(split, block_length, threads),
            )
            for split in SPLITS
        }

    def _blocks(self, split: str, block_length: int, threads: int) -> Blocks:
        paths = [path for of_class in self._files[split] for path in of_class]
        progress = Progress(f"decoding {split} images", len(paths), "images")
        with ThreadPoolExecutor(threads) as pool:
            for begin in range(0, len(paths), block_length):
                some = paths[begin : begin + block_length]
                block = np.empty((len(some), *self.sample_shape), dtype=np.uint8)
                for position, image in enumerate(pool.map(self._decode, some)):
                    block[position] = image
                    progress.update(1)
                yield block

    def _decode(self, path: Path) -> NDArray[np.uint8]:
        """Pixels of one image, `sample_shape`."""
        with _open_image(path) as opened:
            # Pillow warns unless transparency in a palette becomes a channel before it is dropped.
            has_key = opened.mode == "P" and "transparency" in opened.info
            image = (opened.convert("RGBA") if has_key else opened).convert("RGB")
        if self._image_size is not None:
            image = _resize_and_crop(image, self._image_size)
        pixels = np.asarray(image)
        if pixels.shape != self.sample_shape:
            raise UserError(
                f"dataset.path: the image {path} has {pixels.shape[0]} x {pixels.shape[1]} pixels, but the "
                f"first has {self.sample_shape[0]} x {self.sample_shape[1]}; set dataset.image_size to "
                "resize all images"
            )
        return pixels


def _list_classes(root: Path, split: str) -> dict[str, list[Path]]:
    """Class name -> its image files in the order of their names."""
    folder = root / split
    try:
        if not folder.is_dir():
            raise UserError(
                f"dataset.path: there is no folder {folder.absolute()}; an image folder has {root}/train/<class>/ "
                f"and {root}/test/<class>/"
            )
        classes = {entry.name: _list_images(entry) for entry in _visible(folder)}
    except OSError as error:  # not readable, or a link to itself
        raise UserError(f"dataset.path: {error.filename}: {error.strerror}") from error
    if not classes:
        raise UserError(f"dataset.path: {folder} has no class folders")
    return classes


def _list_images(folder: os.DirEntry[str]) -> list[Path]:
    if not folder.is_dir():
        raise UserError(
            f"dataset.path: {folder.path} is not a folder; beside it only class folders are allowed"
        )
    entries = _visible(Path(folder.path))
    for entry in entries:
        if not (entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file()):
            raise UserError(
                f"dataset.path: {entry.path} is not an image file; a class folder may hold only files "
                f"{', '.join(IMAGE_SUFFIXES)}"
            )
    if not entries:
        raise UserError(f"dataset.path: the class folder {folder.path} has no images")
    return [Path(entry.path) for entry in entries]


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """Entries in the order of their names, without hidden ones."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in visible:
        # Python marks bytes that are not UTF-8 by surrogates, which nothing can write.
        if re.search("[\ud800-\udfff]", entry.name):
            raise UserError(
                f"dataset.path: the name {entry.name!r} in {str(folder)!r} is not UTF-8; rename it"
            )
    return sorted(visible, key=lambda entry: entry.name)


@contextmanager
def _open_image(path: Path) -> Iterator[Image.Image]:
    """An image with 8 bits per channel, not decoded yet; an error names the file."""
    from PIL import Image

    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.mode.startswith(("I", "F")) or _is_deeper_than_its_mode(image):
                raise UserError("it has more than 8 bits per channel; convert it to 8 bits")
            if (n_pixels := image.width * image.height) > MOST_PIXELS:
                raise UserError(
                    f"it has {n_pixels:,} pixels, more than {MOST_PIXELS:,}; make it smaller"
                )
            yield image
    except Exception as error:
        # A damaged file makes a decoder raise about anything.
        reason = shortened(str(error)) or type(error).__name__
        raise UserError(f"dataset.path: the image {path} cannot be read: {reason}") from error


def _is_deeper_than_its_mode(image: Image.Image) -> bool:
    """Whether Pillow would drop the lower bits of 16-bit colors, which it does without a word."""
    for codec, _, _, arguments in getattr(image, "tile", []):
        if re.search(";16[BLN]", str(arguments)) or (
            codec.startswith("ppm") and arguments[-1] > 255
        ):
            return True
    return False


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    from PIL.Image import Resampling

    shorter = min(image.size)
    # Resizing 1 x 60,000 pixels whole would take gigabytes. The same number is cut off at both ends.
    across, down = (max(0, side - LONGEST_RATIO * shorter) // 2 for side in image.size)
    if across or down:
        image = image.crop((across, down, image.width - across, image.height - down))
    width, height = (int(size * side / shorter) for side in image.size)
    image = image.resize((width, height), Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))
