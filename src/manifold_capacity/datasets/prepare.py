"""Images and their labels: described, downloaded, verified and laid out as arrays."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.datasets.archives import read_cifar, read_idx
from manifold_capacity.datasets.array_file import ArrayFile
from manifold_capacity.datasets.catalog import (
    CIFAR,
    FULL,
    KNOWN,
    MNIST_FILES,
    REMOTE,
    SPLITS,
    CifarLayout,
    Dataset,
    RemoteFile,
    Split,
    remote_files,
)
from manifold_capacity.datasets.download import DownloadError, download
from manifold_capacity.datasets.image_folder import ImageFolder
from manifold_capacity.datasets.sampling import every_fourth
from manifold_capacity.errors import DiskFullError, UserError, nearest
from manifold_capacity.files import file_sha256, lock, require_space

__all__ = ["describe", "prepare"]


logger = logging.getLogger(__name__)


# Version of the layout that `prepare` writes.
FORMAT_VERSION = 1


# Images are read, decoded and written in blocks of about this size, so that memory does not grow
# with their number.
BLOCK_BYTES = 16 * 1024**2


# Names, and which keys of the `dataset` section mean something for each.
_KEYS: dict[str, frozenset[str]] = {
    "digits": frozenset(),
    **{name: frozenset({"url", "sha256"}) for name in REMOTE},
    "imagefolder": frozenset({"path", "image_size"}),
    "arrays": frozenset({"path"}),
}


def describe(config: Mapping[str, Any]) -> Dataset:
    """What a dataset holds; nothing is downloaded, no image decoded.

    Of an image folder the files are counted, and the first one's header is read where
    `image_size` does not say the shape; of an `.npz` the labels are read.

    Parameters
    ----------
    config : mapping
        The `dataset` section of the configuration: `name`, and as far as they apply `path`, `url`,
        `sha256`, `image_size`.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        For an unknown name, a key that means nothing for this dataset, a mirror without a checksum
        to hold it to, and data of one's own that are not there or not as they have to be.
    """
    name = config["name"]
    if name not in _KEYS:
        raise UserError(
            f"dataset.name: {name!r} is not one of {', '.join(_KEYS)}{nearest(name, _KEYS)}"
        )
    for key in ("path", "url", "sha256", "image_size"):
        if config.get(key) is not None and key not in _KEYS[name]:
            users = ", ".join(known for known, keys in _KEYS.items() if key in keys)
            raise UserError(
                f"dataset.{key}: {config[key]!r} means nothing for {name}, only for {users}; "
                "set it to null"
            )
    if name in REMOTE:
        remote_files(config)
    if name in KNOWN:
        return KNOWN[name]
    own = _own_data(config)
    return Dataset(name, own.class_names, own.image_shape, own.counts)


def prepare(config: Mapping[str, Any], output: Path, downloads: Path, *, threads: int = 1) -> None:
    """Fetch a dataset if need be, verify it, and write it as arrays.

    Writes to the folder `output`

    - `train_images.npy`, `test_images.npy`: uint8 (n_images, height, width, channels);
    - `train_labels.npy`, `test_labels.npy`: int64 (n_images,);
    - `dataset.json`: the facts, see docs/datasets.md.

    The files are complete before they get their names; `dataset.json` is the last one.

    Parameters
    ----------
    config : mapping
        As for `describe`.
    output : Path
        Folder for the arrays; created.
    downloads : Path
        Folder that keeps what was downloaded, in a folder of the dataset's name.
    threads : int
        Threads that decode the images of an image folder.

    Raises
    ------
    ValueError
        As `describe`; and for content that is damaged, not in the expected layout, or not as
        described (other counts, other class names). Names the file.
    DownloadError
        If a file is not to be had, or is not the expected one.
    OSError
        If the disk is full.
    """
    dataset = describe(config)
    splits, source = _read(dataset, config, downloads, threads)
    n_bytes = sum(map(sum, dataset.counts.values())) * int(np.prod(dataset.image_shape))
    with _staging(output) as staging:
        require_space(staging, n_bytes, f"the dataset {dataset.name}")
        statistics = {}
        for split, (labels, blocks) in splits.items():
            _check_labels(dataset, split, labels)
            statistics[split] = _write_images(
                staging / f"{split}_images.npy", (len(labels), *dataset.image_shape), blocks
            )
            _write_file(staging / f"{split}_labels.npy", _npy_bytes(labels))
        arrays = [f"{split}_{kind}.npy" for split in SPLITS for kind in ("images", "labels")]
        checksums = {name: file_sha256(staging / name) for name in sorted(arrays)}
        lines = "".join(f"{digest}  {name}\n" for name, digest in checksums.items())
        facts = {
            "format_version": FORMAT_VERSION,
            "name": dataset.name,
            "class_names": dataset.class_names,
            "image_shape": dataset.image_shape,
            "counts": dataset.counts,
            "mean": statistics["train"][0],
            "std": statistics["train"][1],
            "digest": hashlib.sha256(lines.encode()).hexdigest(),
            "sha256": checksums,
            "source": source,
        }
        text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        _write_file(staging / "dataset.json", text.encode())
        output.mkdir(parents=True, exist_ok=True)
        # Without dataset.json the folder is not a dataset: neither a half of the old one nor of the
        # new one passes for one.
        (output / "dataset.json").unlink(missing_ok=True)
        for name in (*arrays, "dataset.json"):
            os.replace(staging / name, output / name)
    n_train, n_test = (sum(dataset.counts[split]) for split in SPLITS)
    logger.info(
        "%s: %d classes, %s images to train on, %s to test on",
        dataset.name,
        len(dataset.class_names),
        f"{n_train:,}",
        f"{n_test:,}",
    )


def dataset_digest(path: Path) -> str:
    """Digest of a prepared dataset's images and labels, from its ``dataset.json``: 64 digits."""
    digest: str = json.loads(path.read_text(encoding="utf-8"))["digest"]
    return digest


