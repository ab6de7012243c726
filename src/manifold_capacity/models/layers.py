"""The table of a network's layers, and the choice of layers from it. Does not import torch."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from manifold_capacity.errors import UserError, nearest
from manifold_capacity.files import atomic_path

_DEFAULT_TYPES = ("Conv2d", "Linear")
_COLUMNS = ("index", "name", "type", "output_shape", "n_features")


@dataclass(frozen=True)
class Layer:
    """One layer: a leaf module of the network that runs in a forward pass, or the input itself.

    Attributes
    ----------
    index : int
        Place of the module among all leaf modules in module order, counted from 1; 0 is the input.
    name : str
        Qualified module name, ``features.0``; ``input`` for the input.
    type : str
        Class of the module, ``Conv2d``; ``Input`` for the input.
    output_shape : tuple of int
        Shape of the module's output for one image, without the batch axis.
    n_features : int
        Product of ``output_shape``: the length of a point of this layer's manifolds.
    """

    index: int
    name: str
    type: str
    output_shape: tuple[int, ...]
    n_features: int

    @property
    def label(self) -> str:
        """``1_Conv2d``: unique in a network, and safe as a file name and as a zarr key.

        >>> Layer(39, "classifier.6", "Linear", (100,), 100).label
        '39_Linear'
        """
        return f"{self.index}_{self.type}"


def write_layers(layers: Iterable[Layer], path: Path) -> None:
    """Write the table as CSV: index, name, type, output_shape ("64x32x32"), n_features."""
    with atomic_path(path) as part, open(part, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for layer in layers:
            shape = "x".join(map(str, layer.output_shape))
            writer.writerow((layer.index, layer.name, layer.type, shape, layer.n_features))


def read_layers(path: Path) -> list[Layer]:
    """Read what :func:`write_layers` wrote."""
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise UserError(
                f"{path}: the header is {reader.fieldnames}, but must be {list(_COLUMNS)}; "
                "delete the file and run again"
            )
        return [
            Layer(int(index), name, kind, tuple(map(int, shape.split("x"))), int(n_features))
            for index, name, kind, shape, n_features in (row.values() for row in reader)
        ]


def select_layers(
    layers: Sequence[Layer], selection: Mapping[str, Any], *, model: str = "the model"
) -> list[Layer]:
    """Choose layers by type and by name.

    Parameters
    ----------
    layers : sequence of Layer
        All layers of the network.
    selection : mapping
        The resolved ``layers`` section of a config: ``input`` (bool: the input, layer 0), ``types``
        (class names of modules) and ``names`` (qualified names or shell patterns, case-sensitive;
        ``*`` matches every layer but the input). A layer that any of them matches is chosen.
    model : str
        The network's name, for the error message.

    Returns
    -------
    list of Layer
        In the order of ``index``, each once.

    Raises
    ------
    UserError
        If no layer is chosen, or only the input although types or names are given.

    Examples
    --------
    >>> table = [Layer(0, "input", "Input", (3, 8, 8), 192), Layer(1, "head", "Linear", (10,), 10)]
    >>> chosen = select_layers(table, {"input": True, "types": ["Linear"], "names": []})
    >>> [layer.label for layer in chosen]
    ['0_Input', '1_Linear']
    """
    criteria = _criteria(selection)
    chosen = [
        layer
        for layer in sorted(layers, key=lambda layer: layer.index)
        if (layer.index == 0 and selection["input"])
        or any(_matches(layer, *criterion) for criterion in criteria)
    ]
    if criteria and not any(layer.index for layer in chosen):
        raise UserError(
            f"layers: no layer of {model} matches {', '.join(wanted for _, wanted in criteria)}; "
            f"its types: {listed(layer.type for layer in layers if layer.index)}; "
            f"its layers: {listed(layer.name for layer in layers if layer.index)}"
        )
    if not chosen:
        raise UserError(
            f"layers: no layer of {model} is chosen; set layers.input: true, or give types or names"
        )
    return chosen


def unmatched(tables: Mapping[str, Sequence[Layer]], selection: Mapping[str, Any]) -> list[str]:
    """A sentence for each type or pattern that matches no layer of any model."""
    models = next(iter(tables)) if len(tables) == 1 else f"any model ({', '.join(tables)})"
    modules = [layer for layers in tables.values() for layer in layers if layer.index]
    sentences = []
    for key, wanted in _criteria(selection):
        # The default types are not an explicit choice, and some networks have only one of them.
        if key == "types" and wanted in _DEFAULT_TYPES:
            continue
        if not any(_matches(layer, key, wanted) for layer in modules):
            known = [layer.type if key == "types" else layer.name for layer in modules]
            near = nearest(wanted, known, cutoff=0.6).removeprefix("; ")
            hint = near or f"there are {listed(known)}"
            sentences.append(f"layers.{key}: {wanted!r} is not in {models}; {hint}")
    return sentences


def _criteria(selection: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, wanted) for key in ("types", "names") for wanted in selection[key]]


def _matches(layer: Layer, key: str, wanted: str) -> bool:
    fits = layer.type == wanted if key == "types" else fnmatchcase(layer.name, wanted)
    return layer.index > 0 and fits


def listed(names: Iterable[str], most: int = 8) -> str:
    """The first few of several names, each once.

    >>> listed("abcab", most=2)
    'a, b and 1 more'
    """
    each = list(dict.fromkeys(names))
    return ", ".join(each[:most]) + (f" and {len(each) - most} more" if len(each) > most else "")
