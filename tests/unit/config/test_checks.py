"""Values that do not go together, or that the data cannot provide, are reported with the remedy."""

import numpy as np
import pytest

from manifold_capacity.config.checks import check_layers
from manifold_capacity.config.choices import class_indices, external_activations, model_checkpoints
from manifold_capacity.config.schema import ConfigError
from manifold_capacity.datasets.catalog import NAMED
from manifold_capacity.errors import UserError
from manifold_capacity.models.layers import Layer


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"models": ["vgg16", "vgg16"]}, ["models: 'vgg16' is in the list 2 times", "`label`"]),
        (
            {"models": [{"name": "vgg16", "weights_file": "w.pth"}]},
            ["vgg16: weights_file: 'w.pth' needs `weights: pretrained`, but `weights` is trained"],
        ),
        (
            {"device": "cpu", "training.precision": "tf32"},
            ["training.precision: tf32", "device is cpu", "float32 or bfloat16"],
        ),
        (
            {"device": "cpu", "activations.precision": "tf32"},
            ["activations.precision: tf32", "device is cpu"],
        ),
        ({"activations.max_gib": 2}, ["activations.max_gib: 2, but activations.keep is true"]),
        ({"checkpoints": [21]}, ["checkpoints: 21, but training.epochs is 20", "0 to 20"]),
        (
            {"manifolds.points_per_class": 135},
            [
                "points_per_class: 135, but digits has only 131 train images of class '8'; allowed: 1"
            ],
        ),
        (
            {"manifolds.points_per_class": 45, "manifolds.splits": ["train", "test"]},
            ["45, but digits has only 43 test images of class '8'; allowed: 1 to 43"],
        ),
        (
            {"geometry.repeats": 3, "manifolds.points_per_class": 70},
            [
                "geometry.repeats: 3 draws of 70 points need 210 of each class, but digits has only",
                "131 train images of class '8'; allowed: 1, or",
                "fewer manifolds.points_per_class: 1 to 43",
            ],
        ),
        ({"manifolds.classes": 11}, ["classes: 11, but digits has 10 classes; allowed: 2 to 10"]),
        ({"manifolds.classes": [3, 77]}, ["77 is not a class of digits, its classes are 0, 1,"]),
        ({"manifolds.classes": [3, "3"]}, ["a class is given twice"]),
        (
            {"dataset.name": "cifar10", "manifolds.classes": ["cats", 2]},
            ["'cats' is not a class of cifar10, nor an index from 0 to 9; nearest: cat"],
        ),
        (
            {"dataset.name": "cifar10", "manifolds.classes": [0, 10]},
            ["10 is not a class of cifar10, nor an index from 0 to 9"],
        ),
        (
            {"dataset.normalize": {"mean": [0.5, 0.5, 0.5], "std": [1]}},
            ["dataset.normalize.mean: 3 values, but images of digits have 1 channel; give one"],
        ),
        ({"dataset.path": "x"}, ["dataset.path: 'x' does not apply to digits"]),
        ({"activations.labels": "x.npy"}, ['labels: "x.npy": only with activations.path; add it']),
        (
            {"geometry.measures": ["glue"]},
            ["mean_field is always measured; add it: [mean_field, glue]"],
        ),
        (
            {"geometry.glue": {"n_samples": 20}},
            ["geometry.glue.n_samples: 20, but", "add glue to it"],
        ),
        ({"manifolds.points_per_class": "all"}, ["all, but only with activations.path"]),
    ],
)
def test_problems_name_key_value_and_remedy(problems, changes, expected):
    problem = problems(changes)[0]
    for phrase in expected:
        assert phrase in problem


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "auto", "training.precision": "tf32"},
        {"models": [{"name": "vgg16", "weights_file": __file__, "weights": "pretrained"}]},
        {"activations": {"max_gib": 2, "keep": False}, "dataset.name": "digits"},
        {"checkpoints": [20]},
        {"manifolds.points_per_class": 131},
        {"manifolds.classes": 10},
        {"geometry.repeats": 2, "manifolds.points_per_class": 65},
        {"geometry.repeats": 2, "manifolds.points_per_class": 2500, "dataset.name": "cifar10"},
        {"dataset.normalize": {"mean": [0.5], "std": [1]}},
    ],
)
def test_values_that_just_go_together(resolved, changes):
    assert resolved({"models": ["small_cnn"]} | changes)


def test_one_class_is_too_few(problems, tmp_path):
    path = tmp_path / "one.npz"
    np.savez(path, images=np.zeros((8, 4, 4), np.uint8), labels=np.zeros(8, np.int64))
    dataset = {"name": "arrays", "path": str(path)}
    (problem,) = problems({"manifolds.points_per_class": 5}, dataset=dataset)
    assert "arrays has only 1 class; capacity needs at least two manifolds" in problem


