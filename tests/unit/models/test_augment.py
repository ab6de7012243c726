"""Random changes of images, and how images become a network's input."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from manifold_capacity.models.augment import augment_batch, seeded_generator
from manifold_capacity.models.preprocess import Preprocess, to_batch


def pictures(n: int, *, channels: int = 3, height: int = 9, width: int = 12) -> torch.Tensor:
    """Different images without a single black pixel, so that 0 means outside."""
    generator = torch.Generator().manual_seed(1)
    shape = (n, channels, height, width)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator)


def test_without_options_nothing_changes() -> None:
    images = pictures(4)
    assert torch.equal(augment_batch(images, seeded_generator(0)), images)


def test_crops_are_torchvisions_with_every_shift_equally_often() -> None:
    image = pictures(1, height=6, width=5)
    padding = 2
    padded = TF.pad(image[0], [padding])
    crops = {
        TF.crop(padded, top, left, 6, 5).numpy().tobytes(): (top, left)
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    }
    n = 5000
    result = augment_batch(image.expand(n, -1, -1, -1), seeded_generator(0), crop_padding=padding)
    found = [crops[one.numpy().tobytes()] for one in result]
    counts = np.unique(np.array(found), axis=0, return_counts=True)[1]
    assert len(counts) == 25
    # Binomial: standard deviation 14 about 200
    assert counts.min() > 200 - 5 * 14
    assert counts.max() < 200 + 5 * 14


def test_half_of_the_images_are_flipped() -> None:
    images = pictures(1000)
    result = augment_batch(images, seeded_generator(0), horizontal_flip=True)
    flipped = (result == images.flip(3)).all(dim=(1, 2, 3))
    kept = (result == images).all(dim=(1, 2, 3))
    assert (flipped ^ kept).all()
    assert 420 < int(flipped.sum()) < 580


def test_rotation_moves_pixels_as_torchvision_does() -> None:
    images = pictures(40, height=32, width=28)
    result = augment_batch(images, seeded_generator(7), rotation_degrees=30)
    draws = torch.rand(40, generator=seeded_generator(7), dtype=torch.float64) * 2 - 1
    different = 0
    for image, ours, draw in zip(images, result, draws, strict=True):
        theirs = TF.rotate(image, float(draw) * 30, InterpolationMode.NEAREST)
        different += int((theirs != ours).any(dim=0).sum())
    # torchvision rounds in float32: a pixel in tens of thousands falls to the other side.
    assert different <= 4
    corners = result[:, :, 0, 0]
    assert (corners == 0).any(), "what comes from outside is black"


def test_angles_fill_the_range_evenly() -> None:
    # A bright dot on the horizontal axis turns with the image: its row tells the angle.
    images = torch.zeros(600, 1, 101, 101, dtype=torch.uint8)
    images[:, 0, 48:53, 90:95] = 255
    result = augment_batch(images, seeded_generator(0), rotation_degrees=20)
    rows = torch.arange(101.0)
    heights = (result[:, 0].float().sum(2) @ rows) / result[:, 0].float().sum((1, 2)) - 50
    angles = torch.rad2deg(torch.asin(heights / 42))
    assert angles.abs().max() == pytest.approx(20, abs=0.8)
    # The mean of 600 has a standard deviation of 0.5 degrees
    assert angles.mean().abs() < 2
    assert angles.std() == pytest.approx(40 / 12**0.5, rel=0.08)


def test_order_is_crop_then_flip_then_rotation() -> None:
    images = pictures(30, height=16, width=16)
    options = {"crop_padding": 3, "horizontal_flip": True, "rotation_degrees": 25.0}
    together = augment_batch(images, seeded_generator(3), **options)
    generator = seeded_generator(3)
    one_by_one = images
    for key, value in options.items():
        one_by_one = augment_batch(one_by_one, generator, **{key: value})
    assert torch.equal(together, one_by_one)


def test_each_image_has_its_own_draw_and_floats_work_too() -> None:
    image = pictures(1, height=16, width=16).expand(20, -1, -1, -1)
    options = {"crop_padding": 3, "horizontal_flip": True, "rotation_degrees": 25.0}
    result = augment_batch(image, seeded_generator(3), **options)
    assert len({one.numpy().tobytes() for one in result}) == 20
    as_floats = augment_batch(image.double(), seeded_generator(3), **options)
    assert as_floats.dtype == torch.float64
    assert torch.equal(as_floats, result.double())


def test_draws_depend_on_the_whole_key() -> None:
    keys = [(0, 1, 2), (0, 1, 3), (0, 2, 2), (1, 1, 2)]
    draws = {torch.rand(4, generator=seeded_generator(*key)).numpy().tobytes() for key in keys}
    assert len(draws) == 4
    first = torch.rand(4, generator=seeded_generator(0, 1, 2))
    assert torch.equal(first, torch.rand(4, generator=seeded_generator(0, 1, 2)))


def test_preprocessing_scales_and_normalizes() -> None:
    images = pictures(3)
    result = Preprocess((3, 9, 12), [0.1, 0.2, 0.3], [0.5, 0.25, 2.0])(images)
    assert result.dtype == torch.float32
    expected = TF.normalize(images.float() / 255, [0.1, 0.2, 0.3], [0.5, 0.25, 2.0])
    torch.testing.assert_close(result, expected)
    plain = Preprocess((3, 9, 12))(images)
    assert torch.equal(plain, images.float() / 255)


def test_preprocessing_repeats_gray_and_resizes() -> None:
    images = pictures(2, channels=1, height=8, width=8)
    result = Preprocess((3, 20, 24), [0.5], [0.25])(images)
    assert result.shape == (2, 3, 20, 24)
    assert result.is_contiguous()
    assert torch.equal(result[:, 0], result[:, 2])
    expected = TF.resize(images.float() / 255, [20, 24], antialias=True)
    torch.testing.assert_close(result[:, 1:2], (expected - 0.5) / 0.25)
    smaller = Preprocess((1, 4, 4))(images)
    torch.testing.assert_close(smaller, TF.resize(images.float() / 255, [4, 4], antialias=True))


def test_preprocessing_errors() -> None:
    with pytest.raises(ValueError, match=r"dataset\.normalize: .*\[0\.2, 0\.0\].*set .* to none"):
        Preprocess((2, 8, 8), [0, 0], [0.2, 0.0])
    with pytest.raises(ValueError, match="the images have 2 channels, the network takes 3"):
        Preprocess((3, 9, 12))(pictures(1, channels=2))


def test_stored_images_become_batches(tmp_path: Path) -> None:
    array = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    np.save(tmp_path / "images.npy", array)
    stored = np.load(tmp_path / "images.npy", mmap_mode="r")
    batch = to_batch(stored, torch.device("cpu"))
    assert batch.shape == (2, 3, 4, 5)
    assert int(batch[1, 2, 3, 4]) == int(stored[1, 3, 4, 2])


@pytest.mark.parametrize(
    ("normalize", "published", "expected"),
    [
        ("auto", None, 0.25),
        ("auto", {"mean": [0.5], "std": [0.5]}, 1.0),
        ("none", {"mean": [0.5], "std": [0.5]}, 1.0),
        ({"mean": [0.5], "std": [2.0]}, {"mean": [0.1], "std": [1.0]}, 0.25),
    ],
)
def test_normalization_of_a_checkpoint(tmp_path, normalize, published, expected):
    dataset = tmp_path / "dataset.json"
    dataset.write_text('{"mean": [0.75], "std": [1.0]}')
    metadata = {"network": {"image_shape": [1, 2, 2]}, "normalization": published}
    preprocess = Preprocess.for_checkpoint(metadata, normalize, dataset)
    white = torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
    assert preprocess(white)[0, 0, 0, 0].item() == expected
