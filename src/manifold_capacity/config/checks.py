"""Check a configuration across its keys, and against the data and the networks that it names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifold_capacity.config.choices import class_indices
from manifold_capacity.config.schema import ConfigError, given_text, shown
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.selection import select_layers, unmatched
from manifold_capacity.summary.rows import SPLIT

# Keys that do not apply to external activations, and keys that apply only to them.
_ONLY_FOR_NETWORKS = (
    *("dataset", "models", "training", "checkpoints", "device"),
    *("manifolds.splits", "manifolds.augment", "layers.input", "layers.types"),
    *("layers.calls", "layers.outputs", "layers.views", "layers.channel_axis"),
    *("activations.keep", "activations.dtype", "activations.batch_size", "activations.projection"),
)
_ONLY_FOR_EXTERNAL = (
    *("activations.labels", "activations.class_names", "activations.name", "activations.groups"),
)


def source_problems(config: Mapping[str, Any], external: bool) -> Iterator[str]:
    """Keys that do not apply to the source of the activations."""
    unused = _ONLY_FOR_NETWORKS if external else _ONLY_FOR_EXTERNAL
    given = [key for key in unused if given_text(config, key) is not None]
    keys = ", ".join(given)
    if external and given:
        path = given_text(config, "activations.path")
        do, them = ("do", "them") if len(given) > 1 else ("does", "it")
        yield (
            f"activations.path: {path!r} names external activations, to which {keys} {do} not apply: "
            f"remove {them}, or remove activations.path to compute activations with a network"
        )
    elif given:
        values = ", ".join(f"{key}: {shown(given_text(config, key))}" for key in given)
        yield f"{values}: only with activations.path; add it, or remove {keys}"
    name, groups = (given_text(config, f"activations.{key}") for key in ("name", "groups"))
    if external and name is not None and groups is not None:
        yield (
            f"activations.name: {name!r}, but with activations.groups each group has its own name; remove it"
        )
    points = given_text(config, "manifolds.points_per_class")
    if not external and points in ("all", "equal"):
        yield (
            f"manifolds.points_per_class: {points}, but only with activations.path; for a dataset give the "
            "number of images: integer ≥ 1"
        )


def measures_problems(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Whether what is measured fits together."""
    section = config.get("geometry") or {}
    measures = section.get("measures", ["mean_field"])
    if "mean_field" not in measures:
        yield f"geometry.measures: {shown(measures)}, but mean_field is always measured; add it: [mean_field, glue]"
    known = schema["properties"]["geometry"]["properties"]["glue"]["properties"]
    given = {
        key: value
        for key, value in section.get("glue", {}).items()
        if value != known[key]["default"]
    }
    if given and "glue" not in measures:
        keys = ", ".join(f"geometry.glue.{key}: {shown(value)}" for key, value in given.items())
        yield f"{keys}, but geometry.measures is {shown(measures)}; add glue to it, or remove geometry.glue"


def results_problems(results: str) -> Iterator[str]:
    """Whether the results folder can be created and written to, as far as can be seen from here."""
    if signs := [sign for sign in "<>{}" if sign in results]:
        yield f"results: {shown(results)} has {signs[0]} in it, which Snakemake would replace; name it otherwise"
        return
    if results.startswith("~"):
        yield f"results: {shown(results)}, but ~ is not replaced here; write the path of the folder"
        return
    folder = Path(results).absolute()
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError as error:
        yield f"results: {shown(results)} cannot be a folder: {error.strerror}; name another one"
        return
    if not existing.is_dir():
        yield f"results: {results!r} leads through {existing}, which is a file; name a folder"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield (
            f"results: {results!r} cannot be written to: you have no permission to write in {existing}; "
            "name another folder"
        )


