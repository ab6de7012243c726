"""External activations: the layers and classes in files that exist already, and draws of their points."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.activations import array_files, sample_labels
from manifold_capacity.activations.array_files import CLASS_NAMES, LABELS, Entry
from manifold_capacity.activations.external_reader import Reader
from manifold_capacity.errors import UserError
from manifold_capacity.geometry.labeled import Naming
from manifold_capacity.geometry.manifolds import say_dropped
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.selection import select_layers, unmatched
from manifold_capacity.summary.rows import SPLIT

logger = logging.getLogger(__name__)

_LONGEST_NAME = 200  # bytes of a layer's name: files are named after it


class ExternalActivations:
    """Activations in files that exist already: their layers and classes.

    Making one reads the labels and the arrays' headers. The first three arguments are the config's
    `activations.path`, `labels` and `class_names`; `names` are names or patterns of the layers, in
    their order, and other arrays may be of any shape. The layers that one pattern matches are in the
    order of the `.npz`, else of their names. `groups` is the config's `activations.groups`; `counts` is
    ``{group: points per class}`` in the order of the groups' first samples, without groups ``{"all": ...}``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        labels: str | os.PathLike[str] | None = None,
        class_names: Sequence[str] | None = None,
        names: Sequence[str] = ("*",),
        groups: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self._entries = array_files.array_entries(self.path)
        # Text is of the samples unless it is asked for as a layer, which is an error.
        self._arrays = {
            name: entry
            for name, entry in self._entries.items()
            if name not in (LABELS, CLASS_NAMES, groups)
            and (name in names or entry.dtype is None or entry.dtype.kind not in "UST")
        }
        self._labels_path = None if labels is None else Path(labels)
        self._groups = self._entries.get(groups or "")
        if groups is not None and is_file_name(groups):
            self._groups = array_files.labels_entry(Path(groups), "groups")
        where, labels_entry = self._find_labels()
        # Axes before the features, and their lengths. All shapes are compared before anything is read.
        self._n_lead = 2 if labels_entry is None else 1
        self._lead: tuple[int, ...] = () if labels_entry is None else labels_entry.shape
        self.layers = self._find_layers(names)
        self._codes: NDArray[np.int64] | None = None
        if labels_entry is None:
            n_manifolds, n_points = self._lead
            found, counts = tuple(map(str, range(n_manifolds))), (n_points,) * n_manifolds
        else:
            found, self._codes, counts = sample_labels.read_names(where, labels_entry, "label")
        self.counts: dict[str, tuple[int, ...]] = {SPLIT: counts}
        self._group_codes: NDArray[np.int64] | None = None
        self._group_names: tuple[str, ...] = ()
        self.class_names = self._named(class_names, found)
        if groups is not None:
            self._find_groups(groups)

    @property
    def layout(self) -> str:
        """What the axes of arrays without labels were taken for; empty with labels."""
        if self._codes is not None:
            return ""
        n_manifolds, n_points = self._lead
        return f"no labels, so the first axes are {n_manifolds} manifolds of {n_points} points"

    def describe(self, label: str) -> dict[str, Any]:
        """Shape and type of a layer's array; if either changes, it is another array."""
        entry = self._arrays[self._layer(label).name]
        return {"shape": list(entry.shape), "dtype": str(entry.dtype)}

    def files(self, label: str) -> list[str]:
        """Files whose change changes a layer's manifolds."""
        files = self._arrays[self._layer(label).name].files()
        if self._labels_path is not None:
            files.append(str(self._labels_path))
        elif LABELS in self._entries:
            files += self._entries[LABELS].files()
        if self._groups is not None:
            files += self._groups.files()
        return [*dict.fromkeys(files)]  # Snakemake wants each file once

    def difference(self, other: ExternalActivations) -> str:
        """How another one's layers and samples differ from these; empty if they are the same."""
        names, others = ([layer.name for layer in each.layers] for each in (self, other))
        if names != others:
            return f"has the layers {', '.join(others)}, not {', '.join(names)} as"
        for layer in self.layers:
            shape, its_shape = (e._arrays[layer.name].shape for e in (self, other))
            if shape != its_shape:
                return f"has {layer.name!r} of shape {its_shape}, not {shape} as"
        for what, mine, its in [
            ("class names", self.class_names, other.class_names),
            ("labels", self._codes, other._codes),
            ("groups", self._group_names, other._group_names),
            ("groups", self._group_codes, other._group_codes),
        ]:
            if not np.array_equal(np.asarray(mine), np.asarray(its)):
                return f"has other {what} than"
        return ""

    def open(
        self,
        label: str,
        classes: Sequence[int] | None = None,
        points_per_class: int | str = "all",
        seed: int = 0,
        draw: int = 0,
        group: str | None = None,
    ) -> list[Any]:
        """One layer's manifolds (n_points_i, n_features) of some classes, read in blocks of features.

        Points are drawn without replacement, by the seed and the class, not the layer; a smaller number
        draws some of the points of a larger one. No two `draw`s, from 0, have a point in common; those of
        "equal", as many points as the smallest class of any group has, overlap.
        Slicing a manifold raises a UserError that names the place of a value that is not finite.
        """
        layer = self._layer(label)
        if classes is None:
            classes = range(len(self.class_names))
        seeds = [[seed, index] for index in classes]
        if points_per_class == "equal":
            sizes = [counts[index] for counts in self.counts.values() for index in classes]
            points_per_class = min(filter(None, sizes))  # a group may lack a class
            # Of the smallest class, all draws are the same.
            seeds = [[*of_class, draw] if draw else of_class for of_class in seeds]
            draw = 0
        chosen = [
            self._draw(index, points_per_class, of_class, draw, group)
            for index, of_class in zip(classes, seeds, strict=True)
        ]
        sizes = list(map(len, chosen))
        lead: tuple[NDArray[np.int64], ...] = (np.concatenate(chosen),)
        if self._codes is None:
            lead = (np.repeat(np.asarray(classes), sizes), *lead)
        names = [self.class_names[index] for index in classes]
        entry = self._arrays[layer.name]
        if missing := entry.n_chunks - entry.stored(entry.n_chunks):
            logger.warning(
                "%s of %s: %d of %d chunks are not stored, and read as zarr's fill value; zarr leaves out chunks of "
                "it, but if a copy was interrupted, copy again",
                *(repr(layer.name), self.path, missing, entry.n_chunks),
            )
        array = entry.open()
        return [*Reader(array, lead, layer, self.path, names, sizes).manifolds()]

    def drop_not_finite(self) -> None:
        """Leave out samples with a NaN or infinite value in any of the layers, and warn of how many of which class."""
        if self._codes is None:
            raise UserError(
                f"drop_nan: {self.path} has no labels, only manifolds; give the labels of the samples"
            )
        all_samples, bad = (np.arange(len(self._codes)),), np.zeros(len(self._codes), dtype=bool)
        for layer in self.layers:
            array = self._arrays[layer.name].open()
            reader = Reader(array, all_samples, layer, self.path, self.class_names, [len(bad)])
            bad |= reader.not_finite().of_points > 0
        if bad.all():
            raise UserError(f"drop_nan leaves no sample of {self.path}; leave out features first")
        of_classes = [bad[self._codes == index] for index in range(len(self.class_names))]
        say_dropped(of_classes, Naming(self.class_names))
        self._codes = np.where(bad, -1, self._codes)
        self.counts = self._counted()

    def _draw(
        self,
        index: int,
        points_per_class: int | str,
        seed: list[int],
        draw: int,
        group: str | None,
    ) -> NDArray[np.int64]:
        """Points of one class: samples, or places along the points' axis."""
        if self._codes is None:
            points = np.arange(self.counts[SPLIT][index])
        else:
            here = self._codes == index
            if group is not None:
                here &= self._group_codes == self._group_names.index(group)
            points = np.flatnonzero(here)
        if points_per_class == "all":
            return points
        assert isinstance(points_per_class, int)
        first, end = draw * points_per_class, (draw + 1) * points_per_class
        if end > len(points):
            raise UserError(
                f"manifolds.points_per_class: {points_per_class}, {draw + 1} times, but {self.path} has "
                f"only {len(points)} points of class {self.class_names[index]!r}"
                f"{'' if group is None else f' in group {group!r}'}"
            )
        drawn = np.random.default_rng(seed).permutation(points)[first:end]
        return np.sort(drawn)  # reads forwards; the geometry does not depend on the order

    def _layer(self, label: str) -> Layer:
        layers = {layer.label: layer for layer in self.layers}
        if label not in layers:
            raise UserError(f"{self.path} has no layer {label!r}; it has {', '.join(layers)}")
        return layers[label]

    def _check_given_once(self, key: str, given: object) -> None:
        if given is not None and key in self._entries:
            raise UserError(
                f"activations.{key}: {given!r}, but {self.path} has an array `{key}` too; remove one of "
                "them"
            )

    def _find_labels(self) -> tuple[str, Entry | None]:
        """What messages call the labels, and the array that holds one per sample, if there is one."""
        if self._labels_path is not None:
            self._check_given_once(LABELS, os.fspath(self._labels_path))
            where = f"activations.labels: {self._labels_path}"
            entry = array_files.labels_entry(self._labels_path)
        elif LABELS in self._entries:
            where = f"activations.path: {LABELS} of {self.path}"
            entry = self._entries[LABELS]
        else:
            return "", None
        sample_labels.check_header(where, entry, "label")
        return where, entry

    def _find_groups(self, groups: str) -> None:
        """Read the groups of the samples, and count the points of each."""
        where = f"activations.groups: {groups}"
        if self._groups is None:
            raise UserError(
                f"{where}, but {self.path} has no such array (it has {', '.join(self._entries)}); name one of them "
                "with a group per sample, or an .npy file"
            )
        if self._codes is None:
            raise UserError(
                f"{where}, but {self.path} has no labels, only manifolds; give the labels of the samples"
            )
        sample_labels.check_header(where, self._groups, "group")
        if self._groups.shape != self._lead:
            raise UserError(
                f"{where}: {self._groups.shape[0]} groups, but {self.path} has {self._lead[0]} labels; give one group "
                "per sample"
            )
        names, self._group_codes, _ = sample_labels.read_names(where, self._groups, "group")
        self._group_names = names
        self.counts = self._counted()

    def _counted(self) -> dict[str, tuple[int, ...]]:
        """Points of each class in each group that has any, in the order of the groups' first samples."""
        assert self._codes is not None
        kept = self._codes >= 0
        parts = {SPLIT: kept}
        if self._group_codes is not None:
            found = dict.fromkeys(self._group_codes[kept].tolist())
            parts = {self._group_names[code]: kept & (self._group_codes == code) for code in found}
        n, codes = len(self.class_names), self._codes
        return {k: tuple(np.bincount(codes[v], minlength=n).tolist()) for k, v in parts.items()}

    def _named(self, given: Sequence[str] | None, found: tuple[str, ...]) -> tuple[str, ...]:
        """The classes' names: given by the user, from the array `class_names`, or as found."""
        where, entry = "activations.class_names", self._entries.get(CLASS_NAMES)
        if entry is not None:
            self._check_given_once(CLASS_NAMES, None if given is None else [*given])
            where = f"activations.path: {CLASS_NAMES} of {self.path}"
            array_files.refuse_objects(where, entry)
            shape, dtype = entry.shape, entry.dtype
            if len(shape) != 1 or dtype is None or dtype.kind not in "USTO":
                raise UserError(
                    f"{where}: shape {shape}, type {dtype}; it must be text, one per class: shape "
                    f"({len(found)},)"
                )
        elif given is None:
            return found
        n_names = len(given or ()) if entry is None else entry.shape[0]
        if n_names != len(found):
            raise UserError(
                f"{where}: {n_names} names, but {self.path} has {len(found)} classes "
                f"({', '.join(found[:5])}{', ...' if len(found) > 5 else ''}); give one name for each, in "
                "this order"
            )
        names = given or ()
        if entry is not None:
            values = array_files.read_whole(where, entry)
            names = array_files.as_texts(where, values)
        if len(set(names)) < len(names):
            raise UserError(f"{where}: a name is given twice; names must be unique")
        for name in names:
            if problem := array_files.name_problem(name):
                raise UserError(f"{where}: the name {name!r} {problem}; give another one")
        return tuple(names)

    def _find_layers(self, patterns: Sequence[str]) -> tuple[Layer, ...]:
        """The chosen arrays in the order of the patterns, then of the files, each checked."""
        if not self._arrays:
            raise UserError(f"activations.path: {self.path} has no arrays besides the labels")
        candidates = [
            Layer(place, name, re.sub(r"\W", "_", name), shape, math.prod(shape))
            for place, (name, entry) in enumerate(self._arrays.items(), start=1)
            for shape in [entry.shape[self._n_lead :]]
        ]
        selection = {"input": False, "types": [], "names": patterns}
        problems = unmatched({self.name: candidates}, selection)
        if problems:
            raise UserError(problems[0])
        chosen = select_layers(candidates, selection, model=self.name)
        chosen.sort(key=lambda layer: [fnmatchcase(layer.name, p) for p in patterns].index(True))
        for layer in chosen:
            problem = self._problem(layer.name)
            if problem:
                raise UserError(f"{problem}, or leave it out with `layers.names`")
            self._lead = self._lead or self._arrays[layer.name].shape[:2]
        return tuple(replace(layer, index=index) for index, layer in enumerate(chosen, start=1))

    def _problem(self, name: str) -> str | None:
        """Why an array cannot be a layer, with the remedy."""
        shape, dtype = self._arrays[name].shape, self._arrays[name].dtype
        array = f"{name!r} of {self.path}"
        where = f"activations.path: {array}"
        if dtype is None:
            return f"{where} holds Python objects, which would have to be unpickled; save numbers"
        if dtype.kind not in "fiub":
            remedy = "activations must be real numbers: convert it"
            return f"{where} has values of type {dtype}; {remedy}"
        if problem := array_files.name_problem(name):
            return f"{where}: the name {problem}; rename it"
        if len(name.encode()) > _LONGEST_NAME:
            return f"{where}: the name is longer than {_LONGEST_NAME} bytes; rename it"
        if self._n_lead == 2 and len(shape) < 3:
            return (
                f"activations.labels: null, but {array} has shape {shape}; without labels an array must be "
                "(n_manifolds, n_points, n_features): give the labels of the samples"
            )
        if len(shape) < 2 or not math.prod(shape):
            return f"{where} has shape {shape}; it must be (n_samples, n_features), neither of them 0: reshape it"
        if self._n_lead == 1 and shape[:1] != self._lead:
            return (
                f"activations.labels: {self._lead[0]} labels, but {array} has {shape[0]} samples, the "
                f"first axis of its shape {shape}; give one label per sample, and areas or days with samples of their "
                "own a file each (or one array for all, with activations.groups)"
            )
        if self._lead and shape[: self._n_lead] != self._lead:
            return (
                f"{where} has shape {shape}, but the layer before has {self._lead[0]} manifolds of "
                f"{self._lead[1]} points; all layers must have the same"
            )
        if problem := array_files.nothing_stored(self._arrays[name]):
            return f"{where} {problem}: copy the store again"
        return None


def open_external_layer(
    label: str, external: Mapping[str, Any], seed: int, draw: int = 0
) -> list[Any]:
    """One layer's manifolds by the workflow's parameters: see `ExternalActivations.open`."""
    found = ExternalActivations(**external["source"], names=external["names"])
    return found.open(label, **external["sample"], seed=seed, draw=draw)


def is_file_name(groups: str) -> bool:
    """Whether `activations.groups` names a file; else it names an array."""
    return groups.endswith((".npy", ".npz"))


def check_alike(files: Sequence[ExternalActivations]) -> None:
    """Raise UserError, which names the file, if one differs from the first in anything but its values."""
    for other in files[1:]:
        if problem := files[0].difference(other):
            raise UserError(
                f"activations.path: {other.path} {problem} {files[0].path}; checkpoints must have the same layers and "
                "samples"
            )


def default_name(path: str) -> str:
    """Name of the activations in paths and tables if `activations.name` is not set.

    >>> default_name("data/area V4, day 2.npz")
    'area_V4_day_2'
    """
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", Path(path).stem).strip("_.+-") or "activations"
