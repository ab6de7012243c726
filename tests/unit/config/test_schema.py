"""Values that the schema does not allow are reported with key, value and what is allowed."""

import math

import pytest

from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import ConfigError, given_keys, yaml_problems
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
        ({"models": [{"label": "x"}]}, ["models[0].name: missing; add the name", "factory: f"]),
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


BOMB = ["x"] * 10
for _ in range(5):
    BOMB = [BOMB] * 10
INSIDE_ITSELF = {}
INSIDE_ITSELF["x"] = INSIDE_ITSELF


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"results": "<b>x"}, 'results: "<b>x" has < in it, which Snakemake would replace'),
        ({"results": "{model}"}, "has { in it"),
        ({"results": "~/results"}, "~ is not replaced here; write the path of the folder"),
        ({"results": "a" * 5000}, "cannot be a folder: File name too long; name another one"),
        ({"results": "a\nb"}, r'results: "a\nb" has control characters in it'),
        ({"results": "a\udcff"}, "is not valid UTF-8"),
        ({"models": [{"name": "vgg16", "label": "a\n"}]}, "models[0].label: "),
        ({"models": [{"name": "vgg16", "label": "<b>"}]}, 'models[0].label: "<b>" is not allowed'),
        ({"models": [{"name": "vgg16", "label": "=1+1"}]}, 'models[0].label: "=1+1" is not'),
        ({"models": [{"name": "vgg16", "label": "a" * 101}]}, "of at most 100 characters"),
        ({"seeds": [10**400]}, "seeds[0]: an integer of more than 64 bits is not allowed"),
        ({"training.epochs": "9" * 4000}, "training.epochs: an integer of more than 64 bits"),
        ({"training.epochs": "9" * 5000}, "99..."),
        ({"geometry.margin": math.nan}, "geometry.margin: nan is not allowed; write a finite"),
        ({"geometry.margin": "nan"}, "geometry.margin: nan is not allowed; write a finite"),
        ({"activations.max_gib": "inf"}, "activations.max_gib: inf is not allowed"),
        ({"results": BOMB}, "more than 100,000 values, counting aliases; shorten it"),
        ({"geometry": INSIDE_ITSELF}, "geometry.x.x.x"),
        ({"a" * 5000: 1}, "aaa: unknown key"),
    ],
)
def test_values_that_no_key_allows_are_one_short_line(schema, changes, expected):
    config = {"dataset": {"name": "digits"}, "models": ["small_cnn"]}
    for dotted, value in changes.items():
        *section, key = dotted.split(".")
        (config.setdefault(section[0], {}) if section else config)[key] = value
    with pytest.raises(ConfigError) as caught:
        resolve(config, schema)
    (problem,) = caught.value.problems
    assert expected in problem
    assert "\n" not in problem
    assert len(problem) < 500


def test_a_whole_number_with_a_point_is_an_integer_where_one_is_needed(resolved):
    config = resolved({"training.epochs": 5.0, "geometry.margin": 1.0})
    assert isinstance(config["training"]["epochs"], int)
    assert isinstance(config["geometry"]["margin"], float)


def test_a_key_that_is_given_twice_is_named(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "seeds: [0]\na: &a {x: 1}\nb: {x: 1, y: *a, x: 2}\nseeds: [1]\n? [1, 2]\n: *a\n"
    )
    twice = [problem.partition(" given twice ")[::2] for problem in yaml_problems(file)]
    assert sorted(twice) == [
        ("seeds:", f"in {file}, on line 1 and on line 4; keep one"),
        ("x:", f"in {file}, on line 3 and on line 3; keep one"),
    ]
    file.write_text("weights_files: {010: a, 0: b, 10: '010'}\nname: 0x10\n")
    (octal,) = yaml_problems(file)
    assert octal == f"010: YAML reads this number, on line 1 of {file}, as octal (8); write 10"
    (tmp_path / "empty.yaml").touch()
    assert yaml_problems(tmp_path / "empty.yaml") == yaml_problems(tmp_path / "config.json") == []
