"""Random changes to images: crop, flip and rotation.

Everything works on whole batches on any device. Random numbers are drawn on the CPU, a handful per
image, so that they do not depend on the device. What was drawn for several batches can be joined and
applied to all their images at once.
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
    """A generator seeded with all numbers of the key, such as (seed, epoch, step).

    It has no earlier state to restore, so an interrupted run can be repeated exactly.
    """
    words = np.random.SeedSequence(key).generate_state(1, np.uint64)
    # torch takes the seed as a signed number
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


@dataclass(frozen=True)
class Draws:
    """What was drawn for each image of a batch; None for a change that is off.

    Attributes
    ----------
    shifts : Tensor of int64, (n_images, 2), optional
        Rows and columns by which the crop is shifted.
    flips : Tensor of bool, (n_images,), optional
    cosines, sines : Tensor of float64, (n_images,), optional
        Of the angle of rotation. They are computed on the CPU: a GPU's might differ in the last bit,
        and then another pixel could be nearest.
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

    The distribution is that of torchvision's ``RandomCrop(size, padding)``,
    ``RandomHorizontalFlip()`` and ``RandomRotation(degrees)`` one after the other.

    Parameters
    ----------
    crop_padding : int
        Pixels by which the crop is shifted at most, up or down and left or right; 0: no crop.
    horizontal_flip : bool
        Flip with probability 1/2.
    rotation_degrees : float
        Largest angle of rotation about the image's center, either way; 0: no rotation.
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

    A rotation takes the nearest pixel. Pixels from outside the image are 0. As all three changes move
    whole pixels, they are one lookup.

    Images (n_images, n_channels, height, width) may have any dtype and be on any device; the result
    has the same. The draws are on the CPU.
    """
    n_images, n_channels, height, width = images.shape
    device = images.device
    rows: Tensor = torch.arange(height, device=device)[None, :, None]
    columns: Tensor = torch.arange(width, device=device)[None, None, :]
    inside = torch.ones((1, 1, 1), dtype=torch.bool, device=device)
    # In reverse order: for each pixel of the result, its place in the image.
    if draws.cosines is not None and draws.sines is not None:
        cos = to_device(draws.cosines, device)[:, None, None]
        sin = to_device(draws.sines, device)[:, None, None]
        y = rows - (height - 1) / 2
        x = columns - (width - 1) / 2
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
    source = source.expand(n_images, height, width).reshape(n_images, 1, height * width)
    moved = images.reshape(n_images, n_channels, height * width).gather(
        2, source.expand(n_images, n_channels, height * width)
    )
    return moved.reshape(images.shape) * inside[:, None].to(images.dtype)


def _within(rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    return (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
