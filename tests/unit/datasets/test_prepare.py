"""Datasets from description to arrays on disk; archives of full size come from a server on loopback."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from manifold_capacity.datasets import archives, catalog
from manifold_capacity.datasets import prepare as prepare_module
from manifold_capacity.datasets.catalog import SPLITS, Dataset
from manifold_capacity.datasets.download import DownloadError
from manifold_capacity.datasets.prepare import describe, prepare
from manifold_capacity.datasets.sampling import load_split, sample_manifolds
from manifold_capacity.errors import UserError
from manifold_capacity.files import file_sha256

DOWNLOADED = ("cifar10", "cifar100", "mnist", "fashion_mnist")


# The facts


def test_counts_and_names_of_the_known_datasets_fit_together() -> None:
    totals = {
        name: tuple(sum(describe({"name": name}).counts[s]) for s in SPLITS) for name in DOWNLOADED
    }
    assert totals == {
        "cifar10": (50_000, 10_000),
        "cifar100": (50_000, 10_000),
        "mnist": (60_000, 10_000),
        "fashion_mnist": (60_000, 10_000),
    }
    for name in (*DOWNLOADED, "digits"):
        dataset = describe({"name": name})
        assert dataset.name == name
        assert len(set(dataset.class_names)) == (100 if name == "cifar100" else 10)
        assert {len(dataset.counts[split]) for split in SPLITS} == {len(dataset.class_names)}
    names = describe({"name": "cifar100"}).class_names
    assert list(names) == sorted(names)


def test_describing_imports_and_fetches_nothing(tmp_path: Path) -> None:
    code = """
import sys
from manifold_capacity.datasets.prepare import describe
for name in ("digits", "cifar10", "cifar100", "mnist", "fashion_mnist"):
    describe({"name": name})
