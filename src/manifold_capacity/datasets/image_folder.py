"""Read your images from an image folder: a folder for each class, in one for each split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.datasets.catalog import SPLITS, Split
from manifold_capacity.errors import UserError
from manifold_capacity.logs import Progress

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageFolder"]

# Suffixes of image files, in lower case, and the formats that may be in them.
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
IMAGE_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


class ImageFolder:
    """A folder with `train/<class>/` and `test/<class>/`, image files in each.

    With an `image_size`, images are resized so that the shorter side has this many pixels (bilinear,
    antialiased), then cropped to the central square, as torchvision's `Resize` and `CenterCrop` do;
    without, all must have the same size. They become RGB: gray is repeated, transparency dropped.

    The constructor lists the files, and reads the header of the first image if no size is given. It
    finds `class_names`, the sorted names of the class folders; `image_shape` (height, width, 3); and
    `counts`, split -> images per class. Errors name the file or folder that is not as it must be.
    """

    def __init__(self, root: Path, image_size: int | None) -> None:
        if image_size is not None and image_size < 1:
            raise UserError(f"dataset.image_size: {image_size}; it must be at least 1 pixel")
        self._image_size = image_size
        found = {split: _list_classes(root, split) for split in SPLITS}
        train, test = (set(found[split]) for split in SPLITS)
        if train != test:
            missing = [
                f"only {split} has {', '.join(sorted(names))}"
                for split, names in (("train", train - test), ("test", test - train))
                if names
            ]
            raise UserError(
                f"dataset.path: {root}/train and {root}/test must have the same classes; "
                + "; ".join(missing)
            )
        self.class_names = tuple(sorted(train))
        self._files = {split: [found[split][name] for name in self.class_names] for split in SPLITS}
        self.counts = {split: tuple(map(len, self._files[split])) for split in SPLITS}
        if image_size is not None:
            self.image_shape = (image_size, image_size, 3)
        else:
            with _open_image(self._files["train"][0][0]) as image:
                self.image_shape = (image.height, image.width, 3)

    def splits(self, block_length: int, threads: int) -> dict[str, Split]:
        """Labels and images of each split; class after class, files in the order of their names."""
        return {
            split: (
                np.repeat(np.arange(len(self.class_names)), self.counts[split]).astype(np.int64),
                self._decode_all(split, block_length, threads),
            )
            for split in SPLITS
        }

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
            # Pillow warns unless transparency in a palette becomes a channel before it is dropped.
            has_key = opened.mode == "P" and "transparency" in opened.info
            image = (opened.convert("RGBA") if has_key else opened).convert("RGB")
        if self._image_size is not None:
            image = _resize_and_crop(image, self._image_size)
        pixels = np.asarray(image)
        if pixels.shape != self.image_shape:
            raise UserError(
                f"dataset.path: the image {path} has {pixels.shape[0]} x {pixels.shape[1]} pixels, but the "
                f"first has {self.image_shape[0]} x {self.image_shape[1]}; set dataset.image_size to "
                "resize all images"
            )
        return pixels


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
        visible = (entry for entry in entries if not entry.name.startswith("."))
        return sorted(visible, key=lambda entry: entry.name)


@contextmanager
def _open_image(path: Path) -> Iterator[Image.Image]:
    """An image with 8 bits per channel, not decoded yet; an error names the file."""
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
