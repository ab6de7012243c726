"""Random changes to whole batches of images on any device: crop, flip and rotation.

Random numbers are drawn on the CPU, so that they do not depend on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manifold_capacity.models.preprocess import to_device


def seeded_generator(*key: int) -> torch.Generator:
    """A generator seeded with all numbers of the key, such as (seed, epoch, step)."""
    words = np.random.SeedSequence(key).generate_state(1, np.uint64)
    # torch takes the seed as a signed number
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


@dataclass(frozen=True)
class Draws:
    """What was drawn for each image of a batch; None for a change that is off.

    Shifts (rows, columns) are int64 (n_images, 2), flips bool (n_images,). Cosines and sines of the
    rotations, float64 (n_images,), are computed on the CPU: a GPU's might differ in the last bit, and
    then another pixel could be nearest.
    """

    shifts: Tensor | None = None
    flips: Tensor | None = None
    cosines: Tensor | None = None
    sines: Tensor | None = None

    @classmethod
    def join(cls, parts: Sequence[Draws]) -> Draws:
        """The draws of several batches as those of one."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(None if column[0] is None else torch.cat(column) for column in columns))


def draw_augmentation(
    n_images: int,
    generator: torch.Generator,
    *,
    crop_padding: int = 0,
    horizontal_flip: bool = False,
    rotation_degrees: float = 0.0,
) -> Draws:
    """Draw how each image of a batch is to be changed.

    The distribution is that of torchvision's ``RandomCrop(size, crop_padding)``,
    ``RandomHorizontalFlip()`` and ``RandomRotation(rotation_degrees)`` one after the other.
    """
    shifts = flips = cosines = sines = None
    # In the order in which they act
    if crop_padding:
        shifts = torch.randint(-crop_padding, crop_padding + 1, (n_images, 2), generator=generator)
    if horizontal_flip:
        flips = torch.rand(n_images, generator=generator) < 0.5
    if rotation_degrees:
        fractions = torch.rand(n_images, generator=generator, dtype=torch.float64) * 2 - 1
        angles = torch.deg2rad(fractions * rotation_degrees)
        cosines, sines = torch.cos(angles), torch.sin(angles)
    return Draws(shifts, flips, cosines, sines)


def augment_batch(images: Tensor, generator: torch.Generator, **options: Any) -> Tensor:
    """Change each image by a draw of its own: `draw_augmentation`, then `apply_draws`."""
    return apply_draws(images, draw_augmentation(len(images), generator, **options))


def apply_draws(images: Tensor, draws: Draws) -> Tensor:
    """Crop, flip and rotate each image as was drawn for it.

    Images (n_images, n_channels, height, width) may have any dtype and be on any device. A rotation
    takes the nearest pixel; pixels from outside the image are 0.
    """
    n_images, n_channels, height, width = images.shape
    device = images.device
    rows: Tensor = torch.arange(height, device=device)[None, :, None]
    columns: Tensor = torch.arange(width, device=device)[None, None, :]
    inside = torch.ones((1, 1, 1), dtype=torch.bool, device=device)
    # In reverse order: for each pixel of the result, its place in the image. One lookup does all three.
    if draws.cosines is not None and draws.sines is not None:
        cos, sin = (to_device(x, device)[:, None, None] for x in (draws.cosines, draws.sines))
        y, x = rows - (height - 1) / 2, columns - (width - 1) / 2
        rows = torch.round(sin * x + cos * y + (height - 1) / 2).long()
        columns = torch.round(cos * x - sin * y + (width - 1) / 2).long()
        inside = _within(rows, columns, height, width)
    if draws.flips is not None:
        flipped = to_device(draws.flips, device)[:, None, None]
        columns = torch.where(flipped, width - 1 - columns, columns)
    if draws.shifts is not None:
        shifts = to_device(draws.shifts, device)
        rows = rows + shifts[:, 0, None, None]
        columns = columns + shifts[:, 1, None, None]
        inside = inside & _within(rows, columns, height, width)
    source = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    source = source.expand(n_images, height, width).flatten(1)[:, None]
    moved = images.flatten(2).gather(2, source.expand(-1, n_channels, -1))
    return moved.reshape(images.shape) * inside[:, None].to(images.dtype)


def _within(rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    return (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
