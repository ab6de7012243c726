"""What a configuration may say, and what is said about one that cannot be run."""

import copy
from pathlib import Path

import numpy as np
import pytest
import yaml

from manifold_capacity.config.choices import class_indices, model_checkpoints, own_activations
from manifold_capacity.config.document import document
from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import ConfigError, given_keys, load_schema
from manifold_capacity.config.select_layers import check_layers
from manifold_capacity.datasets.prepare import describe
from manifold_capacity.models.layers import Layer

ROOT = Path(__file__).parents[3]
SCHEMA = load_schema(ROOT / "schemas" / "config.schema.yaml")
MINIMAL = {"dataset": {"name": "digits"}, "models": ["small_cnn"]}
CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]


def with_(changes):
    config = copy.deepcopy(MINIMAL)
    for dotted, value in changes.items():
        section, _, key = dotted.rpartition(".")
        target = config
        for part in filter(None, section.split(".")):
            target = target.setdefault(part, {})
        target[key] = value
    return config


def problems(changes):
    with pytest.raises(ConfigError) as caught:
        resolve(with_(changes), SCHEMA)
    return caught.value.problems


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path):
    resolved = resolve(yaml.safe_load(path.read_text()), SCHEMA)
    assert resolved["models"]


def test_defaults_fill_every_section_and_leave_the_input_alone():
    config = copy.deepcopy(MINIMAL)
    resolved = resolve(config, SCHEMA)
    assert config == MINIMAL
    assert resolved["training"]["augment"] == {
        "crop_padding": 0,
        "horizontal_flip": False,
        "rotation_degrees": 0,
    }
    assert resolved["geometry"]["n_gaussians"] == 300
    assert resolved["models"][0]["label"] == "small_cnn"
    assert resolved["results"] == "results"


def test_what_is_given_wins_over_the_default():
    resolved = resolve(
        with_({"geometry.margin": 0.5, "training.augment": {"crop_padding": 2}}), SCHEMA
    )
    assert resolved["geometry"]["margin"] == 0.5
    assert resolved["training"]["augment"]["crop_padding"] == 2
    assert resolved["training"]["augment"]["horizontal_flip"] is False


def test_text_that_spells_a_number_is_one():
    """YAML takes 1e-2 for text, and an override on the command line makes text of everything."""
    text = {
        "training": {
            "epochs": "3",
            "learning_rate": "1e-2",
            "augment": {"horizontal_flip": "true"},
        },
        "seeds": ["4", "5"],
        "checkpoints": ["0", "final"],
        "geometry": {"n_gaussians": "auto", "margin": "0.5"},
        "manifolds": {"classes": "5"},
        "dataset": {"name": "digits", "normalize": {"mean": ["0.5"], "std": ["2"]}},
    }
    numbers = {
        "training": {"epochs": 3, "learning_rate": 0.01, "augment": {"horizontal_flip": True}},
        "seeds": [4, 5],
        "checkpoints": [0, "final"],
        "geometry": {"n_gaussians": "auto", "margin": 0.5},
        "manifolds": {"classes": 5},
        "dataset": {"name": "digits", "normalize": {"mean": [0.5], "std": [2]}},
    }
    assert resolve(with_(text), SCHEMA) == resolve(with_(numbers), SCHEMA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.epochs": "many"}, 'training.epochs: "many" is not allowed; allowed: integer'),
        ({"geometry.n_gaussians": "all"}, "geometry.n_gaussians"),
        ({"models": "small_cnn"}, "for one entry write [small_cnn]"),
        ({"manifolds.classes": 20}, "allowed: 2 to 10"),
    ],
)
def test_what_does_not_fit_says_what_would(changes, message):
    assert any(message in problem for problem in problems(changes))


def test_text_stays_text_where_text_is_allowed():
    resolved = resolve(with_({"manifolds.classes": ["3", "7"], "results": "2024"}), SCHEMA)
    assert resolved["manifolds"]["classes"] == ["3", "7"]
    assert resolved["results"] == "2024"


def test_defaults_are_themselves_valid():
    resolved = resolve(MINIMAL, SCHEMA)
    assert resolve(resolved, SCHEMA) == resolved


