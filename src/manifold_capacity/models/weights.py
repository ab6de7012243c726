"""Weights of networks before training: random ones from a seed, and pretrained ones."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manifold_capacity.datasets.download import DownloadError, download
from manifold_capacity.errors import UserError, shortened
from manifold_capacity.models import networks
from manifold_capacity.models.checkpoints import State, load_weights
from manifold_capacity.models.layers import listed
from manifold_capacity.models.networks import SMALL_CNN, meta_model
from manifold_capacity.models.weight_files import as_types, read_weights

# DenseNet's published weights have the module names of an older torchvision.
_OLD_DENSENET_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


def network_options(
    entry: Mapping[str, Any], *, n_classes: int, image_shape: Sequence[int]
) -> dict[str, Any]:
    """Keyword arguments of `build_model`, `list_layers` and `initial_state` for a model of the config.

    `n_classes` and `image_shape` (height, width, channels) are those of the dataset. A pretrained
    network keeps its own number of outputs.
    """
    name = entry["name"]
    networks.check_model(name)
    if entry["weights"] == "pretrained":
        file = entry["weights_file"]
        n_classes = pretrained_classes(name, None if file is None else Path(file))
    shape = networks.input_shape(name, image_shape, entry["image_size"])
    return {"name": name, "n_classes": n_classes, "image_shape": shape}


def initial_state(name: str, *, n_classes: int, image_shape: Sequence[int], seed: int) -> State:
    """Weights of an untrained network, from the seed alone; torch's global generator is unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = networks.build_model(name, n_classes=n_classes, image_shape=image_shape)
    return dict(model.state_dict())


def pretrained_classes(name: str, weights_file: Path | None = None) -> int:
    """Number of outputs of a pretrained network; for torchvision's weights known without a download."""
    networks.check_model(name)
    if weights_file is None:
        return len(_default_weights(name).meta["categories"])
    head = list(meta_model(name, n_classes=2, image_shape=(3, 224, 224)).state_dict())[-1]
    state = read_weights(weights_file)
    if head not in state:
        raise UserError(
            f"models.weights_file: {weights_file} has no {head!r}, the head of {name}; "
            f"it holds {shortened(listed(state, 3))}"
        )
    if not (shape := tuple(state[head].shape)) or not shape[0]:
        raise UserError(
            f"models.weights_file: {weights_file} has {head!r}, the head of {name}, of shape {shape}; its "
            "first axis must be the classes"
        )
    return shape[0]


def pretrained_state(
    name: str, weights_file: Path | None = None, *, image_shape: Sequence[int] = (3, 224, 224)
) -> State:
    """Pretrained weights, from a file or torchvision's ``DEFAULT`` (from its cache, or downloaded).

    `image_shape` is (channels, height, width) of the network's input: the weights of vision
    transformers are for one image size only.
    """
    n_classes = pretrained_classes(name, weights_file)
    if weights_file is None:
        source, state = _published_weights(name)
    else:
        source, state = weights_file, read_weights(weights_file)
    model = meta_model(name, n_classes=n_classes, image_shape=image_shape)
    types = {key: tensor.dtype for key, tensor in model.state_dict().items()}
    state = _current_names(name, state)
    typed = OrderedDict(as_types(state, types, source))
    typed._metadata = getattr(state, "_metadata", None)  # type: ignore[attr-defined]
    try:
        load_weights(model, typed, assign=True)
    except Exception as error:  # modules of torchvision that read older versions add their own
        reasons = shortened(str(error).partition("\n\t")[2] or str(error))
        raise UserError(
            f"models.weights_file: {source} does not fit {name} with {n_classes} classes on images "
            f"of {image_shape[1]} x {image_shape[2]}: {reasons}"
        ) from error
    return {key: tensor.detach() for key, tensor in model.state_dict().items()}


def pretrained_normalization(name: str) -> dict[str, list[float]]:
    """The channels' ``mean`` and ``std``, for values in [0, 1], that torchvision's weights expect."""
    transforms = _default_weights(name).transforms()
    return {"mean": list(transforms.mean), "std": list(transforms.std)}


def _default_weights(name: str) -> Any:
    if name == SMALL_CNN:
        raise UserError(
            f"models.weights: there are no published weights for {SMALL_CNN}; "
            "set models.weights to trained or random, or give models.weights_file"
        )
    return networks.torchvision_models().get_model_weights(name).DEFAULT


def _published_weights(name: str) -> tuple[Path, Mapping[str, Tensor]]:
    weights = _default_weights(name)
    target = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
    if not target.exists():
        # torchvision's names end in the first digits of the file's SHA-256.
        digest = target.stem.rsplit("-", 1)[-1]
        most_bytes = int((weights.meta["_file_size"] + 1) * 2**20)  # it is in MiB, rounded
        try:
            download(weights.url, target, sha256=digest, most_bytes=most_bytes)
        except DownloadError as error:
            raise UserError(
                f"models.weights: the pretrained weights of {name} are not at {target} and could "
                f"not be downloaded ({error}); download {weights.url} on a machine with internet "
                f"access and put the file there, or set models.weights_file to its path"
            ) from error
    return target, read_weights(target)


def _current_names(name: str, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The state under the present names of modules, without auxiliary heads."""
    renamed = OrderedDict(state)
    if hasattr(state, "_metadata"):
        renamed._metadata = state._metadata  # type: ignore[attr-defined]
    for key in state:
        if name.startswith("densenet"):
            renamed[_OLD_DENSENET_KEY.sub(r"\1\2", key)] = renamed.pop(key)
        elif name in networks.NORMALIZING and key.startswith(networks.AUXILIARY):
            del renamed[key]
    return renamed
