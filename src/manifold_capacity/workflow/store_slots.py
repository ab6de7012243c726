"""Which runs wait before they extract, so that no more stores of activations stand on the disk than fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_capacity.models.layers import Layer, select_layers
from manifold_capacity.workflow.runs import Run, outputs_of_run, runs_of

__all__ = ["StoreSlots", "slot_files", "store_slots"]


@dataclass(frozen=True)
class StoreSlots:
    """The order in which runs extract their activations.

    Attributes
    ----------
    order : list of str
        Paths of the unfinished runs. First those whose store stands already.
    waiting : list of str
        The runs that wait for one before them: not the first ones, and none whose store stands.
    n : int
        How many stores may stand at once.
    """

    order: list[str]
    waiting: list[str]
    n: int

    def before(self, run: str) -> str:
        """The run whose outputs have to be there before this one may extract."""
        return self.order[self.order.index(run) - self.n]


def store_slots(
    config: Mapping[str, Any], layers: Mapping[str, Sequence[Layer]], n: int | None
) -> StoreSlots:
    """Put the unfinished runs in order, by what is on the disk now.

    A finished run has no place in the order: it would be made again with the run before it.

    Parameters
    ----------
    config : mapping
        The resolved configuration.
    layers : mapping
        Label of each model -> all its layers.
    n : int or None
        How many stores may stand at once; None if they are not bounded: then nothing waits.
    """
    if n is None:
        return StoreSlots([], [], 0)

    def finished(run: Run) -> bool:
        selected = select_layers(layers[run.model], config["layers"])
        return all(map(os.path.exists, outputs_of_run(config, run.path, selected)))

    def stands(path: str) -> bool:
        return Path(config["results"], "activations", path).is_dir()

    unfinished = [path for path, run in runs_of(config).items() if not finished(run)]
    order = sorted(unfinished, key=lambda path: not stands(path))
    return StoreSlots(order, [path for path in order[n:] if not stands(path)], n)


def slot_files(config: Mapping[str, Any], slots: StoreSlots, run: str) -> list[str]:
    """The file that lets a run extract, if it has to wait for one.

    One that was given stays an input, whatever the bound is now, and a run that was finished without
    one gets none: another set of inputs would be a reason to extract again.
    """
    slot = f"{config['results']}/store_slots/{run}"
    return [slot] if run in slots.waiting or os.path.exists(slot) else []
