"""Array files, good and bad."""

import io
import logging
import math
import tracemalloc
import zipfile

import numpy as np
import pytest

from manifold_capacity.datasets.array_file import ArrayFile
from manifold_capacity.datasets.sampling import every_fourth
from manifold_capacity.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 4, 5, 3), dtype=np.uint8)
LABELS = np.array([0, 1] * 8)
SPLIT = {
    "train_images": IMAGES[:10],
    "train_labels": LABELS[:10],
    "test_images": IMAGES[10:],
    "test_labels": LABELS[10:],
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.npz"


def save(path, images=IMAGES, labels=LABELS):
    np.savez_compressed(path, images=images, labels=labels)
    return ArrayFile(path)


def read(arrays, split, block_length=10):
    """Labels and all images of a split."""
    labels, blocks = arrays.splits(block_length)[split]
    return labels, np.concatenate(list(blocks))


@pytest.mark.parametrize("block_length", [1, 3, 10, 1000])
def test_arrays_with_splits(path, block_length):
    np.savez_compressed(path, **SPLIT, class_names=np.array(["cat", "dog"]))
    arrays = ArrayFile(path)
    assert arrays.class_names == ("cat", "dog")
    assert arrays.sample_shape == (4, 5, 3)
    assert arrays.counts == {"train": (5, 5), "test": (3, 3)}
    for split in ("train", "test"):
        labels, images = read(arrays, split, block_length)
        np.testing.assert_array_equal(labels, SPLIT[f"{split}_labels"])
        np.testing.assert_array_equal(images, SPLIT[f"{split}_images"])
        assert labels.dtype == np.int64
        assert images.dtype == np.uint8


@pytest.mark.parametrize("block_length", [1, 3, 1000])
def test_without_splits_every_fourth_image_of_a_class_is_a_test_image(path, block_length):
    labels = np.array([0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0, 1, 0], dtype=np.uint8)
    arrays = save(path, labels=labels)
    assert arrays.class_names == ("0", "1")
    # Class 0 is at 0 1 3 [6] 7 9 13 [15], class 1 at 2 4 5 [8] 10 11 12 [14].
    is_test = np.isin(np.arange(16), [6, 15, 8, 14])
    np.testing.assert_array_equal(every_fourth(labels.astype(np.int64)), is_test)
    assert arrays.counts == {"train": (6, 6), "test": (2, 2)}
    for split, chosen in (("train", ~is_test), ("test", is_test)):
        found_labels, images = read(arrays, split, block_length)
        np.testing.assert_array_equal(found_labels, labels[chosen])
        np.testing.assert_array_equal(images, IMAGES[chosen])


def test_gray_arrays_have_one_channel(path):
    arrays = save(path, IMAGES[..., 0])
    assert arrays.sample_shape == (4, 5, 1)
    _, images = read(arrays, "test", 3)
    np.testing.assert_array_equal(images[..., 0], IMAGES[every_fourth(LABELS)][..., 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floating_point_images_of_256_levels_are_exact(path, dtype, caplog):
    _, found = read(save(path, (IMAGES / 255).astype(dtype)), "train", 3)
    np.testing.assert_array_equal(found, IMAGES[~every_fourth(LABELS)])
    assert caplog.messages == []


def test_rounding_of_floating_point_images_is_said_once(path, caplog):
    caplog.set_level(logging.WARNING)
    images = np.full((16, 4, 5), 0.5, dtype=np.float32)
    images[:, 0, 0] = 100.4 / 255
    _, found = read(save(path, images), "train", 1)
    assert set(np.unique(found).tolist()) == {100, 128}
    assert [message.split(": ")[1] for message in caplog.messages] == [
        "images are rounded to the nearest of 256 levels"
    ]


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, np.nan, np.inf])
def test_floating_point_images_beyond_one(path, value):
    images = np.zeros((16, 4, 5), dtype=np.float32)
    images[3, 2, 1] = value
    with pytest.raises(UserError, match=r"a\.npz has images from .* must be in \[0, 1\]"):
        read(save(path, images), "train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_labels": None}, "holds test_images, train_images, train_labels; it must hold"),
        ({"x_train": IMAGES}, "it must hold test_images, .* or images, labels"),
        ({"images": IMAGES}, "it must hold"),
        ({"train_images": IMAGES[:9]}, "has 9 train_images, but 10 train_labels"),
        ({"train_images": IMAGES[:10].astype(np.int16)}, "train_images of type int16 and shape"),
        ({"train_images": IMAGES[:10] > 9}, "train_images of type bool"),
        ({"train_images": IMAGES[:10].astype("S1")}, "train_images of type"),
        ({"train_images": IMAGES[:10].transpose(0, 3, 1, 2)}, r"\(10, 3, 4, 5\); they must be"),
        ({"train_images": IMAGES[:10].reshape(10, -1)}, r"shape \(10, 60\)"),
        ({"train_images": IMAGES[:10, :0]}, r"shape \(10, 0, 5, 3\)"),
        ({"train_images": IMAGES[:10, :, :, :2]}, "1 or 3 channels"),
        ({"test_images": IMAGES[10:, :3]}, r"_images of \(4, 5, 3\), but test_images of \(3, 5, 3"),
        ({"train_images": np.asfortranarray(IMAGES[:10])}, r"images .*numpy\.ascontiguousarray"),
        ({"train_images": np.array([{}] * 10)}, "train_images .*Python objects"),
        ({"train_labels": np.array([{}] * 10)}, "train_labels .*Python objects"),
        ({"train_labels": LABELS[:10] / 1}, "train_labels of type float64"),
        ({"train_labels": LABELS[:10, np.newaxis]}, r"labels of type int64 and shape \(10, 1\)"),
        ({"train_labels": LABELS[:0], "train_images": IMAGES[:0]}, r"shape \(0,\)"),
        ({"train_labels": LABELS[:10] - 1}, "train_labels from -1 to 0; they must count from 0"),
        ({"train_labels": LABELS[:10] * 10}, "train_labels from 0 to 10; they must count from 0"),
        ({"train_labels": LABELS[:10] * 2}, "has no train images of class '1'"),
        ({"test_labels": LABELS[10:] * 0}, "has no test images of class '1'"),
        ({"class_names": np.array(["cat"])}, r"names .* for labels from 0 to 1 .*shape \(2,\)"),
        ({"class_names": np.array([1, 2])}, "class_names of type int64"),
        ({"class_names": np.array(["cat", "cat"])}, "the same class name twice"),
        ({"class_names": np.array(["cat", None])}, "class_names .*Python objects"),
        (
            {"class_names": np.array(["cat", "\ud800"])},
            "class_names that are not Unicode: .*surrogates",
        ),
        (
            {"class_names": np.array([1, 2**24], "u4").view("U1")},
            "class_names that are not Unicode: ",
        ),
    ],
)
def test_arrays_that_are_not_as_they_must_be(path, changes, message):
    arrays = {key: value for key, value in (SPLIT | changes).items() if value is not None}
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=rf"dataset\.path: .*a\.npz .*{message}"):
        ArrayFile(path)


