"""What makes a GPU fast and what makes it agree with a CPU: where images lie, how networks compute."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manifold_capacity.augment import to_batch, to_device
from manifold_capacity.errors import UserError

logger = logging.getLogger(__name__)

PRECISIONS = ("float32", "tf32", "bfloat16")

# Images stay in a GPU's memory if they take at most this share of what is free before training
# begins: the rest is for weights, momentum and what backpropagation keeps.
_MEMORY_SHARE = 0.25

# Bytes of images copied to a GPU at a time, so that a split is never twice in the host's memory.
_COPY_BYTES = 64 * 2**20


class ImageSet:
    """A split's images and labels, from which batches are gathered on a device.

    Parameters
    ----------
    images : array of uint8, (n_images, height, width, n_channels)
        May be memory-mapped.
    labels : array of int64, (n_images,)
    device : torch.device
    resident : bool
        Keep all images in the device's memory. Otherwise each batch is read from the array and
        copied; on a GPU from pinned memory, while it works on what it was given before.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, device: torch.device, *, resident: bool
    ) -> None:
        self._images = images
        self._device = device
        self._labels = to_device(torch.from_numpy(np.array(labels)), device)
        self._resident: Tensor | None = None
        if resident:
            self._resident = torch.empty(images.shape, dtype=torch.uint8, device=device)
            n_images = max(1, _COPY_BYTES // max(1, images[:1].nbytes))
            for start in range(0, len(images), n_images):
                part = torch.from_numpy(np.array(images[start : start + n_images]))
                self._resident[start : start + n_images] = part.to(device)

    def batch(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Images (n, n_channels, height, width), uint8, and labels (n,), on the device.

        Parameters
        ----------
        chosen : array of int64, (n,)
            Which images.
        """
        index = to_device(torch.from_numpy(chosen), self._device)
        if self._resident is None:
            images = to_batch(self._images[chosen], self._device)
        else:
            images = self._resident.index_select(0, index).permute(0, 3, 1, 2)
        return images, self._labels.index_select(0, index)


def fits_on(device: torch.device, *images: np.ndarray) -> bool:
    """Whether these images are to stay in a GPU's memory; the log says so. Never on the CPU."""
    if device.type != "cuda":
        return False
    needed = sum(array.nbytes for array in images)
    free, _ = torch.cuda.mem_get_info(device)
    fits = needed <= _MEMORY_SHARE * free
    logger.info(
        "images: %.3g GiB, %.3g GiB of the GPU's memory are free: they %s (limit: %.0f %% of it)",
        needed / 2**30,
        free / 2**30,
        "are kept there" if fits else "stay on the host and are copied batch by batch",
        100 * _MEMORY_SHARE,
    )
    return fits


def check_precision(precision: str, device: torch.device, key: str) -> None:
    """Raise a ValueError if a device can't compute with a precision.

    Parameters
    ----------
    precision : str
        ``float32``, ``tf32`` or ``bfloat16``.
    device : torch.device
    key : str
        The configuration's key that says so, for the message.
    """
    if precision not in PRECISIONS:
        raise UserError(f"{key}: {precision!r}; allowed: {', '.join(PRECISIONS)}")
    if device.type == "cpu" and precision == "tf32":
        raise UserError(
            f"{key}: tf32 is arithmetic of CUDA GPUs, but this runs on the CPU; "
            "set it to float32, or run on a machine with a GPU"
        )
    if device.type == "cuda" and precision != "float32":
        major, minor = torch.cuda.get_device_capability(device)
        if major < 8:
            raise UserError(
                f"{key}: {precision} needs a GPU of compute capability 8.0 or later, "
                f"{torch.cuda.get_device_name(device)} has {major}.{minor}; set it to float32"
            )


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """How GPUs multiply within this context: TF32 is allowed only with ``tf32``.

    torch allows it in convolutions unless told otherwise: 10 bits of mantissa in place of 23. Without
    it a GPU agrees with a CPU to the accuracy of float32.
    """
    wanted = "tf32" if precision == "tf32" else "ieee"
    switches: list[Any] = [
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.cudnn.rnn,
    ]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = wanted
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value


def use_threads(n_threads: int) -> int:
    """Have torch compute with this many threads on the CPU, and return their number."""
    torch.set_num_threads(n_threads)
    return n_threads


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a forward pass: with ``bfloat16``, torch's automatic mixed precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def prefers_channels_last(precision: str, device: torch.device) -> bool:
    """Whether convolutions want the channels innermost: a GPU's tensor cores do.

    float32 proper doesn't run on them, and a CPU's sums would come out in another order.
    """
    return device.type == "cuda" and precision != "float32"
