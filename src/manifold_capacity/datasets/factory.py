"""Data from a user's function: arrays with labels, or map-style datasets, for each split."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from manifold_capacity import own_code
from manifold_capacity.datasets import inputs
from manifold_capacity.datasets.catalog import SPLITS, Blocks, Dataset, Split
from manifold_capacity.errors import UserError, shortened
from manifold_capacity.files import file_state, read_json, write_json
from manifold_capacity.provenance import key_of, source_digest

KEY = "dataset.factory"
# Descriptions of what functions returned: every job asks for one, and a function may take minutes.
MEMORY = Path(".snakemake/datasets")


class FactoryData:
    """What the function `dataset.factory` returns; see docs/datasets.md.

    The constructor calls it, and reads all labels. It finds `class_names`, `sample_shape` (of images: height,
    width, channels), `counts`, split -> samples per class, and `input_dtype`, the number format of inputs
    that are no images.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._spec = config["factory"]
        arguments = dict(config.get("arguments") or {})
        if config.get("path") is not None:
            if not Path(config["path"]).exists():
                raise UserError(
                    f"dataset.path: there is no file or folder {Path(config['path']).absolute()}"
                )
            if "path" in arguments:
                self._fail("dataset.path and dataset.arguments.path are both given; remove one")
            arguments["path"] = config["path"]
        returned = own_code.call(self._spec, KEY, arguments, {})
        if not isinstance(returned, Mapping) or set(returned) - {"class_names"} != set(SPLITS):
            keys = f" with the keys {[*returned]}" if isinstance(returned, Mapping) else ""
            self._fail(
                f"it returned a {type(returned).__name__}{keys}; it must return a mapping with the keys train "
                "and test, and may give class_names"
            )
        parts = {split: self._read(split, returned[split]) for split in SPLITS}
        self._samples = {split: samples for split, (samples, _) in parts.items()}
        labels = {split: self._check_labels(split, *part) for split, part in parts.items()}
        self.class_names = self._find_names(labels, returned.get("class_names"))
        self._labels = {split: self._as_indices(split, each) for split, each in labels.items()}
        self.counts = {split: self._count(split) for split in SPLITS}
        found = {split: self._check_samples(split) for split in SPLITS}
        if found["train"] != found["test"]:
            train, test = (
                f"{shape} of {dtype or 'uint8'}" for shape, dtype in (found[s] for s in SPLITS)
            )
            self._fail(
                f"a train sample is {train}, but a test sample {test}; they must be the same"
            )
        self.sample_shape, self.input_dtype = found["train"]

    def splits(self, block_length: int) -> dict[str, Split]:
        """Labels and samples of each split, in their order."""
        return {split: (self._labels[split], self._blocks(split, block_length)) for split in SPLITS}

    def _blocks(self, split: str, block_length: int) -> Blocks:
        samples = self._samples[split]
        for first in range(0, samples.shape[0], block_length):
            block = samples[first : first + block_length]
            if self.input_dtype is None:
                yield block.reshape(-1, *self.sample_shape)
            else:
                where = f"{KEY}: {self._spec!r}: {split} inputs"
                yield inputs.as_stored(block, self.input_dtype, first, where)

    def _read(self, split: str, part: Any) -> tuple[Any, Any]:
        """Samples and labels of a split, with the shape and type of an array."""
        if isinstance(part, tuple | list) and len(part) == 2:
            return self._as_array(f"{split} inputs", part[0]), self._as_array(
                f"{split} labels", part[1]
            )
        if not (hasattr(part, "__getitem__") and hasattr(part, "__len__")):
            self._fail(
                f"{split} is a {type(part).__name__}; it must be (inputs, labels), or a map-style dataset: with "
                "a length, and items (input, label)"
            )
        items = _Items(part, f"{KEY}: {self._spec!r}: {split}")
        return items, self._as_array(f"{split} labels", items.labels)

    def _as_array(self, what: str, values: Any) -> NDArray[Any]:
        try:
            return np.asarray(values)
        except Exception as error:  # a tensor on a GPU, lists of unequal lengths
            self._fail(f"the {what} are no array: {own_code.in_words(error)}")

    def _check_labels(self, split: str, samples: Any, labels: NDArray[Any]) -> NDArray[Any]:
        if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.flat):
            labels = labels.astype(str)
        if labels.ndim != 1 or labels.dtype.kind not in "iuU" or not labels.size:
            self._fail(
                f"the {split} labels are of type {labels.dtype} and shape {labels.shape}; they must be "
                "integers or text of shape (n,)"
            )
        n_samples = samples.shape[0] if samples.shape else 0
        if n_samples != len(labels):
            self._fail(f"{split} has {n_samples} inputs, but {len(labels)} labels")
        return labels

    def _find_names(self, labels: Mapping[str, NDArray[Any]], given: Any) -> tuple[str, ...]:
        kinds = {
            split: "text" if each.dtype.kind == "U" else "integers"
            for split, each in labels.items()
        }
        if kinds["train"] != kinds["test"]:
            self._fail(f"the train labels are {kinds['train']}, the test labels {kinds['test']}")
        if given is not None:
            names = tuple(given) if isinstance(given, tuple | list | np.ndarray) else ()
            if not all(isinstance(name, str) and name for name in names) or not names:
                self._fail(f"class_names: {shortened(repr(given))}; it must be a list of names")
            if len(set(names)) < len(names):
                self._fail("class_names has the same name twice")
            return tuple(map(str, names))
        present = np.unique(np.concatenate([*labels.values()]))
        if kinds["train"] == "text":
            return tuple(present.tolist())
        # With more classes than labels, one has no samples.
        n_classes = min(int(present[-1]) + 1, sum(map(len, labels.values())))
        return tuple(map(str, range(n_classes)))

    def _as_indices(self, split: str, labels: NDArray[Any]) -> NDArray[np.int64]:
        if labels.dtype.kind == "U":
            index = {name: place for place, name in enumerate(self.class_names)}
            if unknown := set(labels.tolist()) - set(index):
                self._fail(f"the {split} label {min(unknown)!r} is not one of the class_names")
            return np.array([index[label] for label in labels.tolist()], dtype=np.int64)
        n_classes = len(self.class_names)
        if labels.min() < 0 or labels.max() >= n_classes:
            self._fail(
                f"the {split} labels are {labels.min()} to {labels.max()}; they must count from 0 to the "
                f"number of classes minus 1, with samples of every class"
            )
        return labels.astype(np.int64)

    def _count(self, split: str) -> tuple[int, ...]:
        counts = np.bincount(self._labels[split], minlength=len(self.class_names))
        if not counts.all():
            self._fail(f"it has no {split} samples of class {self.class_names[counts.argmin()]!r}")
        return tuple(counts.tolist())

    def _check_samples(self, split: str) -> tuple[tuple[int, ...], str | None]:
        """Shape of a sample; number format of inputs that are no images, which are uint8."""
        shape, dtype = self._samples[split].shape, self._samples[split].dtype
        if dtype == np.uint8:
            height, width, channels = (*shape, 1, 0, 0, 0)[1:4]
            if len(shape) not in (3, 4) or not height * width or channels not in (1, 3):
                self._fail(
                    f"the {split} inputs are uint8 of shape {shape}, but uint8 is for images (n, height, width) or "
                    "(n, height, width, channels) with 1 or 3 channels; give other inputs as int64 or float32"
                )
            return (height, width, channels), None
        stored = inputs.stored_dtype(shape, dtype)
        if stored is None:
            self._fail(
                f"the {split} inputs are of type {dtype} and shape {shape}; {inputs.ALLOWED}; uint8 is for images"
            )
        return shape[1:], stored

    def _fail(self, what: str) -> NoReturn:
        raise UserError(f"{KEY}: {self._spec!r}: {shortened(what, 500)}")


