"""Capacity and geometry of a network's layers, from the network in memory: no workflow, no files."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from manifold_capacity.activations.forward import Forward
from manifold_capacity.activations.grid import points_per_batch
from manifold_capacity.activations.projection import Projection, stored_features
from manifold_capacity.datasets.sampling import sample_manifolds
from manifold_capacity.errors import UserError
from manifold_capacity.geometry.arguments import check_integer
from manifold_capacity.library.layer_table import LayerTable
from manifold_capacity.library.measure_layer import Measured, check_measures, measure_layer
from manifold_capacity.library.samples import Batch, Samples, as_input_of
from manifold_capacity.logs import duration
from manifold_capacity.models.device import resolve_device
from manifold_capacity.models.find_layers import find_layers
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.selection import select_layers
from manifold_capacity.models.views import array_label, arrays_of, layers_of, place_in_array
from manifold_capacity.summary.rows import EXTERNAL, ORIGINAL, SPLIT, layer_columns, projected

_VIEWS_WITH_A_NUMBER = ({"token"}, {"positions"})


def measure_network(
    model: nn.Module,
    inputs: Any,
    labels: Any = None,
    *,
    layers: str | Sequence[str] | Mapping[str, Any] | None = None,
    views: Any = None,
    points_per_class: int = 50,
    measures: Sequence[str] = ("mean_field",),
    batch_size: int = 64,
    device: str | torch.device | None = None,
    seed: int = 0,
    repeats: int = 1,
    projection: int | None = None,
    max_gib: float = 2.0,
    name: str | None = None,
    **options: Any,
) -> LayerTable:
    """Measure the class manifolds in every chosen layer of a network.

    Parameters
    ----------
    model : nn.Module
        Any network; it is as before afterwards: weights, device, training mode. It runs in evaluation mode.
    inputs : array, tensor, mapping of them by argument's name, or DataLoader
        (n_samples, ...), as the network takes them, preprocessed. Floats get the precision of its weights,
        integers become int64.
    labels : (n_samples,) array-like of numbers or text, optional
        A DataLoader's items have them.
    layers : str, list of str or mapping, optional
        Names of modules or patterns (``"layer*"``), or the section ``layers`` of a configuration (``types``,
        ``names``, ``outputs``, ``calls``, ...). By default, as there: the input, and every ``Conv2d`` and ``Linear``.
    views : str, mapping or list, optional
        A view of all layers (``"mean"``, ``{"token": 5}``, ``["mean", "last"]``), or a mapping from patterns to
        views. By default ``"flatten"``.
    points_per_class : int
        Samples drawn from each class, without replacement; the pipeline draws the same.
    measures : sequence of str
        ``"mean_field"``, and ``"glue"`` for the exact capacity.
    batch_size : int
        Most samples in one forward pass.
    device : str or torch.device, optional
        By default where the model's parameters are.
    seed : int
        Of the drawn samples, and of the Gaussian samples.
    repeats : int
        Draws of points; each class needs ``repeats * points_per_class`` samples.
    projection : int, optional
        Wider layers are projected to so many features, at random (see `activations.projection`).
    max_gib : float
        Most memory for activations. Layers that need more together are measured in groups, with a forward pass
        over all samples for each.
    name : str, optional
        The network's, in the table; by default its class.
    **options
        Of `manifold_capacity.measure`: ``margin``, ``n_gaussians``, ``solver``, ...; with "glue" also ``glue``, options
        of `manifold_capacity.measure_glue`.

    Returns
    -------
    LayerTable
        A row per layer, as in ``layers.csv``.

    Raises
    ------
    UserError
        For inputs, labels, layers or views that do not fit, and for a layer larger than `max_gib`.

    Examples
    --------
    >>> with torch.random.fork_rng():
    ...     _ = torch.manual_seed(0)
    ...     network = nn.Sequential(nn.Linear(10, 40), nn.ReLU(), nn.Linear(40, 3))
    ...     inputs = torch.randn(90, 10)
    >>> table = measure_network(network, inputs, np.arange(90) % 3, points_per_class=20)
    >>> table["layer"].tolist()
    ['0_Input', '1_Linear', '3_Linear']
    """
    measured = measure_samples(
        model,
        Samples(inputs, labels),
        layers=layers,
        views=views,
        points_per_class=points_per_class,
        measures=measures,
        batch_size=batch_size,
        device=device,
        seed=seed,
        repeats=repeats,
        projection=projection,
        max_gib=max_gib,
        about={"model": name or type(model).__name__},
        **options,
    )
    return LayerTable.of(measured)


def measure_samples(
    model: nn.Module,
    samples: Samples,
    *,
    about: Mapping[str, Any],
    layers: str | Sequence[str] | Mapping[str, Any] | None = None,
    views: Any = None,
    points_per_class: int = 50,
    measures: Sequence[str] = ("mean_field",),
    batch_size: int = 64,
    device: str | torch.device | None = None,
    seed: int = 0,
    repeats: int = 1,
    projection: int | None = None,
    max_gib: float = 2.0,
    glue: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Measured]:
    """What `measure_network` puts into its table; `about` are columns that identify the network."""
    check_measures(measures, glue)
    for key, value in {"points_per_class": points_per_class, "repeats": repeats}.items():
        check_integer(key, value, least=1)
    target = _device_of(model) if device is None else resolve_device(str(device))
    names = dict(enumerate(samples.class_names))
    indices = sample_manifolds(samples.codes, [*names], points_per_class * repeats, seed, "train")
    project, measured = Projection(projection), []
    if "glue" in measures:
        options["glue"] = dict(glue or {})
    with _as_before(model):
        model.to(target)
        example = as_input_of(model, samples.batch(indices.ravel()[:3]), target)
        table = find_layers(model, example=example)
        chosen = select_layers(table, _selection(layers, views, example), model=about["model"])
        line = _Line(len(chosen))
        arrays_of_all = arrays_of(chosen)
        # As the pipeline's batches, which the last bits depend on.
        n_at_once = points_per_batch(arrays_of_all, indices.shape[1], batch_size)
        for group in _groups(arrays_of_all, project, indices.size, max_gib):
            arrays = _activations(model, group, samples, indices, n_at_once, target, project, line)
            for layer in layers_of(group):
                line(f"measuring {layer.label}")
                points = points_in(layer, arrays[array_label(layer.label)])
                identity = _identity(about, seed) | layer_columns(layer)
                identity |= projected(layer, points.shape[2])
                draws = np.split(points, repeats, axis=1)
                options |= {"seed": seed, "disjoint": True}
                measured.append(measure_layer(identity, names, draws, **options))
                line.done += 1
        line.end()
    return measured


def points_in(layer: Layer, array: np.ndarray) -> np.ndarray:
    """The points (n_manifolds, n_points, n_features) of a layer in the array that it is stored in."""
    if not layer.position:
        return array
    shape, axis = layer.shape_of_module, layer.channel_axis
    assert axis is not None
    place = place_in_array(layer.label, shape, axis, layer.view)
    return array[:, :, place * layer.n_features : (place + 1) * layer.n_features]


def _identity(about: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The columns that identify a run."""
    return {
        "dataset": "memory",
        "model": about["model"],
        "weights": EXTERNAL,
        "seed": seed,
        "checkpoint": about.get("checkpoint", EXTERNAL),
        "epoch": about.get("epoch"),
        "split": SPLIT,
        "labels": ORIGINAL,
    }


