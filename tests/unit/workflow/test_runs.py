"""What the rules ask of a configuration: its runs, what identifies them, their files."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import load_schema
from manifold_capacity.models.layers import Layer
from manifold_capacity.workflow import runs

SCHEMA = load_schema(Path(__file__).parents[3] / "schemas" / "config.schema.yaml")
LAYERS = [Layer(0, "input", "Input", (1, 8, 8), 64), Layer(3, "head", "Linear", (10,), 10)]


def config_of(**sections):
    given = {
        "dataset": {"name": "digits"},
        "models": ["small_cnn", {"name": "small_cnn", "weights": "random"}],
        "seeds": [0, 7],
        "checkpoints": [0, 5],
        "training": {"epochs": 5},
        "manifolds": {"splits": ["test", "train"], "points_per_class": 10},
        "results": "out",
    }
    return resolve(given | sections, SCHEMA)


def test_runs_are_every_combination_in_order():
    paths = list(runs.runs_of(config_of()))
    assert paths[:3] == [
        "small_cnn/seed-0/epoch-000/test",
        "small_cnn/seed-0/epoch-000/train",
        "small_cnn/seed-0/epoch-005/test",
    ]
    # The untrained model has one checkpoint.
    assert len(paths) == 2 * (2 + 1) * 2
    assert paths[-1] == "small_cnn-random/seed-7/epoch-000/train"


def test_networks_are_trained_if_a_checkpoint_asks_for_it():
    assert runs.trained_networks(config_of()) == [
        {"model": "small_cnn", "seed": 0},
        {"model": "small_cnn", "seed": 7},
    ]
    assert runs.trained_epochs(config_of()) == [5]
    assert runs.trained_networks(config_of(checkpoints=[0])) == []


@pytest.mark.parametrize(
    ("checkpoint", "labels", "epoch", "called"),
    [
        ("epoch-015", "", 15, "original"),
        ("pretrained", "-shuffled", None, "shuffled"),
        ("external", "", None, "original"),
    ],
)
def test_identity(checkpoint, labels, epoch, called):
    wildcards = SimpleNamespace(
        model="a", seed="3", checkpoint=checkpoint, split="test", labels=labels
    )
    assert runs.identity(wildcards, dataset="digits", weights="trained") == {
        "dataset": "digits",
        "model": "a",
        "weights": "trained",
        "seed": 3,
        "checkpoint": checkpoint,
        "epoch": epoch,
        "split": "test",
        "labels": called,
    }


def test_outputs_of_a_run():
    plain = runs.outputs_of_run(config_of(), "a/run", LAYERS)
    assert plain == ["out/moments/a/run/0_Input.npz", "out/moments/a/run/3_Linear.npz"]
    manifolds = {"shuffle_labels": True, "points_per_class": 10}
    geometry = {"repeats": 2, "simulated": True}
    every = runs.outputs_of_run(
        config_of(manifolds=manifolds, geometry=geometry), "a/run", LAYERS[:1]
    )
    assert every == [
        "out/moments/a/run/0_Input.npz",
        "out/moments/a/run/0_Input-draw-2.npz",
        "out/moments/a/run-shuffled/0_Input.npz",
        "out/moments/a/run-shuffled/0_Input-draw-2.npz",
        "out/simulated/a/run/0_Input.json",
    ]


def test_shuffled_manifolds_have_no_class():
    assert runs.class_names({4: "cat", 9: "dog"}, shuffled=False) == {4: "cat", 9: "dog"}
    assert runs.class_names({4: "cat", 9: "dog"}, shuffled=True) == {
        0: "shuffled 0",
        1: "shuffled 1",
    }
    assert runs.shuffle_seed(0, 1) != runs.shuffle_seed(1, 0)


def test_the_closing_text_is_of_this_run_only(tmp_path):
    assert runs.closing_text(str(tmp_path), 0.0) == ""
    table = tmp_path / "summary/layers.txt"
    table.parent.mkdir()
    table.write_text("0 Input 0.2\n")
    assert "0 Input 0.2" in runs.closing_text(str(tmp_path), time.time() - 60)
    os.utime(table, (1, 1))
    assert runs.closing_text(str(tmp_path), time.time() - 60) == ""
