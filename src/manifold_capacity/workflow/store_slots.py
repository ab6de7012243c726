"""The order of extraction, in which runs wait so that the stores of activations fit on the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_capacity.models.layers import Layer, select_layers
from manifold_capacity.workflow.runs import Run, outputs_of_run, runs_of


@dataclass(frozen=True)
class StoreSlots:
    """The order in which runs extract their activations.

    Attributes
    ----------
    order : list of str
        Paths of the unfinished runs; those whose store exists come first.
    waiting : list of str
        The runs that wait for an earlier one: all but the first `n`, unless their store exists.
    n : int
        How many stores may exist at once.
    """

    order: list[str]
    waiting: list[str]
    n: int

    def before(self, run: str) -> str:
        """The run whose outputs must exist before this one may extract."""
        return self.order[self.order.index(run) - self.n]


def store_slots(
    config: Mapping[str, Any], layers: Mapping[str, Sequence[Layer]], n: int | None
) -> StoreSlots:
    """Put the unfinished runs in order, by the files on the disk now.

    A finished run is left out: otherwise Snakemake would repeat it along with the run before it.

    Parameters
    ----------
    config : mapping
        The resolved configuration.
    layers : mapping
        Label of each model -> all its layers.
    n : int or None
        How many stores may exist at once; without a limit (None), no run waits.
    """
    if n is None:
        return StoreSlots([], [], 0)

    def finished(run: Run) -> bool:
        selected = select_layers(layers[run.model], config["layers"])
        return all(map(os.path.exists, outputs_of_run(config, run.path, selected)))

    def exists(path: str) -> bool:
        return Path(config["results"], "activations", path).is_dir()

    unfinished = [path for path, run in runs_of(config).items() if not finished(run)]
    order = sorted(unfinished, key=lambda path: not exists(path))
    return StoreSlots(order, [path for path in order[n:] if not exists(path)], n)


def slot_files(config: Mapping[str, Any], slots: StoreSlots, run: str) -> list[str]:
    """The file of the run's slot, if it must wait for one.

    An existing slot remains an input even if the limit has changed, and a run that was finished without
    a slot gets none: Snakemake would repeat an extraction whose inputs are others.
    """
    slot = f"{config['results']}/store_slots/{run}"
    return [slot] if run in slots.waiting or os.path.exists(slot) else []