heavy = {"torch", "sklearn", "requests", "PIL", "tqdm", "matplotlib", "zarr", "scipy"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"name": "cifar1000"},
            r"dataset\.name: 'cifar1000' is not one of digits, .*nearest: cifar100$",
        ),
        ({"name": "zzz"}, r"dataset\.name: 'zzz' is not one of .*arrays$"),
        (
            {"name": "digits", "url": "http://a/"},
            r"dataset\.url: .* nothing for digits, only for cifar10, c",
        ),
        (
            {"name": "mnist", "path": "here"},
            r"dataset\.path: .*nothing for mnist, only for imagefolder, arr",
        ),
        (
            {"name": "mnist", "image_size": 32},
            r"dataset\.image_size: 32 .*only for imagefolder; set it",
        ),
        ({"name": "arrays", "sha256": "0" * 64}, r"dataset\.sha256: .* means nothing for arrays"),
        ({"name": "imagefolder"}, r"dataset\.path: null, but imagefolder reads data of your own"),
        (
            {"name": "arrays", "path": "nowhere.npz"},
            r"dataset\.path: there is no file nowhere\.npz",
        ),
        (
            {"name": "cifar10", "url": "/data/cifar"},
            r"dataset\.url: '/data/cifar' does not begin with http",
        ),
        (
            {"name": "mnist", "url": "http://a/train-images-idx3-ubyte.gz"},
            "is one file, but mnist has 4",
        ),
        (
            {"name": "mnist", "sha256": "0" * 64},
            r"dataset\.sha256: one checksum, but mnist has 4 files",
        ),
        (
            {"name": "mnist", "sha256": {"a.gz": "0" * 64}},
            r"dataset\.sha256: mnist has no file 'a\.gz'",
        ),
        (
            {"name": "cifar10", "sha256": "0" * 32},
            r"dataset\.sha256: '0+' for cifar-10-python.* is no SHA",
        ),
    ],
)
def test_configurations_that_cannot_be(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe(config)


def test_official_files() -> None:
    """One for each CIFAR, four for each MNIST; every checksum is another."""
    names = {name: [f.name for f in catalog.remote_files({"name": name})] for name in DOWNLOADED}
    assert names["cifar10"] == ["cifar-10-python.tar.gz"]
    assert names["cifar100"] == ["cifar-100-python.tar.gz"]
    in_use = {file for pair in catalog.MNIST_FILES.values() for file in pair}
    assert set(names["mnist"]) == set(names["fashion_mnist"]) == in_use
    files = [file for name in DOWNLOADED for file in catalog.remote_files({"name": name})]
    assert len({file.sha256 for file in files}) == len(files) == 10
    for file in files:
        assert all(url.endswith(f"/{file.name}") for url in file.urls)


@pytest.mark.parametrize(
    ("name", "url", "addresses"),
    [
        ("cifar100", "http://a/packed.tgz", ["http://a/packed.tgz"]),
        ("cifar100", "http://a/data/", ["http://a/data/cifar-100-python.tar.gz"]),
        ("mnist", "https://a/data", ["https://a/data/t10k-images-idx3-ubyte.gz"]),
        ("mnist", "https://a/data/", ["https://a/data/t10k-images-idx3-ubyte.gz"]),
    ],
)
def test_address_of_a_mirror(name: str, url: str, addresses: list[str]) -> None:
    files = catalog.remote_files({"name": name, "url": url})
    assert all(len(file.urls) == 1 for file in files)
    assert set(addresses) <= {file.urls[0] for file in files}
    assert len(files) == len({file.urls[0] for file in files})


def test_checksums_of_a_mirror() -> None:
    official = {f.name: f.sha256 for f in catalog.remote_files({"name": "mnist"})}
    own = {"train-labels-idx1-ubyte.gz": "AB" * 32}
    found = {f.name: f.sha256 for f in catalog.remote_files({"name": "mnist", "sha256": own})}
    assert found == official | {"train-labels-idx1-ubyte.gz": "ab" * 32}
    (file,) = catalog.remote_files({"name": "cifar10", "sha256": "0" * 64})
    assert file.sha256 == "0" * 64


# digits


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    prepare({"name": "digits"}, folder / "digits", folder / "downloads")
    assert [path.name for path in folder.iterdir()] == ["digits"]
    return folder / "digits"


def test_digits_are_as_described(digits: Path) -> None:
    dataset = describe({"name": "digits"})
    total = 0
    for split in SPLITS:
        images, labels = load_split(digits, split)
        assert images.shape == (len(labels), 8, 8, 1)
        assert np.bincount(labels).tolist() == list(dataset.counts[split])
        total += len(labels)
    assert total == 1797
    assert min(dataset.counts["test"]) >= 40
    assert 0.22 < sum(dataset.counts["test"]) / total < 0.28


def test_digits_are_those_of_the_bundle(digits: Path) -> None:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    found = {split: load_split(digits, split) for split in SPLITS}
    pixels = np.concatenate([found[split][0] for split in SPLITS])
    levels, remainder = np.divmod(pixels, 15)
    assert not remainder.any()
    assert levels.max() == 16
    labels = np.concatenate([found[split][1] for split in SPLITS])
    rows = np.column_stack([levels.reshape(-1, 64), labels])
    expected = np.column_stack([bundle.data, bundle.target])
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])


def test_split_of_the_digits_is_fixed(digits: Path) -> None:
    found = {
        split: hashlib.sha256(b"".join(a.tobytes() for a in load_split(digits, split))).hexdigest()
        for split in SPLITS
    }
    assert found == {
        "train": "c9674c41eb159cf640e5481d0d3a0a8d05f210ad5173aa9881b897a0a9986d1b",
        "test": "9dfe92d3177798af8f7a72e44233d9e6b7dae8f4ad735b73203f0d95e511a34b",
    }


