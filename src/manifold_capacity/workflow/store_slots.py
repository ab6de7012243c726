"""The order of extraction, in which stores of activations wait until they fit on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_capacity.activations.parts import Part, layers_of_part
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.views import arrays_of
from manifold_capacity.workflow.runs import Run, outputs_of_run, runs_of


@dataclass(frozen=True)
class Store:
    """One store of a run's activations: of all its layers, or of some."""

    run: Run
    part: Part

    @property
    def path(self) -> str:
        """The part that the paths of its files share."""
        return self.run.path + self.part.suffix


def stores_of(config: Mapping[str, Any], parts: Mapping[str, Sequence[Part]]) -> dict[str, Store]:
    """Path -> store, of all stores of a resolved configuration in their order.

    `parts` are from `manifold_capacity.workflow.stores.parts_of_models`.
    """
    stores = [
        Store(run, part) for run in runs_of(config).values() for part in parts.get(run.model, ())
    ]
    return {store.path: store for store in stores}


@dataclass(frozen=True)
class StoreSlots:
    """The order in which stores are written.

    Attributes
    ----------
    order : list of str
        Paths of the stores from which something is still to be computed; those that exist come first.
    waiting : list of str
        The stores that wait for an earlier one: all but the first `n`, unless they exist.
    n : int
        How many stores may exist at once.
    """

    order: list[str]
    waiting: list[str]
    n: int

    def before(self, store: str) -> str:
        """The store whose outputs must exist before this one may be written."""
        return self.order[self.order.index(store) - self.n]


def store_slots(
    config: Mapping[str, Any], stores: Mapping[str, Store], n: int | None
) -> StoreSlots:
    """Put the stores in order, by the files on the disk now.

    One whose outputs all exist is left out: otherwise Snakemake would repeat it along with the one before it.

    Parameters
    ----------
    config : mapping
        The resolved configuration.
    stores : mapping
        From `stores_of`.
    n : int or None
        How many stores may exist at once; without a limit (None), none waits.
    """
    if n is None:
        return StoreSlots([], [], 0)

    def finished(store: Store) -> bool:
        return all(map(os.path.exists, outputs_of_run(config, store.run.path, store.part.layers)))

    def exists(path: str) -> bool:
        return Path(config["results"], "activations", path).is_dir()

    unfinished = [path for path, store in stores.items() if not finished(store)]
    order = sorted(unfinished, key=lambda path: not exists(path))
    return StoreSlots(order, [path for path in order[n:] if not exists(path)], n)


def store_outputs(
    config: Mapping[str, Any],
    path: str,
    stores: Mapping[str, Store],
    measured: Callable[[str], Sequence[Layer]],
) -> list[str]:
    """Everything that is computed from a store; `measured` gives a model's chosen layers."""
    store = stores[path]
    arrays = layers_of_part(arrays_of(measured(store.run.model)), store.part.suffix)
    return outputs_of_run(config, store.run.path, arrays)


def slot_files(config: Mapping[str, Any], slots: StoreSlots, store: str) -> list[str]:
    """The file of the store's slot, if it must wait for one; an existing slot remains an input, whatever the limit."""
    slot = f"{config['results']}/store_slots/{store}"
    return [slot] if store in slots.waiting or os.path.exists(slot) else []
