"""The named datasets: their classes, numbers of images, files and SHA-256 checksums.

A new dataset needs one entry in `NAMED`; `make docs` then brings the documentation up to date.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError

SPLITS = ("train", "test")
# A mirror's own file may have any size up to this one, which no archive of a named dataset needs.
LARGEST_DOWNLOAD_BYTES = 512 * 1024**2
# Labels, and the samples (n, *sample_shape) block by block.
Blocks = Iterable[NDArray[Any]]
Split = tuple[NDArray[np.int64], Blocks]


@dataclass(frozen=True)
class Dataset:
    """What is known about a dataset before anything is downloaded.

    Attributes
    ----------
    name : str
        Name in the configuration.
    class_names : tuple of str
        In the order of the labels.
    sample_shape : tuple of int
        Of images: height, width, channels; of other inputs: as the network takes them.
    counts : dict
        For `"train"` and `"test"`: samples per class.
    input_dtype : str, optional
        Number format of inputs that are no images: `float32`, `int64` or `bool`. None for images.
    """

    name: str
    class_names: tuple[str, ...]
    sample_shape: tuple[int, ...]
    counts: dict[str, tuple[int, ...]]
    input_dtype: str | None = field(default=None, kw_only=True)

    @property
    def kind(self) -> str:
        """What the samples are, and the name of their files."""
        return "images" if self.input_dtype is None else "inputs"

    @property
    def dtype(self) -> str:
        """Number format in which the samples are stored."""
        return self.input_dtype or "uint8"


@dataclass(frozen=True)
class Bundle:
    """Gray images that come with scikit-learn; their levels are stored times `factor`."""

    loader: str  # a function of sklearn.datasets
    factor: int


@dataclass(frozen=True, kw_only=True)
class Published:
    """Files to download; docs/datasets.md says where their checksums are from."""

    folders: tuple[str, ...]  # addresses of folders that hold all files, tried in this order
    sha256: dict[str, str]  # file name -> checksum
    megabytes: int  # of all files together


@dataclass(frozen=True, kw_only=True)
class IdxFiles(Published):
    """Gzipped idx files, the format of MNIST."""

    files: dict[str, tuple[str, str]]  # split -> names of its files of images and of labels


@dataclass(frozen=True, kw_only=True)
class CifarArchive(Published):
    """One .tar.gz of pickled dicts, the format of CIFAR's python version."""

    members: dict[str, tuple[str, ...]]  # split -> members that hold its images, in order
    labels: str  # their key for the labels
    meta: str  # the member that holds the class names
    class_names: str  # its key for them


@dataclass(frozen=True)
class NamedDataset(Dataset):
    """A dataset with everything that is needed to prepare it; checked against what is read."""

    source: Bundle | IdxFiles | CifarArchive


_DIGITS = tuple("0123456789")
_CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
    cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
    lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
    oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
    spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_TORONTO = ("https://www.cs.toronto.edu/~kriz/",)
_MNIST_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}

