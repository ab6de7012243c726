"""Datasets from their sources to arrays on disk; small versions of the published ones come from loopback."""

import dataclasses
import gzip
import hashlib
import io
import json
import pickle
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image

from manifold_capacity.datasets import archives, catalog
from manifold_capacity.datasets import prepare as prepare_module
from manifold_capacity.datasets.catalog import NAMED, SPLITS, CifarArchive, Dataset, needs_network
from manifold_capacity.datasets.download import DownloadError
from manifold_capacity.datasets.prepare import describe, prepare
from manifold_capacity.datasets.sampling import load_split
from manifold_capacity.errors import UserError
from manifold_capacity.files import file_sha256

DOWNLOADED = [name for name in NAMED if needs_network(name)]
IDX_FILES = [file for pair in NAMED["mnist"].source.files.values() for file in pair]
PICKLES = "cifar-100-python.tar.gz"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def files_below(folder):
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def facts_of(folder):
    return json.loads((folder / "dataset.json").read_text())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "cifar1000"}, r"name: 'cifar1000' is not supported; .*nearest: cifar100$"),
        ({"name": "zzz"}, r"dataset\.name: 'zzz' is not supported; use one of digits, .*arrays$"),
        ({"name": "digits", "url": "http://a/"}, r"url: .* not apply to digits, only to mnist, f"),
        ({"name": "mnist", "path": "x"}, r"path: .*not apply to mnist, only to imagefolder, arr"),
        ({"name": "mnist", "image_size": 32}, r"image_size: 32 .*only to imagefolder; remove it"),
        ({"name": "arrays", "sha256": "0" * 64}, r"dataset\.sha256: .* does not apply to arrays"),
        ({"name": "imagefolder"}, r"path: null, but imagefolder needs the path of your image fol"),
        ({"name": "arrays"}, r"path: null, but arrays needs the path of your \.npz file"),
        ({"name": "arrays", "path": "a.npz"}, r"dataset\.path: there is no file .*a\.npz"),
        ({"name": "cifar10", "url": "/data"}, r"url: '/data' does not begin with http"),
        ({"name": "mnist", "url": "http://a/t.gz"}, "is one file, but mnist has 4"),
        ({"name": "mnist", "sha256": "0" * 64}, r"sha256: one checksum, but mnist has 4 files"),
        ({"name": "mnist", "sha256": {"a": "0" * 64}}, r"dataset\.sha256: mnist has no file 'a'"),
        ({"name": "cifar10", "sha256": "0" * 32}, r"sha256: '0+' for cifar-10.* is not a SHA"),
    ],
)
def test_configurations_that_cannot_be_used(config, message):
    with pytest.raises(UserError, match=message):
        describe(config)


def test_split_of_the_digits_is_fixed(digits):
    for split, expected in (
        ("train", "c9674c41eb159cf640e5481d0d3a0a8d05f210ad5173aa9881b897a0a9986d1b"),
        ("test", "9dfe92d3177798af8f7a72e44233d9e6b7dae8f4ad735b73203f0d95e511a34b"),
    ):
        images, labels = load_split(digits, split)
        assert images.shape == (len(labels), 8, 8, 1)
        assert hashlib.sha256(images[:].tobytes() + labels.tobytes()).hexdigest() == expected


def test_facts_beside_the_arrays(digits):
    facts = facts_of(digits)
    images = load_split(digits, "train")[0][:]
    described = dataclasses.asdict(NAMED["digits"])
    for key, value in {
        "format_version": 1,
        "image_shape": described["sample_shape"],
        **{key: described[key] for key in ("name", "class_names", "counts")},
    }.items():
        assert facts[key] == json.loads(json.dumps(value))
    np.testing.assert_allclose(facts["mean"], [np.mean(images / 255)], rtol=1e-12)
    np.testing.assert_allclose(facts["std"], [np.std(images / 255)], rtol=1e-12)
    assert facts["source"] == {"bundled_with": "scikit-learn"}
    arrays = sorted(path for path in digits.iterdir() if path.suffix == ".npy")
    files = [path for path in digits.iterdir() if path.name != "dataset.json"]
    assert facts["files"] == {path.name: file_sha256(path) for path in files}
    # As the docs say: sha256sum *.npy | sha256sum
    lines = "".join(f"{file_sha256(path)}  {path.name}\n" for path in arrays)
    assert facts["digest"] == hashlib.sha256(lines.encode()).hexdigest()


def test_prepared_twice_is_the_same_to_the_byte(digits, tmp_path):
    for _ in range(2):
        prepare({"name": "digits"}, tmp_path / "again", tmp_path / "downloads")
        assert contents(tmp_path / "again") == contents(digits)


# Downloads


