"""The networks: built by name, their weights made, stored and loaded, their layers found.

What is loaded never runs code: checkpoints are safetensors, other files are read with torch's
``weights_only``.
"""

import json
import logging
import os
import re
import urllib.error
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from manifold_capacity.errors import UserError, nearest
from manifold_capacity.layers import INPUT_NAME, INPUT_TYPE, Layer
from manifold_capacity.provenance import cpu_name

logger = logging.getLogger(__name__)

SMALL_CNN = "small_cnn"
State = dict[str, Tensor]

# One metadata entry holds everything as sorted JSON: safetensors writes several entries in an order
# that changes from process to process, and the same weights would not be the same bytes.
_METADATA_KEY = "manifold_capacity"

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")

# Densenet's published weights carry the module names of an older torchvision.
_OLD_DENSENET_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


class SmallCNN(nn.Sequential):
    """Three convolutions and two linear layers, for images of 8 x 8 to 32 x 32 pixels.

    The ReLUs work in place, as VGG's do. The last pooling brings every image size to 2 x 2, so that
    the linear layers have the same size whatever the images.

    Parameters
    ----------
    n_channels : int
        Channels of the images.
    n_classes : int
        Outputs.
    """

    def __init__(self, n_channels: int, n_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(n_channels, 32, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveMaxPool2d(2),
        )
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear(64 * 2 * 2, 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, n_classes),
        )


def _zoo() -> Any:
    """torchvision's models; importing them takes two seconds, which the small network can do without."""
    from torchvision import models

    return models


def model_names() -> list[str]:
    """Every name :func:`build_model` takes: ``small_cnn`` and torchvision's classifiers."""
    zoo = _zoo()
    return [SMALL_CNN, *zoo.list_models(module=zoo)]


def check_model(name: str) -> None:
    """Raise a ValueError that names the nearest model if there is none of this name."""
    if name == SMALL_CNN:
        return
    known = model_names()
    if name not in known:
        raise UserError(
            f"models.name: {name!r} is not a model{nearest(name, known, cutoff=0.0)} "
            f"(known: {SMALL_CNN} and torchvision's {len(known) - 1} classification models)"
        )


def input_shape(
    name: str, image_shape: Sequence[int], image_size: int | None = None
) -> tuple[int, int, int]:
    """Shape of one image as the network gets it.

    Parameters
    ----------
    name : str
        Model.
    image_shape : sequence of int
        (height, width, channels) of the dataset's images.
    image_size : int, optional
        Side to which images are resized.

    Returns
    -------
    tuple of int
        (channels, height, width). torchvision's models take three channels, so that a gray image
        is repeated three times for them; ``small_cnn`` takes the images' own.
    """
    height, width, channels = image_shape
    if image_size is not None:
        height = width = image_size
    return (channels if name == SMALL_CNN else 3, height, width)


def network_options(
    entry: Mapping[str, Any], *, n_classes: int, image_shape: Sequence[int]
) -> dict[str, Any]:
    """What the network of a model entry of the config is: name, n_classes and image_shape.

    Parameters
    ----------
    entry : mapping
        One of the resolved ``models``: name, weights, weights_file, image_size.
    n_classes : int
        Classes of the dataset. A pretrained network keeps its own number instead.
    image_shape : sequence of int
        (height, width, channels) of the dataset's images.

    Returns
    -------
    dict
        Keyword arguments of :func:`list_layers`, :func:`build_model` and :func:`initial_state`.
    """
    name = entry["name"]
    check_model(name)
    if entry["weights"] == "pretrained":
        file = entry["weights_file"]
        n_classes = pretrained_classes(name, None if file is None else Path(file))
    shape = input_shape(name, image_shape, entry["image_size"])
    return {"name": name, "n_classes": n_classes, "image_shape": shape}


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