_ENTRIES = (
    NamedDataset(
        name="digits",
        class_names=_DIGITS,
        sample_shape=(8, 8, 1),
        counts={
            "train": (134, 137, 133, 138, 136, 137, 136, 135, 131, 135),
            "test": (44, 45, 44, 45, 45, 45, 45, 44, 43, 45),
        },
        source=Bundle("load_digits", factor=15),  # levels 0 to 16: nothing is rounded
    ),
    NamedDataset(
        name="mnist",
        class_names=_DIGITS,
        sample_shape=(28, 28, 1),
        counts={
            "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
            "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
        },
        source=IdxFiles(
            # The authors' own page asks to be spared frequent automated downloads.
            folders=(
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
            ),
            sha256={
                "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            },
            megabytes=12,
            files=_MNIST_FILES,
        ),
    ),
    NamedDataset(
        name="fashion_mnist",
        class_names=tuple(_CLOTHES.split(",")),
        sample_shape=(28, 28, 1),
        counts={"train": (6000,) * 10, "test": (1000,) * 10},
        source=IdxFiles(
            folders=(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            sha256={
                "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
            megabytes=31,
            files=_MNIST_FILES,
        ),
    ),
    NamedDataset(
        name="cifar10",
        class_names=tuple(_CIFAR10.split()),
        sample_shape=(32, 32, 3),
        counts={"train": (5000,) * 10, "test": (1000,) * 10},
        source=CifarArchive(
            folders=_TORONTO,
            sha256={
                "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
            },
            megabytes=170,
            members={
                "train": tuple(f"cifar-10-batches-py/data_batch_{n}" for n in range(1, 6)),
                "test": ("cifar-10-batches-py/test_batch",),
            },
            labels="labels",
            meta="cifar-10-batches-py/batches.meta",
            class_names="label_names",
        ),
    ),
    NamedDataset(
        name="cifar100",
        class_names=tuple(_CIFAR100.split()),
        sample_shape=(32, 32, 3),
        counts={"train": (500,) * 100, "test": (100,) * 100},
        source=CifarArchive(
            folders=_TORONTO,
            sha256={
                "cifar-100-python.tar.gz": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
            },
            megabytes=169,
            members={"train": ("cifar-100-python/train",), "test": ("cifar-100-python/test",)},
            labels="fine_labels",
            meta="cifar-100-python/meta",
            class_names="fine_label_names",
        ),
    ),
)
NAMED = {dataset.name: dataset for dataset in _ENTRIES}


def applicable_keys() -> dict[str, frozenset[str]]:
    """Every value of `dataset.name`, and which other keys of `dataset` apply to it."""
    mirror = frozenset({"url", "sha256"})
    named = {name: mirror if needs_network(name) else frozenset() for name in NAMED}
    yours = {"imagefolder": frozenset({"path", "image_size"}), "arrays": frozenset({"path"})}
    return named | yours


def needs_network(name: str) -> bool:
    """Whether preparing the dataset of this name downloads something."""
    return name in NAMED and isinstance(NAMED[name].source, Published)


def addresses(config: Mapping[str, Any]) -> list[str]:
    """URL of each file that `prepare` downloads; none where the images are on this machine."""
    return [file.urls[0] for file in remote_files(config)]


class RemoteFile(NamedTuple):
    """A file to download from the first of its addresses that has it."""

    name: str
    sha256: str
    urls: tuple[str, ...]
    most_bytes: int


def remote_files(config: Mapping[str, Any]) -> list[RemoteFile]:
    """The dataset's files, with the mirror and the checksums that the configuration gives."""
    name, url, sha256 = config["name"], config.get("url"), config.get("sha256") or {}
    source = NAMED[name].source if name in NAMED else None
    if not isinstance(source, Published):
        return []
    names, folders = list(source.sha256), source.folders
    listed = ", ".join(names)
    if url is not None:
        if not url.lower().startswith(("http://", "https://")):
            raise UserError(
                f"dataset.url: {url!r} does not begin with http:// or https://; put a local copy into "
                f"the downloads folder, as {name}/{names[0]}"
            )
        if len(names) > 1 and url.endswith(".gz"):
            raise UserError(
                f"dataset.url: {url!r} is one file, but {name} has {len(names)}; give the address of "
                f"the folder that holds {listed}"
            )
        folders = (f"{url.rstrip('/')}/",)
    if isinstance(sha256, str):
        if len(names) > 1:
            raise UserError(
                f"dataset.sha256: one checksum, but {name} has {len(names)} files; give a mapping from "
                f"file name to checksum, for any of {listed}"
            )
        sha256 = {names[0]: sha256}
    for file, checksum in sha256.items():
        if file not in names:
            raise UserError(f"dataset.sha256: {name} has no file {file!r}; its files are {listed}")
        if not re.fullmatch("[0-9a-fA-F]{64}", checksum):
            raise UserError(
                f"dataset.sha256: {checksum!r} for {file} is not a SHA-256 (64 hexadecimal digits)"
            )
    exact = url if len(names) == 1 and url and not url.endswith("/") else None
    return [
        RemoteFile(
            file,
            checksum.lower(),
            (exact,) if exact else tuple(f + file for f in folders),
            # The sizes of all files together are rounded to megabytes.
            (source.megabytes + 1) * 10**6
            if checksum.lower() == source.sha256[file]
            else LARGEST_DOWNLOAD_BYTES,
        )
        for file, checksum in (source.sha256 | sha256).items()
    ]