@pytest.fixture
def small(monkeypatch):
    """Names of the published datasets; each has a few images per class, read in blocks of a few."""
    monkeypatch.setattr(prepare_module, "BLOCK_BYTES", 20_000)
    for name in DOWNLOADED:
        n_classes = len(NAMED[name].class_names)
        counts = {"train": (5, 4) * (n_classes // 2), "test": (1, 2) * (n_classes // 2)}
        dataset = dataclasses.replace(NAMED[name], counts=counts)
        monkeypatch.setitem(catalog.NAMED, name, dataset)


def split_of(dataset, split):
    """Random images and shuffled labels, as many of each class as there have to be."""
    labels = np.repeat(np.arange(len(dataset.class_names)), dataset.counts[split])
    rng = np.random.default_rng(SPLITS.index(split))
    shape = (len(labels), *dataset.sample_shape)
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.permutation(labels)


def tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            pickled = pickle.dumps(content, protocol=4)
            member = tarfile.TarInfo(name)
            member.size = len(pickled)
            archive.addfile(member, io.BytesIO(pickled))
    return buffer.getvalue()


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), compresslevel=1)


def packed(name, **members):
    """The files of a small dataset in its published format; `train=value` replaces a member."""
    dataset, source = NAMED[name], NAMED[name].source
    if not isinstance(source, CifarArchive):
        files = {}
        for split, (images_name, labels_name) in source.files.items():
            images, labels = split_of(dataset, split)
            files |= {images_name: idx(images[..., 0]), labels_name: idx(labels)}
        return files
    content = {}
    for split, of_split in source.members.items():
        parts = [np.array_split(part, len(of_split)) for part in split_of(dataset, split)]
        for member, images, labels in zip(of_split, *parts, strict=True):
            data = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)
            content[member] = {source.labels.encode(): labels.tolist(), b"data": data}
    content[source.meta] = {source.class_names.encode(): list(dataset.class_names)}
    folder = source.meta.partition("/")[0]
    content |= {f"{folder}/{member}": value for member, value in members.items()}
    return {next(iter(source.sha256)): tar(dict(reversed(content.items())))}


@pytest.fixture
def mirror(small, server):
    """A function that has a server serve a dataset's files; it returns the configuration."""

    def serve(name, **members):
        server.files |= packed(name, **members)
        sha256 = {
            file: hashlib.sha256(server.files[file]).hexdigest()
            for file in NAMED[name].source.sha256
        }
        return {"name": name, "url": server.url, "sha256": sha256}

    return serve


@pytest.mark.parametrize("name", DOWNLOADED)
def test_published_dataset(server, mirror, tmp_path, name):
    config = mirror(name)
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    for split in SPLITS:
        images, labels = load_split(tmp_path / "out", split)
        expected_images, expected_labels = split_of(NAMED[name], split)
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)
    facts = facts_of(tmp_path / "out")
    assert facts["class_names"] == list(NAMED[name].class_names)
    assert facts["source"]["files"] == {
        file: {"urls": [server.url + file], "sha256": sha256}
        for file, sha256 in config["sha256"].items()
    }
    assert sorted(server.requested) == sorted(config["sha256"])
    assert set(files_below(tmp_path / "downloads")) == {f"{name}/{f}" for f in config["sha256"]}


def test_file_of_another_name_gets_the_official_one(server, mirror, tmp_path):
    config = mirror("cifar100")
    server.files["packed.tgz"] = server.files.pop(PICKLES)
    config |= {"url": server.url + "packed.tgz", "sha256": config["sha256"][PICKLES]}
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    assert server.requested == ["packed.tgz"]
    assert files_below(tmp_path / "downloads") == [f"cifar100/{PICKLES}"]


def test_only_missing_files_are_downloaded(server, mirror, tmp_path):
    config = mirror("mnist")
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    (tmp_path / "downloads" / "mnist" / IDX_FILES[1]).unlink()
    server.requested.clear()
    prepare(config, tmp_path / "again", tmp_path / "downloads")
    assert server.requested == [IDX_FILES[1]]
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_mirror_without_a_checksum_must_have_the_official_file(server, tmp_path):
    server.files["cifar-10-python.tar.gz"] = b"another file"
    with pytest.raises(DownloadError) as caught:
        prepare({"name": "cifar10", "url": server.url}, tmp_path / "out", tmp_path / "downloads")
    for part in (
        server.url + "cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        hashlib.sha256(b"another file").hexdigest(),
        "12 bytes",
        "dataset.url",
        "dataset.sha256",
        str(tmp_path / "downloads" / "cifar10" / "cifar-10-python.tar.gz"),
    ):
        assert part in str(caught.value)
    assert files_below(tmp_path) == []


