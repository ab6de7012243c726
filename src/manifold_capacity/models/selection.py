"""The choice of layers from a network's table: modules, their calls, outputs and views. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from manifold_capacity.errors import UserError, nearest
from manifold_capacity.models.layers import Layer, listed, read_layers
from manifold_capacity.models.views import view_text, viewed

_DEFAULT_TYPES = ("Conv2d", "Linear")
# More layers of one network are more jobs than Snakemake handles well.
MOST_LAYERS = 2000
_CALLS = "first, last, all, or a number from 1"


def select_layers(
    layers: Sequence[Layer], selection: Mapping[str, Any], *, model: str = "the model"
) -> list[Layer]:
    """Choose layers by type and by name, and what of each is measured.

    Parameters
    ----------
    layers : sequence of Layer
        The network's table.
    selection : mapping
        The resolved ``layers`` section of a config: ``input`` (bool: the input, layer 0), ``types`` (class names
        of modules) and ``names`` (qualified names or shell patterns, case-sensitive). A module that any of them
        matches is chosen; a pattern that matches modules without children chooses only these. Optional
        mappings from patterns: ``calls``, ``outputs``, ``views`` and ``channel_axis``; of several that match
        a name, the last counts.
    model : str
        The network's name, for the error message.

    Returns
    -------
    list of Layer
        In the order of the table, each once; calls and views of a module one after the other.

    Raises
    ------
    UserError
        If no layer is chosen, or only the input although types or names are given; for calls, outputs or views
        that a module does not have, and for labels that two layers share.

    Examples
    --------
    >>> table = [Layer(0, "input", "Input", (3, 8, 8), 192), Layer(1, "head", "Linear", (10,), 10)]
    >>> chosen = select_layers(table, {"input": True, "types": ["Linear"], "names": []})
    >>> [layer.label for layer in chosen]
    ['0_Input', '1_Linear']
    """
    criteria = _criteria(selection)
    names = {name for criterion in criteria for name in _matching(layers, *criterion)}
    if criteria and not names:
        modules = _modules(layers)
        raise UserError(
            f"layers: no layer of {model} matches {', '.join(wanted for _, wanted in criteria)}; "
            f"its types: {listed(layer.type for layer in modules)}; "
            f"its layers: {listed(layer.name for layer in modules if not layer.is_block)}"
        )
    by_name: dict[str, list[Layer]] = {}
    for layer in layers:
        if (layer.index == 0 and selection["input"]) or (layer.index and layer.name in names):
            by_name.setdefault(layer.name, []).append(layer)
    if not by_name:
        raise UserError(
            f"layers: no layer of {model} is chosen; set layers.input: true, or give types or names"
        )
    chosen = [each for rows in by_name.values() for each in _of_module(rows, selection, model)]
    if len(chosen) > MOST_LAYERS:
        raise UserError(
            f"layers: {len(chosen):,} layers of {model} are more than {MOST_LAYERS:,}; choose fewer, or of many "
            "positions every k-th: layers.views: {pattern: {positions: k}}"
        )
    labels = [layer.label for layer in chosen]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise UserError(
            f"layers: two layers of {model} would have the label {twice[0]}; choose one"
        )
    return chosen


def read_selected(
    path: Path, selection: Mapping[str, Any], label: str | None = None
) -> list[Layer]:
    """The chosen layers of a table that `manifold_capacity.models.layers.write_layers` wrote, or the one of a label."""
    chosen = select_layers(read_layers(path), selection)
    return [layer for layer in chosen if label in (None, layer.label)]


def unmatched(tables: Mapping[str, Sequence[Layer]], selection: Mapping[str, Any]) -> list[str]:
    """A sentence for each type or pattern that matches no layer of any model."""
    models = next(iter(tables)) if len(tables) == 1 else f"any model ({', '.join(tables)})"
    modules = [layer for layers in tables.values() for layer in _modules(layers)]
    sentences = []
    for key, wanted in _criteria(selection):
        # The default types are not an explicit choice, and some networks have only one of them.
        if key == "types" and wanted in _DEFAULT_TYPES:
            continue
        if not any(_matching(layers, key, wanted) for layers in tables.values()):
            known = [layer.type if key == "types" else layer.name for layer in modules]
            near = nearest(wanted, known, cutoff=0.6).removeprefix("; ")
            hint = near or f"there are {listed(known)}"
            sentences.append(f"layers.{key}: {wanted!r} is not in {models}; {hint}")
    for key in ("calls", "outputs", "views", "channel_axis"):
        for pattern in selection.get(key) or {}:
            chosen = {
                layer.name
                for layers in tables.values()
                for layer in layers
                if any(layer.name in _matching(layers, *each) for each in _criteria(selection))
                or (layer.index == 0 and selection["input"])
            }
            if not any(fnmatchcase(name, pattern) for name in chosen):
                near = (
                    nearest(pattern, chosen, cutoff=0.6) or f"; these are {listed(sorted(chosen))}"
                )
                sentences.append(
                    f"layers.{key}: {pattern!r} matches no chosen layer of {models}{near}"
                )
    return sentences


def _modules(layers: Sequence[Layer]) -> list[Layer]:
    return [layer for layer in layers if layer.index]


def _criteria(selection: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, wanted) for key in ("types", "names") for wanted in selection[key]]


def _matching(layers: Sequence[Layer], key: str, wanted: str) -> set[str]:
    """Names of modules that a type or a pattern chooses: those without children, if there are any."""
    found = [
        layer
        for layer in _modules(layers)
        if (layer.type == wanted if key == "types" else fnmatchcase(layer.name, wanted))
    ]
    leaves = {layer.name for layer in found if not layer.is_block}
    return leaves or {layer.name for layer in found}


def _setting(selection: Mapping[str, Any], key: str, name: str) -> tuple[str, Any] | None:
    """The last entry of a mapping from patterns that matches a name: its place in the configuration, and its value."""
    found = None
    for pattern, value in (selection.get(key) or {}).items():
        if fnmatchcase(name, pattern):
            found = f"layers.{key}[{pattern!r}]", value
    return found


def _of_module(rows: Sequence[Layer], selection: Mapping[str, Any], model: str) -> Iterator[Layer]:
    """A chosen module's layers: of its calls, the wanted output and its views."""
    name = rows[0].name
    where, key = _setting(selection, "outputs", name) or ("", "")
    of_output = [layer for layer in rows if layer.output == str(key)]
    if not of_output:
        keys = [layer.output for layer in rows if layer.call == 1 and layer.output]
        has = f"its outputs are {listed(keys)}" if keys else "its output is one tensor"
        raise UserError(f"{where}: {key!r} is not an output of {name} of {model}; {has}")
    where_axis, axis = _setting(selection, "channel_axis", name) or ("", None)
    where_view, views = _setting(selection, "views", name) or ("layers.views", "flatten")
    for layer in _calls(of_output, selection, model):
        given = (
            layer if axis is None else replace(layer, channel_axis=_axis(layer, axis, where_axis))
        )
        for view in views if isinstance(views, list | tuple) else [views]:
            yield from viewed(given, view_text(view, where_view), where_view)


def _calls(rows: Sequence[Layer], selection: Mapping[str, Any], model: str) -> list[Layer]:
    where, wanted = _setting(selection, "calls", rows[0].name) or ("", "first")
    if wanted == "all":
        return list(rows)
    if wanted in ("first", "last"):
        return [rows[0 if wanted == "first" else -1]]
    found = [layer for layer in rows if layer.call == wanted]
    if not found:
        times = f"it is called {len(rows)} time{'s' * (len(rows) > 1)}"
        raise UserError(
            f"{where}: {wanted!r}, but {rows[0].name} of {model}: {times}; allowed: {_CALLS}"
        )
    return found


def _axis(layer: Layer, axis: int, where: str) -> int:
    n_axes = len(layer.output_shape)
    if not -n_axes <= axis < n_axes or n_axes < 2:
        raise UserError(
            f"{where}: {axis}, but {layer.name} has output of shape {layer.output_shape} for a sample; give the "
            "place of the channels in it, of an output with two axes or more"
        )
    return axis % n_axes