def build_model(name: str, *, n_classes: int, image_shape: Sequence[int]) -> nn.Module:
    """Build a network with fresh weights, drawn from torch's global generator.

    Parameters
    ----------
    name : str
        ``small_cnn`` or one of torchvision's classification constructors.
    n_classes : int
        Outputs of the last layer.
    image_shape : sequence of int
        (channels, height, width) of what the network gets, see :func:`input_shape`.

    Notes
    -----
    The auxiliary heads of ``googlenet`` and ``inception_v3`` are left out: they only serve training
    by the recipe of their papers, and take no part in what the network computes.
    """
    check_model(name)
    channels, height, width = image_shape
    if name == SMALL_CNN:
        return SmallCNN(channels, n_classes)
    if channels != 3:
        raise UserError(
            f"models.name: {name} takes images of 3 channels, these have {channels}; "
            f"gray images are repeated to 3 channels, others need {SMALL_CNN}"
        )
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        options = {"image_size": height}
    elif name.startswith("maxvit_"):
        options = {"input_size": (height, width)}
    try:
        model: nn.Module = _zoo().get_model(name, weights=None, num_classes=n_classes, **options)
    except (ValueError, AssertionError) as error:
        raise _unfit(name, image_shape, error) from error
    return model


def _unfit(name: str, image_shape: Sequence[int], error: Exception) -> ValueError:
    _, height, width = image_shape
    usual = 32 if name == SMALL_CNN or name.startswith("vgg") else 224
    return UserError(
        f"models.image_size: {name} can't take images of {height} x {width} pixels "
        f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
        f"set models.image_size to a size it takes, such as {usual}"
    )


def initial_state(name: str, *, n_classes: int, image_shape: Sequence[int], seed: int) -> State:
    """Weights of an untrained network: they depend on the seed and on nothing else.

    torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = build_model(name, n_classes=n_classes, image_shape=image_shape)
    return dict(model.state_dict())


def pretrained_classes(name: str, weights_file: Path | None = None) -> int:
    """Outputs of the pretrained network: its head keeps the number of classes it was trained for.

    Parameters
    ----------
    name : str
        Model.
    weights_file : Path, optional
        File of weights; without it, torchvision's default weights for this model are meant, about
        which the answer is known without downloading them.
    """
    check_model(name)
    if weights_file is None:
        return len(_default_weights(name).meta["categories"])
    head = list(_meta_model(name, n_classes=2, image_shape=(3, 224, 224)).state_dict())[-1]
    state = _read_weights(weights_file)
    if head not in state:
        raise UserError(
            f"models.weights_file: {weights_file} has no {head!r}, the head of {name}; "
            f"it holds {_some(state)}"
        )
    return int(state[head].shape[0])


def pretrained_state(
    name: str,
    weights_file: Path | None = None,
    *,
    image_shape: Sequence[int] = (3, 224, 224),
) -> State:
    """Pretrained weights, from a file or torchvision's (its cache, else a download).

    Parameters
    ----------
    name : str
        Model.
    weights_file : Path, optional
        ``.safetensors``, or a state dict saved by torch (read with ``weights_only``). Without it:
        torchvision's ``DEFAULT`` weights for this model.
    image_shape : sequence of int
        (channels, height, width) of what the network gets. The weights of vision transformers hold
        for one image size only.

    Raises
    ------
    ValueError
        If there is no file and none can be downloaded (it says where to put it), or if the file
        isn't one of weights for this model.
    """
    n_classes = pretrained_classes(name, weights_file)
    if weights_file is None:
        source, state = _published_weights(name)
    else:
        source, state = weights_file, _read_weights(weights_file)
    state = _current_names(name, state)
    model = _meta_model(name, n_classes=n_classes, image_shape=image_shape)
    try:
        load_weights(model, state, assign=True)
    except RuntimeError as error:
        reasons = " ".join(str(error).split("\n\t")[1:3])
        raise UserError(
            f"models.weights_file: {source} does not fit {name} with {n_classes} classes on images "
            f"of {image_shape[1]} x {image_shape[2]}: {reasons}"
        ) from error
    return {key: tensor.detach() for key, tensor in model.state_dict().items()}


def pretrained_normalization(name: str) -> dict[str, list[float]]:
    """Channels' ``mean`` and ``std``, in [0, 1], with which torchvision's weights were trained."""
    transforms = _default_weights(name).transforms()
    return {"mean": list(transforms.mean), "std": list(transforms.std)}


def _default_weights(name: str) -> Any:
    if name == SMALL_CNN:
        raise UserError(
            f"models.weights: there are no published weights for {SMALL_CNN}; "
            "set models.weights to trained or random, or give models.weights_file"
        )
    return _zoo().get_model_weights(name).DEFAULT


def _published_weights(name: str) -> tuple[Path, Mapping[str, Tensor]]:
    weights = _default_weights(name)
    target = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # torchvision's names end in the first digits of the file's SHA-256.
        digest = target.stem.rsplit("-", 1)[-1]
        try:
            torch.hub.download_url_to_file(weights.url, str(target), digest, progress=False)
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise UserError(
                f"models.weights: the pretrained weights of {name} are not at {target} and could "
                f"not be downloaded ({error}); fetch {weights.url} on a machine with a network and "
                f"put the file at that place, or set models.weights_file to where it is"
            ) from error
    return target, _read_weights(target)


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UserError(f"models.weights_file: there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen types on damaged or foreign files
        raise UserError(
            f"models.weights_file: {path} can't be read as weights "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
            "what is wanted is a .safetensors file, or a state dict saved by torch.save without "
            "other objects in it; delete a damaged download and run again"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(
            f"models.weights_file: {path} holds a {type(state).__name__}, not a state dict "
            "(names to tensors); save it with torch.save(model.state_dict(), ...)"
        )
    return state


def _current_names(name: str, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The state by the names that today's modules have, without heads that are left out."""
    renamed = OrderedDict(state)
    if hasattr(state, "_metadata"):
        renamed._metadata = state._metadata  # type: ignore[attr-defined]
    for key in state:
        if name.startswith("densenet"):
            renamed[_OLD_DENSENET_KEY.sub(r"\1\2", key)] = renamed.pop(key)
        elif name in ("googlenet", "inception_v3") and key.startswith(_AUXILIARY):
            del renamed[key]
    return renamed


