"""Files of weights, from anywhere: read without running code in them, unwrapped, and checked.

They are safetensors, or written by torch.save and read with torch's ``weights_only``.
"""

from __future__ import annotations

import argparse
import logging
import pathlib
import re
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from manifold_capacity.errors import UserError, shortened

logger = logging.getLogger(__name__)

KEY = "models.weights_file"

# What torch's errors go on with: advice to run the code in the file, among others.
_ADVICE = re.compile(r"\.? (In PyTorch 2\.6|Please (use|file)).*", re.DOTALL)

# Where training scripts and Lightning keep the state dict in what they save.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module")

# What wrappers put before the names of a network: DataParallel, torch.compile, a class that holds the network.
_PREFIX = re.compile(r"(module|_orig_mod|model|network|net)\.")

# Classes without code of their own that are saved beside weights: numbers of NumPy's, and options.
_HARMLESS: list[Any] = [
    *(np.dtype, argparse.Namespace, pathlib.PosixPath),
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
]


def read_weights(
    path: Path, names: Collection[str], key: str = KEY, *, values: bool = True
) -> Mapping[str, Tensor]:
    """The state dict in a file; an error says in one line why it is none.

    Parameters
    ----------
    path : Path
    names : collection of str
        Of the network's tensors: a prefix in the file that they lack is taken off.
    key : str
        Of the configuration, for messages.
    values : bool
        False to read names, types and shapes only, which is fast for large files.
    """
    if not path.is_file():
        raise UserError(f"{key}: there is no file {path.absolute()}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _load_torch(path, values)
    except Exception as error:  # half a dozen types, for damaged or foreign files
        raise UserError(
            f"{key}: {path} cannot be read as weights ({_reason(error)}); it must be a .safetensors "
            "file, or a state dict saved by torch.save, without objects of classes beside it: save it anew "
            "with torch.save(model.state_dict(), ...), or delete a damaged download and run again"
        ) from error
    level = logging.INFO if values else logging.DEBUG  # said once, by the job
    state = _unwrapped(state, path, level)
    if problem := _problem(state):
        raise UserError(f"{key}: {path} {problem}")
    return _network_part(state, names, path, level)


def _unwrapped(state: Any, path: Path, level: int) -> Any:
    """The state dict inside what a training script saved, which the log says."""
    for _ in range(5):  # more are a file that holds itself
        if not isinstance(state, Mapping):
            break
        wrapper = next((w for w in _WRAPPERS if isinstance(state.get(w), Mapping)), None)
        if wrapper is None:
            break
        others = shortened(", ".join(str(key) for key in state if key != wrapper), 200)
        beside = f"; not read: {others}" if others else ""
        logger.log(level, "%s: the weights are those of its entry %r%s", path, wrapper, beside)
        state = state[wrapper]
    return state


def _network_part(
    state: Mapping[str, Tensor], names: Collection[str], path: Path, level: int
) -> Mapping[str, Tensor]:
    """The state under the network's names, where all of them have a prefix in the file, which the log says."""
    if any(key in names for key in state):
        return state
    for prefix in sorted({prefix for key in state for prefix in _prefixes(key)}, key=len):
        part = OrderedDict(
            (key.removeprefix(prefix), t) for key, t in state.items() if key.startswith(prefix)
        )
        if not any(key in names for key in part):
            continue
        others = shortened(", ".join(key for key in state if not key.startswith(prefix)), 200)
        beside = f"; not read: {others}" if others else ""
        logger.log(level, "%s: names without their prefix %r%s", path, prefix, beside)
        versions = getattr(state, "_metadata", None)
        if isinstance(versions, Mapping):  # of modules, whose names have the prefix too
            part._metadata = {  # type: ignore[attr-defined]
                f"{module}.".removeprefix(prefix).removesuffix("."): version
                for module, version in versions.items()
                if f"{module}.".startswith(prefix)
            }
        return part
    return state


def _prefixes(key: str) -> list[str]:
    """``["module.", "module.model."]`` of ``module.model.0.bias``."""
    found, end = [], 0
    while match := _PREFIX.match(key, end):
        end = match.end()
        found.append(key[:end])
    return found


def as_types(
    state: Mapping[str, Tensor], types: Mapping[str, torch.dtype], source: Path, key: str = KEY
) -> dict[str, Tensor]:
    """A state with the types of a network: other precisions are converted, which the log says.

    Raises
    ------
    UserError
        For values that the network's type cannot hold, NaN and infinite ones.
    """
    used = {name: tensor for name, tensor in state.items() if name in types}
    others = {
        _name(t.dtype) for k, t in used.items() if t.is_floating_point() and t.dtype != types[k]
    }
    if others:
        kinds = ", ".join(sorted(others))
        logger.info("%s: weights of type %s are converted to the network's float32", source, kinds)
    typed = {
        name: _as_type(tensor, types[name], f"{key}: {source} has {shortened(name, 100)!r}")
        for name, tensor in used.items()
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
    raise UserError(f"{where} {problem}; save good weights")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _load_torch(path: Path, values: bool) -> Any:
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"  # as torch tells
    if is_zip:
        # torch would unpack to any size, and compares no checksums.
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("it is compressed, which torch.save never does")
            if values and (damaged := archive.testzip()):
                raise ValueError(f"wrong checksum of {damaged}")
    with torch.serialization.safe_globals(_HARMLESS):
        # Mapped, values that nobody looks at are never read.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip and not values)


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
    return None