def combination_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Values that do not go together, whatever the dataset."""
    labels = [model["label"] for model in config["models"]]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        yield (
            f"models: {label!r} is in the list {labels.count(label)} times; give each its own `label`, "
            "or use `seeds` to repeat a model"
        )
    for section in ("training", "activations"):
        if config["device"] == "cpu" and config[section]["precision"] == "tf32":
            yield (
                f"{section}.precision: tf32 is arithmetic of GPUs, but device is cpu; "
                "set it to float32 or bfloat16, or device to auto or cuda"
            )
    max_gib = config["activations"]["max_gib"]
    if config["activations"]["keep"] and max_gib is not None:
        yield (
            f"activations.max_gib: {max_gib}, but activations.keep is true and every store stays; set "
            "keep to false, or max_gib to null"
        )
    epochs = config["training"]["epochs"]
    allowed = f"allowed: 0 to {epochs}, or `final`"
    for checkpoint in config["checkpoints"]:
        if checkpoint > epochs:
            yield f"checkpoints: {checkpoint}, but training.epochs is {epochs}; {allowed}"


def epoch_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Epochs of external activations that are given twice."""
    path = config["activations"]["path"]
    epochs = [entry["epoch"] for entry in path] if isinstance(path, list) else []
    for epoch in sorted({epoch for epoch in epochs if epochs.count(epoch) > 1}):
        yield f"activations.path: epoch {epoch} is given twice; keep one"


def data_problems(config: Mapping[str, Any], find: Callable[[], Any]) -> Iterator[str]:
    """Whether the dataset or external activations that `find` returns have what is to be measured."""
    manifolds = config["manifolds"]
    try:
        data = find()
        indices = class_indices(manifolds["classes"], data)
    except (ValueError, OSError) as error:
        yield from error.problems if isinstance(error, ConfigError) else [_in_short(error)]
        return
    if len(indices) < 2:
        has = f"{data.name} has only {len(indices)} class"
        yield f"manifolds.classes: {has}; capacity needs at least two manifolds"
    if config["dataset"].get("normalize") is not None:
        yield from _normalize_problems(config, data)
        yield from _images_problems(config, data)
    points = manifolds["points_per_class"]
    external = config["activations"]["path"] is not None
    for split in data.counts if external else manifolds["splits"]:
        counts = data.counts[split]
        smallest = min(indices, key=lambda index: counts[index])
        count, name = counts[smallest], data.class_names[smallest]
        images, or_all = ("samples", ", all or equal") if external else (f"{split} {data.kind}", "")
        of_group = f" in group {split!r}" if external and split != SPLIT else ""
        have = f"{data.name} has only {count} {images} of class {name!r}{of_group}"
        if not count:
            yield (
                f"manifolds.classes: {data.name} has no samples of class {name!r}{of_group}; list the classes to "
                "measure without it"
            )
        elif points in ("all", "equal") and count < 2:
            yield (
                f"manifolds.classes: class {name!r} of {data.name} has a single sample{of_group}, which is not a "
                "manifold; list the classes to measure without it, or set manifolds.points_per_class: 1 "
                "to measure single points"
            )
        elif isinstance(points, int) and points > count:
            yield f"manifolds.points_per_class: {points}, but {have}; allowed: 1 to {count}{or_all}"
        else:
            yield from _draws_problems(config["geometry"]["repeats"], points, have, count)


def _in_short(error: Exception) -> str:
    """The message; of an error of the system, which names the path, only the beginning of a long one."""
    text = str(error)
    cut = isinstance(error, OSError) and len(text) > 300
    return f"{text[:300]}..." if cut else text


def _normalize_problems(config: Mapping[str, Any], data: Any) -> Iterator[str]:
    normalize = config["dataset"]["normalize"]
    if isinstance(normalize, Mapping) and data.input_dtype is not None:
        yield (
            f"dataset.normalize: {shown(normalize)}, but {data.name} {_NO_IMAGES}, which are given to the network as "
            "they are; set it to auto or none"
        )
        return
    for key in ("mean", "std") if isinstance(normalize, Mapping) else ():
        n_values, n_channels = len(normalize[key]), data.sample_shape[2]
        if n_values != n_channels:
            yield (
                f"dataset.normalize.{key}: {n_values} values, but images of {data.name} have {n_channels} "
                f"channel{'s' if n_channels > 1 else ''}; give one value per channel"
            )


