"""Which runs wait until a store of activations is gone."""

from pathlib import Path

import pytest

from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import load_schema
from manifold_capacity.models.layers import Layer
from manifold_capacity.workflow.runs import outputs_of_run, runs_of
from manifold_capacity.workflow.store_slots import slot_files, store_slots

SCHEMA = load_schema(Path(__file__).parents[3] / "schemas" / "config.schema.yaml")
LAYERS = {"small_cnn-random": [Layer(0, "input", "Input", (1, 8, 8), 64)]}


@pytest.fixture
def config(tmp_path):
    """Four runs that need no training."""
    given = {
        "dataset": {"name": "digits"},
        "models": [{"name": "small_cnn", "weights": "random"}],
        "seeds": [0, 1],
        "manifolds": {"splits": ["train", "test"], "points_per_class": 10},
        "layers": {"names": [], "types": []},
        "results": str(tmp_path),
    }
    return resolve(given, SCHEMA)


def finish(config, path):
    for file in outputs_of_run(config, path, LAYERS["small_cnn-random"]):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()


def test_without_a_bound_nothing_waits(config):
    slots = store_slots(config, LAYERS, None)
    assert slots.waiting == []
    assert slot_files(config, slots, "any") == []


def test_a_run_waits_for_the_one_as_many_places_ahead(config):
    paths = list(runs_of(config))
    slots = store_slots(config, LAYERS, 2)
    assert slots.waiting == paths[2:]
    assert [slots.before(path) for path in paths[2:]] == paths[:2]
    assert slot_files(config, slots, paths[0]) == []
    assert slot_files(config, slots, paths[3]) == [f"{config['results']}/store_slots/{paths[3]}"]


def test_a_finished_run_has_no_place_and_one_whose_store_stands_goes_first(config):
    first, second, third, fourth = runs_of(config)
    finish(config, first)
    Path(config["results"], "activations", fourth).mkdir(parents=True)
    slots = store_slots(config, LAYERS, 1)
    assert slots.order == [fourth, second, third]
    assert slots.waiting == [second, third]
    assert slots.before(second) == fourth


def test_a_slot_that_was_given_stays_an_input(config):
    path = list(runs_of(config))[1]
    slot = Path(config["results"], "store_slots", path)
    slot.parent.mkdir(parents=True)
    slot.touch()
    assert slot_files(config, store_slots(config, LAYERS, None), path) == [str(slot)]