def test_results_folder_that_cannot_be_made(problems, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    (problem,) = problems({"results": str(file / "run")})
    assert f"file/run' leads through {file}, which is a file; name a folder" in problem
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    (problem,) = problems({"results": str(tmp_path / "a" / "b")})
    assert f"cannot be written to: you have no permission to write in {tmp_path}" in problem


def test_classes_by_name_index_and_number():
    digits, cifar10 = NAMED["digits"], NAMED["cifar10"]
    assert class_indices("all", digits) == list(range(10))
    assert class_indices(3, digits) == [0, 1, 2]
    assert class_indices([7, "1"], digits) == [7, 1]
    assert class_indices(["cat", 0], cifar10) == [3, 0]


# External activations


@pytest.fixture
def recording(tmp_path):
    """An .npz of 12 samples of the classes 1, 2 and 5, and one sample of class 7."""
    path = tmp_path / "area V4.npz"
    labels = np.array([1, 2, 5] * 4 + [7])
    np.savez(path, V4=np.arange(13 * 6.0).reshape(13, 2, 3), labels=labels)
    return {"path": str(path)}


def test_external_activations_take_the_place_of_dataset_and_models(recording, resolved, schema):
    config = resolved(activations=recording, manifolds={"classes": [5, 1]})
    assert list(config) == list(schema["properties"])  # in this order
    assert [model["label"] for model in config["models"]] == ["area_V4"]
    assert model_checkpoints(config, config["models"][0]) == ["external"]
    assert config["manifolds"]["points_per_class"] == "all"
    assert config["manifolds"]["splits"] == ["all"]
    assert config["layers"]["names"] == ["*"]
    (found,) = external_activations(config).values()
    assert [layer.label for layer in found.layers] == ["1_V4"]
    assert class_indices([5, 1], found) == [2, 0]  # labels, not positions
    assert external_activations(resolved()) == {}


def test_single_points_are_measured_if_asked_for(recording, resolved):
    config = resolved(activations=recording, manifolds={"points_per_class": 1})
    assert config["manifolds"]["points_per_class"] == 1


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (
            {"dataset": {"name": "digits"}},
            ["activations, to which dataset does not apply: remove it"],
        ),
        (
            {"models": ["vgg16"], "training": {"epochs": 3}, "layers": {"types": ["Conv2d"]}},
            ["to which models, training, layers.types do not apply: remove them, or"],
        ),
        ({"manifolds": {"splits": ["test"], "augment": False}}, ["splits, manifolds.augment"]),
        ({"layers": {"names": ["V1"]}}, ["layers.names: 'V1' is not in area V4.npz; there are V4"]),
        ({}, ["manifolds.classes: class '7' of area V4.npz has a single sample", "list the"]),
        (
            {"manifolds": {"points_per_class": 5, "classes": [1, 2]}},
            [
                "manifolds.points_per_class: 5, but",
                "4 samples of class '1'; allowed: 1 to 4, all or equal",
            ],
        ),
        (
            {"manifolds": {"classes": [1, 2]}, "geometry": {"repeats": 2}},
            ["geometry.repeats: 2, but manifolds.points_per_class: all", "points_per_class to 2"],
        ),
        (
            {"manifolds": {"points_per_class": 2, "classes": [1, 2]}, "geometry": {"repeats": 3}},
            ["3 draws of 2 points need 6", "4 samples of class '1'; allowed: 1 to 2, or fewer"],
        ),
        ({"manifolds": {"classes": [1, 0]}}, ["0 is not a class of", "its classes are 1, 2, 5, 7"]),
        ({"manifolds": {"classes": 9}}, ["manifolds.classes: 9, but area V4.npz has 4 classes"]),
        ({"manifolds": {"points_per_class": "some"}}, ["integer ≥ 1 or all"]),
    ],
)
def test_problems_with_external_activations(recording, problems, sections, expected):
    (problem,) = problems(activations=recording, **sections)
    for phrase in expected:
        assert phrase in problem


def save_days(path, days=("1", "1", "2", "2", "2", "1"), labels=(0, 0, 0, 0, 1, 1), **arrays):
    np.savez(path, **{"V1": np.arange(12.0).reshape(6, 2), **arrays}, labels=labels, day=days)
    return str(path)


