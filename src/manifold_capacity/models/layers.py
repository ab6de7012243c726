"""The table of a network's layers: what they are called, what comes out of them, which are chosen.

This module knows nothing of torch: :func:`manifold_capacity.models.find_layers.find_layers` makes the table,
everything after it (the workflow, the store, the summary) reads it from here.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from manifold_capacity.errors import UserError, nearest

INPUT_NAME = "input"


INPUT_TYPE = "Input"


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
        Shape of what the module puts out for one image, without the batch axis.
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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for layer in layers:
        shape = "x".join(str(length) for length in layer.output_shape)
        writer.writerow((layer.index, layer.name, layer.type, shape, layer.n_features))
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text.getvalue())
    os.replace(temporary, path)


def read_layers(path: Path) -> list[Layer]:
    """Read what :func:`write_layers` wrote."""
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise UserError(
                f"{path}: the header reads {reader.fieldnames}, a table of layers has "
                f"{list(_COLUMNS)}; delete the file and run again"
            )
        return [
            Layer(
                index=int(row["index"]),
                name=row["name"],
                type=row["type"],
                output_shape=tuple(int(length) for length in row["output_shape"].split("x")),
                n_features=int(row["n_features"]),
            )
            for row in reader
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
        (class names of modules) and ``names`` (qualified names or shell patterns, matched with case;
        ``*`` is every layer but the input). A layer that any of them chooses is chosen.
    model : str
        What the error calls the network.

    Returns
    -------
    list of Layer
        In the order of ``index``, each once.

    Raises
    ------
    ValueError
        If nothing is chosen, or nothing but the input although types or names are given.

    Examples
    --------
    >>> table = [Layer(0, "input", "Input", (3, 8, 8), 192), Layer(1, "head", "Linear", (10,), 10)]
    >>> chosen = select_layers(table, {"input": True, "types": ["Linear"], "names": []})
    >>> [layer.label for layer in chosen]
    ['0_Input', '1_Linear']
    """
    wanted = [*selection["types"], *selection["names"]]
    chosen = {layer.index for layer in layers if layer.index == 0 and selection["input"]}
    modules = set().union(*_matches(layers, selection).values()) if wanted else set()
    if wanted and not modules:
        raise UserError(
            f"layers: nothing of {model} is chosen by {', '.join(wanted)}; "
            f"its types: {_listed([layer.type for layer in layers if layer.index])}; "
            f"its layers: {_listed([layer.name for layer in layers if layer.index])}"
        )
    if not chosen | modules:
        raise UserError(
            f"layers: nothing of {model} is chosen; set layers.input: true, or name types or names"
        )
    return [
        layer
        for layer in sorted(layers, key=lambda layer: layer.index)
        if layer.index in chosen | modules
    ]


def unmatched(tables: Mapping[str, Sequence[Layer]], selection: Mapping[str, Any]) -> list[str]:
    """A sentence for each type or pattern that matches no layer of any model.

    Parameters
    ----------
    tables : mapping of str to sequence of Layer
        All layers of each model, by the model's name.
    selection : mapping
        As `select_layers` takes it.
    """
    found = [_matches(layers, selection) for layers in tables.values()]
    models = next(iter(tables)) if len(tables) == 1 else f"any model ({', '.join(tables)})"
    modules = [layer for layers in tables.values() for layer in layers if layer.index]
    sentences = []
    for key, wanted in _criteria(selection):
        if (
            key == "types" and wanted in _DEFAULT_TYPES
        ):  # nobody asked for it, and some networks have but one of them
            continue
        if not any(matches[key, wanted] for matches in found):
            known = [layer.type if key == "types" else layer.name for layer in modules]
            hint = (
                nearest(wanted, known, cutoff=0.6).removeprefix("; ")
                or f"there are {_listed(known)}"
            )
            sentences.append(f"layers.{key}: {wanted!r} is not in {models}; {hint}")
    return sentences


def _criteria(selection: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, wanted) for key in ("types", "names") for wanted in selection[key]]


def _matches(
    layers: Sequence[Layer], selection: Mapping[str, Any]
) -> dict[tuple[str, str], set[int]]:
    """Indices of the layers that each type and pattern matches."""
    modules = [layer for layer in layers if layer.index > 0]
    return {
        (key, wanted): {
            layer.index
            for layer in modules
            if (layer.type == wanted if key == "types" else fnmatchcase(layer.name, wanted))
        }
        for key, wanted in _criteria(selection)
    }


def _listed(names: Iterable[str]) -> str:
    """The first few names."""
    each = list(dict.fromkeys(names))
    return ", ".join(each[:8]) + (f" and {len(each) - 8} more" if len(each) > 8 else "")
