"""Which runs wait until a store of activations has been deleted."""

from pathlib import Path

import pytest

from manifold_capacity.workflow.runs import outputs_of_run, runs_of
from manifold_capacity.workflow.store_slots import slot_files, store_slots, stores_of
from manifold_capacity.workflow.stores import parts_of_models


@pytest.fixture
def config(resolved, tmp_path):
    """Four runs that need no training."""
    return resolved(
        models=[{"name": "small_cnn", "weights": "random"}],
        seeds=[0, 1],
        manifolds={"splits": ["train", "test"], "points_per_class": 10},
        layers={"names": [], "types": []},
        results=str(tmp_path),
    )


@pytest.fixture
def stores(config, layers):
    """A store for each run."""
    return stores_of(config, parts_of_models(config, {"small_cnn-random": layers[:1]}))


def test_without_a_limit_nothing_waits(config, stores):
    slots = store_slots(config, stores, None)
    assert slots.waiting == []
    assert slot_files(config, slots, "any") == []


def test_a_run_waits_for_the_one_as_many_places_ahead(config, stores):
    paths = list(runs_of(config))
    slots = store_slots(config, stores, 2)
    assert slots.waiting == paths[2:]
    assert [slots.before(path) for path in paths[2:]] == paths[:2]
    assert slot_files(config, slots, paths[0]) == []
    assert slot_files(config, slots, paths[3]) == [f"{config['results']}/store_slots/{paths[3]}"]


def test_a_finished_run_is_left_out_and_one_with_a_store_is_first(config, stores, layers):
    first, second, third, fourth = runs_of(config)
    for file in outputs_of_run(config, first, layers[:1]):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    Path(config["results"], "activations", fourth).mkdir(parents=True)
    slots = store_slots(config, stores, 1)
    assert slots.order == [fourth, second, third]
    assert slots.waiting == [second, third]
    assert slots.before(second) == fourth


def test_a_run_with_a_store_does_not_wait(config, stores):
    paths = list(runs_of(config))
    for path in paths[:3]:
        Path(config["results"], "activations", path).mkdir(parents=True)
    assert store_slots(config, stores, 1).waiting == paths[3:]


def test_an_existing_slot_remains_an_input(config, stores):
    path = list(runs_of(config))[1]
    slot = Path(config["results"], "store_slots", path)
    slot.parent.mkdir(parents=True)
    slot.touch()
    assert slot_files(config, store_slots(config, stores, None), path) == [str(slot)]


def test_stores_of_groups_of_layers_wait_for_each_other(config, layers):
    config["activations"]["max_gib"] = 2.5e-5
    config["layers"]["names"] = ["*"]
    stores = stores_of(config, parts_of_models(config, {"small_cnn-random": layers}))
    run = next(iter(runs_of(config)))
    first, second = list(stores)[:2]
    assert (first, second) == (f"{run}-layers-1-1", f"{run}-layers-2-2")
    assert store_slots(config, stores, 1).before(second) == first
    for file in outputs_of_run(config, run, layers[1:]):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    assert second not in store_slots(config, stores, 1).order
    assert first in store_slots(config, stores, 1).order
