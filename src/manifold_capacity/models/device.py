"""The device that a network runs on, its precision and its number of threads."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from manifold_capacity.errors import UserError
from manifold_capacity.provenance import cpu_name

logger = logging.getLogger(__name__)


def resolve_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` means on this machine; the log says which.

    Of several GPUs it is the first one that ``CUDA_VISIBLE_DEVICES`` makes visible.
    """
    check_choice("device", name, ("auto", "cpu", "cuda"))
    if name == "cpu":
        return torch.device(name)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"
    if torch.cuda.is_available():
        logger.info("device: %s%s", torch.cuda.get_device_name(), visible)
        return torch.device("cuda")
    if name == "auto":
        logger.info("device: no CUDA GPU found%s: CPU", visible)
        return torch.device("cpu")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU only"
    raise UserError(
        f"device: cuda, but torch {torch.__version__} (built for {build}) sees no CUDA GPU{visible}; "
        "run on a machine with a GPU (on a cluster, request one), check that `nvidia-smi` works "
        "and that torch is a CUDA build, or set device to auto or cpu"
    )


def device_name(device: torch.device) -> str:
    """What a device is called: ``cuda: NVIDIA A100-SXM4-40GB``, ``cpu: AMD EPYC``."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else cpu_name()


def check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Raise a UserError that names the configuration's `key` if its value is not among the choices."""
    if value not in choices:
        one_of = "one of " if len(choices) > 1 else ""
        raise UserError(f"{key}: {value!r} is not supported; use {one_of}{', '.join(choices)}")


def check_precision(precision: str, device: torch.device, key: str) -> None:
    """Raise a UserError that names the configuration's `key` if the device lacks a precision."""
    check_choice(key, precision, ("float32", "tf32", "bfloat16"))
    if device.type == "cpu" and precision == "tf32":
        raise UserError(
            f"{key}: tf32 is a number format of CUDA GPUs, but this runs on the CPU; "
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
    """A context in which GPUs multiply in TF32 only for ``tf32``.

    By default torch uses TF32 in convolutions, with 10 bits of mantissa in place of 23. Without it,
    a GPU agrees with a CPU to the accuracy of float32.
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


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a forward pass: with ``bfloat16``, torch's automatic mixed precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def prefers_channels_last(precision: str, device: torch.device) -> bool:
    """Whether channels should be the innermost axis: on tensor cores, so not for full float32."""
    return device.type == "cuda" and precision != "float32"


def use_threads(n_threads: int) -> int:
    """Set the number of threads that torch uses on the CPU, and return it."""
    torch.set_num_threads(n_threads)
    return n_threads
