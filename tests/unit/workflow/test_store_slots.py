"""Which runs wait until a store of activations has been deleted."""

from pathlib import Path

import pytest

from manifold_capacity.workflow.runs import outputs_of_run, runs_of
from manifold_capacity.workflow.store_slots import slot_files, store_slots


@pytest.fixture
def layers_of(layers):
    return {"small_cnn-random": layers[:1]}


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


def test_without_a_limit_nothing_waits(config, layers_of):
    slots = store_slots(config, layers_of, None)
    assert slots.waiting == []
    assert slot_files(config, slots, "any") == []


def test_a_run_waits_for_the_one_as_many_places_ahead(config, layers_of):
    paths = list(runs_of(config))
    slots = store_slots(config, layers_of, 2)
    assert slots.waiting == paths[2:]
    assert [slots.before(path) for path in paths[2:]] == paths[:2]
    assert slot_files(config, slots, paths[0]) == []
    assert slot_files(config, slots, paths[3]) == [f"{config['results']}/store_slots/{paths[3]}"]


def test_a_finished_run_is_left_out_and_one_with_a_store_is_first(config, layers_of):
    first, second, third, fourth = runs_of(config)
    for file in outputs_of_run(config, first, layers_of["small_cnn-random"]):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    Path(config["results"], "activations", fourth).mkdir(parents=True)
    slots = store_slots(config, layers_of, 1)
    assert slots.order == [fourth, second, third]
    assert slots.waiting == [second, third]
    assert slots.before(second) == fourth


def test_a_run_with_a_store_does_not_wait(config, layers_of):
    paths = list(runs_of(config))
    for path in paths[:3]:
        Path(config["results"], "activations", path).mkdir(parents=True)
    assert store_slots(config, layers_of, 1).waiting == paths[3:]


def test_an_existing_slot_remains_an_input(config, layers_of):
    path = list(runs_of(config))[1]
    slot = Path(config["results"], "store_slots", path)
    slot.parent.mkdir(parents=True)
    slot.touch()
    assert slot_files(config, store_slots(config, layers_of, None), path) == [str(slot)]
