"""The runs of a configuration, their identity in the tables, and their files."""

import os
import re
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from manifold_capacity.errors import UserError
from manifold_capacity.provenance import write_stamp
from manifold_capacity.workflow import runs


@pytest.fixture
def config_of(resolved):
    def resolve(**sections):
        given = {
            "models": ["small_cnn", {"name": "small_cnn", "weights": "random"}],
            "seeds": [0, 7],
            "checkpoints": [0, 5],
            "training": {"epochs": 5},
            "manifolds": {"splits": ["test", "train"], "points_per_class": 10},
            "results": "out",
        }
        return resolved(**{**given, **sections})

    return resolve


def test_runs_are_every_combination_in_order(config_of):
    paths = list(runs.runs_of(config_of()))
    assert paths[:3] == [
        "small_cnn/seed-0/epoch-000/test",
        "small_cnn/seed-0/epoch-000/train",
        "small_cnn/seed-0/epoch-005/test",
    ]
    # The untrained model has one checkpoint.
    assert len(paths) == 2 * (2 + 1) * 2
    assert paths[-1] == "small_cnn-random/seed-7/epoch-000/train"


def test_networks_are_trained_if_a_checkpoint_needs_it(config_of):
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
        ("final", "", None, "original"),
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


def test_models_by_the_origin_of_their_weights(config_of):
    models = [*("small_cnn", "vgg16"), {"name": "vgg16", "weights": "random", "label": "v+1"}]
    config = config_of(models=models)
    trained, both = (runs.labels_pattern(config, *w) for w in (["trained"], ["trained", "random"]))
    assert [bool(re.fullmatch(trained, label)) for label in ("small_cnn", "v+1")] == [True, False]
    assert re.fullmatch(both, "v+1")
    assert not re.search(runs.labels_pattern(config, "files"), "small_cnn")


@pytest.mark.parametrize(
    ("simulated", "labels", "files"),
    [
        (True, "", ["out/simulated/a/seed-3/epoch-000/test/1_Linear.json"]),
        (True, "-shuffled", []),
        (False, "", []),
    ],
)
def test_simulated_capacity_is_not_that_of_shuffled_labels(config_of, simulated, labels, files):
    values = {"model": "a", "seed": "3", "checkpoint": "epoch-000", "split": "test"}
    values |= {"labels": labels, "layer": "1_Linear"}
    wildcards = SimpleNamespace(**values, items=values.items)
    config = config_of(geometry={"simulated": simulated})
    assert runs.simulated_capacity_files(config, wildcards) == files


def test_outputs_of_a_run(config_of, layers):
    plain = runs.outputs_of_run(config_of(), "a/run", layers)
    assert plain == ["out/moments/a/run/0_Input.npz", "out/moments/a/run/1_Linear.npz"]
    manifolds = {"shuffle_labels": True, "points_per_class": 10}
    geometry = {"repeats": 2, "simulated": True}
    every = runs.outputs_of_run(
        config_of(manifolds=manifolds, geometry=geometry), "a/run", layers[:1]
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
    assert len({tuple(runs.shuffle_seed(*pair)) for pair in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4


def test_results_without_keys_are_said_to_be_so(tmp_path):
    results, path = str(tmp_path), tmp_path / "provenance.json"
    assert runs.opening_text(results) == ""
    path.write_text('{"config_digest": "0123"}')
    assert "have no keys: they are of an earlier version" in runs.opening_text(results)
    write_stamp(path, [], {"summary": "ab"})
    assert runs.opening_text(results) == ""


def test_a_second_run_in_the_same_results_is_refused(tmp_path):
    held = runs.lock_results(str(tmp_path / "results"))
    with pytest.raises(UserError, match=r"another run writes to .*results; wait until"):
        runs.lock_results(str(tmp_path / "results"))
    held.close()
    runs.lock_results(str(tmp_path / "results")).close()
    (tmp_path / "file").touch()
    assert runs.lock_results(str(tmp_path / "file" / "results")) is None


def test_sigterm_does_not_wait_for_what_it_interrupts():
    """As Snakemake's own handler would, for ever."""
    lock, handled = threading.Lock(), threading.Event()

    def handler(number, frame):
        with lock:
            handled.set()

    before = signal.signal(signal.SIGTERM, handler)
    try:
        runs.handle_sigterm(submits=False)
        with lock:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not handled.is_set()
        assert handled.wait(60)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_closing_text_is_that_of_this_run(tmp_path):
    assert runs.closing_text(str(tmp_path), 0.0) == ""
    table = tmp_path / "summary/layers.txt"
    table.parent.mkdir()
    table.write_text("0 Input 0.2\n")
    assert "0 Input 0.2" in runs.closing_text(str(tmp_path), time.time() - 60)
    said = tmp_path / "summary/findings.txt"
    said.write_text("Capacity rises\n")
    assert "0 Input 0.2\n\nCapacity rises\n\nFigures" in runs.closing_text(
        str(tmp_path), time.time() - 60
    )
    tables = [f"table {n}\n-----\n" + "0 Input 0.2" for n in range(12)]
    table.write_text("\n\n".join([*tables, "5 rows of single positions.", "The note.\n"]))
    text = runs.closing_text(str(tmp_path), time.time() - 60)
    assert "table 5\n" not in text
    assert "table 6\n" in text
    assert "0.2\n\n5 rows of single positions.\n\nThe note." in text
    assert f"The last 6 of 12 tables; all of them: {table}" in text
    os.utime(said, (1, 1))
    assert "rises" not in runs.closing_text(str(tmp_path), time.time() - 60)
    os.utime(table, (1, 1))
    assert runs.closing_text(str(tmp_path), time.time() - 60) == ""
