"""Checks of a configuration across its keys, and against the data that it names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from manifold_capacity.config.choices import class_indices, own_activations
from manifold_capacity.config.schema import ConfigError, given_text
from manifold_capacity.datasets.prepare import describe
from manifold_capacity.summary.rows import SPLIT

# What is of no use where the activations exist already, and what is of use only there.
_ONLY_FOR_NETWORKS = (
    "dataset",
    "models",
    "training",
    "checkpoints",
    "device",
    "manifolds.splits",
    "manifolds.augment",
    "layers.input",
    "layers.types",
    "activations.keep",
    "activations.dtype",
    "activations.batch_size",
)


_ONLY_FOR_OWN_ACTIVATIONS = ("activations.labels", "activations.class_names", "activations.name")


def source_problems(config: Mapping[str, Any], own: bool) -> Iterator[str]:
    """Keys that are of no use with the source of the activations."""
    unused = _ONLY_FOR_NETWORKS if own else _ONLY_FOR_OWN_ACTIVATIONS
    given = [key for key in unused if given_text(config, key) is not None]
    if own and given:
        path = given_text(config, "activations.path")
        yield (
            f"activations.path: {path!r} says that the activations exist already, so that "
            f"{', '.join(given)} can't be followed: remove {'them' if len(given) > 1 else 'it'}, or "
            "activations.path to have a network make them"
        )
    elif given:
        values = ", ".join(f"{key}: {json.dumps(given_text(config, key))}" for key in given)
        yield f"{values}: only with activations.path; add it, or remove {', '.join(given)}"
    if not own and given_text(config, "manifolds.points_per_class") == "all":
        yield (
            "manifolds.points_per_class: all, but only with activations.path; of a dataset say how many "
            "images: integer ≥ 1"
        )


def results_problems(results: str) -> Iterator[str]:
    """Whether the folder of the results can be made and written to, as far as can be seen from here."""
    folder = Path(results).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        yield f"results: {results!r} leads through {there}, which is a file; name a folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        yield (
            f"results: {results!r} cannot be written to: {there} is read-only for you; name a folder that is not"
        )


def combination_problems(config: Mapping[str, Any]) -> Iterator[str]:
    labels = [model["label"] for model in config["models"]]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        yield (
            f"models: {label!r} stands in the list {labels.count(label)} times; give each its own `label`, "
            "or use `seeds` to repeat a model"
        )
    for model in config["models"]:
        if model["weights_file"] is not None and model["weights"] != "pretrained":
            yield (
                f"models: {model['label']}: weights_file: {model['weights_file']!r} goes with "
                f"`weights: pretrained`, not with `weights: {model['weights']}`"
            )
    for section in ("training", "activations"):
        if config["device"] == "cpu" and config[section]["precision"] == "tf32":
            yield (
                f"{section}.precision: tf32 is arithmetic of GPUs, but device is cpu; "
                "set it to float32 or bfloat16, or device to auto or cuda"
            )
    if config["activations"]["keep"] and config["activations"]["max_gib"] is not None:
        yield (
            f"activations.max_gib: {config['activations']['max_gib']}, but activations.keep is true and every store "
            "stays; set keep to false, or max_gib to null"
        )
    epochs = config["training"]["epochs"]
    for checkpoint in config["checkpoints"]:
        if checkpoint > epochs:
            yield (
                f"checkpoints: {checkpoint}, but training.epochs is {epochs}; allowed: 0 to {epochs}, or `final`"
            )
    dataset, indices, problems = _with_classes(config, lambda: describe(config["dataset"]))
    yield from problems
    if dataset is None:
        return
    channels = dataset.image_shape[2]
    normalize = config["dataset"]["normalize"]
    if isinstance(normalize, Mapping):
        for key in ("mean", "std"):
            if len(normalize[key]) != channels:
                yield (
                    f"dataset.normalize.{key}: {len(normalize[key])} values, but images of {dataset.name} "
                    f"have {channels} channel{'s' if channels > 1 else ''}; give one value per channel"
                )
    wanted = config["manifolds"]["points_per_class"]
    for split in config["manifolds"]["splits"]:
        counts = dataset.counts[split]
        scarce = min(indices, key=lambda index: counts[index], default=None)
        if scarce is not None and wanted > counts[scarce]:
            yield (
                f"manifolds.points_per_class: {wanted}, but {dataset.name} has only {counts[scarce]} {split} images of "
                f"class {dataset.class_names[scarce]!r}; allowed: 1 to {counts[scarce]}"
            )
        elif scarce is not None:
            have = f"{counts[scarce]} {split} images of class {dataset.class_names[scarce]!r}"
            yield from _repeats_problems(config, f"{dataset.name} has only {have}", counts[scarce])


def own_activations_problems(config: Mapping[str, Any]) -> Iterator[str]:
    own, indices, problems = _with_classes(config, lambda: own_activations(config))
    yield from problems
    if own is None or problems:
        return
    wanted = config["manifolds"]["points_per_class"]
    counts = own.counts[SPLIT]
    scarce = min(indices, key=lambda index: counts[index])
    if wanted == "all" and counts[scarce] < 2:
        yield (
            f"manifolds.classes: class {own.class_names[scarce]!r} of {own.name} has a single sample, which is no "
            "manifold; list the classes to measure without it, or set manifolds.points_per_class: 1 to measure "
            "single points"
        )
    elif wanted != "all" and wanted > counts[scarce]:
        yield (
            f"manifolds.points_per_class: {wanted}, but {own.name} has only {counts[scarce]} samples of class "
            f"{own.class_names[scarce]!r}; allowed: 1 to {counts[scarce]}, or all"
        )
    else:
        have = f"{counts[scarce]} samples of class {own.class_names[scarce]!r}"
        yield from _repeats_problems(config, f"{own.name} has only {have}", counts[scarce])


def _with_classes(
    config: Mapping[str, Any], find: Callable[[], Any]
) -> tuple[Any, list[int], list[str]]:
    """What `find` finds (None if it can't), the classes of it that are measured, and what is wrong with either."""
    try:
        found = find()
        indices = class_indices(config["manifolds"]["classes"], found)
    except ConfigError as error:
        return None, [], error.problems
    except (ValueError, OSError) as error:
        return None, [], [str(error)]
    problems = []
    if len(indices) < 2:
        problems.append(
            f"manifolds.classes: {found.name} has only {len(indices)} class; capacity needs at least two manifolds"
        )
    return found, indices, problems


def _repeats_problems(config: Mapping[str, Any], have: str, count: int) -> Iterator[str]:
    """Draws that the smallest class, of `count` points, is too small for."""
    repeats, wanted = config["geometry"]["repeats"], config["manifolds"]["points_per_class"]
    if repeats > 1 and wanted == "all":
        yield (
            f"geometry.repeats: {repeats}, but manifolds.points_per_class: all leaves no point for a second "
            f"draw; set manifolds.points_per_class to {count // repeats} or less, or geometry.repeats to 1"
        )
    elif repeats > 1 and repeats * wanted > count:
        yield (
            f"geometry.repeats: {repeats} draws of {wanted} points need {repeats * wanted} of each class, but "
            f"{have}; allowed: {'1' if count < 2 * wanted else f'1 to {count // wanted}'}, or fewer "
            f"manifolds.points_per_class: 1 to {count // repeats}"
        )
