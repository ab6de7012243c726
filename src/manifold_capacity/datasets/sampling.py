"""Read a prepared dataset, and draw the points of its manifolds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_capacity.datasets.catalog import SPLITS
from manifold_capacity.errors import UserError
from manifold_capacity.files import check_file


class VerifiedSamples:
    """Images, or other inputs, in a file (n_samples, ...), each verified whenever it is read.

    Indexed by a slice or an array of places along the first axis.
    """

    def __init__(self, path: Path, crcs: NDArray[np.uint32]) -> None:
        self._samples: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        self._path, self._crcs = path, crcs
        self.shape, self.dtype = self._samples.shape, self._samples.dtype
        self.nbytes = self._samples.nbytes

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, places: Any) -> NDArray[Any]:
        samples = np.array(self._samples[places])
        expected = self._crcs[places].ravel()
        crcs = map(crc32, samples.reshape(-1, *self.shape[1:]))
        found = np.fromiter(crcs, np.uint32, expected.size)
        if (found != expected).any():
            index = np.arange(len(self))[places].ravel()[(found != expected).argmax()]
            what = "image" if self.dtype == np.uint8 else "input"
            raise UserError(
                f"{self._path} was damaged or changed: the checksum of {what} {index} does not fit; delete "
                f"{self._path.parent} and run the same command again"
            )
        return samples


def load_split(folder: Path, split: str) -> tuple[VerifiedSamples, NDArray[np.int64]]:
    """Images, or other inputs, and labels that `prepare` wrote.

    Parameters
    ----------
    folder : Path
        The `output` of `prepare`.
    split : str
        `"train"` or `"test"`.

    Returns
    -------
    samples : read and verified when they are indexed
        Images: (n_images, height, width, channels) uint8. Other inputs: (n_inputs, ...) float32, int64 or bool.
    labels : (n_samples,) int64

    Raises
    ------
    UserError
        For another split, a folder that is not a complete prepared dataset, or damaged files.
    """
    _check_split(split)
    try:
        about = check_file(folder / f"{split}_labels.npy", folder / "dataset.json")
        kind = "images" if "image_shape" in about else "inputs"
        check_file(folder / f"{split}_{kind}.crc32", folder / "dataset.json")
        labels = np.load(folder / f"{split}_labels.npy", allow_pickle=False)
        crcs = np.fromfile(folder / f"{split}_{kind}.crc32", "<u4")
        samples = VerifiedSamples(folder / f"{split}_{kind}.npy", crcs)
        shape = (sum(about["counts"][split]), *about[f"{kind[:-1]}_shape"])
        dtype = about.get("input_dtype", "uint8")
    except (OSError, ValueError, LookupError) as error:
        reason = f"holds no complete dataset ({error})"
        raise UserError(f"{folder} {reason}; prepare it again") from error
    if samples.shape != shape or samples.dtype != dtype:
        raise UserError(
            f"{folder}/{split}_{kind}.npy has shape {samples.shape} and type {samples.dtype}, but must be "
            f"{shape} of {dtype}; prepare it again"
        )
    return samples, labels


def sample_manifolds(
    labels: ArrayLike, class_indices: Sequence[int], points_per_class: int, seed: int, split: str
) -> NDArray[np.int64]:
    """Draw the images whose activations are the points of each class's manifold.

    Without replacement. A class's draw depends on the seed, the split, the class and the labels, not on
    which other classes are drawn; a smaller `points_per_class` gives the first points of a larger one.

    Parameters
    ----------
    labels : (n_images,) array_like of int
        Of one split.
    class_indices : sequence of int
        Classes, in the order of the result.
    points_per_class : int
        Images to draw from each.
    seed : int
        Not negative.
    split : str
        `"train"` or `"test"`: each has its own draw.

    Returns
    -------
    (n_classes, points_per_class) array of int64
        Positions in `labels`.

    Raises
    ------
    UserError
        If a class has too few images, or is given twice.

    Examples
    --------
    >>> sample_manifolds([0, 1, 0, 1, 0, 1], [1, 0], points_per_class=2, seed=0, split="train")
    array([[3, 5],
           [4, 0]])
    """
    _check_split(split)
    labels = np.asarray(labels)
    if points_per_class < 1:
        raise UserError(f"manifolds.points_per_class: {points_per_class}; it must be at least 1")
    if len(set(class_indices)) < len(class_indices):
        raise UserError(f"classes {list(class_indices)}: each may be given once")
    sample = np.empty((len(class_indices), points_per_class), dtype=np.int64)
    for row, index in enumerate(class_indices):
        of_class = np.flatnonzero(labels == index)
        if len(of_class) < points_per_class:
            raise UserError(
                f"manifolds.points_per_class: {points_per_class}, but class {index} has "
                f"{len(of_class)} {split} images; use at most so many, or leave out the class"
            )
        generator = np.random.default_rng([seed, SPLITS.index(split), index])
        sample[row] = generator.permutation(of_class)[:points_per_class]
    return sample


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise UserError(f"split {split!r} is neither 'train' nor 'test'")


def every_fourth(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask (n_images,) of the fourth, eighth, ... image of each class: the test split of data without one.

    >>> every_fourth(np.array([0, 0, 1, 0, 0, 1]))
    array([False, False, False, False,  True, False])
    """
    is_test = np.zeros(len(labels), dtype=bool)
    for index in np.unique(labels):
        is_test[np.flatnonzero(labels == index)[3::4]] = True
    return is_test