def _some(state: Mapping[str, Tensor]) -> str:
    names = list(state)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def save_state(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, Any]) -> None:
    """Write weights and what is known about them as safetensors, whole or not at all.

    Parameters
    ----------
    state : mapping of str to Tensor
        Weights and buffers, on any device.
    path : Path
        Where to; the folder is made.
    metadata : mapping
        Anything JSON can hold. Same state, same metadata: same bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    save_file(tensors, temporary, {_METADATA_KEY: json.dumps(dict(metadata), sort_keys=True)})
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_metadata(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote about the weights, without reading them."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(_METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); delete it and run again"
        ) from error
    if metadata is None:
        raise UserError(f"{path} is not a checkpoint of this project: its metadata are missing")
    loaded: dict[str, Any] = json.loads(metadata)
    return loaded


def load_state(path: Path) -> tuple[State, dict[str, Any]]:
    """Read what :func:`save_state` wrote: the weights and the metadata."""
    metadata = load_metadata(path)
    # Copies: what safetensors maps from the file lies at other addresses than what torch allocates,
    # and vectorised sums may differ in the last bit with the alignment of their operands.
    return {key: tensor.clone() for key, tensor in load_file(path).items()}, metadata


def load_weights(model: nn.Module, state: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Put a state into a network.

    Some modules ask a state which version of them wrote it. One loaded from a file of torch's says
    so; safetensors don't, and are taken to be of the present version, as what this package writes is.
    """
    versions = getattr(state, "_metadata", None) or model.state_dict()._metadata  # type: ignore[attr-defined]
    versioned = OrderedDict(state)
    versioned._metadata = versions  # type: ignore[attr-defined]
    model.load_state_dict(versioned, assign=assign)


