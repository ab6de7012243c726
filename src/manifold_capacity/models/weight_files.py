"""Files of weights, from anywhere: read without running code in them, and checked.

They are safetensors, or written by torch.save and read with torch's ``weights_only``.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from manifold_capacity.errors import UserError, shortened

logger = logging.getLogger(__name__)

# What torch's errors go on with: advice to run the code in the file, among others.
_ADVICE = re.compile(r"\.? (In PyTorch 2\.6|Please (use|file)).*", re.DOTALL)


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a file; an error says in one line why it is none."""
    if not path.is_file():
        raise UserError(f"models.weights_file: there is no file {path}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
    except Exception as error:  # half a dozen types, for damaged or foreign files
        raise UserError(
            f"models.weights_file: {path} cannot be read as weights ({_reason(error)}); it must "
            "be a .safetensors file, or a state dict saved by torch.save without other objects in "
            "it; delete a damaged download and run again"
        ) from error
    if problem := _problem(state):
        raise UserError(f"models.weights_file: {path} {problem}")
    return state


def as_types(
    state: Mapping[str, Tensor], types: Mapping[str, torch.dtype], source: Path
) -> dict[str, Tensor]:
    """A state with the types of a network: other precisions are converted, which the log says.

    Raises
    ------
    UserError
        For values that the network's type cannot hold, NaN and infinite ones.
    """
    used = {key: tensor for key, tensor in state.items() if key in types}
    others = {
        _name(t.dtype) for k, t in used.items() if t.is_floating_point() and t.dtype != types[k]
    }
    if others:
        kinds = ", ".join(sorted(others))
        logger.info("%s: weights of type %s are converted to the network's float32", source, kinds)
    typed = {
        key: _as_type(tensor, types[key], f"{source} has {shortened(key, 100)!r}")
        for key, tensor in used.items()
    }
    return {**state, **typed}


def _as_type(tensor: Tensor, dtype: torch.dtype, where: str) -> Tensor:
    """A copy of its own memory: files can hold views of one array, which safetensors refuse."""
    if tensor.is_complex() or (dtype.is_floating_point and not tensor.is_floating_point()):
        problem = f"of type {_name(tensor.dtype)}, but {_name(dtype)} is needed"
    elif not (converted := tensor.to(dtype, copy=True)).isfinite().all():
        problem = f"with values that are NaN, infinite or too large for {_name(dtype)}"
    elif not dtype.is_floating_point and not torch.equal(converted.to(tensor.dtype), tensor):
        problem = f"with values that are no {_name(dtype)}"
    else:
        return converted
    raise UserError(f"models.weights_file: {where} {problem}; save good weights")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _load_torch(path: Path) -> Any:
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"  # as torch tells
    if is_zip:
        # torch would unpack to any size, and compares no checksums.
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("it is compressed, which torch.save never does")
            if damaged := archive.testzip():
                raise ValueError(f"wrong checksum of {damaged}")
    return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    *_, reason = str(error).split("WeightsUnpickler error:")
    return shortened(_ADVICE.sub("", reason)) or type(error).__name__


def _problem(state: object) -> str | None:
    """Why an object is not a state dict of plain tensors, if it is none."""
    advice = (
        "not a state dict (names to tensors); save one with torch.save(model.state_dict(), ...)"
    )
    if not isinstance(state, Mapping):
        return f"holds a {type(state).__name__}, {advice}"
    for key, value in state.items():
        name = shortened(repr(key), 100)
        if not isinstance(key, str):
            return f"has the name {name}, which is not text; it is {advice}"
        if not isinstance(value, Tensor):
            return f"has a {type(value).__name__} as {name}; it is {advice}"
        if value.is_quantized or value.is_nested or value.is_meta or value.layout != torch.strided:
            return f"has {name}, which is not a plain array of numbers (sparse or quantized?)"
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            return f"has {name} of shape {tuple(value.shape)}, but fewer numbers than that"
    if state and all(key.startswith("module.") for key in state):
        return (
            "has names that begin with 'module.', as of a network inside DataParallel; save "
            "model.module.state_dict()"
        )
    return None