def test_facts_beside_the_arrays(digits: Path) -> None:
    facts = json.loads((digits / "dataset.json").read_text())
    images, _ = load_split(digits, "train")
    assert facts["format_version"] == 1
    assert facts["name"] == "digits"
    assert facts["class_names"] == list("0123456789")
    assert facts["image_shape"] == [8, 8, 1]
    assert facts["counts"] == {s: list(describe({"name": "digits"}).counts[s]) for s in SPLITS}
    np.testing.assert_allclose(facts["mean"], [np.mean(images / 255)], rtol=1e-12)
    np.testing.assert_allclose(facts["std"], [np.std(images / 255)], rtol=1e-12)
    assert facts["source"] == {"bundled_with": "scikit-learn"}
    arrays = sorted(path for path in digits.iterdir() if path.suffix == ".npy")
    assert facts["sha256"] == {path.name: file_sha256(path) for path in arrays}
    # As the docs say: sha256sum *.npy | sha256sum
    lines = "".join(f"{file_sha256(path)}  {path.name}\n" for path in arrays)
    assert facts["digest"] == hashlib.sha256(lines.encode()).hexdigest()


def test_prepared_twice_is_the_same_to_the_byte(digits: Path, tmp_path: Path) -> None:
    for _ in range(2):
        prepare({"name": "digits"}, tmp_path / "again", tmp_path / "downloads")
        assert contents(tmp_path / "again") == contents(digits)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Downloads


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requested.append(self.path)  # type: ignore[attr-defined]
        super().do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


@dataclass
class Mirror:
    """A folder that is served."""

    folder: Path
    url: str
    requested: list[str] = field(default_factory=list)

    def checksums(self, *names: str) -> dict[str, str]:
        return {name: file_sha256(self.folder / name) for name in names}


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    result = Mirror(folder, f"http://127.0.0.1:{server.server_port}/")
    server.requested = result.requested  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield result
    server.shutdown()
    server.server_close()
    thread.join()


def labels_of(dataset: Dataset, split: str) -> NDArray[np.int64]:
    """All labels of a split, shuffled."""
    labels = np.repeat(np.arange(len(dataset.class_names)), dataset.counts[split])
    return np.random.default_rng(SPLITS.index(split)).permutation(labels)


def marked_images(
    labels: NDArray[np.int64], shape: tuple[int, int, int], first: int = 0
) -> NDArray[np.uint8]:
    """Black images (n, height, width, channels) that tell their number and label in three places."""
    images = np.zeros((len(labels), *shape), dtype=np.uint8)
    number = np.arange(first, first + len(labels))
    images[:, 1, 2, 0] = number % 251
    images[:, 3, 4, -1] = number // 251
    images[:, -1, 0, shape[2] // 2] = labels
    return images


def cifar_batch(
    images: NDArray[np.uint8], labels: NDArray[np.int64], key: bytes
) -> dict[bytes, Any]:
    data = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)
    return {b"batch_label": b"x", key: labels.tolist(), b"data": data}


def write_cifar(path: Path, members: dict[str, object]) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            pickled = content if isinstance(content, bytes) else pickle.dumps(content, protocol=4)
            member = tarfile.TarInfo(name)
            member.size = len(pickled)
            archive.addfile(member, io.BytesIO(pickled))


def full_cifar10(path: Path) -> None:
    dataset = describe({"name": "cifar10"})
    labels = labels_of(dataset, "train")
    images = marked_images(labels, dataset.image_shape)
    members: dict[str, object] = {
        "cifar-10-batches-py/batches.meta": {b"label_names": list(dataset.class_names)}
    }
    for batch in (4, 3, 2, 5, 1):
        part = slice(10_000 * (batch - 1), 10_000 * batch)
        name = f"cifar-10-batches-py/data_batch_{batch}"
        members[name] = cifar_batch(images[part], labels[part], b"labels")
    labels = labels_of(dataset, "test")
    images = marked_images(labels, dataset.image_shape)
    members["cifar-10-batches-py/test_batch"] = cifar_batch(images, labels, b"labels")
    write_cifar(path, members)