def test_official_addresses_are_tried_in_turn(server, mirror, tmp_path, monkeypatch):
    config = mirror("mnist")
    server.files["wrong/" + IDX_FILES[0]] = b"<html>This page has moved</html>"
    folders = ("gone/", "wrong/", "")
    source = dataclasses.replace(
        NAMED["mnist"].source,
        folders=tuple(server.url + folder for folder in folders),
        sha256=config["sha256"],
    )
    mnist = dataclasses.replace(NAMED["mnist"], source=source)
    monkeypatch.setitem(catalog.NAMED, "mnist", mnist)
    prepare({"name": "mnist"}, tmp_path / "out", tmp_path / "downloads")
    assert len(load_split(tmp_path / "out", "train")[0]) == 45
    assert server.requested == [folder + name for name in IDX_FILES for folder in folders]
    server.files.clear()
    messages = ".*".join(f"{url}{IDX_FILES[0]}: HTTP 404" for url in source.folders)
    with pytest.raises(DownloadError, match=rf"(?s){messages}.*mirror"):
        prepare({"name": "mnist"}, tmp_path / "out", tmp_path / "new")
    assert files_below(tmp_path / "new") == []


def test_incomplete_mirror(mirror, tmp_path):
    batch = {b"fine_labels": [0] * 5, b"data": np.zeros((5, 3072), np.uint8)}
    with pytest.raises(
        UserError,
        match=r"cifar100 has 450 train images, 4 of them of class 'aquarium_fish'; the files have 5 and 0\. "
        "A mirror must hold the whole dataset; for a part of it, .*`dataset.name: arrays` or `imagefolder`",
    ):
        prepare(mirror("cifar100", train=batch), tmp_path / "out", tmp_path / "downloads")
    assert not (tmp_path / "out").exists()


def test_label_beyond_the_last_class(server, mirror, tmp_path):
    config = mirror("mnist")
    labels = split_of(NAMED["mnist"], "train")[1]
    labels[5] = 10
    server.files[IDX_FILES[1]] = idx(labels)
    config["sha256"][IDX_FILES[1]] = hashlib.sha256(server.files[IDX_FILES[1]]).hexdigest()
    with pytest.raises(UserError, match="train labels of mnist must be from 0 to 9, but one is 10"):
        prepare(config, tmp_path / "out", tmp_path / "downloads")


def test_pickle_is_not_opened_before_its_checksum_matched(mirror, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(archives, "_read_pickles", lambda path, names: opened.append(path) or {})
    config = mirror("cifar100")
    with pytest.raises(DownloadError, match="wrong checksum"):
        prepare(config | {"sha256": "0" * 64}, tmp_path / "out", tmp_path / "downloads")
    assert opened == []
    with pytest.raises(KeyError):  # the same with the right one comes as far
        prepare(config, tmp_path / "out", tmp_path / "downloads")
    assert len(opened) == 1


# Your images


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "pets"
    for number in range(12):
        split, name = ("train", "test")[number % 3 == 0], ("cat", "dog")[number // 6]
        pixels = np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        (root / split / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / split / name / f"{number:02}.png")
    return root


@pytest.mark.parametrize(("threads", "block_bytes"), [(1, 1), (3, 200), (3, 2**20)])
def test_image_folder(pets, tmp_path, monkeypatch, threads, block_bytes):
    monkeypatch.setattr(prepare_module, "BLOCK_BYTES", block_bytes)
    config = {"name": "imagefolder", "path": str(pets)}
    counts = {"train": (4, 4), "test": (2, 2)}
    assert describe(config) == Dataset("imagefolder", ("cat", "dog"), (6, 5, 3), counts)
    prepare(config, tmp_path / "out", tmp_path / "downloads", threads=threads)
    images, labels = load_split(tmp_path / "out", "train")
    images = images[:]
    np.testing.assert_array_equal(labels, [0, 0, 0, 0, 1, 1, 1, 1])
    for image, number in zip(images, (1, 2, 4, 5, 7, 8, 10, 11), strict=True):
        expected = np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        np.testing.assert_array_equal(image, expected)
    facts = facts_of(tmp_path / "out")
    np.testing.assert_allclose(facts["mean"], np.mean(images / 255, axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(facts["std"], np.std(images / 255, axis=(0, 1, 2)), rtol=1e-12)
    assert facts["source"] == {"path": str(pets)}


def test_array_file(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (16, 6, 5), dtype=np.uint8)
    labels = np.arange(16) % 2
    path = tmp_path / "a.npz"
    np.savez(path, images=images, labels=labels)
    config = {"name": "arrays", "path": str(path)}
    counts = {"train": (6, 6), "test": (2, 2)}
    assert describe(config) == Dataset("arrays", ("0", "1"), (6, 5, 1), counts)
    prepare(config, tmp_path / "out", tmp_path / "downloads")
    found_images, found_labels = load_split(tmp_path / "out", "test")
    np.testing.assert_array_equal(found_images[:][..., 0], images[[6, 7, 14, 15]])
    np.testing.assert_array_equal(found_labels, [0, 1, 0, 1])
    assert facts_of(tmp_path / "out")["source"] == {"path": str(path), "sha256": file_sha256(path)}
