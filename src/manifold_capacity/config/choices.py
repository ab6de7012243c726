"""Work out what a configuration's short forms stand for: classes, checkpoints, external activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from manifold_capacity.activations.external import ExternalActivations
from manifold_capacity.config.schema import ConfigError
from manifold_capacity.errors import nearest
from manifold_capacity.summary.rows import EXTERNAL

__all__ = ["class_indices", "external_activations", "model_checkpoints"]


class Classes(Protocol):
    """A source of manifolds: a `Dataset`, or external activations."""

    @property
    def name(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...


def external_activations(config: Mapping[str, Any]) -> ExternalActivations | None:
    """The external activations of a resolved configuration; None where a network is run."""
    section = config["activations"]
    if section["path"] is None:
        return None
    return ExternalActivations(
        section["path"], section["labels"], section["class_names"], config["layers"]["names"]
    )


def model_checkpoints(config: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """Names of the checkpoints at which a model is measured: `epoch-000`, ... or `pretrained`."""
    if model["weights"] in ("pretrained", EXTERNAL):
        return [model["weights"]]
    epochs = config["checkpoints"] if model["weights"] == "trained" else [0]
    return [f"epoch-{epoch:03d}" for epoch in epochs]


def class_indices(classes: str | int | Sequence[str | int], dataset: Classes) -> list[int]:
    """Indices of the classes that `manifolds.classes` selects, in the order given.

    A name has precedence over an index. Where all names are numbers there are no indices: of the
    labels 1, 2 and 3, `1` is the first, and `0` is an error. A class that the dataset does not have, or
    that is given twice, is a ConfigError.
    """
    names = list(dataset.class_names)
    if classes == "all":
        return list(range(len(names)))
    if isinstance(classes, int):
        if classes > len(names):
            raise ConfigError(
                [
                    f"manifolds.classes: {classes}, but {dataset.name} has {len(names)} classes; "
                    f"allowed: 2 to {len(names)}, `all`, or a list of names"
                ]
            )
        return list(range(classes))
    are_numbers = all(map(_is_number, names))
    indices: list[int] = []
    problems = []
    for entry in classes:
        if str(entry) in names:
            indices.append(names.index(str(entry)))
        elif not are_numbers and isinstance(entry, int) and 0 <= entry < len(names):
            indices.append(entry)
        else:
            known = f"nor an index from 0 to {len(names) - 1}{nearest(entry, names)}"
            if are_numbers:
                known = f"its classes are {', '.join(names[:10])}{', ...' * (len(names) > 10)}"
            problems.append(
                f"manifolds.classes: {entry!r} is not a class of {dataset.name}, {known}"
            )
    if len(set(indices)) < len(indices):
        problems.append("manifolds.classes: a class is given twice (by name and by index?)")
    if problems:
        raise ConfigError(problems)
    return indices


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