def load_model(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild the network of a checkpoint, in evaluation mode on the CPU.

    Parameters
    ----------
    path : Path
        Written by :func:`save_state` with the metadata ``network`` (what :func:`network_options`
        gives) and, if the weights are pretrained, ``weights: pretrained``.

    Returns
    -------
    model : nn.Module
    metadata : dict
    """
    state, metadata = load_state(path)
    network = metadata["network"]
    model = _meta_model(**network)
    load_weights(model, state, assign=True)
    if network["name"] in ("googlenet", "inception_v3"):
        # Their published weights expect the normalization of an older framework and convert to it.
        model.transform_input = metadata.get("weights") == "pretrained"  # type: ignore[assignment]
    return model.eval(), metadata


def _meta_model(name: str, *, n_classes: int, image_shape: Sequence[int]) -> nn.Module:
    """A network without weights: nothing is drawn and nothing is allocated where that can be had.

    Some constructors compute with tensors while they build and can't do so without their values;
    those are built whole and stripped.
    """
    check_model(name)
    try:
        with torch.device("meta"):
            return build_model(name, n_classes=n_classes, image_shape=image_shape)
    except NotImplementedError:
        with torch.random.fork_rng(devices=[]):
            return build_model(name, n_classes=n_classes, image_shape=image_shape).to("meta")


def list_layers(name: str, *, n_classes: int, image_shape: Sequence[int]) -> list[Layer]:
    """The layers of a model by its name alone: needs no weights and computes nothing.

    See :func:`find_layers`.
    """
    model = _meta_model(name, n_classes=n_classes, image_shape=image_shape)
    try:
        return find_layers(model, image_shape)
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise _unfit(name, image_shape, error) from error


def leaf_modules(model: nn.Module) -> list[tuple[int, str, nn.Module]]:
    """All modules without children, in module order: (index from 1, qualified name, module)."""
    leaves = [
        (name, module) for name, module in model.named_modules() if not any(module.children())
    ]
    return [(index, name, module) for index, (name, module) in enumerate(leaves, start=1)]


def find_layers(model: nn.Module, image_shape: Sequence[int]) -> list[Layer]:
    """The table of layers: the input, then every leaf module that runs in a forward pass.

    Parameters
    ----------
    model : nn.Module
        On any device; on torch's meta device this costs nothing.
    image_shape : sequence of int
        (channels, height, width) of what the network gets.

    Returns
    -------
    list of Layer
        The index counts all leaf modules from 1 in module order, also those that don't run, so that
        a layer's number doesn't depend on what the forward pass does.

    Notes
    -----
    A leaf module that runs several times (a ReLU that a residual block shares) is one layer: its
    first call. One that is never called as a module (the projections inside
    ``nn.MultiheadAttention`` and swin's attention, whose weights are used directly), or that puts
    out something else than one tensor whose first axis is the batch, is not in the table.
    """
    parameter = next(model.parameters())
    batch = torch.zeros((2, *image_shape), device=parameter.device, dtype=parameter.dtype)
    shapes: dict[int, tuple[int, ...]] = {}

    def note(index: int, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim > 1 and output.shape[0] == len(batch):
            shapes.setdefault(index, tuple(output.shape[1:]))

    hooks = [
        module.register_forward_hook(lambda _module, _args, output, i=index: note(i, output))
        for index, _, module in leaf_modules(model)
    ]
    was_training = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    entries = [(0, INPUT_NAME, INPUT_TYPE, tuple(image_shape))]
    entries += [
        (index, name, type(module).__name__, shapes[index])
        for index, name, module in leaf_modules(model)
        if index in shapes
    ]
    return [
        Layer(index, name, kind, shape, torch.Size(shape).numel())
        for index, name, kind, shape in entries
    ]
