"""Random changes of images, and how images become a network's input."""

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from manifold_capacity.models.augment import augment_batch, seeded_generator


def pictures(n, *, channels=3, height=9, width=12):
    """Different images without a single black pixel, so that 0 means outside."""
    generator = torch.Generator().manual_seed(1)
    shape = (n, channels, height, width)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator)


def test_without_options_nothing_changes():
    images = pictures(4)
    assert torch.equal(augment_batch(images, seeded_generator(0)), images)


def test_crops_are_torchvisions_with_every_shift_equally_often():
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


def test_half_of_the_images_are_flipped():
    images = pictures(1000)
    result = augment_batch(images, seeded_generator(0), horizontal_flip=True)
    flipped = (result == images.flip(3)).all(dim=(1, 2, 3))
    kept = (result == images).all(dim=(1, 2, 3))
    assert (flipped ^ kept).all()
    assert 420 < int(flipped.sum()) < 580


def test_rotation_moves_pixels_as_torchvision_does():
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


def test_angles_fill_the_range_evenly():
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


def test_order_is_crop_then_flip_then_rotation():
    images = pictures(30, height=16, width=16)
    options = {"crop_padding": 3, "horizontal_flip": True, "rotation_degrees": 25.0}
    together = augment_batch(images, seeded_generator(3), **options)
    generator = seeded_generator(3)
    one_by_one = images
    for key, value in options.items():
        one_by_one = augment_batch(one_by_one, generator, **{key: value})
    assert torch.equal(together, one_by_one)


def test_each_image_has_its_own_draw_and_floats_work_too():
    image = pictures(1, height=16, width=16).expand(20, -1, -1, -1)
    options = {"crop_padding": 3, "horizontal_flip": True, "rotation_degrees": 25.0}
    result = augment_batch(image, seeded_generator(3), **options)
    assert len({one.numpy().tobytes() for one in result}) == 20
    as_floats = augment_batch(image.double(), seeded_generator(3), **options)
    assert as_floats.dtype == torch.float64
    assert torch.equal(as_floats, result.double())


def test_draws_depend_on_the_whole_key():
    keys = [(0, 1, 2), (0, 1, 3), (0, 2, 2), (1, 1, 2)]
    draws = {torch.rand(4, generator=seeded_generator(*key)).numpy().tobytes() for key in keys}
    assert len(draws) == 4
    first = torch.rand(4, generator=seeded_generator(0, 1, 2))
    assert torch.equal(first, torch.rand(4, generator=seeded_generator(0, 1, 2)))