def _activations(
    model: nn.Module,
    layers: Sequence[Layer],
    samples: Samples,
    indices: np.ndarray,
    n_at_once: int,
    device: torch.device,
    project: Projection,
    line: _Line,
) -> dict[str, np.ndarray]:
    """Points (n_manifolds, n_points, n_features) of each layer, from one forward pass over all of them."""
    arrays = {
        layer.label: np.empty(
            (indices.size, stored_features(layer, project.n_features)), np.float32
        )
        for layer in layers
    }
    first = 0

    def keep(layer: Layer, output: Tensor) -> None:
        values = project(layer, output).to("cpu", torch.float32).numpy()
        arrays[layer.label][first : first + len(values)] = values

    n_manifolds, n_points = indices.shape
    with Forward(model, layers, keep, precision="float32", device=device) as run:
        for manifold in range(n_manifolds):
            for start in range(0, n_points, n_at_once):
                line(f"forward pass of {len(layers)} layers, {first:,} of {indices.size:,} samples")
                places = indices[manifold, start : start + n_at_once]
                run(as_input_of(model, samples.batch(places), device))
                first += len(places)
    return {label: array.reshape(*indices.shape, -1) for label, array in arrays.items()}


def _groups(
    layers: Sequence[Layer], project: Projection, n_points: int, max_gib: float
) -> list[list[Layer]]:
    """Layers in their order, in groups that fit into the memory."""
    groups: list[list[Layer]] = []
    free = 0.0
    for layer in layers:
        needed = 4 * n_points * stored_features(layer, project.n_features)
        if needed > max_gib * 2**30:
            raise UserError(
                f"max_gib: {max_gib}, but layer {layer.label} ({layer.name}) of {layer.n_features:,} features takes "
                f"{needed / 2**30:.3g} GiB; set projection=5000, choose another view of it (views='mean'), fewer "
                f"points_per_class, or max_gib={np.ceil(needed / 2**30):.0f}"
            )
        if not groups or needed > free:
            groups.append([])
            free = max_gib * 2**30
        groups[-1].append(layer)
        free -= needed
    return groups


def _selection(layers: Any, views: Any, example: Batch) -> dict[str, Any]:
    """The section ``layers`` of a configuration; integers have no distances that mean something."""
    first = example if isinstance(example, Tensor) else next(iter(example.values()))
    section: dict[str, Any] = {"types": ["Conv2d", "Linear"], "names": []}
    section["input"] = first.is_floating_point()
    if isinstance(layers, Mapping):
        section |= layers
    elif layers is not None:
        names = [layers] if isinstance(layers, str) else list(layers)
        section |= {"input": "input" in names, "types": [], "names": names}
        section["names"] = [name for name in names if name != "input"]
    if views is not None:
        by_pattern = isinstance(views, Mapping) and {*views} not in _VIEWS_WITH_A_NUMBER
        section["views"] = dict(views) if by_pattern else {"*": views}
    return section


def _device_of(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


@contextmanager
def _as_before(model: nn.Module) -> Iterator[None]:
    """Afterwards the model is where it was, each module in its mode, and torch's random numbers go on as before."""
    device, modes = _device_of(model), {module: module.training for module in model.modules()}
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        model.to(device)


class _Line:
    """A line on a terminal that says how far it is; elsewhere nothing."""

    def __init__(self, n_layers: int) -> None:
        self.n_layers, self.done = n_layers, 0
        self._shown = sys.stderr.isatty()
        self._started = time.monotonic()

    def __call__(self, what: str) -> None:
        if self._shown:
            text = f"{self.done} of {self.n_layers} layers: {what}"
            print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown:
            took = duration(time.monotonic() - self._started)
            print(f"\r\x1b[K{self.n_layers} layers measured in {took}", file=sys.stderr)
