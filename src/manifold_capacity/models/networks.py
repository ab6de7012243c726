"""Networks, built by name: a small one, and torchvision's classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from manifold_capacity.errors import UserError, nearest

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
    known = model_names()
    if name not in known:
        raise UserError(
            f"models.name: {name!r} is not a model{nearest(name, known, cutoff=0.0)} "
            f"(known: {SMALL_CNN} and torchvision's {len(known) - 1} classification models)"
        )


def input_shape(
    name: str, image_shape: Sequence[int], image_size: int | None = None
) -> tuple[int, int, int]:
    """Shape (channels, height, width) of a network's input for one image.

    `image_shape` is (height, width, channels) of the dataset's images, `image_size` the side to which
    they are resized. torchvision's models have three channels; ``small_cnn`` as many as the images.
    """
    height, width, channels = image_shape
    if image_size is not None:
        height = width = image_size
    return (channels if name == SMALL_CNN else 3, height, width)


def build_model(name: str, *, n_classes: int, image_shape: Sequence[int]) -> nn.Module:
    """Build a network with random weights, drawn from torch's global generator.

    Parameters
    ----------
    name : str
        ``small_cnn`` or one of torchvision's classifiers.
    n_classes : int
        Outputs of the last layer.
    image_shape : sequence of int
        (channels, height, width) of the network's input, see :func:`input_shape`.

    Notes
    -----
    The auxiliary heads of ``googlenet`` and ``inception_v3`` are left out: only the training recipe
    of their papers uses them.
    """
    check_model(name)
    channels, height, width = image_shape
    if name == SMALL_CNN:
        return SmallCNN(channels, n_classes)
    if channels != 3:
        raise UserError(
            f"models.name: {name} needs images of 3 channels, but these have {channels}; "
            f"gray images are repeated to 3 channels, others need {SMALL_CNN}"
        )
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


def meta_model(name: str, *, n_classes: int, image_shape: Sequence[int]) -> nn.Module:
    """A network on torch's meta device; built in memory first if its constructor needs values."""
    check_model(name)
    try:
        with torch.device("meta"):
            return build_model(name, n_classes=n_classes, image_shape=image_shape)
    except NotImplementedError:
        with torch.random.fork_rng(devices=[]):
            return build_model(name, n_classes=n_classes, image_shape=image_shape).to("meta")
