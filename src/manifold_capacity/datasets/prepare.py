"""Prepare a dataset: describe it, fetch it if need be, verify it and write it as arrays."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.datasets import catalog, factory
from manifold_capacity.datasets.archives import read_cifar, read_idx_files
from manifold_capacity.datasets.array_file import ArrayFile
from manifold_capacity.datasets.catalog import NAMED, SPLITS, Blocks, Dataset, Split
from manifold_capacity.datasets.download import DownloadError, download
from manifold_capacity.datasets.factory import FactoryData
from manifold_capacity.datasets.image_folder import ImageFolder
from manifold_capacity.datasets.sampling import every_fourth
from manifold_capacity.errors import DiskFullError, UserError, nearest
from manifold_capacity.files import (
    DISK_FULL,
    checksums,
    file_sha256,
    lock,
    require_space,
    write_json,
)

logger = logging.getLogger(__name__)

# Version of the layout that `prepare` writes.
FORMAT_VERSION = 1
# Of a block of samples to read, decode and write: memory does not grow with their number.
BLOCK_BYTES = 16 * 1024**2


def describe(config: Mapping[str, Any]) -> Dataset:
    """What a dataset holds; nothing is downloaded, no image decoded.

    Parameters
    ----------
    config : mapping
        The `dataset` section of the configuration: `name`, and as far as they apply `path`, `url`,
        `sha256`, `image_size`, `factory`, `arguments`.

    Raises
    ------
    UserError
        For an unknown name, a key that does not apply to this dataset, an address or checksum that is
        not one, and for your data if they are missing or not as docs/datasets.md says.
    """
    _check_keys(config)
    name = config["name"]
    if config.get("factory") is not None:
        dataset = factory.remembered(config)
        if dataset is None:
            dataset = _described(name, FactoryData(config))
            factory.remember(config, dataset)
        return dataset
    if name in NAMED:
        catalog.remote_files(config)
        return NAMED[name]
    return _described(name, _your_data(config))


def _check_keys(config: Mapping[str, Any]) -> None:
    """Whether the name is known, or free, and all keys apply to it."""
    name, known = config["name"], catalog.applicable_keys()
    is_factory = config.get("factory") is not None
    if is_factory and name in (*known, "downloads"):
        raise UserError(
            f"dataset.name: {name!r} has a meaning of its own; give the data of dataset.factory another name"
        )
    if not is_factory and name not in known:
        raise UserError(
            f"dataset.name: {name!r} is not supported; use one of {', '.join(known)}"
            f"{nearest(name, known)}"
        )
    known["dataset.factory"] = frozenset({"path", "arguments"})
    allowed = known["dataset.factory" if is_factory else name]
    for key in ("path", "url", "sha256", "image_size", "arguments"):
        if config.get(key) not in (None, {}) and key not in allowed:
            users = ", ".join(other for other, keys in known.items() if key in keys)
            raise UserError(
                f"dataset.{key}: {config[key]!r} does not apply to {name}, only to {users}; remove it "
                "or set it to null"
            )


def _described(name: str, found: ImageFolder | ArrayFile | FactoryData) -> Dataset:
    return Dataset(
        name, found.class_names, found.sample_shape, found.counts, input_dtype=found.input_dtype
    )


def prepare(
    config: Mapping[str, Any],
    output: Path,
    downloads: Path,
    *,
    threads: int = 1,
    keys: Mapping[str, str] | None = None,
) -> None:
    """Fetch a dataset if need be, verify it, and write it as arrays.

    Writes to the folder `output`

    - `train_images.npy`, `test_images.npy`: uint8 (n_images, height, width, channels);
    - `train_labels.npy`, `test_labels.npy`: int64 (n_images,);
    - `train_images.crc32`, `test_images.crc32`: the CRC-32 of each image, 4 bytes, little-endian;
    - `dataset.json`: name, counts, statistics, checksums and source, see docs/datasets.md.

    Of inputs that are no images, the first are `train_inputs.npy` and so on: (n_inputs, ...) float32, int64 or bool.

    The files are complete before they get their names; `dataset.json` is the last one.

    Parameters
    ----------
    config : mapping
        As for `describe`.
    output : Path
        Folder for the arrays.
    downloads : Path
        Folder that keeps downloaded files, in a subfolder with the dataset's name.
    threads : int
        Threads that decode the images of an image folder.
    keys : mapping, optional
        Of the steps that lead to it, for `dataset.json`.

    Raises
    ------
    UserError
        If a file cannot be downloaded (`DownloadError`), is not the expected one, or the disk is full
        (`DiskFullError`).
    """
    dataset = describe(config)
    splits, source = _read(dataset, config, downloads, threads)
    n_train, n_test = (sum(dataset.counts[split]) for split in SPLITS)
    kind, values = dataset.kind, math.prod(dataset.sample_shape)
    with _staging(output) as staging:
        n_bytes = (n_train + n_test) * values * np.dtype(dataset.dtype).itemsize
        require_space(staging, n_bytes, f"the dataset {dataset.name}")
        sums = {split: np.zeros((2, dataset.sample_shape[-1]), dtype=np.int64) for split in SPLITS}
        for split, (labels, blocks) in splits.items():
            _check_labels(dataset, split, labels)
            shape = (len(labels), *dataset.sample_shape)
            crcs: list[int] = []
            blocks = _with_crcs(blocks, crcs)
            if kind == "images":
                blocks = _with_sums(blocks, sums[split])
            _write_array(staging / f"{split}_{kind}.npy", dataset.dtype, shape, blocks)
            _write_array(staging / f"{split}_labels.npy", np.int64, labels.shape, [labels])
            with _synced(staging / f"{split}_{kind}.crc32") as file:
                file.write(np.array(crcs, "<u4").tobytes())
        sha256 = checksums(sorted(staging.glob("*_*.*")), staging)
        lines = "".join(f"{sha256[name]}  {name}\n" for name in sha256 if name.endswith(".npy"))
        facts = {
            "format_version": FORMAT_VERSION,
            "name": dataset.name,
            "class_names": dataset.class_names,
            f"{kind[:-1]}_shape": dataset.sample_shape,
        }
        if kind == "images":
            mean, std = _mean_and_std(sums["train"], n_train * values // dataset.sample_shape[-1])
            facts |= {"counts": dataset.counts, "mean": mean, "std": std}
        else:
            facts |= {"input_dtype": dataset.dtype, "counts": dataset.counts}
        facts |= {
            "digest": hashlib.sha256(lines.encode()).hexdigest(),
            "source": source,
            "keys": dict(keys or {}),
            "files": sha256,
        }
        write_json(staging / "dataset.json", facts)
        output.mkdir(parents=True, exist_ok=True)
        # Without dataset.json the folder is not a dataset: a mixture of old and new files never
        # passes for one.
        (output / "dataset.json").unlink(missing_ok=True)
        for name in (*sha256, "dataset.json"):
            os.replace(staging / name, output / name)
    numbers = f"{n_train:,} training {kind}, {n_test:,} test {kind}"
    logger.info("%s: %d classes, %s", dataset.name, len(dataset.class_names), numbers)


def _read(
    dataset: Dataset, config: Mapping[str, Any], downloads: Path, threads: int
) -> tuple[dict[str, Split], dict[str, Any]]:
    """Both splits, and where they are from."""
    sample_bytes = math.prod(dataset.sample_shape) * np.dtype(dataset.dtype).itemsize
    block_length = max(1, BLOCK_BYTES // sample_bytes)
    if config.get("factory") is not None:
        data = FactoryData(config)
        if (now := _described(dataset.name, data)) != dataset:
            factory.remember(config, now)
            raise UserError(
                f"{factory.KEY}: {config['factory']!r} returned other classes, shapes or numbers of samples than when "
                "the configuration was checked; it must return the same again: fix its seeds, and give what it "
                "reads as dataset.path"
            )
        return data.splits(block_length), factory.source(config)
    if not isinstance(dataset, catalog.NamedDataset):
        found, origin = _your_data(config), {"path": config["path"]}
        if isinstance(found, ImageFolder):
            return found.splits(block_length, threads), origin
        checksum = file_sha256(Path(config["path"]))
        return found.splits(block_length), origin | {"sha256": checksum}
    if isinstance(dataset.source, catalog.Bundle):
        return _read_bundle(dataset.source), {"bundled_with": "scikit-learn"}
    files = catalog.remote_files(config)
    paths = _fetch(files, downloads / dataset.name)
    if isinstance(dataset.source, catalog.CifarArchive):
        (path,) = paths.values()
        splits = read_cifar(path, dataset, dataset.source, block_length)
    else:
        splits = read_idx_files(paths, dataset, dataset.source, block_length)
    origin = {file.name: {"urls": file.urls, "sha256": file.sha256} for file in files}
    return splits, {"files": origin}


def _your_data(config: Mapping[str, Any]) -> ImageFolder | ArrayFile:
    is_folder = config["name"] == "imagefolder"
    if config.get("path") is None:
        what = "image folder" if is_folder else ".npz file"
        raise UserError(f"dataset.path: null, but {config['name']} needs the path of your {what}")
    path = Path(config["path"])
    return ImageFolder(path, config.get("image_size")) if is_folder else ArrayFile(path)


def _fetch(files: Iterable[catalog.RemoteFile], folder: Path) -> dict[str, Path]:
    """Download each file from the first of its addresses that has it; name -> path."""
    paths = {}
    for file in files:
        path = paths[file.name] = folder / file.name
        failures = []
        for url in file.urls:
            try:
                download(url, path, sha256=file.sha256, most_bytes=file.most_bytes)
                break
            except DownloadError as error:
                logger.warning("%s", error)
                failures.append(str(error))
        else:
            advice = (
                "Set dataset.url to a mirror (and dataset.sha256, if its file differs from the official "
                f"one), or put the file at {path} yourself."
            )
            raise DownloadError("\n".join([*failures, advice]))
    return paths


def _read_bundle(bundle: catalog.Bundle) -> dict[str, Split]:
    import sklearn.datasets

    data = getattr(sklearn.datasets, bundle.loader)()
    images = (data.images * bundle.factor).astype(np.uint8)[..., np.newaxis]
    labels = data.target.astype(np.int64)
    is_test = every_fourth(labels)
    masks = {"train": ~is_test, "test": is_test}
    return {split: (labels[mask], [images[mask]]) for split, mask in masks.items()}


def _check_labels(dataset: Dataset, split: str, labels: NDArray[np.int64]) -> None:
    name, n_classes = dataset.name, len(dataset.class_names)
    outside = labels[(labels < 0) | (labels >= n_classes)]
    if outside.size:
        limits = f"from 0 to {n_classes - 1}, but one is {outside[0]}"
        raise UserError(f"the {split} labels of {name} must be {limits}")
    found = np.bincount(labels, minlength=n_classes)
    expected = np.array(dataset.counts[split])
    if (found != expected).any():
        index = int((found != expected).argmax())
        raise UserError(
            f"{name} has {expected.sum()} {split} images, {expected[index]} of them of class "
            f"{dataset.class_names[index]!r}; the files have {found.sum()} and {found[index]}. "
            "A mirror must hold the whole dataset; for a part of it, or another dataset, use "
            "`dataset.name: arrays` or `imagefolder`"
        )


def _with_crcs(blocks: Blocks, crcs: list[int]) -> Blocks:
    """The same blocks; the CRC-32 of each sample is appended to `crcs`."""
    for block in blocks:
        crcs += map(crc32, np.ascontiguousarray(block))
        yield block


def _with_sums(blocks: Blocks, sums: NDArray[np.int64]) -> Blocks:
    """The same images; adds each channel's values, and their squares, to `sums` (2, channels)."""
    for block in blocks:
        for row, values in enumerate((block, np.square(block, dtype=np.uint16))):
            sums[row] += values.sum(axis=0, dtype=np.int64).sum(axis=(0, 1))
        yield block


