"""Values of layers, copied and handed to a thread that stores them while the network goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import numpy as np
import torch
from torch import Tensor

# Copies that there may be at once: one that is stored, and others that wait.
_BUFFERS = 3

# Gets values in the store's format, and the largest absolute value if that format cannot hold it, else 0.
Store = Callable[[np.ndarray, float], None]


class Overlap:
    """Calls functions in a thread, one after the other, with copies of tensors.

    It is a context, at whose end the thread stops; `finish` waits until everything is stored. What a function
    raises is raised by a later call or by `finish`.

    Parameters
    ----------
    most_values : int
        Size of the largest tensor.
    dtype : str
        ``float32`` or ``float16``, of the copies.
    device : torch.device
        Where the tensors are. From a GPU, they are copied in a stream of its own, for which nothing waits but
        the thread.
    """

    def __init__(self, most_values: int, dtype: str, device: torch.device) -> None:
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        pinned = device.type == "cuda"
        # All at once: small pieces between them would keep memory from being used again.
        self._buffers = [
            torch.empty(most_values, dtype=self._dtype, pin_memory=pinned) for _ in range(_BUFFERS)
        ]
        self._largest = torch.empty(_BUFFERS, pin_memory=pinned)
        self._jobs: deque[Future[None]] = deque()
        self._n_jobs = 0
        self._thread = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __call__(self, values: Tensor, store: Store) -> None:
        """Copy values, which may change as soon as this returns, and let the thread store them."""
        if len(self._jobs) == _BUFFERS:
            self._jobs.popleft().result()
        place = self._n_jobs % _BUFFERS
        copy = self._buffers[place][: values.numel()].view(values.shape)
        largest = self._largest[place]
        copied = None
        if self._stream is None:
            copy.copy_(values)
            largest.copy_(self._too_large(values, copy))
        else:
            # First a copy on the GPU: the next module, which may change the values in place, comes after it.
            rounded = values.to(self._dtype, copy=True)
            too_large = self._too_large(values, rounded)
            self._stream.wait_stream(torch.cuda.current_stream(values.device))
            with torch.cuda.stream(self._stream):
                copy.copy_(rounded, non_blocking=True)
                largest.copy_(too_large, non_blocking=True)
                copied = torch.cuda.Event()
                copied.record(self._stream)
            # Their memory is not used again before the copies are made.
            rounded.record_stream(self._stream)
            too_large.record_stream(self._stream)
        self._jobs.append(self._thread.submit(_run, store, copy, largest, copied))
        self._n_jobs += 1

    def finish(self) -> None:
        """Wait until everything is stored."""
        while self._jobs:
            self._jobs.popleft().result()

    def _too_large(self, values: Tensor, rounded: Tensor) -> Tensor:
        """The largest absolute value, if it is finite but not in the store's format, else 0."""
        if self._dtype == torch.float32:
            return torch.zeros((), device=values.device)
        fits = values.isinf().any() | ~rounded.isinf().any()
        return torch.where(fits, 0.0, values.abs().max().float())


def _run(store: Store, copy: Tensor, largest: Tensor, copied: torch.cuda.Event | None) -> None:
    if copied is not None:
        copied.synchronize()
    store(copy.numpy(), largest.item())
