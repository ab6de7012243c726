"""Training images, or other inputs, in memory or on the GPU."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from manifold_capacity.models.preprocess import channels_first, to_batch, to_device

logger = logging.getLogger(__name__)

# Images are kept in a GPU's memory if they need at most this share of what is free before training:
# the rest is for weights, momentum and activations.
_MEMORY_SHARE = 0.25

# Bytes of images copied to a GPU at a time, so that a split is never twice in the host's memory.
_COPY_BYTES = 64 * 2**20


class ImageSet:
    """A split's images and labels, from which batches are gathered on a device.

    Images are uint8 (n_images, height, width, n_channels), maybe memory-mapped; other inputs are as the
    network takes them. Resident ones are all kept in the device's memory; of others, each batch is
    copied, to a GPU while it computes.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, device: torch.device, *, resident: bool
    ) -> None:
        self._images = images
        self._device = device
        self._labels = to_device(torch.from_numpy(np.array(labels)), device)
        self._resident: Tensor | None = None
        if resident:
            dtype = torch.from_numpy(np.empty(0, images.dtype)).dtype
            self._resident = torch.empty(images.shape, dtype=dtype, device=device)
            n_images = max(1, _COPY_BYTES // max(1, images[:1].nbytes))
            for start in range(0, len(images), n_images):
                part = torch.from_numpy(np.array(images[start : start + n_images]))
                self._resident[start : start + n_images] = part.to(device)

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Images (n, n_channels, height, width), or other inputs, and labels (n,), of the `chosen` indices (n,)."""
        index = to_device(torch.from_numpy(chosen), self._device)
        if self._resident is None:
            images = to_batch(self._images[chosen], self._device)
        else:
            images = channels_first(self._resident.index_select(0, index))
        return images, self._labels.index_select(0, index)


def fits_on(device: torch.device, *images: np.ndarray) -> bool:
    """Whether images should be kept in a GPU's memory, which the log says; False on the CPU."""
    if device.type != "cuda":
        return False
    needed = sum(array.nbytes for array in images)
    free, _ = torch.cuda.mem_get_info(device)
    fits = needed <= _MEMORY_SHARE * free
    logger.info(
        "images: %.3g GiB, %.3g GiB of the GPU's memory are free: they are %s (limit: %.0f %%)",
        needed / 2**30,
        free / 2**30,
        "kept there" if fits else "kept on the host and copied batch by batch",
        100 * _MEMORY_SHARE,
    )
    return fits