class _Items:
    """The inputs of a map-style dataset, read one by one, as an array; and its `labels`."""

    def __init__(self, items: Any, where: str) -> None:
        self._items, self._where = items, where
        if not len(items):
            raise UserError(f"{where} has no samples")
        first, _ = self._read(0)
        self.shape, self.dtype = (len(items), *first.shape), first.dtype
        self.labels = [label for _, label in self._checked(slice(None))]

    def __getitem__(self, places: slice) -> NDArray[Any]:
        return np.stack([sample for sample, _ in self._checked(places)])

    def _checked(self, places: slice) -> Iterator[tuple[NDArray[Any], Any]]:
        for place in range(*places.indices(self.shape[0])):
            sample, label = self._read(place)
            if (sample.shape, sample.dtype) != (self.shape[1:], self.dtype):
                raise UserError(
                    f"{self._where}: sample {place} is {sample.shape} of {sample.dtype}, but sample 0 is "
                    f"{self.shape[1:]} of {self.dtype}; they must be the same"
                )
            yield sample, label

    def _read(self, place: int) -> tuple[NDArray[Any], Any]:
        try:
            sample, label = self._items[place]
            return np.asarray(sample), np.asarray(label).item()
        except Exception as error:  # anything that a user's dataset raises
            raise UserError(
                f"{self._where}: item {place} cannot be read as (input, label): {own_code.in_words(error)}"
            ) from error


def source(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the data depend on, as far as it is known. Text of the standard library differs with Python's version."""
    return {
        "factory": own_code.describe(config["factory"], KEY),
        "arguments": dict(config.get("arguments") or {}),
        "path": config.get("path"),
        "python": platform.python_version(),
    }


def remembered(config: Mapping[str, Any]) -> Dataset | None:
    """The description of an earlier call with the same function, arguments and path; None if there is none."""
    try:
        about = read_json(_memory(config))
        return Dataset(
            about["name"],
            tuple(about["class_names"]),
            tuple(about["sample_shape"]),
            {split: tuple(about["counts"][split]) for split in SPLITS},
            input_dtype=about["input_dtype"],
        )
    except (OSError, ValueError, LookupError):
        return None


def remember(config: Mapping[str, Any], dataset: Dataset) -> None:
    """Keep a description; where nothing can be written, the function is called again."""
    with suppress(OSError):
        MEMORY.mkdir(parents=True, exist_ok=True)
        write_json(_memory(config), dataclasses.asdict(dataset))


def _memory(config: Mapping[str, Any]) -> Path:
    path = config.get("path")
    state = None if path is None else file_state(path)
    key = key_of(source_digest("datasets.factory"), source(config), config["name"], state)
    return MEMORY / f"{key}.json"