def test_class_too_small_to_be_split(path):
    with pytest.raises(UserError, match=r"no test images of class '1': every fourth"):
        save(path, labels=np.array([0] * 13 + [1] * 3))


def test_no_file_and_other_files(path):
    with pytest.raises(UserError, match=r"dataset\.path: there is no file .*a\.npz"):
        ArrayFile(path)
    save(path)
    for content in (b"", b"plain text", path.read_bytes()[:-200]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.npz is not an \.npz file"):
            ArrayFile(path)


def test_damage_in_the_pixels_is_found(path):
    np.savez(path, images=IMAGES, labels=LABELS)
    content = bytearray(path.read_bytes())
    content[content.index(IMAGES[7].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz has an array images that cannot be read: .*CRC"):
        read(ArrayFile(path), "train", 4)


@pytest.mark.parametrize("key", ["labels", "class_names"])
def test_damage_in_what_is_read_first_is_found(path, key):
    names = np.array(["cat", "dog"])
    np.savez(path, images=IMAGES, labels=LABELS, class_names=names)
    content = bytearray(path.read_bytes())
    content[content.index({"labels": LABELS, "class_names": names}[key].tobytes()) + 8] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"an array {key} that cannot be read: .*CRC"):
        ArrayFile(path)


def write_zeros(path, **headers):
    """Write an .npz that is small, but unpacks to arrays of zeros of these shapes and types."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, (shape, dtype) in headers.items():
            n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
            with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                header = {"descr": dtype, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for begin in range(0, n_bytes, 10**6):
                    file.write(bytes(min(10**6, n_bytes - begin)))


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {"images": ((10, 1, 1), "|u1"), "labels": ((25_000_000,), "|u1")},
            "has 10 images, but 25000000 labels",
        ),
        (
            {"images": ((25_000_000, 1, 1), "|u1"), "labels": ((25_000_000,), "|u1")},
            "25,000,000 images; at most 20,000,000 can be read",
        ),
        (
            {"images": ((1, 5000, 5000), "|u1"), "labels": ((1,), "|u1")},
            "images of at most 16,777,216 pixels",
        ),
        (
            {
                "images": ((1, 1000, 1000), "|u1"),
                "labels": ((1,), "|u1"),
                "class_names": ((1,), "<U50000000"),
            },
            r"class_names of 200\.0 MB; at most 160\.0 MB",
        ),
    ],
    ids=["labels", "labels and images", "image", "names"],
)
def test_small_files_that_unpack_to_much(path, headers, message):
    write_zeros(path, **headers)
    assert path.stat().st_size < 250_000
    tracemalloc.start()
    with pytest.raises(UserError, match=rf"a\.npz .*{message}"):
        ArrayFile(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**7


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_compression(path, method):
    save(path)
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    with pytest.raises(UserError, match=r"images .* in another way than numpy\.savez_compressed"):
        ArrayFile(path)


def with_header(content, shape):
    """The bytes of an .npy file with another shape in its header."""
    file = io.BytesIO()
    start = io.BytesIO(content)
    np.lib.format.read_magic(start)
    _, order, dtype = np.lib.format.read_array_header_1_0(start)
    header = {"descr": dtype.str, "fortran_order": order, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + start.read()


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        (
            "images",
            lambda content: content[:-1],
            r"images .* has 959 bytes, but its shape \(16, 4, 5, 3\) needs 960",
        ),
        ("images", lambda content: content + b"x", "has 961 bytes, but"),
        ("labels", lambda content: b"", "an array labels that cannot be read"),
        ("labels", lambda content: b"plain text", "an array labels that cannot be read"),
        ("labels", lambda content: content[:20], "an array labels that cannot be read"),
        ("labels", lambda content: with_header(content, (-16,)), r"gives the shape \(-16,\)"),
        ("images", lambda content: with_header(content, (-16, -4, 5, 3)), "gives the shape"),
        ("images", lambda content: with_header(content, (10**12, 4, 5, 3)), "has 960 bytes, but"),
        ("labels", lambda content: content[:6] + b"\x09\x00" + content[8:], "cannot be read"),
        (
            "labels",
            lambda content: content[:-1],
            r"labels .* 127 bytes, but its shape \(16,\) needs 128",
        ),
    ],
    ids=[
        "short",
        "long",
        "empty",
        "text",
        "truncated header",
        "negative",
        "negative twice",
        "huge",
        "version",
        "short labels",
    ],
)
def test_members_that_are_not_the_arrays_they_say(path, key, change, message):
    save(path)
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[f"{key}.npy"] = change(members[f"{key}.npy"])
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    with pytest.raises(UserError, match=rf"a\.npz .*{message}"):
        ArrayFile(path)


def test_memory_does_not_grow_with_the_number_of_images(path):
    images = np.random.default_rng(0).integers(0, 256, (200, 64, 64, 3), dtype=np.uint8)
    np.savez(path, images=images, labels=np.zeros(200, dtype=np.int64))
    _, blocks = ArrayFile(path).splits(10)["train"]
    tracemalloc.start()
    assert sum(map(len, blocks)) == 150
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < images.nbytes / 4
