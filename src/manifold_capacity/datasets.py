"""Images and their labels: described, downloaded, verified and laid out as arrays."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_capacity.archives import CIFAR10, CIFAR100, CifarLayout, read_cifar, read_idx
from manifold_capacity.downloads import (
    DownloadError,
    download,
    file_sha256,
    lock,
    require_space,
)
from manifold_capacity.errors import DiskFullError, UserError, nearest
from manifold_capacity.own_data import ArrayFile, ImageFolder, every_fourth

__all__ = [
    "SPLITS",
    "Dataset",
    "addresses",
    "describe",
    "download",
    "load_split",
    "needs_network",
    "prepare",
    "sample_manifolds",
]

logger = logging.getLogger(__name__)

SPLITS = ("train", "test")

# Version of the layout that `prepare` writes.
FORMAT_VERSION = 1
# Images are read, decoded and written in blocks of about this size, so that memory does not grow
# with their number.
BLOCK_BYTES = 16 * 1024**2
# Errors of a disk that is full, and of one where the user's share is.
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Dataset:
    """What is known about a dataset before anything is downloaded.

    Attributes
    ----------
    name : str
        Name in the configuration.
    class_names : tuple of str
        In the order of the labels.
    image_shape : tuple of int
        Height, width, channels.
    counts : dict
        For `"train"` and `"test"`: images per class.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    counts: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class _RemoteFile:
    name: str
    sha256: str
    urls: tuple[str, ...]


# Labels, and the images (n, height, width, channels) block by block.
_Split = tuple[NDArray[np.int64], Iterable[NDArray[np.uint8]]]

_DIGITS = tuple("0123456789")
_CIFAR = {"cifar10": CIFAR10, "cifar100": CIFAR100}
_MNIST_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
# Facts about the named datasets; preparing one checks them.
_KNOWN = {
    "digits": Dataset(
        "digits",
        _DIGITS,
        (8, 8, 1),
        {
            "train": (134, 137, 133, 138, 136, 137, 136, 135, 131, 135),
            "test": (44, 45, 44, 45, 45, 45, 45, 44, 43, 45),
        },
    ),
    "mnist": Dataset(
        "mnist",
        _DIGITS,
        (28, 28, 1),
        {
            "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
            "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
        },
    ),
    "fashion_mnist": Dataset(
        "fashion_mnist",
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        (28, 28, 1),
        {"train": (6000,) * 10, "test": (1000,) * 10},
    ),
    "cifar10": Dataset(
        "cifar10",
        tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),  # noqa: SIM905
        (32, 32, 3),
        {"train": (5000,) * 10, "test": (1000,) * 10},
    ),
    "cifar100": Dataset(
        "cifar100",
        tuple(
            """
            apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
            butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach
            couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster
            house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
            motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
            pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket
            rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
            sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip
            turtle wardrobe whale willow_tree wolf woman worm
            """.split()  # noqa: SIM905
        ),
        (32, 32, 3),
        {"train": (500,) * 100, "test": (100,) * 100},
    ),
}

