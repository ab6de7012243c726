"""The networks: built by name, their weights made, stored and loaded, their layers found.

What is loaded never runs code: checkpoints are safetensors, other files are read with torch's
``weights_only``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from manifold_capacity.errors import UserError, nearest

logger = logging.getLogger(__name__)


SMALL_CNN = "small_cnn"


AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


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


def torchvision_models() -> Any:
    """torchvision's models; importing them takes two seconds, which the small network can do without."""
    from torchvision import models

    return models


def model_names() -> list[str]:
    """Every name :func:`build_model` takes: ``small_cnn`` and torchvision's classifiers."""
    zoo = torchvision_models()
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
        model: nn.Module = torchvision_models().get_model(
            name, weights=None, num_classes=n_classes, **options
        )
    except (ValueError, AssertionError) as error:
        raise unfit_error(name, image_shape, error) from error
    return model


def unfit_error(name: str, image_shape: Sequence[int], error: Exception) -> ValueError:
    _, height, width = image_shape
    usual = 32 if name == SMALL_CNN or name.startswith("vgg") else 224
    return UserError(
        f"models.image_size: {name} can't take images of {height} x {width} pixels "
        f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
        f"set models.image_size to a size it takes, such as {usual}"
    )


def meta_model(name: str, *, n_classes: int, image_shape: Sequence[int]) -> nn.Module:
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
