"""Networks: a small one, torchvision's and timm's classifiers by name, and users' own."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from manifold_capacity.errors import UserError, nearest
from manifold_capacity.models import timm_networks
from manifold_capacity.models.own_networks import build_own

SMALL_CNN = "small_cnn"

# Networks with auxiliary heads (modules of these names). Their published weights expect the
# normalization of an older framework, and convert to it.
NORMALIZING = ("googlenet", "inception_v3")
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


class SmallCNN(nn.Sequential):
    """Three convolutions and two linear layers, for images of 8 x 8 to 32 x 32 pixels.

    The ReLUs work in place, as VGG's do. The last pooling reduces every image size to 2 x 2.
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
            nn.Linear(64 * 2 * 2, 128), nn.ReLU(inplace=True), nn.Linear(128, n_classes)
        )


def torchvision_models() -> Any:
    """torchvision's models. The import takes two seconds, and the small network does not need it."""
    from torchvision import models

    return models


def model_names() -> list[str]:
    """Every name that :func:`build_model` takes: ``small_cnn`` and torchvision's classifiers."""
    models = torchvision_models()
    return [SMALL_CNN, *models.list_models(module=models)]


def check_model(name: str) -> None:
    """Raise a UserError that names the nearest model if there is none of this name."""
    if name == SMALL_CNN:
        return
    if timm_networks.is_timm(name):
        timm_networks.check_name(name)
        return
    known = model_names()
    if name not in known:
        raise UserError(
            f"models.name: {name!r} is not a model{nearest(name, known, cutoff=0.0)} (known: {SMALL_CNN}, "
            f"torchvision's {len(known) - 1} classification models, and timm/NAME); for a network of your "
            "own set models.factory"
        )


def input_shape(
    name: str,
    image_shape: Sequence[int],
    image_size: int | None = None,
    factory: str | None = None,
    input_dtype: str | None = None,
) -> tuple[int, ...]:
    """Shape of a network's input for one sample: (channels, height, width) of an image.

    `image_shape` is (height, width, channels) of the dataset's images, `image_size` the side to which
    they are resized. torchvision's and timm's models have three channels; others as many as the images.
    With an `input_dtype` the samples are no images, and the network gets them as they are.
    """
    if input_dtype is not None:
        if factory is None:
            raise UserError(
                f"models.name: {name} takes images, but the dataset's inputs are {input_dtype} of shape "
                f"{tuple(image_shape)}; give a network of your own that takes them (models.factory)"
            )
        return tuple(image_shape)
    height, width, channels = image_shape
    if image_size is not None:
        height = width = image_size
    return (channels if name == SMALL_CNN or factory else 3, height, width)


def build_model(
    name: str,
    *,
    n_classes: int,
    image_shape: Sequence[int],
    factory: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    input_dtype: str | None = None,
) -> nn.Module:
    """Build a network with random weights, drawn from torch's global generator.

    Parameters
    ----------
    name : str
        ``small_cnn``, one of torchvision's classifiers, or ``timm/`` and a name of timm's. Any text for
        a network of a `factory`.
    n_classes : int
        Outputs of the last layer.
    image_shape : sequence of int
        (channels, height, width) of the network's input, see :func:`input_shape`.
    factory : str, optional
        A function that returns the network: ``file.py:function`` or ``package.module:function``.
    arguments : mapping, optional
        Its keyword arguments, or those of ``timm.create_model``.
    input_dtype : str, optional
        Type of the network's input if it is not float32, such as ``int64``.

    Notes
    -----
    The auxiliary heads of ``googlenet`` and ``inception_v3`` are left out: only the training recipe
    of their papers uses them.
    """
    if factory is not None:
        sizes: dict[str, Any] = {"n_classes": n_classes, "image_shape": image_shape}
        return build_own(factory, arguments or {}, **sizes, input_dtype=input_dtype)
    check_model(name)
    channels, height, width = image_shape
    if name == SMALL_CNN:
        return SmallCNN(channels, n_classes)
    if channels != 3:
        raise UserError(
            f"models.name: {name} needs images of 3 channels, but these have {channels}; "
            f"gray images are repeated to 3 channels, others need {SMALL_CNN}"
        )
    if timm_networks.is_timm(name):
        return timm_networks.build(name, n_classes, arguments)
    options: dict[str, Any] = {}
    if name in NORMALIZING:
        options = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        options = {"image_size": height}
    elif name.startswith("maxvit_"):
        options = {"input_size": (height, width)}
    try:
        models = torchvision_models()
        return models.get_model(name, weights=None, num_classes=n_classes, **options)
    except (ValueError, AssertionError) as error:
        raise unfit_error(name, image_shape, error) from error


def unfit_error(name: str, image_shape: Sequence[int], error: Exception) -> UserError:
    """The error for images of a size that a network cannot process."""
    _, height, width = image_shape
    usual = 32 if name == SMALL_CNN or name.startswith("vgg") else 224
    return UserError(
        f"models.image_size: {name} cannot process images of {height} x {width} pixels "
        f"({first_line(error)}); set models.image_size to a supported size, such as {usual}"
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type if there is none."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def is_own(name: str, factory: str | None) -> bool:
    """Whether a network comes from a user's function or from timm: it may do anything, and is built in memory."""
    return factory is not None or timm_networks.is_timm(name)


def skeleton(name: str, *, seed: int = 0, **network: Any) -> nn.Module:
    """A network whose weights are to be replaced, given the arguments of :func:`build_model`.

    It is on torch's meta device, built in memory first if its constructor needs values. Users' own are
    built as they were for the first weights, from the same seed: they may hold random numbers that are not weights.
    """
    if is_own(name, network.get("factory")):
        with seeded(seed):
            return build_model(name, **network)
    check_model(name)
    try:
        with torch.device("meta"):
            return build_model(name, **network)
    except NotImplementedError:
        with seeded(seed):
            return build_model(name, **network).to("meta")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed: torch's on the CPU, and NumPy's and Python's, which users' networks may draw.

    Afterwards all generators are as before.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