def test_the_order_of_keys_does_not_matter():
    """Snakemake compares parameters by their text."""
    given = {
        "training": {"epochs": 3, "augment": {"horizontal_flip": True, "crop_padding": 1}},
        "models": [{"name": "small_cnn", "label": "a"}],
        "dataset": {"name": "digits", "normalize": {"mean": [0.5], "std": [0.2]}},
    }

    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(entry) for entry in value] if isinstance(value, list) else value

    assert turned(given) == given
    assert str(turned(given)) != str(given)
    assert str(resolve(turned(given), SCHEMA)) == str(resolve(given, SCHEMA))


def test_final_is_the_last_epoch_and_checkpoints_are_sorted():
    resolved = resolve(with_({"training.epochs": 7, "checkpoints": ["final", 3, 0, 7]}), SCHEMA)
    assert resolved["checkpoints"] == [0, 3, 7]
    assert model_checkpoints(resolved, resolved["models"][0]) == [
        "epoch-000",
        "epoch-003",
        "epoch-007",
    ]


@pytest.mark.parametrize(
    ("weights", "label", "checkpoints"),
    [
        ("trained", "vgg16", ["epoch-000", "epoch-020"]),
        ("random", "vgg16-random", ["epoch-000"]),
        ("pretrained", "vgg16-pretrained", ["pretrained"]),
    ],
)
def test_weights_give_label_and_checkpoints(weights, label, checkpoints):
    resolved = resolve(with_({"models": [{"name": "vgg16", "weights": weights}]}), SCHEMA)
    model = resolved["models"][0]
    assert model["label"] == label
    assert model_checkpoints(resolved, model) == checkpoints


def test_all_types_means_every_layer():
    layers = resolve(with_({"layers.types": "all"}), SCHEMA)["layers"]
    assert layers["names"] == ["*"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"modles": ["x"]}, ["modles: unknown key; nearest: models"]),
        (
            {"training.epochz": 3},
            ["training.epochz: unknown key; nearest: epochs", "learning_rate"],
        ),
        ({"training.augment": {"flip": True}}, ["training.augment.flip: unknown key"]),
        ({"training.epochs": "ten"}, ['training.epochs: "ten" is not allowed', "integer ≥ 1"]),
        ({"training.epochs": 0}, ["training.epochs: 0 is not allowed", "integer ≥ 1"]),
        ({"training.momentum": 1.0}, ["training.momentum: 1.0", "≥ 0, < 1"]),
        ({"device": "gpu"}, ['device: "gpu"', "auto, cpu, cuda"]),
        ({"geometry.solver": "cvxop"}, ['geometry.solver: "cvxop"', "nearest: cvxopt"]),
        ({"geometry.margin": -1}, ["geometry.margin: -1", "≥ 0"]),
        ({"seeds": [1, 1]}, ["seeds: [1, 1]", "each once"]),
        ({"seeds": []}, ["seeds: []", "of at least 1"]),
        ({"seeds": 3}, ["seeds: 3", "list"]),
        ({"models": [{"label": "x"}]}, ["models[0].name: missing"]),
        ({"models": [{"name": "vgg16", "label": "a/b"}]}, ['models[0].label: "a/b"']),
        ({"models": ["vgg16", "vgg16"]}, ["models: 'vgg16' stands in the list 2 times", "`label`"]),
        (
            {"models": [{"name": "vgg16", "weights_file": "w.pth"}]},
            ["models: vgg16: weights_file: 'w.pth' goes with `weights: pretrained`"],
        ),
        (
            {"device": "cpu", "training.precision": "tf32"},
            ["training.precision: tf32", "device is cpu", "float32 or bfloat16"],
        ),
        (
            {"device": "cpu", "activations.precision": "tf32"},
            ["activations.precision: tf32", "device is cpu"],
        ),
        ({"training.precision": "fp16"}, ['training.precision: "fp16"', "float32, tf32, bfloat16"]),
        ({"checkpoints": [21]}, ["checkpoints: 21, but training.epochs is 20", "0 to 20"]),
        ({"checkpoints": ["last"]}, ['checkpoints[0]: "last"', "final"]),
        (
            {"manifolds.points_per_class": 600},
            ["manifolds.points_per_class: 600, but digits has only", "train images of class"],
        ),
        (
            {"geometry.repeats": 3, "manifolds.points_per_class": 70},
            [
                "geometry.repeats: 3 draws of 70 points need 210 of each class, but digits has only",
                "allowed: 1",
                "fewer manifolds.points_per_class: 1 to 4",
            ],
        ),
        ({"geometry.repeats": 0}, ["geometry.repeats: 0", "integer ≥ 1"]),
        ({"manifolds.classes": 11}, ["manifolds.classes: 11, but digits has 10 classes"]),
        ({"manifolds.classes": [3]}, ["manifolds.classes: [3]"]),
        ({"manifolds.classes": 1}, ["manifolds.classes: 1"]),
        (
            {"manifolds.classes": [3, 77]},
            ["manifolds.classes: 77 is not a class of digits, its classes are 0, 1,"],
        ),
        ({"manifolds.classes": [3, "3"]}, ["a class is given twice"]),
        ({"manifolds.splits": ["val"]}, ['manifolds.splits[0]: "val"', "train, test"]),
        (
            {"dataset.normalize": {"mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]}},
            ["dataset.normalize.mean: 3 values, but images of digits have 1 channel"],
        ),
        ({"dataset.name": "cifar"}, ['dataset.name: "cifar"', "nearest: cifar10"]),
    ],
)
def test_problems_name_key_value_and_remedy(changes, expected):
    (problem, *_) = problems(changes)
    for phrase in expected:
        assert phrase in problem


