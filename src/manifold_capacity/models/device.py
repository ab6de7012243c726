"""The device that a network runs on, its precision and its threads."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from manifold_capacity.errors import UserError
from manifold_capacity.provenance import cpu_name


def resolve_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` means on this machine; the log says which.

    Of several GPUs it is the first that ``CUDA_VISIBLE_DEVICES`` leaves visible.

    Raises
    ------
    ValueError
        For ``cuda`` where there is none, and for an unknown name.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device: {name!r} is not known; allowed: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU only"
        raise UserError(
            f"device: cuda, but torch {torch.__version__} (built for {build}) sees no CUDA GPU"
            f"{_visible()}; "
            "run on a machine with one (on a cluster: ask for a GPU), check that `nvidia-smi` works "
            "and that torch is a CUDA build, or set device to auto or cpu"
        )
    if name == "auto" and not torch.cuda.is_available():
        logger.info("device: no CUDA GPU found%s: CPU", _visible())
        return torch.device("cpu")
    if name != "cpu":
        name = "cuda"
        logger.info("device: %s%s", torch.cuda.get_device_name(), _visible())
    return torch.device(name)


def _visible() -> str:
    """What `CUDA_VISIBLE_DEVICES` says, if it is set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"


def device_name(device: torch.device) -> str:
    """What a device is called: ``cuda: NVIDIA A100-SXM4-40GB``, ``cpu: AMD EPYC``."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else cpu_name()


logger = logging.getLogger(__name__)


PRECISIONS = ("float32", "tf32", "bfloat16")


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
