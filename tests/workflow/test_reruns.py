"""After a change, what depends on it is run again, and nothing else."""

import json

import pytest
from workspaces import LAYERS, SUMMARY

N_JOBS = 2 * len(LAYERS)  # two checkpoints
GEOMETRY = {"measure_geometry": N_JOBS, **SUMMARY}
MOMENTS = {"compute_moments": N_JOBS, **GEOMETRY}
# Tables name their configuration: with another one, that of the training is made again too.
TRAINING_TABLE = {"summarize_training": 1, "draw_training": 1, "write_training_page": 1}


def test_margin_reruns_geometry_and_summary(finished):
    finished.configure({"geometry.margin": 0.5})
    assert finished.planned() == GEOMETRY | TRAINING_TABLE


def test_a_comment_reruns_nothing(finished):
    finished.append("geometry/active_set", "# One more comment.")
    assert finished.planned() == {}


@pytest.mark.parametrize(
    ("module", "plan"),
    [
        ("geometry/active_set", GEOMETRY),
        ("geometry/centers", GEOMETRY),
        ("geometry/moments", MOMENTS),
        ("logs", {}),  # another message is no reason to measure or train again
        ("summary/comparisons", {"compare": 1, "write_pages": 1}),
        ("pages/page", {"write_pages": 1, "write_training_page": 1}),
        (
            "figures/style",
            {name: 1 for name in SUMMARY if name.startswith("draw_")}
            | {"draw_training": 1, "write_pages": 1, "write_training_page": 1},
        ),
    ],
)
def test_code_reruns_what_imports_it(finished, module, plan):
    finished.append(module, "_ONE_MORE = 1")
    assert finished.planned() == plan


def test_more_epochs_are_a_training_also_if_only_that_is_asked_for(finished):
    finished.configure({"training.epochs": 2})
    assert finished.planned("training") == {"train": 1}


def test_one_missing_geometry_table_is_one_job(finished):
    (finished.results / f"geometry/small_cnn/seed-0/epoch-001/train/{LAYERS[1]}.json").unlink()
    assert finished.planned() == {"measure_geometry": 1, **SUMMARY}


def test_shuffled_labels_need_no_activations_of_their_own(finished):
    finished.configure({"manifolds.shuffle_labels": True})
    assert finished.planned() == MOMENTS | TRAINING_TABLE | {"draw_controls": 1}


def test_more_draws_are_extracted_at_once(finished):
    finished.configure({"geometry.repeats": 3})
    plan = finished.planned()
    assert plan["extract_activations"] == 2
    assert plan["compute_moments"] == 3 * N_JOBS
    assert plan["measure_geometry"] == N_JOBS
    assert "train" not in plan


@pytest.mark.parametrize(
    ("changes", "trains"),
    [
        ({"dataset.normalize": "none"}, True),
        ({"manifolds.points_per_class": 13}, False),
        ({"manifolds.augment": True, "training.augment.horizontal_flip": True}, True),
        ({"activations.dtype": "float16"}, False),
        ({"activations.precision": "bfloat16"}, False),
        ({"activations.batch_size": 7}, False),
    ],
)
def test_a_key_that_activations_depend_on_extracts_all_of_them_again(finished, changes, trains):
    finished.configure(changes)
    plan = finished.planned()
    assert plan["extract_activations"] == 2  # also of the untrained network
    assert ("train" in plan) == trains
    assert "prepare_dataset" not in plan


def test_another_seed_adds_its_own_jobs(finished):
    finished.configure({"seeds": [0, 1]})
    plan = finished.planned()
    assert plan["train"] == 1
    assert plan["extract_activations"] == 2
    assert plan["measure_geometry"] == N_JOBS


def test_the_recipe_reruns_training_but_not_the_untrained_network(finished):
    finished.configure({"training.learning_rate": 0.02})
    plan = finished.planned()
    assert plan["train"] == 1
    assert "initial_weights" not in plan
    assert plan["extract_activations"] == 1
    assert plan["measure_geometry"] == len(LAYERS)


def test_temporary_activations_and_a_new_margin(finished):
    # One layer of the untrained network: this is about what comes after the activations.
    small = {
        "activations.keep": False,
        "checkpoints": [0],
        "layers": {"input": False, "types": [], "names": ["classifier.2"]},
    }
    run = "small_cnn/seed-0/epoch-000/train"
    table = finished.results / f"geometry/{run}/{LAYERS[-1]}.json"
    finished.configure(small)
    finished.snakemake("geometry")
    assert not (finished.results / "activations" / run).exists()
    assert json.loads(table.read_text())["margin"] == 0.0
    finished.configure(small | {"geometry.margin": 0.25})
    assert finished.planned("geometry") == {"measure_geometry": 1}
    finished.snakemake("geometry")
    assert json.loads(table.read_text())["margin"] == 0.25
    assert "Nothing to be done" in finished.snakemake("geometry")
