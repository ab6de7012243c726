"""Image folders, good and bad."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from manifold_capacity.datasets.image_folder import ImageFolder
from manifold_capacity.errors import UserError


def random_pixels(height, width, seed, channels=3):
    shape = (height, width, channels)[: 3 if channels > 1 else 2]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save_image(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def read(folder, split, size=None, block_length=10, threads=1):
    """Labels and all images of a split."""
    labels, blocks = ImageFolder(folder, size).splits(block_length, threads)[split]
    return labels, np.concatenate(list(blocks))


@pytest.fixture
def folder(tmp_path):
    """Two classes, 6 x 5 pixels: train 3 and 2 images, test 1 and 2."""
    root = tmp_path / "pets"
    names = [f"train/cat/{n}" for n in range(3)] + [f"train/dog/{n}" for n in range(2)]
    names += ["test/cat/0", "test/dog/0", "test/dog/1"]
    for seed, name in enumerate(names, start=1):
        save_image(root / f"{name}.png", random_pixels(6, 5, seed))
    return root


@pytest.mark.parametrize(("block_length", "threads"), [(1, 1), (2, 1), (3, 4), (100, 2)])
def test_folder_is_the_same_in_any_blocks(folder, block_length, threads):
    images = ImageFolder(folder, None)
    assert images.class_names == ("cat", "dog")
    assert images.sample_shape == (6, 5, 3)
    assert images.counts == {"train": (3, 2), "test": (1, 2)}
    for split, expected, seeds in (
        ("train", [0, 0, 0, 1, 1], [1, 2, 3, 4, 5]),
        ("test", [0, 1, 1], [6, 7, 8]),
    ):
        labels, pixels = read(folder, split, None, block_length, threads)
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(pixels, [random_pixels(6, 5, seed) for seed in seeds])
        assert labels.dtype == np.int64


def test_the_constructor_decodes_nothing(folder):
    for path in folder.rglob("*.png"):
        # The header stays, the pixels go.
        path.write_bytes(path.read_bytes()[:45])
    assert ImageFolder(folder, None).sample_shape == (6, 5, 3)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    assert ImageFolder(folder, 4).counts == {"train": (3, 2), "test": (1, 2)}


def test_hidden_files_are_ignored(folder):
    (folder / "train" / ".DS_Store").write_bytes(b"")
    (folder / "train" / "cat" / "._0.png").write_bytes(b"")
    assert ImageFolder(folder, None).counts["train"] == (3, 2)


def test_gray_palette_and_transparent_images_become_rgb(tmp_path):
    gray = random_pixels(4, 4, 0, channels=1)
    color = random_pixels(4, 4, 1)
    palette = Image.fromarray(color).quantize(8)
    train = tmp_path / "train" / "a"
    save_image(train / "0.png", gray)
    save_image(train / "1.PNG", np.dstack([color, random_pixels(4, 4, 2, channels=1)]))
    palette.save(train / "2.png", transparency=bytes([0, 128, 255, 0, 1, 2, 3, 4]))
    for name in ("3.bmp", "4.ppm", "5.tiff", "6.webp"):
        save_image(train / name, color, **({"lossless": True} if "webp" in name else {}))
    save_image(tmp_path / "test" / "a" / "0.png", color)
    assert ImageFolder(tmp_path, None).sample_shape == (4, 4, 3)
    _, pixels = read(tmp_path, "train")
    expected = [
        np.repeat(gray[..., np.newaxis], 3, axis=2),
        color,
        np.asarray(palette.convert("RGB")),
    ]
    np.testing.assert_array_equal(pixels, expected + [color] * 4)


def test_size_of_each_image_is_checked(folder):
    odd = save_image(folder / "test" / "dog" / "odd.png", random_pixels(5, 6, 0))
    message = rf"{odd} has 5 x 6 pixels, but the first has 6 x 5; set dataset\.image_size"
    with pytest.raises(UserError, match=message):
        read(folder, "test")


@pytest.mark.parametrize("size", [4, 7, 20])
def test_resized_and_cropped_as_torchvision_does(tmp_path, size):
    transforms = pytest.importorskip("torchvision.transforms.functional")
    shapes = [(9, 17), (17, 9), (8, 8), (31, 10), (5, 6)]
    for number, (height, width) in enumerate(shapes):
        for split in ("train", "test"):
            pixels = random_pixels(height, width, number)
            save_image(tmp_path / split / "a" / f"{number}.png", pixels)
    _, pixels = read(tmp_path, "train", size)
    assert ImageFolder(tmp_path, size).sample_shape == pixels.shape[1:] == (size, size, 3)
    for number, (height, width) in enumerate(shapes):
        image = Image.fromarray(random_pixels(height, width, number))
        expected = transforms.center_crop(transforms.resize(image, size), size)
        np.testing.assert_array_equal(pixels[number], np.asarray(expected))


def encoded(pixels, format):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


PNG = encoded(random_pixels(6, 5, 0), "PNG")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image",
        PNG[:-40],
        PNG[:45],
        # Pillow would pass it to another program, Ghostscript.
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n%%EndComments\nshowpage\n",
        encoded(random_pixels(6, 5, 0), "GIF"),
        encoded(np.full((6, 5), 1000, dtype=np.uint16), "PNG"),
    ],
    ids=["empty", "text", "cut", "header", "postscript", "gif", "16 bits"],
)
def test_images_that_cannot_be_read(folder, content):
    (folder / "train" / "dog" / "1.png").write_bytes(content)
    with pytest.raises(UserError, match=r"path: the image .*dog/1\.png cannot be read"):
        read(folder, "train", threads=2)
    (folder / "train" / "cat" / "0.png").write_bytes(content)
    with pytest.raises(UserError, match=r"cat/0\.png cannot be read"):
        read(folder, "train")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("-train/cat/0.png -train/cat/1.png -train/cat/2.png", "class folder .*cat has no images"),
        ("train/eel/", "class folder .*train/eel has no images"),
        ("-test", r"no folder .*test; an image folder has .*/train/<class>/"),
        ("train/lion/0.png test/eel/0.png", "same classes; only train has lion; only test has eel"),
        ("test/eel/0.png", "same classes; only test has eel$"),
        ("train/cat/boxes.txt", r"boxes\.txt is not an image file; .*\.png"),
        ("train/cat/more.png/", r"more\.png is not an image file"),
        ("test/labels.csv", r"labels\.csv is not a folder"),
        ("-train train/", "train has no class folders"),
    ],
)
def test_folders_that_are_not_as_they_must_be(folder, changed, message):
    for name in changed.split():
        path = folder / name.removeprefix("-")
        if name.startswith("-"):
            path.rename(folder.parent / name.replace("/", "_"))
        elif name.endswith("/"):
            path.mkdir()
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(PNG)
    with pytest.raises(UserError, match=rf"dataset\.path: .*{message}"):
        ImageFolder(folder, 4)


def test_image_size_of_nothing(folder):
    with pytest.raises(UserError, match=r"dataset\.image_size: 0; it must be at least 1"):
        ImageFolder(folder, 0)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    pixels = random_pixels(64, 64, 0)
    for number in range(150):
        save_image(tmp_path / "train" / "a" / f"{number:03}.ppm", pixels)
    save_image(tmp_path / "test" / "a" / "0.ppm", pixels)
    _, blocks = ImageFolder(tmp_path, None).splits(10, 1)["train"]
    tracemalloc.start()
    assert sum(map(len, blocks)) == 150
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150 * pixels.nbytes / 4
