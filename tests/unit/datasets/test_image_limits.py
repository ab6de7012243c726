"""Image files that would fill the memory or lose bits, and folders that cannot be listed."""

import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from manifold_capacity.datasets.image_folder import LONGEST_RATIO, MOST_PIXELS, ImageFolder
from manifold_capacity.errors import UserError

RNG = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path):
    """An image folder of one class with one image, 4 x 4, in each split."""
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / split / "cat" / "0.png")
    return tmp_path


def decode(root, image, size):
    """The only training image, when `image` (of Pillow) is it."""
    image.save(root / "train" / "cat" / "0.png")
    _, blocks = ImageFolder(root, size).splits(1, 1)["train"]
    return next(iter(blocks))[0]


def png(width, height, bits, color_type, data):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    image = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + image + chunk(b"IEND", b"")


def tiff_of_16_bit_colors(pixels):
    """A TIFF of 2 x 2 pixels, uncompressed, with three 16-bit channels."""
    tags = {256: 2, 257: 2, 258: 134, 259: 1, 262: 2, 273: 140, 277: 3, 278: 2, 279: 24, 284: 1}
    counts = {258: 3}
    entries = [
        struct.pack("<HHII", tag, 3, counts.get(tag, 1), value) for tag, value in tags.items()
    ]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    return head + struct.pack("<HHH", 16, 16, 16) + pixels.astype("<u2").tobytes()


DEEP = RNG.integers(0, 2**16, (2, 2, 3), dtype=np.uint16)
ROWS = b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP)
ALPHA_ROWS = b"".join(b"\0" + bytes(16) for _ in range(2))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rgb.png", png(2, 2, 16, 2, ROWS)),
        ("rgba.png", png(2, 2, 16, 6, ALPHA_ROWS)),
        ("gray.png", png(2, 2, 16, 0, bytes(10))),
        ("rgb.tiff", tiff_of_16_bit_colors(DEEP)),
        ("rgb.ppm", b"P6 2 2 65535\n" + DEEP.astype(">u2").tobytes()),
        ("plain.ppm", b"P3 2 2 65535\n" + b" ".join(b"%d" % value for value in DEEP.flat)),
    ],
)
def test_more_than_8_bits_per_channel_are_not_dropped(root, name, content):
    path = root / "test" / "cat" / name
    path.write_bytes(content)
    (root / "test" / "cat" / "0.png").unlink()
    Image.open(path).load()  # otherwise good
    _, blocks = ImageFolder(root, 4).splits(1, 1)["test"]
    message = rf"the image {path} cannot be read: it has more than 8 bits per channel; convert it"
    with pytest.raises(UserError, match=message):
        list(blocks)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("side", "message"),
    [
        (10_000, "it has 100,000,000 pixels, more than 89,478,485; make it smaller"),
        (20_000, "bomb"),
    ],
)
def test_images_that_would_fill_the_memory(root, side, message):
    (root / "train" / "cat" / "0.png").write_bytes(png(side, side, 8, 2, b""))
    assert side**2 > MOST_PIXELS
    for size in (None, 4):
        with pytest.raises(UserError, match=rf"cat/0\.png cannot be read: .*{message}"):
            list(ImageFolder(root, size).splits(1, 1)["train"][1])


@pytest.mark.parametrize("shape", [(100, 1), (1, 101), (3, 200), (201, 5)])
@pytest.mark.parametrize("size", [1, 4, 9])
def test_long_images_give_what_torchvision_gives(root, shape, size):
    """Up to a pixel of the result; within `LONGEST_RATIO`, test_image_folder.py demands the same bits."""
    transforms = pytest.importorskip("torchvision.transforms.functional")
    assert max(shape) > LONGEST_RATIO * min(shape)
    rows, columns = np.indices(shape)
    image = Image.fromarray((rows + columns).astype(np.uint8)).convert("RGB")
    expected = transforms.center_crop(transforms.resize(image, size), size)
    found = decode(root, image, size)
    # Neighbors differ by 1 in the image, by min(shape) / size in the result.
    pixel = max(1, min(shape) / size)
    np.testing.assert_allclose(found, np.asarray(expected, dtype=float), atol=pixel, rtol=0)


def test_a_long_image_of_one_pixel_gives_the_same_bits_as_torchvision(root):
    transforms = pytest.importorskip("torchvision.transforms.functional")
    image = Image.fromarray(RNG.integers(0, 256, (1, 500, 3), dtype=np.uint8))
    expected = transforms.center_crop(transforms.resize(image, 7), 7)
    np.testing.assert_array_equal(decode(root, image, 7), np.asarray(expected))


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_very_long_image_needs_little_memory(root, size):
    Image.new("RGB", size, "red").save(root / "train" / "cat" / "0.png")
    code = (
        "import resource, sys; from pathlib import Path;"
        "from manifold_capacity.datasets.image_folder import ImageFolder;"
        "resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2);"
        "(block,) = ImageFolder(Path(sys.argv[1]), 224).splits(1, 1)['train'][1];"
        "print(block.shape, (block == [255, 0, 0]).all())"
    )
    command = [sys.executable, "-c", code, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "(1, 224, 224, 3) True\n", done.stderr


@pytest.mark.parametrize("name", ["train/cat/1.png", "train/dog", "test"])
def test_links_to_themselves(root, name):
    path = root / name
    if path.exists():
        path.rename(root / "elsewhere")
    path.symlink_to(path)
    with pytest.raises(UserError, match=rf"dataset\.path: .*{name}"):
        ImageFolder(root, 4)


def test_a_class_folder_that_links_to_the_folder_above(root):
    for split in ("train", "test"):
        (root / split / "again").symlink_to("..")
    with pytest.raises(UserError, match=r"again/test is not an image file"):
        ImageFolder(root, 4)


@pytest.mark.parametrize("name", [b"train/caf\xe9", b"train/cat/caf\xe9.png"])
def test_names_that_are_not_utf8(root, name):
    path = os.path.join(os.fsencode(root), name)
    if name.endswith(b".png"):
        os.rename(root / "train" / "cat" / "0.png", path)
    else:
        os.mkdir(path)
    with pytest.raises(
        UserError, match=r"'caf\\udce9.*' in '.*/train.* is not UTF-8; rename it"
    ) as e:
        ImageFolder(root, 4)
    assert str(e.value).isascii()