def full_cifar100(path: Path) -> None:
    dataset = describe({"name": "cifar100"})
    names = list(dataset.class_names)
    members: dict[str, object] = {"cifar-100-python/meta": {b"fine_label_names": names}}
    for split in ("test", "train"):
        labels = labels_of(dataset, split)
        images = marked_images(labels, dataset.image_shape)
        batch = cifar_batch(images, labels, b"fine_labels")
        batch[b"coarse_labels"] = [0] * len(labels)
        members[f"cifar-100-python/{split}"] = batch
    write_cifar(path, members)


def write_idx(path: Path, array: NDArray[Any]) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes(), compresslevel=1))


MNIST_FILES = [file for pair in catalog.MNIST_FILES.values() for file in pair]


def full_mnist(folder: Path, name: str) -> None:
    dataset = describe({"name": name})
    for split, (images_name, labels_name) in catalog.MNIST_FILES.items():
        labels = labels_of(dataset, split)
        write_idx(folder / labels_name, labels)
        write_idx(folder / images_name, marked_images(labels, dataset.image_shape)[..., 0])


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four files; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("mnist")
    full_mnist(folder, "mnist")
    return folder


def check_and_remove(folder: Path, name: str) -> None:
    """Compare every pixel and label; then give the disk its space back."""
    dataset = describe({"name": name})
    for split in SPLITS:
        images, labels = load_split(folder, split)
        expected = labels_of(dataset, split)
        np.testing.assert_array_equal(labels, expected)
        assert images.dtype == np.uint8
        for begin in range(0, len(labels), 10_000):
            part = slice(begin, begin + 10_000)
            marks = marked_images(expected[part], dataset.image_shape, begin)
            np.testing.assert_array_equal(images[part], marks)
    shutil.rmtree(folder)


def test_cifar10_in_full(mirror: Mirror, tmp_path: Path) -> None:
    file = "cifar-10-python.tar.gz"
    full_cifar10(mirror.folder / file)
    sha256 = file_sha256(mirror.folder / file)
    config = {"name": "cifar10", "url": mirror.url, "sha256": sha256}
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    facts = json.loads((tmp_path / "out" / "dataset.json").read_text())
    check_and_remove(tmp_path / "out", "cifar10")
    assert facts["class_names"][:2] == ["airplane", "automobile"]
    assert facts["source"] == {"files": {file: {"urls": [mirror.url + file], "sha256": sha256}}}


def test_cifar100_in_full(mirror: Mirror, tmp_path: Path) -> None:
    full_cifar100(mirror.folder / "packed.tgz")
    sha256 = file_sha256(mirror.folder / "packed.tgz")
    config = {"name": "cifar100", "url": mirror.url + "packed.tgz", "sha256": sha256}
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    check_and_remove(tmp_path / "out", "cifar100")
    assert mirror.requested == ["/packed.tgz"]
    kept = [
        path.relative_to(tmp_path / "downloads") for path in (tmp_path / "downloads").rglob("*.*")
    ]
    assert kept == [Path("cifar100/cifar-100-python.tar.gz")]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_in_full(mirror: Mirror, tmp_path: Path, name: str) -> None:
    full_mnist(mirror.folder, name)
    config = {"name": name, "url": mirror.url, "sha256": mirror.checksums(*MNIST_FILES)}
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    check_and_remove(tmp_path / "out", name)
    assert sorted(mirror.requested) == sorted(f"/{file}" for file in MNIST_FILES)
    assert {path.name for path in (tmp_path / "downloads" / name).iterdir()} == set(MNIST_FILES)


