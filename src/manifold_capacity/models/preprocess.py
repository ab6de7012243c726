"""From stored images to a network's input: scaled, resized, normalized. Other inputs stay as they are."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from manifold_capacity.errors import UserError


class Preprocess:
    """Turns stored images into the network's input.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width) of the result. Other heights and widths are resized (bilinear,
        antialiased); one channel is repeated.
    mean, std : sequence of float, optional
        Per channel of the stored images, for values in [0, 1]: (value - mean) / std.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        self.input_shape = tuple(input_shape)
        self.mean = [0.0] if mean is None else list(mean)
        self.std = [1.0] if std is None else list(std)
        if not all(value > 0 for value in self.std):
            raise UserError(
                f"dataset.normalize: the standard deviations are {self.std}, but each must be "
                "positive; a constant channel cannot be normalized: set dataset.normalize to none"
            )

    @classmethod
    def for_checkpoint(
        cls,
        metadata: Mapping[str, Any],
        normalize: str | Mapping[str, Any],
        dataset: Mapping[str, Any],
    ) -> Preprocess:
        """The preprocessing that `dataset.normalize` of a resolved config means for a network.

        ``auto`` is what published weights were trained with, according to the checkpoint's metadata,
        else mean and standard deviation of the training images, from `dataset`, the content of ``dataset.json``.
        Inputs that are no images are not normalized.
        """
        input_shape = metadata["network"]["image_shape"]
        if "input_dtype" in dataset:
            return AsTheyAre(input_shape)
        if normalize == "none":
            return cls(input_shape)
        if normalize == "auto":
            normalize = metadata.get("normalization") or dataset
        assert isinstance(normalize, Mapping)
        return cls(input_shape, normalize["mean"], normalize["std"])

    def __call__(self, images: Tensor) -> Tensor:
        """Scale to [0, 1], resize, normalize: uint8 (n_images, n_channels, height, width) to float32."""
        channels, height, width = self.input_shape
        pixels = images.float() / 255
        if pixels.shape[2:] != (height, width):
            pixels = F.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True)
        mean, std = (_per_channel(tuple(values), pixels.device) for values in (self.mean, self.std))
        pixels = (pixels - mean) / std
        if pixels.shape[1] == 1:
            pixels = pixels.expand(-1, channels, -1, -1)
        if pixels.shape[1] != channels:
            raise UserError(
                f"the images have {images.shape[1]} channels, the network expects {channels}"
            )
        return pixels.contiguous()


class AsTheyAre(Preprocess):
    """Hands inputs that are no images to the network as they are."""

    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs


@functools.cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """One number per channel, on the device. Cached: a copy to a GPU waits for all its work."""
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the CPU to a device, without waiting for a GPU."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_batch(samples: np.ndarray, device: torch.device) -> Tensor:
    """Stored images, or other inputs, as a batch on a device, see `channels_first`."""
    # A copy: torch warns about read-only arrays, such as memory-mapped ones.
    return channels_first(to_device(torch.from_numpy(np.array(samples)), device))


def channels_first(samples: Tensor) -> Tensor:
    """Of stored images (n_images, height, width, n_channels), which are uint8; other inputs stay as they are."""
    return samples.permute(0, 3, 1, 2) if samples.dtype == torch.uint8 else samples
