"""Weights of networks before they are measured: random ones from a seed, published ones, and those of files."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manifold_capacity.datasets.download import DownloadError, download
from manifold_capacity.errors import UserError, shortened
from manifold_capacity.models import networks, timm_networks
from manifold_capacity.models.checkpoints import State, load_weights
from manifold_capacity.models.layers import listed
from manifold_capacity.models.networks import SMALL_CNN, skeleton
from manifold_capacity.models.weight_files import KEY, as_types, read_weights

# DenseNet's published weights have the module names of an older torchvision.
_OLD_DENSENET_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


def network_options(
    entry: Mapping[str, Any],
    *,
    n_classes: int,
    image_shape: Sequence[int],
    input_dtype: str | None = None,
) -> dict[str, Any]:
    """Keyword arguments of `build_model`, `list_layers` and `initial_state` for a model of the config.

    `n_classes` and `image_shape` (height, width, channels) are those of the dataset, `input_dtype` the type of
    its samples if they are no images. A network with weights from elsewhere keeps its own number of outputs; a
    user's function is told that of the dataset, whatever its weights.
    """
    name, factory = entry["name"], entry.get("factory")
    if factory is None:
        networks.check_model(name)
    if factory is None and entry["weights"] in ("pretrained", "files"):
        n_classes = pretrained_classes(name, **first_file(entry))
    shape = networks.input_shape(name, image_shape, entry["image_size"], factory, input_dtype)
    options: dict[str, Any] = {"name": name, "n_classes": n_classes, "image_shape": shape}
    own = {"factory": factory, "arguments": entry.get("arguments"), "input_dtype": input_dtype}
    return options | {key: value for key, value in own.items() if value}


def weight_files(entry: Mapping[str, Any]) -> dict[str, Path]:
    """The files of weights of a model of the config, by their keys in it."""
    if entry["weights"] == "files":
        return {f"models.weights_files.{c}": Path(p) for c, p in entry["weights_files"].items()}
    return {KEY: Path(entry["weights_file"])} if entry["weights_file"] else {}


def first_file(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Of `weight_files` the first, if there is any, as arguments of the functions below."""
    files = weight_files(entry).items()
    return next(({"weights_file": path, "key": key} for key, path in files), {})


def initial_state(name: str, *, seed: int, **network: Any) -> State:
    """Weights of an untrained network, from the seed alone; generators of random numbers are unchanged.

    `network` are the arguments of `build_model`.
    """
    with networks.seeded(seed):
        model = networks.build_model(name, **network)
    return dict(model.state_dict())


def pretrained_classes(name: str, weights_file: Path | None = None, key: str = KEY) -> int:
    """Number of outputs of a network with weights from elsewhere; for published ones known without a download."""
    networks.check_model(name)
    if weights_file is None:
        if timm_networks.is_timm(name):
            return int(timm_networks.published(name, "num_classes"))
        return len(_default_weights(name).meta["categories"])
    names = list(skeleton(name, n_classes=2, image_shape=(3, 224, 224)).state_dict())
    head = names[-1]
    if timm_networks.is_timm(name) and (module := timm_networks.published(name, "classifier")):
        head = f"{module}.bias"
    state = read_weights(weights_file, names, key, values=False)
    if head not in state:
        raise UserError(
            f"{key}: {weights_file} has no {head!r}, the head of {name}; "
            f"it holds {shortened(listed(state, 3))}"
        )
    if not (shape := tuple(state[head].shape)) or not shape[0]:
        raise UserError(
            f"{key}: {weights_file} has {head!r}, the head of {name}, of shape {shape}; its "
            "first axis must be the classes"
        )
    return shape[0]


def pretrained_state(
    name: str,
    weights_file: Path | None = None,
    *,
    image_shape: Sequence[int] = (3, 224, 224),
    n_classes: int | None = None,
    key: str = KEY,
    **own: Any,
) -> State:
    """Weights from elsewhere: of a file, or published ones (from a cache, or downloaded).

    Without a file, torchvision's are its ``DEFAULT``, timm's those of the name's tag, and a user's network
    is taken as the function returns it. `n_classes`, `image_shape` and `own` are arguments of `build_model`;
    the weights of vision transformers are for one image size only. `key` of the config is for messages.
    """
    if n_classes is None:
        n_classes = pretrained_classes(name, weights_file, key)
    network = {"n_classes": n_classes, "image_shape": image_shape, **own}
    if weights_file is None and own.get("factory"):
        return initial_state(name, seed=0, **network)
    if weights_file is None and timm_networks.is_timm(name):
        model = timm_networks.build(name, None, own.get("arguments"), pretrained=True)
        return dict(model.state_dict())
    model = skeleton(name, **network)
    types = {each: tensor.dtype for each, tensor in model.state_dict().items()}
    if weights_file is None:
        source, state = _published_weights(name, types)
    else:
        source, state = weights_file, read_weights(weights_file, types, key)
    state = _current_names(name, state)
    typed = OrderedDict(as_types(state, types, source, key))
    typed._metadata = getattr(state, "_metadata", None)  # type: ignore[attr-defined]
    _put(typed, model, f"{key}: {source} does not fit {_described(name, **network)}")
    return {each: tensor.detach() for each, tensor in model.state_dict().items()}


def check_files(entry: Mapping[str, Any], network: Mapping[str, Any]) -> None:
    """Raise a UserError unless the names and shapes in a model's files of weights are the network's.

    Values are not read. `network` is what `network_options` returns for the model.
    """
    for key, path in weight_files(entry).items():
        model = skeleton(**network)
        state = read_weights(path, model.state_dict(), key, values=False)
        state = _current_names(network["name"], state)
        _put(state, model, f"{key}: {path} does not fit {_described(**network)}")


def _put(state: Mapping[str, Tensor], model: torch.nn.Module, problem: str) -> None:
    try:
        load_weights(model, state)
    except Exception as error:  # modules of torchvision that read older versions add their own
        reasons = shortened(str(error).partition("\n\t")[2] or str(error))
        raise UserError(f"{problem}: {reasons}") from error


def _described(
    name: str, *, n_classes: int, image_shape: Sequence[int], factory: str | None = None, **_: Any
) -> str:
    if factory is not None:
        return f"the network of {factory!r}"
    size = " x ".join(map(str, image_shape[1:]))
    return f"{name} with {n_classes} classes on images of {size}"


def pretrained_normalization(name: str) -> dict[str, list[float]]:
    """The channels' ``mean`` and ``std``, for values in [0, 1], that published weights expect."""
    if timm_networks.is_timm(name):
        return {key: list(timm_networks.published(name, key)) for key in ("mean", "std")}
    transforms = _default_weights(name).transforms()
    return {"mean": list(transforms.mean), "std": list(transforms.std)}


def _default_weights(name: str) -> Any:
    if name == SMALL_CNN:
        raise UserError(
            f"models.weights: there are no published weights for {SMALL_CNN}; "
            "set models.weights to trained or random, or give models.weights_file"
        )
    return networks.torchvision_models().get_model_weights(name).DEFAULT


def _published_weights(name: str, names: Collection[str]) -> tuple[Path, Mapping[str, Tensor]]:
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
    return target, read_weights(target, names)


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