def test_what_is_there_is_not_fetched_again(mirror: Mirror, mnist: Path, tmp_path: Path) -> None:
    shutil.copytree(mnist, mirror.folder, dirs_exist_ok=True)
    config = {"name": "mnist", "url": mirror.url, "sha256": mirror.checksums(*MNIST_FILES)}
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    (tmp_path / "downloads" / "mnist" / MNIST_FILES[1]).unlink()
    mirror.requested.clear()
    prepare(config, tmp_path / "again", tmp_path / "downloads")
    assert mirror.requested == [f"/{MNIST_FILES[1]}"]
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_mirror_without_a_checksum_has_to_have_the_official_file(
    mirror: Mirror, tmp_path: Path
) -> None:
    (mirror.folder / "cifar-10-python.tar.gz").write_bytes(b"another file")
    with pytest.raises(DownloadError) as caught:
        prepare({"name": "cifar10", "url": mirror.url}, tmp_path / "out", tmp_path / "downloads")
    message = str(caught.value)
    for part in (
        mirror.url + "cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        hashlib.sha256(b"another file").hexdigest(),
        "12 bytes",
        "dataset.url",
        "dataset.sha256",
        str(tmp_path / "downloads" / "cifar10" / "cifar-10-python.tar.gz"),
    ):
        assert part in message
    assert files_below(tmp_path / "downloads") == []
    assert not (tmp_path / "out").exists()


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_mirror_without_the_file(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"t10k.*|train.*HTTP 404"):
        prepare({"name": "mnist", "url": mirror.url}, tmp_path / "out", tmp_path / "downloads")
    assert len(mirror.requested) == 1
    assert files_below(tmp_path / "downloads") == []


