"""Networks of the package timm, which is not installed by default: `timm/resnet18`, with or without a tag."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from manifold_capacity.errors import MissingPackageError, UserError, nearest, shortened

_PREFIX = "timm/"


def is_timm(name: str) -> bool:
    """Whether a name means a network of timm's."""
    return name.startswith(_PREFIX)


def check_name(name: str) -> None:
    """Raise a UserError that names the nearest network if timm has none of this name."""
    timm, short = _timm(name), name.removeprefix(_PREFIX)
    if not timm.is_model(short):
        known = timm.list_models()
        near = nearest(short, known, cutoff=0.0).replace("nearest: ", f"nearest: {_PREFIX}")
        raise UserError(f"models.name: {name!r} is not one of timm's {len(known)} models{near}")


def build(
    name: str,
    n_classes: int | None,
    arguments: Mapping[str, Any] | None,
    *,
    pretrained: bool = False,
) -> nn.Module:
    """A network of timm's; `n_classes` None keeps the head of its published weights."""
    check_name(name)
    head = {} if n_classes is None else {"num_classes": n_classes}
    options = {**head, **(arguments or {})}
    try:
        model: nn.Module = _timm(name).create_model(
            name.removeprefix(_PREFIX), pretrained=pretrained, **options
        )
    except Exception as error:  # a wrong tag or argument, a download that failed
        given = f" with {dict(arguments)}" if arguments else ""
        weights = " with its pretrained weights" if pretrained else ""
        raise UserError(
            f"models.name: timm cannot make {name}{weights}{given}: {type(error).__name__}: "
            f"{shortened(str(error))}"
        ) from error
    return model


def published(name: str, key: str) -> Any:
    """What timm knows of a network's published weights: ``num_classes``, ``mean``, ``std``, ``classifier``, ..."""
    check_name(name)
    try:
        return _timm(name).get_pretrained_cfg_value(name.removeprefix(_PREFIX), key)
    except RuntimeError as error:
        raise UserError(f"models.name: timm has no weights for {name}: {error}") from error


def _timm(name: str) -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise MissingPackageError(
            f"models.name: {name!r} needs the package timm, which is not installed; run "
            "`pip install timm` in the environment of the jobs"
        ) from error
