"""The named datasets: their classes, numbers of images, files and SHA-256 checksums."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "SPLITS",
    "CifarLayout",
    "CifarSplit",
    "Dataset",
    "addresses",
    "needs_network",
]


@dataclass(frozen=True)
class CifarLayout:
    """Where things are in an archive, and what they are called.

    Attributes
    ----------
    members : dict
        Split -> names of the members with its images, in order.
    labels : str
        Their entry that holds the labels.
    meta : str
        Name of the member with the names of the classes.
    class_names : str
        Its entry that holds them.
    """

    members: dict[str, tuple[str, ...]]
    labels: str
    meta: str
    class_names: str


@dataclass(frozen=True)
class CifarSplit:
    """Images (n, channels, height, width) in one or more arrays, and all their labels."""

    images: list[NDArray[np.uint8]]
    labels: NDArray[np.int64]


CIFAR10 = CifarLayout(
    members={
        "train": tuple(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
        "test": ("cifar-10-batches-py/test_batch",),
    },
    labels="labels",
    meta="cifar-10-batches-py/batches.meta",
    class_names="label_names",
)


CIFAR100 = CifarLayout(
    members={"train": ("cifar-100-python/train",), "test": ("cifar-100-python/test",)},
    labels="fine_labels",
    meta="cifar-100-python/meta",
    class_names="fine_label_names",
)


SPLITS = ("train", "test")


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
class RemoteFile:
    name: str
    sha256: str
    urls: tuple[str, ...]


# Labels, and the images (n, height, width, channels) block by block.
Split = tuple[NDArray[np.int64], Iterable[NDArray[np.uint8]]]


_DIGITS = tuple("0123456789")


CIFAR = {"cifar10": CIFAR10, "cifar100": CIFAR100}


MNIST_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


# Facts about the named datasets; preparing one checks them.
KNOWN = {
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
REMOTE = {
    name: tuple(
        RemoteFile(file, sha256, tuple(folder + file for folder in folders))
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


def needs_network(name: str) -> bool:
    """Whether preparing the dataset of this name downloads something."""
    return name in REMOTE


def addresses(config: Mapping[str, Any]) -> list[str]:
    """URL of each file that `prepare` downloads; none where the data are on this machine."""
    if config["name"] not in REMOTE:
        return []
    return [file.urls[0] for file in remote_files(config)]


# Files from elsewhere
def remote_files(config: Mapping[str, Any]) -> list[RemoteFile]:
    """The dataset's files, from the mirror and with the checksums that the configuration gives."""
    name, url, sha256 = config["name"], config.get("url"), config.get("sha256")
    official = REMOTE[name]
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
        files.append(RemoteFile(file.name, checksums[file.name].lower(), urls))
    return files