_NO_IMAGES = "holds inputs that are no images"


def _images_problems(config: Mapping[str, Any], data: Any) -> Iterator[str]:
    """What is only for images, where the inputs are none."""
    if data.input_dtype is None:
        return
    augment = {key: value for key, value in config["training"]["augment"].items() if value}
    for key, value in augment.items():
        yield f"training.augment.{key}: {value}, but {data.name} {_NO_IMAGES}; remove it"
    if config["manifolds"]["augment"]:
        yield f"manifolds.augment: true, but {data.name} {_NO_IMAGES}; set it to false"
    for model in config["models"]:
        if model["image_size"] is not None:
            size = model["image_size"]
            yield f"models: {model['label']}: image_size: {size}, but {data.name} {_NO_IMAGES}; remove it"
        if not model.get("factory"):
            yield (
                f"models: {model['label']}: {model['name']} is for images, but {data.name} {_NO_IMAGES}; give a network "
                "of your own with `factory`"
            )


def _draws_problems(repeats: int, points: int | str, have: str, count: int) -> Iterator[str]:
    """Draws that the smallest class, of `count` points, is too small for."""
    if repeats > 1 and points == "all":
        yield (
            f"geometry.repeats: {repeats}, but manifolds.points_per_class: all leaves no points for a "
            f"second draw; set manifolds.points_per_class to {count // repeats} or less, or "
            "geometry.repeats to 1"
        )
    elif isinstance(points, int) and repeats > 1 and repeats * points > count:
        most = count // points
        yield (
            f"geometry.repeats: {repeats} draws of {points} points need {repeats * points} of each class, "
            f"but {have}; allowed: {'1' if most < 2 else f'1 to {most}'}, or fewer "
            f"manifolds.points_per_class: 1 to {count // repeats}"
        )


def check_layers(
    config: Mapping[str, Any],
    known: Callable[[Mapping[str, Any]], Sequence[Layer] | None],
    find: Callable[[Mapping[str, Any]], Sequence[Layer]],
) -> dict[str, Sequence[Layer]]:
    """Check that `layers` selects something in every model, and every type and pattern something in one.

    Building a network takes seconds. So the tables of an earlier run are used first; networks are built
    only for missing tables, and for all models if the selection does not fit (tables may be out of date).
    `known` gives a model's layers from an earlier run (or None), `find` those of the network itself.
    Returns the label of each model -> all its layers.
    """
    models = {model["label"]: model for model in config["models"]}
    tables = {label: known(model) for label, model in models.items()}
    problems: list[str] = []
    missing = [label for label, table in tables.items() if table is None]
    for labels in (missing, [label for label in models if label not in missing]):
        for label in labels:
            try:
                tables[label] = find(models[label])
            except ValueError as error:
                problems.append(str(error))
        found = {label: table for label, table in tables.items() if table is not None}
        # Of users' functions, one may make several networks.
        name = {label: label if m.get("factory") else m["name"] for label, m in models.items()}
        unfit = _unfit(config, {name[label]: table for label, table in found.items()})
        if not problems and not unfit:
            return found
    raise ConfigError(list(dict.fromkeys([*problems, *unfit])))


def _unfit(config: Mapping[str, Any], tables: Mapping[str, Sequence[Layer]]) -> list[str]:
    """What is wrong with the selection of layers, given the layers of each network by its name."""
    problems = unmatched(tables, config["layers"]) if tables else []
    for name, table in tables.items():
        try:
            select_layers(table, config["layers"], model=name)
        except ValueError as error:
            problems.append(str(error))
    return problems
