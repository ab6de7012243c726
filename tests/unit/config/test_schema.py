"""Values that the schema does not allow are reported with key, value and what is allowed."""

import pytest

from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import ConfigError, given_keys
from manifold_capacity.datasets.catalog import NAMED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"modles": ["x"]}, ["modles: unknown key; nearest: models"]),
        (
            {"training.epochz": 3},
            ["training.epochz: unknown key; nearest: epochs", "(allowed here"],
        ),
        ({"training.augment": {"flip": True}}, ["training.augment.flip: unknown key"]),
        (
            {"training.epochs": "ten"},
            ['training.epochs: "ten" is not allowed; allowed: integer ≥ 1'],
        ),
        ({"training.epochs": 0}, ["training.epochs: 0 is not allowed; allowed: integer ≥ 1"]),
        ({"training.momentum": 1.0}, ["training.momentum: 1.0", "number ≥ 0, < 1"]),
        ({"device": "gpu"}, ['device: "gpu"', "allowed: auto, cpu, cuda"]),
        ({"geometry.solver": "cvxop"}, ['geometry.solver: "cvxop"', "nearest: cvxopt"]),
        ({"geometry.margin": -1}, ["geometry.margin: -1", "≥ 0"]),
        ({"geometry.n_gaussians": "all"}, ['n_gaussians: "all" is', "integer ≥ 2 or auto"]),
        ({"geometry.repeats": 0}, ["geometry.repeats: 0", "integer ≥ 1"]),
        ({"seeds": [1, 1]}, ["seeds: [1, 1]", "list of at least 1, each once, of: integer ≥ 0"]),
        ({"seeds": []}, ["seeds: []", "of at least 1"]),
        ({"seeds": 3}, ["seeds: 3", "list", "for one entry write [3]"]),
        ({"models": "small_cnn"}, ["for one entry write [small_cnn]"]),
        ({"models": [{"label": "x"}]}, ["models[0].name: missing; add it. `small_cnn`, or"]),
        ({"models": [{"name": "vgg16", "label": "a/b"}]}, ['models[0].label: "a/b"', "matching ^"]),
        ({"training.precision": "fp16"}, ['training.precision: "fp16"', "float32, tf32, bfloat16"]),
        ({"checkpoints": ["last"]}, ['checkpoints[0]: "last"', "integer ≥ 0 or final"]),
        ({"manifolds.classes": [3]}, ["manifolds.classes: [3]", "list of at least 2"]),
        ({"manifolds.classes": 1}, ["manifolds.classes: 1", "integer ≥ 2"]),
        ({"manifolds.splits": ["val"]}, ['manifolds.splits[0]: "val"', "train, test"]),
        ({"dataset.name": "cifar"}, ['dataset.name: "cifar"', "nearest: cifar10"]),
        ({"dataset.name": 5}, ["dataset.name: 5 is not allowed; allowed: digits, mnist"]),
        ({"results": ""}, ['results: "" is not allowed; allowed: text not empty']),
    ],
)
def test_problems_name_key_value_and_what_is_allowed(problems, changes, expected):
    (problem,) = problems(changes)
    for phrase in expected:
        assert phrase in problem


def test_all_problems_are_listed_at_once(problems, schema):
    assert len(problems({"device": "gpu", "training.epochz": 3, "geometry.margin": "no"})) == 3
    with pytest.raises(
        ConfigError, match=r"(?s)cannot be run:\n  - dataset: missing.*\n  - models"
    ):
        resolve({}, schema)


def test_missing_dataset_says_what_to_add(schema):
    with pytest.raises(ConfigError, match=r"dataset: missing; add it \(or activations.path"):
        resolve({"models": ["small_cnn"]}, schema)


def test_every_dataset_of_the_catalog_is_allowed(schema):
    allowed = schema["properties"]["dataset"]["properties"]["name"]["enum"]
    assert allowed == [*NAMED, "imagefolder", "arrays"]


def test_every_key_has_a_description_and_every_mapping_is_closed(schema):
    def check(schema, key):
        for name, subschema in schema.get("properties", {}).items():
            assert subschema.get("description"), f"{key}{name}"
            check(subschema, f"{key}{name}.")
        for option in [*schema.get("oneOf", []), schema.get("items")]:
            if isinstance(option, dict):
                check(option, key)
        if schema.get("type") == "object" and "properties" in schema:
            assert schema["additionalProperties"] is False, key

    check(schema, "")


def test_the_keys_that_were_given_do_not_depend_on_the_order_of_lines():
    lines = {"models": ["small_cnn", {"weights": "random", "name": "vgg16"}], "device": "cpu"}
    other = {"device": "cpu", "models": ["small_cnn", {"name": "vgg16", "weights": "random"}]}
    keys = ["device", "models", "models[0].name", "models[1].name", "models[1].weights"]
    assert given_keys(lines) == given_keys(other) == keys