# Where the files are and what they are; docs/datasets.md says where each checksum is from.
_REMOTE = {
    name: tuple(
        _RemoteFile(file, sha256, tuple(folder + file for folder in folders))
        for file, sha256 in files.items()
    )
    for name, folders, files in (
        (
            "cifar10",
            ("https://www.cs.toronto.edu/~kriz/",),
            {
                "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
            },
        ),
        (
            "cifar100",
            ("https://www.cs.toronto.edu/~kriz/",),
            {
                "cifar-100-python.tar.gz": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
            },
        ),
        (
            "mnist",
            # The authors' own page asks to be spared frequent automated downloads.
            (
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
            ),
            {
                "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            },
        ),
        (
            "fashion_mnist",
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            {
                "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
        ),
    )
}

# Names, and which keys of the `dataset` section mean something for each.
_KEYS: dict[str, frozenset[str]] = {
    "digits": frozenset(),
    **{name: frozenset({"url", "sha256"}) for name in _REMOTE},
    "imagefolder": frozenset({"path", "image_size"}),
    "arrays": frozenset({"path"}),
}


def needs_network(name: str) -> bool:
    """Whether preparing the dataset of this name downloads something."""
    return name in _REMOTE


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
    if name in _REMOTE:
        _remote_files(config)
    if name in _KNOWN:
        return _KNOWN[name]
    own = _own_data(config)
    return Dataset(name, own.class_names, own.image_shape, own.counts)


def addresses(config: Mapping[str, Any]) -> list[str]:
    """URL of each file that `prepare` downloads; none where the data are on this machine."""
    if config["name"] not in _REMOTE:
        return []
    return [file.urls[0] for file in _remote_files(config)]


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


def load_split(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels that `prepare` wrote.

    Parameters
    ----------
    folder : Path
        The `output` of `prepare`.
    split : str
        `"train"` or `"test"`.

    Returns
    -------
    images : (n_images, height, width, channels) uint8, memory-mapped, read-only
    labels : (n_images,) int64

    Raises
    ------
    ValueError
        For another split, or a folder that is not a complete prepared dataset.
    """
    _check_split(split)
    try:
        counts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["counts"]
        images = np.load(folder / f"{split}_images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / f"{split}_labels.npy", allow_pickle=False)
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{folder} holds no complete dataset ({error}); prepare it anew") from error
    if not len(images) == len(labels) == sum(counts[split]):
        raise UserError(
            f"{folder} holds {len(images)} {split} images and {len(labels)} labels, but its "
            f"dataset.json says {sum(counts[split])}; prepare it anew"
        )
    return images, labels


def sample_manifolds(
    labels: ArrayLike, class_indices: Sequence[int], points_per_class: int, seed: int, split: str
) -> NDArray[np.int64]:
    """Draw the images whose activations are the points of each class's manifold.

    Without replacement. What is drawn from a class depends on the seed, the split, the class and
    the labels, not on which other classes are drawn; and a smaller `points_per_class` draws the
    beginning of what a larger one does.

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
    ValueError
        If a class has too few images, or is asked for twice; names the class, what was wanted and
        what there is.

    Examples
    --------
    >>> sample_manifolds([0, 1, 0, 1, 0, 1], [1, 0], points_per_class=2, seed=0, split="train")
    array([[3, 5],
           [4, 0]])
    """
    _check_split(split)
    labels = np.asarray(labels)
    if points_per_class < 1:
        raise UserError(f"manifolds.points_per_class: {points_per_class}; at least 1 is needed")
    if len(set(class_indices)) < len(class_indices):
        raise UserError(f"classes {list(class_indices)}: each may be given once")
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    sample = np.empty((len(class_indices), points_per_class), dtype=np.int64)
    for row, index in enumerate(class_indices):
        first, end = np.searchsorted(ordered, [index, index + 1])
        if end - first < points_per_class:
            raise UserError(
                f"manifolds.points_per_class: {points_per_class}, but class {index} has "
                f"{end - first} {split} images; use at most so many, or leave out the class"
            )
        generator = np.random.default_rng([seed, SPLITS.index(split), index])
        sample[row] = generator.permutation(order[first:end])[:points_per_class]
    return sample


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise UserError(f"split {split!r} is neither 'train' nor 'test'")


# Files from elsewhere


def _remote_files(config: Mapping[str, Any]) -> list[_RemoteFile]:
    """The dataset's files, from the mirror and with the checksums that the configuration gives."""
    name, url, sha256 = config["name"], config.get("url"), config.get("sha256")
    official = _REMOTE[name]
    names = [file.name for file in official]
    if url is not None and not url.lower().startswith(("http://", "https://")):
        raise UserError(
            f"dataset.url: {url!r} does not begin with http:// or https://; a copy of your own goes into "
            f"the folder of the downloads, as {name}/{names[0]}"
        )
    if url is not None and len(names) > 1 and url.endswith(".gz"):
        raise UserError(
            f"dataset.url: {url!r} is one file, but {name} has {len(names)}; give the address of the "
            f"folder that holds {', '.join(names)}"
        )
    if isinstance(sha256, str):
        if len(names) > 1:
            raise UserError(
                f"dataset.sha256: one checksum, but {name} has {len(names)} files; give a mapping from "
                f"file name to checksum, for any of {', '.join(names)}"
            )
        sha256 = {names[0]: sha256}
    checksums = {file.name: file.sha256 for file in official} | (sha256 or {})
    for file_name, checksum in checksums.items():
        if file_name not in names:
            raise UserError(
                f"dataset.sha256: {name} has no file {file_name!r}, but {', '.join(names)}"
            )
        if not re.fullmatch("[0-9a-fA-F]{64}", checksum):
            raise UserError(
                f"dataset.sha256: {checksum!r} for {file_name} is no SHA-256, which has 64 hexadecimal "
                "digits"
            )
    files = []
    for file in official:
        urls = file.urls
        if url is not None:
            is_folder = len(names) > 1 or url.endswith("/")
            urls = (f"{url.rstrip('/')}/{file.name}" if is_folder else url,)
        files.append(_RemoteFile(file.name, checksums[file.name].lower(), urls))
    return files


def _fetch(files: Iterable[_RemoteFile], folder: Path) -> dict[str, Path]:
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
) -> tuple[dict[str, _Split], dict[str, Any]]:
    """Both splits, and where they are from."""
    block_length = max(1, BLOCK_BYTES // int(np.prod(dataset.image_shape)))
    if dataset.name == "digits":
        return _read_digits(), {"bundled_with": "scikit-learn"}
    if dataset.name not in _REMOTE:
        own = _own_data(config)
        if isinstance(own, ImageFolder):
            return own.splits(block_length, threads), {"path": config["path"]}
        checksum = file_sha256(Path(config["path"]))
        return own.splits(block_length), {"path": config["path"], "sha256": checksum}
    files = _remote_files(config)
    paths = _fetch(files, downloads / dataset.name)
    source = {file.name: {"urls": file.urls, "sha256": file.sha256} for file in files}
    if dataset.name in _CIFAR:
        (path,) = paths.values()
        splits = _read_cifar(path, _CIFAR[dataset.name], dataset, block_length)
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


def _read_digits() -> dict[str, _Split]:
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


def _read_mnist(
    paths: Mapping[str, Path], dataset: Dataset, block_length: int
) -> dict[str, _Split]:
    height, width, _ = dataset.image_shape
    splits: dict[str, _Split] = {}
    for split, (images, labels) in _MNIST_FILES.items():
        n_images = sum(dataset.counts[split])
        (all_labels,) = read_idx(paths[labels], (n_images,), n_images)
        blocks = read_idx(paths[images], (n_images, height, width), block_length)
        splits[split] = all_labels.astype(np.int64), (block[..., np.newaxis] for block in blocks)
    return splits


def _read_cifar(
    path: Path, layout: CifarLayout, dataset: Dataset, block_length: int
) -> dict[str, _Split]:
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
