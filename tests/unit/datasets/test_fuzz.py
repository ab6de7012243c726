"""Damaged files of images are read as what they were, or as other good images, or are a UserError."""

import gzip
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from manifold_capacity.datasets.archives import read_cifar, read_idx
from manifold_capacity.datasets.array_file import ArrayFile
from manifold_capacity.datasets.catalog import CifarArchive, NamedDataset
from manifold_capacity.datasets.image_folder import ImageFolder
from manifold_capacity.datasets.prepare import prepare
from manifold_capacity.errors import UserError

# Libraries warn of odd files, which a job's log shows; here, only what comes out counts.
pytestmark = pytest.mark.filterwarnings("ignore")
fuzz = settings(settings.get_profile("fuzz"))

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (16, 4, 5, 3), dtype=np.uint8)
LABELS = np.array([0, 1] * 8)
DATA = PIXELS.transpose(0, 3, 1, 2).reshape(16, 60)


def outcome(read):
    """What `read` returns, or None for a UserError of one line."""
    try:
        return read()
    except UserError as error:
        message = str(error)
    assert message.isprintable(), message
    assert len(message) < 1000, message
    return None


def concatenated(splits):
    return {
        split: (labels, np.concatenate(list(blocks))) for split, (labels, blocks) in splits.items()
    }


def assert_good(splits, sample_shape=(4, 5, 3)):
    for labels, images in splits.values():
        assert labels.dtype == np.int64
        assert set(labels.tolist()) <= {0, 1}
        assert images.dtype == np.uint8
        assert images.shape == (len(labels), *sample_shape)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for split, (labels, images) in expected.items():
        np.testing.assert_array_equal(found[split][0], labels)
        np.testing.assert_array_equal(found[split][1], images)


IDX = bytes([0, 0, 8, 3, 0, 0, 0, 16, 0, 0, 0, 20, 0, 0, 0, 3]) + PIXELS.tobytes()


@fuzz
@given(data=st.data(), repacked=st.booleans())
def test_idx_files(tmp_path, damaged, data, repacked):
    path = tmp_path / "images.gz"
    if repacked:
        path.write_bytes(gzip.compress(data.draw(damaged(IDX)), 1, mtime=0))
    else:
        path.write_bytes(data.draw(damaged(gzip.compress(IDX, 1, mtime=0))))
    images = outcome(lambda: np.concatenate(list(read_idx(path, (16, 20, 3), 5))))
    if images is not None:
        assert images.dtype == np.uint8
        assert images.shape == (16, 20, 3)
        assert repacked or images.tobytes() == PIXELS.tobytes()


CIFAR = NamedDataset(
    name="cifar",
    class_names=("apple", "bear"),
    sample_shape=(4, 5, 3),
    counts={"train": (4, 4), "test": (4, 4)},
    source=CifarArchive(
        folders=(),
        sha256={},
        megabytes=1,
        members={"train": ("train",), "test": ("test",)},
        labels="labels",
        meta="meta",
        class_names="names",
    ),
)
MEMBERS = {
    "meta": pickle.dumps({b"names": [b"apple", b"bear"]}, protocol=2),
    "train": pickle.dumps({"data": DATA[:8], "labels": LABELS[:8].tolist()}, protocol=2),
    "test": pickle.dumps({b"data": DATA[8:], b"labels": LABELS[8:].tolist()}, protocol=4),
}


def tar(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@fuzz
@given(data=st.data(), level=st.sampled_from(["archive", "tar", *MEMBERS]))
def test_cifar_archives(tmp_path, damaged, data, level):
    members = dict(MEMBERS)
    if level in members:
        members[level] = data.draw(damaged(members[level]))
    archive = tar(members)
    if level == "tar":
        archive = data.draw(damaged(archive))
    content = gzip.compress(archive, 1, mtime=0)
    if level == "archive":
        content = data.draw(damaged(content))
    path = tmp_path / "cifar.tar.gz"
    path.write_bytes(content)
    splits = outcome(lambda: concatenated(read_cifar(path, CIFAR, CIFAR.source, 5)))
    if splits is not None:
        assert_good(splits)
        if level == "archive":
            images = {"train": (LABELS[:8], PIXELS[:8]), "test": (LABELS[8:], PIXELS[8:])}
            assert_same(splits, images)


def encoded(format, **options):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(buffer, format, **options)
    return buffer.getvalue()


PICTURES = {
    "png": encoded("PNG"),
    "jpg": encoded("JPEG"),
    "bmp": encoded("BMP"),
    "ppm": encoded("PPM"),
    "webp": encoded("WEBP"),
    "tiff": encoded("TIFF", compression="tiff_lzw"),
}


@fuzz
@given(data=st.data(), suffix=st.sampled_from([*PICTURES]), size=st.sampled_from([None, 1, 7]))
def test_image_folders(tmp_path, damaged, data, suffix, size):
    content = data.draw(damaged(PICTURES[suffix]))
    for split in ("train", "test"):
        folder = tmp_path / split / "cat"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        (folder / f"0.{suffix}").write_bytes(content if split == "train" else PICTURES[suffix])
    images = outcome(lambda: ImageFolder(tmp_path, size))
    if images is None:
        return
    splits = outcome(lambda: concatenated(images.splits(5, 1)))
    if splits is not None:
        assert_good(splits, images.sample_shape)


def npz(compressed):
    file = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(file, images=PIXELS, labels=LABELS, class_names=np.array(["cat", "dog"]))
    return file.getvalue()


@fuzz
@given(data=st.data(), compressed=st.booleans())
def test_array_files(tmp_path, damaged, data, compressed):
    path = tmp_path / "images.npz"
    path.write_bytes(npz(compressed))
    expected = concatenated(ArrayFile(path).splits(5))
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    found = outcome(lambda: concatenated(ArrayFile(path).splits(5)))
    if found is not None:
        assert_same(found, expected)


@fuzz
@given(data=st.data(), key=st.sampled_from(["images", "labels", "class_names"]))
def test_array_files_written_with_other_content(tmp_path, damaged, data, key):
    """The checksums are those of the damaged arrays; whatever is read can be prepared."""
    path = tmp_path / "images.npz"
    with (
        zipfile.ZipFile(io.BytesIO(npz(False))) as good,
        zipfile.ZipFile(path, "w") as archive,
    ):
        for name in good.namelist():
            content = good.read(name)
            if name == f"{key}.npy":
                # Mostly in the header, which is what matters
                content = data.draw(damaged(content[:140])) + content[140:]
            archive.writestr(name, content)
    config = {"name": "arrays", "path": str(path)}

    def read():
        prepare(config, tmp_path / "prepared", tmp_path)
        return concatenated(ArrayFile(path).splits(5))

    splits = outcome(read)
    if splits is not None:
        assert_good(splits, splits["train"][1].shape[1:])