@pytest.mark.parametrize(
    ("activations", "manifolds", "expected"),
    [
        (
            {"groups": "dya"},
            {},
            "activations.groups: dya, but rec.npz has no such array (it has V1, ",
        ),
        ({"groups": "no.npy"}, {}, "activations.groups: there is no file "),
        (
            {"path": "more.npz", "groups": "V1"},
            {},
            "V1: shape (6, 2), type float64; groups must be numbers or text",
        ),
        ({"groups": "short.npy"}, {}, "short.npy: 2 groups, but rec.npz has 6 labels; give one"),
        ({"groups": "day", "name": "a"}, {}, "activations.name: 'a', but with activations.groups"),
        (
            {"groups": "twins"},
            {"points_per_class": 1},
            "groups: 'a b' and 'a-B' are the same in paths",
        ),
        ({"groups": "day"}, {}, "has a single sample in group '1', which"),
        ({"groups": "gap"}, {}, "manifolds.classes: rec.npz has no samples of class '1' in group"),
        (
            {"groups": "day"},
            {"points_per_class": 2},
            "has only 1 samples of class '1' in group '1'",
        ),
        ({"path": "text.npz"}, {}, "text.npz has no arrays besides the labels"),
        (
            {"path": [{"path": "rec.npz", "epoch": 1}, {"path": "rec.npz", "epoch": 1}]},
            {},
            "activations.path: epoch 1 is given twice; keep one",
        ),
        ({"path": [{"path": "rec.npz"}]}, {}, "activations.path[0].epoch: missing; add it"),
        *(
            (
                {
                    "path": [{"path": "rec.npz", "epoch": 0}, {"path": f"{file}.npz", "epoch": 1}],
                    "groups": "day",
                },
                {},
                f"activations.path: {file}.npz has {what} rec.npz; checkpoints must have the same",
            )
            for file, what in [
                ("wide", "'V1' of shape (6, 3), not (6, 2) as"),
                ("more", "the layers V1, V2, not V1 as"),
                ("classes", "other class names than"),
                ("labels", "other labels than"),
                ("days", "other groups than"),
            ]
        ),
    ],
)
def test_problems_with_groups_and_checkpoints(
    tmp_path, monkeypatch, problems, activations, manifolds, expected
):
    monkeypatch.chdir(tmp_path)
    save_days("rec.npz", twins=["a b", "a-B", "a b", "a-B", "a b", "a-B"], gap=list("112211"))
    np.save("short.npy", ["1", "2"])
    np.savez("text.npz", animal=["cat", "dog"], labels=[0, 1])
    save_days("wide.npz", V1=np.ones((6, 3)))
    save_days("more.npz", V2=np.ones((6, 3)))
    save_days("classes.npz", labels=(0, 0, 0, 0, 2, 2))
    save_days("labels.npz", labels=(0, 0, 0, 1, 0, 1))
    save_days("days.npz", days=("1", "2", "1", "2", "2", "1"))
    problem, *_ = problems(
        activations={"path": "rec.npz", **activations},
        manifolds=manifolds,
        layers={"names": ["V*"]},
    )
    assert expected in problem


def test_groups_are_models_and_checkpoints_have_epochs(tmp_path, resolved):
    days = {"V1": np.ones((8, 2)), "days": ["Tue", "Mon"] * 4, "labels": [0, 0, 1, 1] * 2}
    np.savez(tmp_path / "a.npz", **days)
    path = [{"path": str(tmp_path / "a.npz"), "epoch": epoch} for epoch in (10, 0)]
    config = resolved(activations={"path": path, "groups": "days"})
    assert [model["label"] for model in config["models"]] == ["Tue", "Mon"]
    checkpoints = ["epoch-000", "epoch-010"]
    assert [model_checkpoints(config, m) for m in config["models"]] == [checkpoints] * 2
    (model,) = resolved(activations={"path": path})["models"]
    assert model["label"] == config["dataset"]["name"] == tmp_path.name


# Selections of layers

TABLE = [
    Layer(0, "input", "Input", (1, 8, 8), 64),
    Layer(1, "features.0", "Conv2d", (2, 8, 8), 128),
]
STALE = TABLE[:1]


def check(resolved, tables, networks=None, **layers):
    """What `check_layers` returns, and the networks that it built."""
    config = resolved(models=[{"name": "vgg16", "label": label} for label in tables], layers=layers)
    built = []

    def find(model):
        built.append(model["label"])
        found = (networks or dict.fromkeys(tables, TABLE))[model["label"]]
        if isinstance(found, str):
            raise UserError(found)
        return found

    return check_layers(config, lambda model: tables[model["label"]], find), built


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"a": TABLE, "b": TABLE}, []),
        ({"a": TABLE, "b": None}, ["b"]),
        ({"a": None, "b": None}, ["a", "b"]),
        ({"a": STALE, "b": STALE}, ["a", "b"]),
        ({"a": STALE, "b": None}, ["b"]),  # two models of one network
    ],
)
def test_networks_are_built_only_if_the_known_tables_do_not_do(resolved, tables, expected):
    found, built = check(resolved, tables, types=["Conv2d"])
    assert built == expected
    assert found == {label: TABLE if label in built else tables[label] for label in tables}


def test_pattern_that_matches_nothing(resolved):
    with pytest.raises(ConfigError, match=r"layers.names: 'conv6_1' is not in vgg16"):
        check(resolved, {"a": TABLE}, types=["Conv2d"], names=["conv6_1"])


def test_network_that_cannot_be_built(resolved):
    networks = {"a": "no network a", "b": TABLE, "c": "no network c"}
    with pytest.raises(ConfigError) as caught:
        check(resolved, {"a": None, "b": STALE, "c": None}, networks, types=["Conv2d"])
    assert caught.value.problems == ["no network a", "no network c"]
