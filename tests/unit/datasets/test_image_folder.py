"""Folders of images and files of arrays, good and bad."""

from __future__ import annotations

import io
import logging
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from manifold_capacity.datasets.array_file import ArrayFile
from manifold_capacity.datasets.image_folder import ImageFolder, Split
from manifold_capacity.datasets.sampling import every_fourth


def random_pixels(height: int, width: int, seed: int, channels: int = 3) -> NDArray[np.uint8]:
    shape = (height, width, channels)[: 3 if channels > 1 else 2]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save_image(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def together(split: Split) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    labels, blocks = split
    return labels, np.concatenate(list(blocks))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, 6 x 5 pixels: train 3 and 2 images, test 1 and 2."""
    root = tmp_path / "pets"
    seed = 0
    for split, counts in (("train", (3, 2)), ("test", (1, 2))):
        for name, count in zip(("cat", "dog"), counts, strict=True):
            for number in range(count):
                seed += 1
                save_image(root / split / name / f"{number}.png", random_pixels(6, 5, seed))
    return root


def test_folder(folder: Path) -> None:
    images = ImageFolder(folder, None)
    assert images.class_names == ("cat", "dog")
    assert images.image_shape == (6, 5, 3)
    assert images.counts == {"train": (3, 2), "test": (1, 2)}
    splits = images.splits(block_length=2, threads=1)
    labels, pixels = together(splits["train"])
    np.testing.assert_array_equal(labels, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(pixels, [random_pixels(6, 5, seed) for seed in range(1, 6)])
    labels, pixels = together(splits["test"])
    np.testing.assert_array_equal(labels, [0, 1, 1])
    np.testing.assert_array_equal(pixels, [random_pixels(6, 5, seed) for seed in range(6, 9)])
    assert labels.dtype == np.int64


@pytest.mark.parametrize(("block_length", "threads"), [(1, 1), (3, 4), (100, 2)])
def test_folder_is_the_same_in_any_blocks(folder: Path, block_length: int, threads: int) -> None:
    labels, pixels = together(ImageFolder(folder, None).splits(block_length, threads)["train"])
    np.testing.assert_array_equal(labels, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(pixels, [random_pixels(6, 5, seed) for seed in range(1, 6)])


def test_making_one_decodes_nothing(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        # The header stays, the pixels go.
        path.write_bytes(path.read_bytes()[:45])
    assert ImageFolder(folder, None).image_shape == (6, 5, 3)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    assert ImageFolder(folder, 4).counts == {"train": (3, 2), "test": (1, 2)}


def test_hidden_files_are_passed_over(folder: Path) -> None:
    (folder / "train" / ".DS_Store").write_bytes(b"")
    (folder / "train" / "cat" / "._0.png").write_bytes(b"")
    assert ImageFolder(folder, None).counts["train"] == (3, 2)


def test_gray_palette_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    gray = random_pixels(4, 4, 0, channels=1)
    color = random_pixels(4, 4, 1)
    alpha = np.dstack([color, random_pixels(4, 4, 2, channels=1)])
    palette = Image.fromarray(color).quantize(8)
    root = tmp_path / "pets"
    save_image(root / "train" / "a" / "0.png", gray)
    save_image(root / "train" / "a" / "1.PNG", alpha)
    palette.save(root / "train" / "a" / "2.png", transparency=bytes([0, 128, 255, 0, 1, 2, 3, 4]))
    save_image(root / "train" / "a" / "3.bmp", color)
    save_image(root / "train" / "a" / "4.ppm", color)
    save_image(root / "train" / "a" / "5.tiff", color)
    save_image(root / "train" / "a" / "6.webp", color, lossless=True)
    save_image(root / "test" / "a" / "0.png", color)
    images = ImageFolder(root, None)
    assert images.image_shape == (4, 4, 3)
    _, pixels = together(images.splits(10, 1)["train"])
    np.testing.assert_array_equal(pixels[0], np.repeat(gray[..., np.newaxis], 3, axis=2))
    np.testing.assert_array_equal(pixels[1], color)
    np.testing.assert_array_equal(pixels[2], np.asarray(palette.convert("RGB")))
    for position in range(3, 7):
        np.testing.assert_array_equal(pixels[position], color)


def test_size_of_each_image_is_checked(folder: Path) -> None:
    odd = save_image(folder / "test" / "dog" / "odd.png", random_pixels(5, 6, 0))
    splits = ImageFolder(folder, None).splits(10, 1)
    with pytest.raises(
        ValueError,
        match=rf"{odd} has 5 x 6 pixels, but the first has 6 x 5; set dataset\.image_size",
    ):
        together(splits["test"])


@pytest.mark.parametrize("size", [4, 7, 20])
def test_resized_and_cropped_as_torchvision_does(tmp_path: Path, size: int) -> None:
    transforms = pytest.importorskip("torchvision.transforms.functional")
    root = tmp_path / "pets"
    shapes = [(9, 17), (17, 9), (8, 8), (31, 10), (5, 6)]
    for number, (height, width) in enumerate(shapes):
        save_image(root / "train" / "a" / f"{number}.png", random_pixels(height, width, number))
        save_image(root / "test" / "a" / f"{number}.png", random_pixels(height, width, number))
    images = ImageFolder(root, size)
    assert images.image_shape == (size, size, 3)
    _, pixels = together(images.splits(10, 1)["train"])
    for number, (height, width) in enumerate(shapes):
        image = Image.fromarray(random_pixels(height, width, number))
        expected = transforms.center_crop(transforms.resize(image, size), size)
        np.testing.assert_array_equal(pixels[number], np.asarray(expected))


def damaged(folder: Path, content: bytes) -> None:
    path = folder / "train" / "dog" / "1.png"
    path.write_bytes(content)
    splits = ImageFolder(folder, None).splits(2, 2)
    with pytest.raises(ValueError, match=r"dataset\.path: the image .*dog/1\.png cannot be read"):
        together(splits["train"])


def test_images_that_cannot_be_decoded(folder: Path) -> None:
    intact = (folder / "train" / "dog" / "1.png").read_bytes()
    for content in (b"", b"not an image", intact[:-40], intact[:45]):
        damaged(folder, content)


def test_other_formats_behind_a_known_ending_are_refused(folder: Path) -> None:
    # Pillow would hand it to another program, Ghostscript.
    damaged(folder, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n%%EndComments\nshowpage\n")
    buffer = io.BytesIO()
    Image.fromarray(random_pixels(6, 5, 0)).save(buffer, "GIF")
    damaged(folder, buffer.getvalue())


def test_sixteen_bits_are_refused(folder: Path) -> None:
    deep = np.full((6, 5), 1000, dtype=np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    damaged(folder, buffer.getvalue())


def test_first_image_damaged(folder: Path) -> None:
    (folder / "train" / "cat" / "0.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"cat/0\.png cannot be read"):
        ImageFolder(folder, None)


def test_image_size_of_nothing(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.image_size: 0; at least 1"):
        ImageFolder(folder, 0)


def test_folder_without_splits(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no folder .*train; an image folder has .*/train/<class>/"
    ):
        ImageFolder(tmp_path, None)


def test_splits_with_other_classes(folder: Path) -> None:
    (folder / "train" / "cat").rename(folder / "train" / "lion")
    with pytest.raises(ValueError, match="same classes; only train has lion; only test has cat"):
        ImageFolder(folder, None)


def test_class_of_one_split_only(folder: Path) -> None:
    save_image(folder / "test" / "eel" / "0.png", random_pixels(6, 5, 0))
    with pytest.raises(ValueError, match=r"same classes; only test has eel$"):
        ImageFolder(folder, None)


def test_empty_folders(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "eel").mkdir()
    with pytest.raises(ValueError, match=r"class folder .*train/eel has no images"):
        ImageFolder(folder, None)
    empty = tmp_path / "empty"
    (empty / "train").mkdir(parents=True)
    with pytest.raises(ValueError, match="empty/train has no class folders"):
        ImageFolder(empty, None)


def test_strangers_among_the_images(folder: Path) -> None:
    stranger = folder / "train" / "cat" / "boxes.txt"
    stranger.write_text("0.png 0 0 1 1")
    with pytest.raises(ValueError, match=r"boxes\.txt is not an image file; .*\.png"):
        ImageFolder(folder, None)
    stranger.unlink()
    (folder / "train" / "cat" / "more.png").mkdir()
    with pytest.raises(ValueError, match=r"more\.png is not an image file"):
        ImageFolder(folder, None)
    (folder / "train" / "cat" / "more.png").rmdir()
    (folder / "test" / "labels.csv").write_text("")
    with pytest.raises(ValueError, match=r"labels\.csv is not a folder"):
        ImageFolder(folder, None)


IMAGES = np.random.default_rng(0).integers(0, 256, (16, 4, 5, 3), dtype=np.uint8)
LABELS = np.array([0, 1] * 8)


def save_arrays(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def split_arrays(**changes: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "train_images": IMAGES[:10],
        "train_labels": LABELS[:10],
        "test_images": IMAGES[10:],
        "test_labels": LABELS[10:],
    }
    return {key: value for key, value in (arrays | changes).items() if value is not None}


@pytest.mark.parametrize("block_length", [1, 3, 10, 1000])
def test_arrays_with_splits(tmp_path: Path, block_length: int) -> None:
    path = save_arrays(tmp_path / "a.npz", **split_arrays(class_names=np.array(["cat", "dog"])))
    arrays = ArrayFile(path)
    assert arrays.class_names == ("cat", "dog")
    assert arrays.image_shape == (4, 5, 3)
    assert arrays.counts == {"train": (5, 5), "test": (3, 3)}
    splits = arrays.splits(block_length)
    for split, chosen in (("train", slice(10)), ("test", slice(10, None))):
        labels, images = together(splits[split])
        np.testing.assert_array_equal(labels, LABELS[chosen])
        np.testing.assert_array_equal(images, IMAGES[chosen])
        assert labels.dtype == np.int64
        assert images.dtype == np.uint8


@pytest.mark.parametrize("block_length", [1, 3, 1000])
def test_arrays_without_split_give_every_fourth_of_a_class_to_testing(
    tmp_path: Path, block_length: int
) -> None:
    labels = np.array([0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0, 1, 0], dtype=np.uint8)
    path = save_arrays(tmp_path / "a.npz", images=IMAGES, labels=labels)
    arrays = ArrayFile(path)
    assert arrays.class_names == ("0", "1")
    # Class 0 is at 0 1 3 [6] 7 9 13 [15], class 1 at 2 4 5 [8] 10 11 12 [14].
    is_test = np.isin(np.arange(16), [6, 15, 8, 14])
    np.testing.assert_array_equal(every_fourth(labels.astype(np.int64)), is_test)
    assert arrays.counts == {"train": (6, 6), "test": (2, 2)}
    splits = arrays.splits(block_length)
    for split, chosen in (("train", ~is_test), ("test", is_test)):
        found_labels, images = together(splits[split])
        np.testing.assert_array_equal(found_labels, labels[chosen])
        np.testing.assert_array_equal(images, IMAGES[chosen])


def test_gray_arrays_have_one_channel(tmp_path: Path) -> None:
    arrays = ArrayFile(save_arrays(tmp_path / "a.npz", images=IMAGES[..., 0], labels=LABELS))
    assert arrays.image_shape == (4, 5, 1)
    _, images = together(arrays.splits(3)["test"])
    np.testing.assert_array_equal(images[..., 0], IMAGES[every_fourth(LABELS)][..., 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floating_point_images_of_256_levels_are_exact(
    tmp_path: Path, dtype: Any, caplog: pytest.LogCaptureFixture
) -> None:
    images = (IMAGES / 255).astype(dtype)
    arrays = ArrayFile(save_arrays(tmp_path / "a.npz", images=images, labels=LABELS))
    _, found = together(arrays.splits(3)["train"])
    np.testing.assert_array_equal(found, IMAGES[~every_fourth(LABELS)])
    assert caplog.messages == []


def test_rounding_of_floating_point_images_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    images = np.full((16, 4, 5), 0.5, dtype=np.float32)
    images[:, 0, 0] = 100.4 / 255
    arrays = ArrayFile(save_arrays(tmp_path / "a.npz", images=images, labels=LABELS))
    _, found = together(arrays.splits(1)["train"])
    assert set(np.unique(found).tolist()) == {100, 128}
    assert [message.split(": ")[1] for message in caplog.messages] == [
        "images are rounded to the nearest of 256 levels"
    ]


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, np.nan, np.inf])
def test_floating_point_images_beyond_one(tmp_path: Path, value: float) -> None:
    images = np.zeros((16, 4, 5), dtype=np.float32)
    images[3, 2, 1] = value
    arrays = ArrayFile(save_arrays(tmp_path / "a.npz", images=images, labels=LABELS))
    with pytest.raises(ValueError, match=r"a\.npz has images from .* have to be in \[0, 1\]"):
        together(arrays.splits(10)["train"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_labels": None}, "holds test_images, train_images, train_labels; it has to hold"),
        ({"x_train": IMAGES}, "it has to hold test_images, .* or images, labels"),
        ({"images": IMAGES}, "it has to hold"),
        ({"train_images": IMAGES[:9]}, "has 9 train_images, but 10 train_labels"),
        ({"train_images": IMAGES[:10].astype(np.int16)}, r"train_images of type int16 and shape"),
        ({"train_images": IMAGES[:10] > 9}, "train_images of type bool"),
        ({"train_images": IMAGES[:10].astype("S1")}, "train_images of type"),
        (
            {"train_images": IMAGES[:10].transpose(0, 3, 1, 2)},
            r"shape \(10, 3, 4, 5\); they have to be",
        ),
        ({"train_images": IMAGES[:10].reshape(10, -1)}, r"shape \(10, 60\)"),
        ({"train_images": IMAGES[:10, :0]}, r"shape \(10, 0, 5, 3\)"),
        ({"train_images": IMAGES[:10, :, :, :2]}, "1 or 3 channels"),
        (
            {"test_images": IMAGES[10:, :3]},
            r"train_images of \(4, 5, 3\), but test_images of \(3, 5, 3\)",
        ),
        (
            {"train_images": np.asfortranarray(IMAGES[:10])},
            r"train_images .*numpy\.ascontiguousarray",
        ),
        ({"train_images": np.array([{}] * 10)}, "train_images .*Python objects"),
        ({"train_labels": np.array([{}] * 10)}, "train_labels .*Python objects"),
        ({"train_labels": LABELS[:10] / 1}, "train_labels of type float64"),
        (
            {"train_labels": LABELS[:10, np.newaxis]},
            r"train_labels of type int64 and shape \(10, 1\)",
        ),
        ({"train_labels": LABELS[:0], "train_images": IMAGES[:0]}, r"shape \(0,\)"),
        ({"train_labels": LABELS[:10] - 1}, "train_labels from -1 to 0; they have to count from 0"),
        (
            {"train_labels": LABELS[:10] * 10},
            "train_labels from 0 to 10; they have to count from 0",
        ),
        ({"train_labels": LABELS[:10] * 2}, "has no train images of class '1'"),
        ({"test_labels": LABELS[10:] * 0}, "has no test images of class '1'"),
        (
            {"class_names": np.array(["cat"])},
            r"class_names .* for labels from 0 to 1 .*shape \(2,\)",
        ),
        ({"class_names": np.array([1, 2])}, "class_names of type int64"),
        ({"class_names": np.array(["cat", "cat"])}, "the same class name twice"),
        ({"class_names": np.array(["cat", None])}, "class_names .*Python objects"),
    ],
)
def test_arrays_that_are_not_as_they_have_to_be(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = save_arrays(tmp_path / "a.npz", **split_arrays(**changes))
    with pytest.raises(ValueError, match=rf"dataset\.path: .*a\.npz .*{message}"):
        ArrayFile(path)


def test_class_too_small_to_be_split(tmp_path: Path) -> None:
    labels = np.array([0] * 13 + [1] * 3)
    path = save_arrays(tmp_path / "a.npz", images=IMAGES, labels=labels)
    with pytest.raises(ValueError, match=r"no test images of class '1': .*every fourth"):
        ArrayFile(path)


def test_no_file_and_other_files(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(ValueError, match=r"dataset\.path: there is no file .*a\.npz"):
        ArrayFile(path)
    for content in (b"", b"plain text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.npz is not an \.npz file"):
            ArrayFile(path)


def test_truncated_file(tmp_path: Path) -> None:
    path = save_arrays(tmp_path / "a.npz", **split_arrays())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a\.npz is not an \.npz file"):
        ArrayFile(path)


def test_damage_in_the_pixels_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=IMAGES, labels=LABELS)
    content = bytearray(path.read_bytes())
    content[content.index(IMAGES[7].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz has an array images that cannot be read: .*CRC"):
        together(ArrayFile(path).splits(4)["train"])


def rewrite_member(path: Path, name: str, change: Any) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[name] = change(members[name])
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "ends before the last of its 16 images"),
        (lambda content: content + b"x", "goes on after the last of its 16 images"),
    ],
    ids=["short", "long"],
)
def test_arrays_of_another_length_than_they_say(tmp_path: Path, change: Any, message: str) -> None:
    path = save_arrays(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    rewrite_member(path, "images.npy", change)
    splits = ArrayFile(path).splits(4)
    with pytest.raises(ValueError, match=message):
        together(splits["train"])


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: b"plain text",
        lambda content: content[:20],
        lambda content: content[:6] + b"\x09\x00" + content[8:],
        lambda content: content[:-1],
    ],
    ids=["empty", "text", "truncated header", "version", "short"],
)
def test_labels_that_are_no_array(tmp_path: Path, change: Any) -> None:
    path = save_arrays(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    rewrite_member(path, "labels.npy", change)
    with pytest.raises(ValueError, match=r"a\.npz has .*labels that "):
        ArrayFile(path)


def peak_of(blocks: Any) -> int:
    """Bytes allocated at once while going through the blocks."""
    tracemalloc.start()
    for _ in blocks:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    size, count = 64, 200
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    path = tmp_path / "a.npz"
    np.savez(path, images=images, labels=np.zeros(count, dtype=np.int64))
    root = tmp_path / "folder"
    for number, image in enumerate(images):
        save_image(root / "train" / "a" / f"{number:03}.ppm", image)
    save_image(root / "test" / "a" / "0.ppm", images[0])
    for splits in (ArrayFile(path).splits(10), ImageFolder(root, None).splits(10, 1)):
        _, blocks = splits["train"]
        assert peak_of(blocks) < images.nbytes / 4