def test_all_problems_are_listed_at_once():
    found = problems({"device": "gpu", "training.epochz": 3, "geometry.margin": "no"})
    assert len(found) == 3


@pytest.fixture
def recording(tmp_path):
    """An .npz of 12 samples of the classes 1, 2 and 5, and one sample of class 7."""
    path = tmp_path / "area V4.npz"
    labels = np.array([1, 2, 5] * 4 + [7])
    np.savez(path, V4=np.arange(13 * 6.0).reshape(13, 2, 3), labels=labels)
    return str(path)


def own(path, **sections):
    return {"activations": {"path": path}, **sections}


def test_activations_that_exist_already_stand_for_dataset_and_models(recording):
    resolved = resolve(own(recording, manifolds={"classes": [5, 1]}), SCHEMA)
    assert [model["label"] for model in resolved["models"]] == ["area_V4"]
    assert model_checkpoints(resolved, resolved["models"][0]) == ["external"]
    assert resolved["manifolds"]["points_per_class"] == "all"
    assert resolved["manifolds"]["splits"] == ["all"]
    assert resolved["layers"]["names"] == ["*"]
    found = own_activations(resolved)
    assert [layer.label for layer in found.layers] == ["1_V4"]
    assert class_indices([5, 1], found) == [2, 0]  # labels, not places
    assert own_activations(resolve(MINIMAL, SCHEMA)) is None


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"dataset": {"name": "digits"}}, ["activations.path: ", "so that dataset can't be"]),
        (
            {"models": ["vgg16"], "training": {"epochs": 3}, "layers": {"types": ["Conv2d"]}},
            ["so that models, training, layers.types can't be followed: remove them"],
        ),
        ({"manifolds": {"splits": ["test"], "augment": False}}, ["splits, manifolds.augment"]),
        ({"layers": {"names": ["V1"]}}, ["layers.names: 'V1' is not in area V4.npz; there are V4"]),
        ({}, ["manifolds.classes: class '7' of area V4.npz has a single sample", "list the"]),
        (
            {"manifolds": {"points_per_class": 5, "classes": [1, 2]}},
            ["manifolds.points_per_class: 5, but", "4 samples of class '1'", "1 to 4, or all"],
        ),
        (
            {"manifolds": {"classes": [1, 2]}, "geometry": {"repeats": 2}},
            ["geometry.repeats: 2, but manifolds.points_per_class: all", "points_per_class to 2"],
        ),
        (
            {"manifolds": {"points_per_class": 2, "classes": [1, 2]}, "geometry": {"repeats": 3}},
            [
                "3 draws of 2 points need 6 of each class",
                "4 samples of class '1'",
                "allowed: 1 to 2",
            ],
        ),
        ({"manifolds": {"classes": [1, 0]}}, ["0 is not a class of", "its classes are 1, 2, 5, 7"]),
        ({"manifolds": {"classes": 9}}, ["manifolds.classes: 9, but area V4.npz has 4 classes"]),
        ({"manifolds": {"points_per_class": "some"}}, ["integer ≥ 1 or all"]),
    ],
)
def test_what_makes_no_sense_with_activations_that_exist_is_an_error(recording, sections, expected):
    with pytest.raises(ConfigError) as caught:
        resolve(own(recording, **sections), SCHEMA)
    (problem,) = caught.value.problems
    for phrase in expected:
        assert phrase in problem


