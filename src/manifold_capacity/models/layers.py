"""The table of a network's layers. Does not import torch."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from manifold_capacity.errors import UserError
from manifold_capacity.files import atomic_path

_COLUMNS = (
    *("index", "name", "type", "is_block", "call", "output"),
    *("output_shape", "channel_axis", "n_features"),
)


@dataclass(frozen=True)
class Layer:
    """One layer: what a module of the network gives in one of its calls, or the input itself.

    Attributes
    ----------
    index : int
        Place of the module among all leaf modules (those without children) in module order, counted from 1; of
        a block, that of its last leaf that runs; 0 is the input.
    name : str
        Qualified module name, ``features.0``; ``input`` for the input.
    type : str
        Class of the module, ``Conv2d``; ``Input`` for the input.
    output_shape : tuple of int
        Shape of what is measured for one sample, without the batch axis: the module's output, or a view of it.
    n_features : int
        Product of ``output_shape``: the length of a point of this layer's manifolds.
    is_block : bool
        Whether the module has children.
    call : int
        Which of the module's calls in a forward pass, counted from 1.
    output : str
        Key of the tensor in an output that is a tuple, list, mapping or dataclass; empty for the first one.
    channel_axis : int or None
        Which axis of the module's output, for one sample, are the channels; the others are positions. None if
        there is one axis only.
    view : str
        What of the output is measured, see ``manifold_capacity.models.views``.
    position : tuple of int
        The position that is measured by itself; empty for all others.
    suffix : str
        What tells a view from other views of the same output.
    shape_of_module : tuple of int
        Shape of the module's output for one sample, if it is not ``output_shape``.
    """

    index: int
    name: str
    type: str
    output_shape: tuple[int, ...]
    n_features: int
    is_block: bool = False
    call: int = 1
    output: str = ""
    channel_axis: int | None = None
    view: str = "flatten"
    position: tuple[int, ...] = ()
    suffix: str = ""
    shape_of_module: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """``1_Conv2d``: unique in a network, and safe as a file name and as a zarr key.

        A block's has its name in place of its type: several can end in the same leaf.

        >>> Layer(39, "classifier.6", "Linear", (100,), 100).label
        '39_Linear'
        >>> Layer(8, "layer1.0", "BasicBlock", (64, 8, 8), 4096, is_block=True).label
        '8_layer1_0'
        """
        parts = [f"{self.index}_{self.name if self.is_block else self.type}"]
        parts += [f"output_{self.output}"] if self.output else []
        parts += [f"call_{self.call}"] if self.call > 1 else []
        return re.sub(r"[^0-9A-Za-z]", "_", "_".join(parts)) + self.suffix


def write_layers(layers: Iterable[Layer], path: Path) -> None:
    """Write the table as CSV, shapes as ``64x32x32``."""
    with atomic_path(path) as part, open(part, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for layer in layers:
            shape = "x".join(map(str, layer.output_shape))
            block = "block" if layer.is_block else ""
            axis = "" if layer.channel_axis is None else layer.channel_axis
            about = (layer.index, layer.name, layer.type, block, layer.call, layer.output)
            writer.writerow((*about, shape, axis, layer.n_features))


def is_readable(path: Path) -> bool:
    """Whether there is a table of this version; one of an earlier version is made again."""
    if not path.is_file():
        return False
    with open(path, newline="") as file:
        return next(csv.reader(file), None) == [*_COLUMNS]


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
            Layer(
                int(row["index"]),
                row["name"],
                row["type"],
                tuple(map(int, row["output_shape"].split("x"))),
                int(row["n_features"]),
                is_block=bool(row["is_block"]),
                call=int(row["call"]),
                output=row["output"],
                channel_axis=int(row["channel_axis"]) if row["channel_axis"] else None,
            )
            for row in reader
        ]


def listed(names: Iterable[str], most: int = 8) -> str:
    """The first few of several names, each once.

    >>> listed("abcab", most=2)
    'a, b and 1 more'
    """
    each = list(dict.fromkeys(names))
    return ", ".join(each[:most]) + (f" and {len(each) - most} more" if len(each) > most else "")