def _fetch(files: Iterable[RemoteFile], folder: Path) -> dict[str, Path]:
    """Download each file from the first of its addresses that has it; name -> path."""
    paths = {}
    for file in files:
        path = paths[file.name] = folder / file.name
        failures = []
        for url in file.urls:
            try:
                download(url, path, sha256=file.sha256)
                break
            except DownloadError as error:
                logger.warning("%s", error)
                failures.append(str(error))
        else:
            raise DownloadError(
                "\n".join(failures)
                + "\nSet dataset.url to a mirror (and dataset.sha256, if its file differs from the "
                f"official one), or put the file at {path} yourself."
            )
    return paths


# Labels and images, one function per kind of source
def _read(
    dataset: Dataset, config: Mapping[str, Any], downloads: Path, threads: int
) -> tuple[dict[str, Split], dict[str, Any]]:
    """Both splits, and where they are from."""
    block_length = max(1, BLOCK_BYTES // int(np.prod(dataset.image_shape)))
    if dataset.name == "digits":
        return _read_digits(), {"bundled_with": "scikit-learn"}
    if dataset.name not in REMOTE:
        own = _own_data(config)
        if isinstance(own, ImageFolder):
            return own.splits(block_length, threads), {"path": config["path"]}
        checksum = file_sha256(Path(config["path"]))
        return own.splits(block_length), {"path": config["path"], "sha256": checksum}
    files = remote_files(config)
    paths = _fetch(files, downloads / dataset.name)
    source = {file.name: {"urls": file.urls, "sha256": file.sha256} for file in files}
    if dataset.name in CIFAR:
        (path,) = paths.values()
        splits = _read_cifar(path, CIFAR[dataset.name], dataset, block_length)
    else:
        splits = _read_mnist(paths, dataset, block_length)
    return splits, {"files": source}


def _own_data(config: Mapping[str, Any]) -> ImageFolder | ArrayFile:
    if config.get("path") is None:
        raise UserError(
            f"dataset.path: null, but {config['name']} reads data of your own; say where they are"
        )
    path = Path(config["path"])
    if config["name"] == "imagefolder":
        return ImageFolder(path, config.get("image_size"))
    return ArrayFile(path)


def _read_digits() -> dict[str, Split]:
    """scikit-learn's digits: gray levels from 0 to 16, here times 15, so that nothing is rounded."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    images = (bundle.images * 15).astype(np.uint8)[..., np.newaxis]
    labels = bundle.target.astype(np.int64)
    is_test = every_fourth(labels)
    return {
        "train": (labels[~is_test], [images[~is_test]]),
        "test": (labels[is_test], [images[is_test]]),
    }


def _read_mnist(paths: Mapping[str, Path], dataset: Dataset, block_length: int) -> dict[str, Split]:
    height, width, _ = dataset.image_shape
    splits: dict[str, Split] = {}
    for split, (images, labels) in MNIST_FILES.items():
        n_images = sum(dataset.counts[split])
        (all_labels,) = read_idx(paths[labels], (n_images,), n_images)
        blocks = read_idx(paths[images], (n_images, height, width), block_length)
        splits[split] = all_labels.astype(np.int64), (block[..., np.newaxis] for block in blocks)
    return splits


def _read_cifar(
    path: Path, layout: CifarLayout, dataset: Dataset, block_length: int
) -> dict[str, Split]:
    names, splits = read_cifar(path, layout, dataset.image_shape)
    if names != dataset.class_names:
        raise UserError(
            f"{path} has the classes {', '.join(map(str, names))}; those of {dataset.name} are "
            f"{', '.join(dataset.class_names)}"
        )

    def blocks(images: list[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        for batch in images:
            for begin in range(0, len(batch), block_length):
                some = batch[begin : begin + block_length]
                # Plane by plane is faster than a transposition.
                yield np.stack([some[:, channel] for channel in range(some.shape[1])], axis=-1)

    return {split: (read.labels, blocks(read.images)) for split, read in splits.items()}


# Writing
def _check_labels(dataset: Dataset, split: str, labels: NDArray[np.int64]) -> None:
    n_classes = len(dataset.class_names)
    outside = labels[(labels < 0) | (labels >= n_classes)]
    if outside.size:
        raise UserError(
            f"the {split} labels of {dataset.name} go from 0 to {n_classes - 1}, but {outside[0]} came"
        )
    found = np.bincount(labels, minlength=n_classes)
    expected = np.array(dataset.counts[split])
    if (found != expected).any():
        index = int(np.flatnonzero(found != expected)[0])
        raise UserError(
            f"{dataset.name} has {expected.sum()} {split} images, {expected[index]} of class "
            f"{dataset.class_names[index]!r}; what came has {found.sum()} and {found[index]}. "
            "A mirror has to hold the whole dataset; for a part of it, or another one, use "
            "`dataset.name: arrays` or `imagefolder`"
        )


def _write_images(
    path: Path, shape: tuple[int, int, int, int], blocks: Iterable[NDArray[np.uint8]]
) -> tuple[list[float], list[float]]:
    """Write images as .npy, block by block.

    Returns
    -------
    mean, std : lists of float
        Of each channel, for pixel values in [0, 1]; from exact integer sums, so that they do not depend on
        the blocks.
    """
    sums = np.zeros((2, shape[3]), dtype=np.int64)  # of the values, and of their squares
    written = 0
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)
            written += len(block)
            for row, values in enumerate((block, np.square(block, dtype=np.uint16))):
                sums[row] += values.sum(axis=0, dtype=np.int64).sum(axis=(0, 1))
        _sync(file)
    assert written == shape[0], f"{written} images for {shape[0]} labels"
    n_values = shape[0] * shape[1] * shape[2]
    mean = [first / n_values / 255 for first in sums[0].tolist()]
    std = [
        (n_values * second - first**2) ** 0.5 / n_values / 255
        for first, second in zip(*sums.tolist(), strict=True)
    ]
    return mean, std


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """A folder beside `output` for this process alone, gone afterwards."""
    folder = output.parent / f".{output.name}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    with FileIO(folder / "lock", "a") as lock_file:
        if not lock(lock_file):
            raise UserError(f"another process is preparing {output}; let it finish")
        try:
            yield folder
        except OSError as error:
            if error.errno in FULL and error.strerror == os.strerror(error.errno):
                raise DiskFullError(
                    error.errno,
                    f"{output} could not be written: {error.strerror}; make room, or choose another "
                    "`results` folder",
                ) from error
            raise
        finally:
            shutil.rmtree(folder)


def _npy_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        _sync(file)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