def _mean_and_std(sums: NDArray[np.int64], n_values: int) -> tuple[list[float], list[float]]:
    """Of each channel, for pixel values in [0, 1]; exact sums make them independent of the blocks."""
    mean = [first / n_values / 255 for first in sums[0].tolist()]
    std = [
        (n_values * second - first**2) ** 0.5 / n_values / 255
        for first, second in zip(*sums.tolist(), strict=True)
    ]
    return mean, std


def _write_array(path: Path, dtype: Any, shape: tuple[int, ...], blocks: Iterable[Any]) -> None:
    """Write an .npy file, block by block."""
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    written = 0
    with _synced(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)
            written += len(block)
    assert written == shape[0], f"{written} samples for {shape[0]} labels"


@contextmanager
def _synced(path: Path) -> Iterator[Any]:
    """A file to write, which is on the disk afterwards."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """A folder beside `output` for this process alone, removed afterwards."""
    folder = output.parent / f".{output.name}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    with FileIO(folder / "lock", "a") as lock_file:
        if not lock(lock_file):
            raise UserError(f"another process is preparing {output}; wait until it has finished")
        try:
            yield folder
        except DiskFullError:
            raise
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise DiskFullError(
                error.errno,
                f"{output} could not be written: {error.strerror}; make room, or choose another "
                "`results` folder",
            ) from error
        finally:
            shutil.rmtree(folder)
