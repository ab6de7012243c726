"""Work out what a configuration's short forms stand for: classes, checkpoints, external activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manifold_capacity.activations.external import ExternalActivations, check_alike
from manifold_capacity.config.schema import ConfigError
from manifold_capacity.datasets.catalog import Dataset
from manifold_capacity.errors import nearest
from manifold_capacity.summary.rows import EXTERNAL


def external_paths(config: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint -> path of external activations, by epoch; none where a network is run."""
    path = config["activations"]["path"]
    if isinstance(path, list):
        ordered = sorted(path, key=lambda entry: entry["epoch"])
        return {checkpoint_name(entry["epoch"]): entry["path"] for entry in ordered}
    return {} if path is None else {EXTERNAL: path}


def external_activations(config: Mapping[str, Any]) -> dict[str, ExternalActivations]:
    """Checkpoint -> external activations of a resolved configuration; none where a network is run."""
    section = config["activations"]
    found = {
        checkpoint: ExternalActivations(
            path,
            section["labels"],
            section["class_names"],
            config["layers"]["names"],
            section["groups"],
        )
        for checkpoint, path in external_paths(config).items()
    }
    check_alike([*found.values()])
    return found


def model_checkpoints(config: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """Names of the checkpoints at which a model is measured: `epoch-000`, ..., `final` or `pretrained`."""
    if model["weights"] == EXTERNAL:
        return [*external_paths(config)]
    if model["weights"] == "pretrained":
        return ["pretrained"]
    if model["weights"] == "files":
        return [checkpoint_name(key) for key in model["weights_files"]]
    epochs = config["checkpoints"] if model["weights"] == "trained" else [0]
    return [checkpoint_name(epoch) for epoch in epochs]


def checkpoint_name(epoch: int | str) -> str:
    """`epoch-010` of 10, as a number or as text; `final` stays."""
    return "final" if epoch == "final" else f"epoch-{int(epoch):03d}"


def class_indices(
    classes: str | int | Sequence[str | int], dataset: Dataset | ExternalActivations
) -> list[int]:
    """Indices of the classes that `manifolds.classes` selects, in the order given.

    A name has precedence over an index. Where all names are numbers there are no indices: of the
    labels 1, 2 and 3, `1` is the first, and `0` is an error.
    """
    names = list(dataset.class_names)
    n_classes = len(names)
    if classes == "all":
        return list(range(n_classes))
    if isinstance(classes, int):
        if classes > n_classes:
            has = f"{dataset.name} has {n_classes} classes"
            allowed = f"allowed: 2 to {n_classes}, `all`, or a list of names"
            raise ConfigError([f"manifolds.classes: {classes}, but {has}; {allowed}"])
        return list(range(classes))
    are_numbers = all(map(_is_number, names))
    indices: list[int] = []
    problems = []
    for entry in classes:
        if str(entry) in names:
            indices.append(names.index(str(entry)))
        elif not are_numbers and isinstance(entry, int) and 0 <= entry < n_classes:
            indices.append(entry)
        else:
            known = f"nor an index from 0 to {n_classes - 1}{nearest(entry, names)}"
            if are_numbers:
                known = f"its classes are {', '.join(names[:10])}{', ...' * (n_classes > 10)}"
            what = f"is not a class of {dataset.name}, {known}"
            problems.append(f"manifolds.classes: {entry!r} {what}")
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
