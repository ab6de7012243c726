"""Checkpoints: weights in safetensors files, with metadata that say which network they are of."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from manifold_capacity.errors import UserError, shortened
from manifold_capacity.files import AGAIN, atomic_path, seal, unseal
from manifold_capacity.models.networks import NORMALIZING, skeleton

State = dict[str, Tensor]

# One metadata entry holds everything as sorted JSON: safetensors writes several entries in an order
# that changes from process to process, and the same weights would not be the same bytes.
_METADATA_KEY = "manifold_capacity"


def save_state(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, Any]) -> None:
    """Write weights, on any device, and metadata that JSON can hold. Same content: same bytes.

    The metadata have checksums of themselves and of the weights, which are verified when they are read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = _apart({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()})
    about = {**metadata, "weights_sha256": _checksum(tensors)}
    with atomic_path(path) as part:
        save_file(tensors, part, {_METADATA_KEY: seal(json.dumps(about, sort_keys=True))})


def load_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata of a checkpoint without its weights."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(_METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a complete safetensors file ({error}); {AGAIN}") from error
    if metadata is None:
        raise UserError(
            f"{path} is no checkpoint of this project, or damaged: it has no metadata; {AGAIN}"
        )
    return unseal(metadata, str(path))


def load_state(path: Path) -> tuple[State, dict[str, Any]]:
    """Read the weights and the metadata of a checkpoint."""
    metadata = load_metadata(path)
    # Copies: tensors mapped from the file are aligned otherwise than those that torch allocates, and
    # vectorized sums may differ in the last bit with the alignment of their operands.
    state = {key: tensor.clone() for key, tensor in load_file(path).items()}
    if _checksum(state) != metadata.pop("weights_sha256", None):
        raise UserError(
            f"{path} was damaged or changed: the weights' checksum does not fit; {AGAIN}"
        )
    return state, metadata


def _checksum(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for key, tensor in sorted(state.items()):
        digest.update(f"{key}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _apart(tensors: State) -> State:
    """Tensors that share memory, as tied weights do, as copies, since safetensors refuse them."""
    seen: set[int] = set()
    apart: State = {}
    for key, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[key] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return apart


def load_weights(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put a state into a network; if that is on torch's meta device, it takes the tensors themselves.

    Some modules look at the version that a state was written with. A file written by torch holds it;
    safetensors do not, and are taken to be of the present version, as this package's are.
    """
    present = model.state_dict()
    versions = getattr(state, "_metadata", None) or present._metadata  # type: ignore[attr-defined]
    versioned = OrderedDict(state)
    versioned._metadata = versions  # type: ignore[attr-defined]
    on_meta = any(isinstance(each, Tensor) and each.is_meta for each in present.values())
    model.load_state_dict(versioned, assign=on_meta)


def load_model(path: Path, factory: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild the network of a checkpoint, in evaluation mode on the CPU.

    Parameters
    ----------
    path : Path
        Written by :func:`save_state` with the metadata ``network`` (keyword arguments of
        :func:`manifold_capacity.models.networks.build_model`) and, for pretrained weights,
        ``weights: pretrained``.
    factory : str, optional
        The function that makes the network, if it is a user's own: ``file.py:function`` or
        ``package.module:function``. No code runs because a file names it.

    Returns
    -------
    model : nn.Module
    metadata : dict
    """
    state, metadata = load_state(path)
    network = metadata["network"]
    if (made_by := network.get("factory")) is not None:
        if factory is None:
            raise UserError(
                f"{path}: a function makes its network, {shortened(made_by, 100)!r}; a file must not name the "
                "code to run: give the function, load_model(path, 'file.py:function')"
            )
        network = {**network, "factory": factory}
    model = skeleton(**network, seed=metadata.get("seed", 0))
    load_weights(model, state)
    if network["name"] in NORMALIZING and not network.get("factory"):
        model.transform_input = metadata.get("weights") == "pretrained"  # type: ignore[assignment]
    return model.eval(), metadata
