"""Images on their way into a network: random changes, then scaling, resizing and normalization.

Everything works on whole batches, on whatever device they are. Random numbers are drawn on the CPU,
a handful per image, so that they don't depend on the device.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def seeded_generator(*key: int) -> torch.Generator:
    """A generator that depends on all the numbers of the key: (seed, epoch, step, ...).

    Drawing from it needs no state from before, which is what makes an interrupted run repeatable.
    """
    words = np.random.SeedSequence(key).generate_state(1, np.uint64)
    # torch takes the seed as a signed number
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


def augment_batch(
    images: Tensor,
    generator: torch.Generator,
    *,
    crop_padding: int = 0,
    horizontal_flip: bool = False,
    rotation_degrees: float = 0.0,
) -> Tensor:
    """Crop, flip and rotate each image by its own draw.

    The distribution is that of torchvision's ``RandomCrop(size, padding)``,
    ``RandomHorizontalFlip()`` and ``RandomRotation(degrees)`` one after the other: a shift by up to
    ``crop_padding`` pixels in both directions, a flip with probability 1/2, a rotation by an angle
    uniform in ±``rotation_degrees`` about the image's center with the nearest pixel. What comes in
    from outside the image is 0. As all three move whole pixels, they are one lookup.

    Parameters
    ----------
    images : Tensor, (n_images, n_channels, height, width)
        Any dtype, any device.
    generator : torch.Generator
        On the CPU.
    crop_padding : int
        Pixels; 0: no crop.
    horizontal_flip : bool
    rotation_degrees : float
        Degrees; 0: no rotation.

    Returns
    -------
    Tensor, (n_images, n_channels, height, width)
        Same dtype and device.
    """
    n_images, n_channels, height, width = images.shape
    device = images.device
    rows: Tensor = torch.arange(height, device=device)[None, :, None]
    columns: Tensor = torch.arange(width, device=device)[None, None, :]
    inside = torch.ones((1, 1, 1), dtype=torch.bool, device=device)
    # Drawn in the order in which they act; looked up in the opposite one, from result to source.
    if crop_padding:
        shifts = torch.randint(-crop_padding, crop_padding + 1, (n_images, 2), generator=generator)
    if horizontal_flip:
        flips = torch.rand(n_images, generator=generator) < 0.5
    if rotation_degrees:
        turns = torch.rand(n_images, generator=generator, dtype=torch.float64) * 2 - 1
        angles = torch.deg2rad(turns * rotation_degrees).to(device)[:, None, None]
        y = rows - (height - 1) / 2
        x = columns - (width - 1) / 2
        cos, sin = torch.cos(angles), torch.sin(angles)
        rows = torch.round(sin * x + cos * y + (height - 1) / 2).long()
        columns = torch.round(cos * x - sin * y + (width - 1) / 2).long()
        inside = _within(rows, columns, height, width)
    if horizontal_flip:
        flipped = flips.to(device)[:, None, None]
        columns = torch.where(flipped, width - 1 - columns, columns)
    if crop_padding:
        shifts = shifts.to(device)
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


class Preprocess:
    """Turns images as they are stored into what the network gets.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width) of the result. Other heights and widths are resized (bilinear,
        antialiased); one channel is repeated.
    mean, std : sequence of float, optional
        Per channel of the stored images, for values in [0, 1]: (value - mean) / std.

    Raises
    ------
    ValueError
        If a standard deviation isn't positive.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        self.image_shape = tuple(image_shape)
        self.mean = [0.0] if mean is None else list(mean)
        self.std = [1.0] if std is None else list(std)
        if not all(value > 0 for value in self.std):
            raise ValueError(
                f"dataset.normalize: the standard deviations are {self.std}, each must be positive; "
                "a channel that never varies can't be normalized: set dataset.normalize to none"
            )

    @classmethod
    def for_checkpoint(
        cls, metadata: Mapping[str, Any], normalize: str | Mapping[str, Any], dataset: Path
    ) -> "Preprocess":
        """What `dataset.normalize` of a resolved config means for a network.

        Parameters
        ----------
        metadata : mapping
            Of the network's checkpoint: ``network``, and for published weights ``normalization``.
        normalize : str or mapping
            ``auto`` (what the weights were trained with if they are published ones, else mean and
            standard deviation of the training images), ``none``, or ``mean`` and ``std``.
        dataset : Path
            The prepared dataset's ``dataset.json``.
        """
        image_shape = metadata["network"]["image_shape"]
        if normalize == "none":
            return cls(image_shape)
        if normalize == "auto":
            normalize = metadata.get("normalization") or json.loads(dataset.read_text())
        assert isinstance(normalize, Mapping)
        return cls(image_shape, normalize["mean"], normalize["std"])

    def __call__(self, images: Tensor) -> Tensor:
        """Scale to [0, 1], resize, normalize.

        Parameters
        ----------
        images : Tensor of uint8, (n_images, n_channels, height, width)

        Returns
        -------
        Tensor of float32, (n_images, *image_shape)
            On the images' device.
        """
        channels, height, width = self.image_shape
        pixels = images.float() / 255
        if pixels.shape[2:] != (height, width):
            pixels = F.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True)
        mean, std = (pixels.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        pixels = (pixels - mean) / std
        if pixels.shape[1] == 1:
            pixels = pixels.expand(-1, channels, -1, -1)
        if pixels.shape[1] != channels:
            raise ValueError(
                f"the images have {images.shape[1]} channels, the network takes {channels}"
            )
        return pixels.contiguous()


def to_batch(images: np.ndarray, device: torch.device) -> Tensor:
    """Stored images (n_images, height, width, n_channels) as a batch with channels first."""
    # A copy: torch warns of arrays that it could write to but must not, such as a read-only map.
    return torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2)
