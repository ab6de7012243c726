"""Labelled inputs of a network, in memory or behind a DataLoader, taken by their places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from manifold_capacity.errors import UserError

Batch = Tensor | dict[str, Tensor]


class Samples:
    """Inputs and one label for each.

    Parameters
    ----------
    inputs : array, tensor, mapping of arrays or tensors, or DataLoader
        (n_samples, ...), as the network takes them: floats become float32, integers int64. Of a mapping, whose
        names are those of the network's arguments, each has n_samples. Of a DataLoader its dataset is used,
        item by item, whatever its order and batches.
    labels : (n_samples,) array-like of numbers or text, optional
        A DataLoader's items have them: (input, label).

    Attributes
    ----------
    class_names : list of str
        In the order of the sorted labels.
    codes : (n_samples,) array of int64
        The class of each sample.
    """

    def __init__(self, inputs: Any, labels: Any = None) -> None:
        self._loader = inputs if isinstance(inputs, DataLoader) else None
        self._arrays: dict[str, Any] = {}
        if self._loader is not None:
            dataset = self._loader.dataset
            if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
                raise UserError(
                    "inputs: a DataLoader of an iterable dataset has no places to take samples from; give its "
                    "samples as an array or tensor, or a map-style dataset"
                )
            n_samples = len(dataset)
            if labels is None:
                labels = _labels_of(dataset, n_samples)
        else:
            self._arrays = dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}
            self._arrays = {name: _checked(name, value) for name, value in self._arrays.items()}
            lengths = {name: len(value) for name, value in self._arrays.items()}
            if len(set(lengths.values())) != 1:
                raise UserError(f"inputs: they have different numbers of samples: {lengths}")
            n_samples = next(iter(lengths.values()))
        if labels is None:
            raise UserError("labels: missing; give one label for each sample")
        values = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
        if values.shape != (n_samples,):
            raise UserError(
                f"labels: they have shape {values.shape}, but there are {n_samples} samples; give one for each"
            )
        unique, codes = np.unique(values, return_inverse=True)
        self.class_names = [str(value) for value in unique]
        self.codes: NDArray[np.int64] = codes.astype(np.int64)

    def batch(self, places: Sequence[int] | NDArray[np.int64]) -> Batch:
        """The samples at some places."""
        if self._loader is not None:
            items = [self._loader.dataset[int(place)] for place in places]
            assert self._loader.collate_fn is not None
            batch = self._loader.collate_fn(items)
            taken = batch[0] if isinstance(batch, (tuple, list)) else batch
            if isinstance(taken, Mapping):
                names = [name for name in taken if name not in ("label", "labels")]
                return {name: _as_tensor(taken[name]) for name in names}
            return _as_tensor(taken)
        taken = {name: _as_tensor(_rows(value, places)) for name, value in self._arrays.items()}
        return taken[""] if [*taken] == [""] else taken


def as_input_of(model: nn.Module, batch: Batch, device: torch.device) -> Batch:
    """A batch on the device, floating-point numbers in the precision of the network's weights."""
    weights = (each.dtype for each in model.parameters() if each.is_floating_point())
    dtype = next(weights, torch.float32)

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype if tensor.is_floating_point() else None)

    if isinstance(batch, Tensor):
        return moved(batch)
    return {name: moved(tensor) for name, tensor in batch.items()}


def _labels_of(dataset: Any, n_samples: int) -> Any:
    """From the attribute that torchvision's datasets have, else item by item."""
    found = getattr(dataset, "targets", None)
    changed = getattr(dataset, "target_transform", None) is not None
    if found is not None and not changed and len(found) == n_samples:
        return found
    labels = []
    for place in range(n_samples):
        item = dataset[place]
        if isinstance(item, Mapping):
            label = item.get("labels", item.get("label"))
        else:
            label = item[1] if isinstance(item, (tuple, list)) and len(item) > 1 else None
        if label is None:
            raise UserError(
                f"inputs: item {place} of the DataLoader's dataset is not (input, label); give `labels`"
            )
        labels.append(label.item() if isinstance(label, Tensor) else label)
    return labels


def _checked(name: str, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value
    array = value if hasattr(value, "__array__") else np.asarray(value)
    if getattr(array, "dtype", np.dtype(object)).kind not in "fiub" or not getattr(
        array, "shape", ()
    ):
        where = f"inputs[{name!r}]" if name else "inputs"
        raise UserError(
            f"{where}: values of type {getattr(array, 'dtype', type(value).__name__)} cannot be given to a "
            "network; give numbers of shape (n_samples, ...)"
        )
    return array


def _rows(value: Any, places: Sequence[int] | NDArray[np.int64]) -> Any:
    index = np.asarray(places)
    if isinstance(value, Tensor):
        return value[torch.from_numpy(index).to(value.device)]
    return np.asarray(value[index])


def _as_tensor(value: Any) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
    if tensor.is_floating_point():
        return tensor.float()
    return tensor if tensor.dtype == torch.bool else tensor.long()