def test_single_points_are_measured_if_asked_for(recording):
    resolved = resolve(own(recording, manifolds={"points_per_class": 1}), SCHEMA)
    assert resolved["manifolds"]["points_per_class"] == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"activations.labels": "x.npy"},
            'activations.labels: "x.npy": only with activations.path',
        ),
        ({"manifolds.points_per_class": "all"}, "points_per_class: all, but only with activations"),
    ],
)
def test_what_makes_sense_only_with_activations_that_exist(changes, expected):
    (problem,) = problems(changes)
    assert expected in problem


def test_missing_dataset_says_what_to_add():
    with pytest.raises(ConfigError, match=r"dataset: missing; add it \(or activations.path"):
        resolve({"models": ["small_cnn"]}, SCHEMA)
    with pytest.raises(ConfigError) as caught:
        resolve({}, SCHEMA)
    assert len(caught.value.problems) == 2


def test_one_class_is_too_few(tmp_path):
    path = tmp_path / "one.npz"
    images = np.zeros((6, 4, 4), np.uint8)
    labels = np.zeros(6, np.int64)
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    found = problems(
        {"dataset": {"name": "arrays", "path": str(path)}, "manifolds.points_per_class": 5}
    )
    assert any("at least two" in problem for problem in found)


def test_classes_by_name_index_and_number():
    digits = describe(resolve(MINIMAL, SCHEMA)["dataset"])
    assert class_indices("all", digits) == list(range(10))
    assert class_indices(3, digits) == [0, 1, 2]
    assert class_indices([7, "1"], digits) == [7, 1]


TABLE = [
    Layer(0, "input", "Input", (1, 8, 8), 64),
    Layer(1, "features.0", "Conv2d", (2, 8, 8), 128),
]


def test_a_layer_pattern_that_matches_nothing_is_a_problem():
    config = resolve(with_({"layers.types": ["Conv2d"], "layers.names": ["conv6_1"]}), SCHEMA)
    with pytest.raises(ConfigError, match=r"layers.names: 'conv6_1' is not in small_cnn"):
        check_layers(config, known=lambda model: None, find=lambda model: TABLE)


def test_the_network_is_built_only_if_the_known_table_does_not_do():
    config = resolve(with_({"layers.types": ["Conv2d"]}), SCHEMA)
    asked = []

    def find(model):
        asked.append(model["name"])
        return TABLE

    check_layers(config, known=lambda model: TABLE, find=find)
    assert asked == []
    check_layers(config, known=lambda model: TABLE[:1], find=find)  # stale
    assert asked == ["small_cnn"]


def test_documentation_is_in_step_with_the_schema():
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == document(SCHEMA), (
        "run `make docs`"
    )


def test_every_key_has_a_description():
    def check(schema, key):
        for name, subschema in schema.get("properties", {}).items():
            assert subschema.get("description"), f"{key}{name}"
            check(subschema, f"{key}{name}.")
        for option in [*schema.get("oneOf", []), schema.get("items")]:
            if isinstance(option, dict):
                check(option, key)
        if schema.get("type") == "object" and "properties" in schema:
            assert schema["additionalProperties"] is False, key

    check(SCHEMA, "")


def test_the_keys_that_were_given_do_not_depend_on_the_order_of_lines():
    lines = {"models": ["small_cnn", {"weights": "random", "name": "vgg16"}], "device": "cpu"}
    other = {"device": "cpu", "models": ["small_cnn", {"name": "vgg16", "weights": "random"}]}
    assert given_keys(lines) == given_keys(other)
    assert given_keys(lines) == [
        "device",
        "models",
        "models[0].name",
        "models[1].name",
        "models[1].weights",
    ]


def test_results_that_lead_through_a_file(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(
        ConfigError, match=r"results: '.*/file/run' leads through .*/file, which is a file"
    ):
        resolve({**MINIMAL, "results": str(file / "run")}, SCHEMA)


def test_results_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(ConfigError, match=r"results: .* cannot be written to: .* is read-only"):
        resolve({**MINIMAL, "results": str(tmp_path / "a" / "b")}, SCHEMA)