def test_official_addresses_are_tried_in_turn(
    mirror: Mirror, mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(mnist, mirror.folder, dirs_exist_ok=True)
    (mirror.folder / "wrong").mkdir()
    (mirror.folder / "wrong" / MNIST_FILES[0]).write_bytes(b"<html>This page has moved</html>")
    folders = ("gone/", "wrong/", "")
    files = tuple(
        catalog.RemoteFile(name, sha256, tuple(mirror.url + folder + name for folder in folders))
        for name, sha256 in mirror.checksums(*MNIST_FILES).items()
    )
    monkeypatch.setitem(catalog.REMOTE, "mnist", files)
    prepare({"name": "mnist"}, tmp_path / "out", tmp_path / "downloads")
    assert load_split(tmp_path / "out", "train")[0].shape == (60_000, 28, 28, 1)
    assert mirror.requested == [f"/{folder}{name}" for name in MNIST_FILES for folder in folders]


def test_error_tells_what_each_address_said(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = (f"{mirror.url}a/x.gz", f"{mirror.url}b/x.gz")
    file = catalog.RemoteFile("cifar-10-python.tar.gz", "0" * 64, urls)
    monkeypatch.setitem(catalog.REMOTE, "cifar10", (file,))
    with pytest.raises(
        DownloadError, match=rf"(?s){urls[0]}: HTTP 404.*{urls[1]}: HTTP 404.*mirror"
    ):
        prepare({"name": "cifar10"}, tmp_path / "out", tmp_path / "downloads")


def test_file_that_was_put_there_by_hand(mnist: Path, tmp_path: Path) -> None:
    shutil.copytree(mnist, tmp_path / "downloads" / "mnist")
    sha256 = {name: file_sha256(mnist / name) for name in MNIST_FILES}
    # Nothing listens there.
    config = {"name": "mnist", "url": "http://127.0.0.1:9/", "sha256": sha256}
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    assert load_split(tmp_path / "out", "train")[0].shape == (60_000, 28, 28, 1)


def small_cifar100(mirror: Mirror, **members: object) -> dict[str, Any]:
    """A small archive in place of the mirror's; what `prepare` is to be told."""
    dataset = describe({"name": "cifar100"})
    batch = cifar_batch(np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.int64), b"fine_labels")
    content = {
        "meta": {b"fine_label_names": list(dataset.class_names)},
        "train": batch,
        "test": batch,
    }
    path = mirror.folder / "cifar-100-python.tar.gz"
    write_cifar(path, {f"cifar-100-python/{k}": v for k, v in (content | members).items()})
    return {"name": "cifar100", "url": mirror.url, "sha256": file_sha256(path)}


def test_mirror_with_other_classes(mirror: Mirror, tmp_path: Path) -> None:
    names = ["apple", *describe({"name": "cifar100"}).class_names[:0:-1]]
    config = small_cifar100(mirror, meta={b"fine_label_names": names})
    with pytest.raises(
        ValueError, match=r"has the classes apple, worm, .*; those of cifar100 are apple, aq"
    ):
        prepare(config, tmp_path / "out", tmp_path / "downloads")


def test_incomplete_mirror(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"cifar100 has 50000 train images, 500 of class 'apple'; what came has 1 and 1. A mirror has "
        "to hold the whole dataset; for a part of it, .*`dataset.name: arrays` or `imagefolder`",
    ):
        prepare(small_cifar100(mirror), tmp_path / "out", tmp_path / "downloads")
    assert not (tmp_path / "out").exists()


class Evil:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_hostile_pickle_in_an_archive_whose_checksum_matches(
    mirror: Mirror, tmp_path: Path
) -> None:
    config = small_cifar100(mirror, train=Evil(tmp_path / "was_here"))
    with pytest.raises(
        ValueError, match=r"cifar-100-python/train cannot be read: it asks for posix\.mkdir"
    ):
        prepare(config, tmp_path / "out", tmp_path / "downloads")
    assert not (tmp_path / "was_here").exists()
    assert not (tmp_path / "out").exists()


def test_pickle_is_not_opened_before_its_checksum_matched(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(archives, "read_cifar", lambda path, *rest: opened.append(path))
    config = small_cifar100(mirror) | {"sha256": "0" * 64}
    with pytest.raises(DownloadError, match="wrong checksum"):
        prepare(config, tmp_path / "out", tmp_path / "downloads")
    assert opened == []


def test_members_that_lead_elsewhere(mirror: Mirror, tmp_path: Path) -> None:
    config = small_cifar100(mirror, **{"../../evil": b"evil", "../train": b"evil"})
    with pytest.raises(ValueError, match="what came has 1 and 1"):
        prepare(config, tmp_path / "out", tmp_path / "downloads")
    assert [path.name for path in files_below(tmp_path / "downloads")] == [
        "cifar-100-python.tar.gz"
    ]
    assert not list(tmp_path.rglob("*evil*"))


def test_mnist_with_a_label_beyond_nine(mnist: Path, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    shutil.copytree(mnist, downloads / "mnist")
    labels = labels_of(describe({"name": "mnist"}), "train")
    labels[5] = 10
    write_idx(downloads / "mnist" / "train-labels-idx1-ubyte.gz", labels)
    sha256 = {name: file_sha256(downloads / "mnist" / name) for name in MNIST_FILES}
    with pytest.raises(ValueError, match="train labels of mnist go from 0 to 9, but 10 came"):
        prepare({"name": "mnist", "sha256": sha256}, tmp_path / "out", downloads)


# Data of one's own


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for number in range(12):
        split, name = ("train", "test")[number % 3 == 0], ("cat", "dog")[number // 6]
        pixels = np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        (root / split / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / split / name / f"{number:02}.png")
    return root


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("block_bytes", [1, 200, 2**20])
def test_image_folder(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, block_bytes: int
) -> None:
    monkeypatch.setattr(prepare_module, "BLOCK_BYTES", block_bytes)
    config = {"name": "imagefolder", "path": str(pets)}
    assert describe(config) == Dataset(
        "imagefolder", ("cat", "dog"), (6, 5, 3), {"train": (4, 4), "test": (2, 2)}
    )
    prepare(config, tmp_path / "out", tmp_path / "downloads", threads=threads)
    images, labels = load_split(tmp_path / "out", "train")
    np.testing.assert_array_equal(labels, [0, 0, 0, 0, 1, 1, 1, 1])
    for image, number in zip(images, (1, 2, 4, 5, 7, 8, 10, 11), strict=True):
        expected = np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        np.testing.assert_array_equal(image, expected)
    facts = json.loads((tmp_path / "out" / "dataset.json").read_text())
    np.testing.assert_allclose(facts["mean"], np.mean(images / 255, axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(facts["std"], np.std(images / 255, axis=(0, 1, 2)), rtol=1e-12)
    assert facts["source"] == {"path": str(pets)}


def test_image_folder_with_a_size(pets: Path, tmp_path: Path) -> None:
    config = {"name": "imagefolder", "path": str(pets), "image_size": 4}
    assert describe(config).image_shape == (4, 4, 3)
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    assert load_split(tmp_path / "out", "test")[0].shape == (4, 4, 4, 3)


def test_arrays(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (16, 6, 5), dtype=np.uint8)
    labels = np.arange(16) % 2
    path = tmp_path / "a.npz"
    np.savez(path, images=images, labels=labels)
    config = {"name": "arrays", "path": str(path)}
    assert describe(config) == Dataset(
        "arrays", ("0", "1"), (6, 5, 1), {"train": (6, 6), "test": (2, 2)}
    )
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    is_test = np.arange(16) % 8 >= 6
    for split, chosen in (("train", ~is_test), ("test", is_test)):
        found_images, found_labels = load_split(tmp_path / "out", split)
        np.testing.assert_array_equal(found_images[..., 0], images[chosen])
        np.testing.assert_array_equal(found_labels, labels[chosen])
    facts = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert facts["source"] == {"path": str(path), "sha256": file_sha256(path)}


# Whole or not at all


def test_failure_leaves_what_was_there(pets: Path, tmp_path: Path) -> None:
    config = {"name": "imagefolder", "path": str(pets)}
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    before = contents(tmp_path / "out")
    bad = pets / "test" / "dog" / "09.png"
    bad.write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"dog/09\.png cannot be read"):
        prepare(config, tmp_path / "out", tmp_path / "downloads")
    assert contents(tmp_path / "out") == before
    with pytest.raises(ValueError, match=r"dog/09\.png cannot be read"):
        prepare(config, tmp_path / "new", tmp_path / "downloads")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pets"]


def test_dataset_is_none_while_its_files_are_exchanged(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    shutil.copytree(digits, output)
    replace = os.replace
    order: list[str] = []

    def observed(source: Path, target: Path) -> None:
        assert not (output / "dataset.json").exists()
        order.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", observed)
    prepare({"name": "digits"}, output, tmp_path / "downloads")
    assert len(order) == 5
    assert order[-1] == "dataset.json"
    assert contents(output) == contents(digits)


def test_leftovers_of_a_killed_process_do_no_harm(digits: Path, tmp_path: Path) -> None:
    leftovers = tmp_path / ".out.partial"
    leftovers.mkdir()
    (leftovers / "train_images.npy").write_bytes(bytes(10**6))
    (leftovers / "lock").touch()
    prepare({"name": "digits"}, tmp_path / "out", tmp_path / "downloads")
    assert contents(tmp_path / "out") == contents(digits)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_processes_at_one_output(tmp_path: Path) -> None:
    config = {"name": "digits"}
    with prepare_module._staging(tmp_path / "out") as staging:
        with pytest.raises(UserError, match=r"another process is preparing .*out"):
            prepare(config, tmp_path / "out", tmp_path / "downloads")
        assert staging.is_dir()
    prepare(config, tmp_path / "out", tmp_path / "downloads")


def test_too_little_space_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1797 * 64 - 1)
    monkeypatch.setattr("manifold_capacity.files.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(
        OSError, match=r"\] the dataset digits needs 0\.1 MB, but only 0\.1 MB are free"
    ):
        prepare({"name": "digits"}, tmp_path / "out", tmp_path / "downloads")
    assert list(tmp_path.iterdir()) == []


def test_disk_that_fills_up(tmp_path: Path) -> None:
    staging = tmp_path / ".out.partial"
    staging.mkdir()
    (staging / "train_images.npy").symlink_to("/dev/full")  # a device that is always full
    with pytest.raises(
        OSError, match=r"out could not be written: No space left on device; make room"
    ):
        prepare({"name": "digits"}, tmp_path / "out", tmp_path / "downloads")
    assert list(tmp_path.iterdir()) == []


# Reading


def test_images_are_mapped_and_read_only(digits: Path) -> None:
    images, _ = load_split(digits, "train")
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_other_split(digits: Path) -> None:
    with pytest.raises(ValueError, match="split 'validation' is neither 'train' nor 'test'"):
        load_split(digits, "validation")


def test_incomplete_folders(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere holds no complete dataset .*prepare it anew"):
        load_split(tmp_path / "nowhere", "train")
    for name in ("dataset.json", "train_images.npy", "train_labels.npy"):
        folder = tmp_path / name
        shutil.copytree(digits, folder)
        (folder / name).write_bytes((digits / name).read_bytes()[:-100])
        with pytest.raises(ValueError, match=r"no complete dataset .*prepare it anew"):
            load_split(folder, "train")
        (folder / name).unlink()
        with pytest.raises(ValueError, match=r"no complete dataset .*prepare it anew"):
            load_split(folder, "train")


def test_files_that_do_not_belong_together(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits, tmp_path / "mixed")
    shutil.copy(digits / "test_labels.npy", tmp_path / "mixed" / "train_labels.npy")
    with pytest.raises(
        ValueError, match=r"mixed holds 1352 train images and 445 labels, .*says 1352"
    ):
        load_split(tmp_path / "mixed", "train")


# Sampling

LABELS = np.random.default_rng(3).permutation(np.repeat(np.arange(5), [60, 50, 55, 70, 40]))


def draw(classes: list[int], points: int, seed: int = 0, split: str = "train") -> NDArray[np.int64]:
    return sample_manifolds(LABELS, classes, points, seed, split)


def test_sample_is_of_the_classes_asked_for_without_repetition() -> None:
    sample = draw([3, 0, 4], 40)
    assert sample.shape == (3, 40)
    assert sample.dtype == np.int64
    np.testing.assert_array_equal(LABELS[sample], np.repeat([[3], [0], [4]], 40, axis=1))
    assert len(np.unique(sample)) == 120


def test_sample_of_a_whole_class_is_the_class() -> None:
    np.testing.assert_array_equal(np.sort(draw([4], 40)[0]), np.flatnonzero(LABELS == 4))


def test_same_seed_same_sample_other_seed_or_split_another() -> None:
    sample = draw([0, 1], 20)
    np.testing.assert_array_equal(draw([0, 1], 20), sample)
    assert (draw([0, 1], 20, seed=1) != sample).any(axis=1).all()
    assert (draw([0, 1], 20, split="test") != sample).any(axis=1).all()


def test_fewer_points_are_the_first_of_more() -> None:
    np.testing.assert_array_equal(draw([2, 1], 7), draw([2, 1], 50)[:, :7])


def test_sample_of_a_class_does_not_depend_on_the_others() -> None:
    np.testing.assert_array_equal(draw([2], 10)[0], draw([4, 2, 0], 10)[1])


def test_every_image_is_drawn_as_often_as_any_other() -> None:
    """Of 40 images 20 are drawn; over 400 seeds each 200 times, give or take 10 (one sigma)."""
    times = np.bincount(np.concatenate([draw([4], 20, seed)[0] for seed in range(400)]))
    times = times[LABELS[: len(times)] == 4]
    assert len(times) == 40
    assert abs(times - 200).max() < 50


@pytest.mark.parametrize(
    ("classes", "points", "message"),
    [
        (
            [0, 4],
            41,
            r"manifolds\.points_per_class: 41, but class 4 has 40 train images; use at most so",
        ),
        ([7], 1, r"points_per_class: 1, but class 7 has 0 train images"),
        ([-1], 1, r"class -1 has 0 train images"),
        ([0], 0, r"manifolds\.points_per_class: 0; at least 1"),
        ([0, 1, 0], 2, r"classes \[0, 1, 0\]: each may be given once"),
    ],
)
def test_samples_that_cannot_be(classes: list[int], points: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(classes, points)


def test_sample_of_another_split() -> None:
    with pytest.raises(ValueError, match="neither 'train' nor 'test'"):
        draw([0], 1, split="validation")
