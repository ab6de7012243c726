"""A configuration becomes the one that is run: with every default, numbers as numbers, keys in order."""

from pathlib import Path

import pytest
import yaml

from manifold_capacity.config.choices import model_checkpoints
from manifold_capacity.config.resolve import resolve

ROOT = Path(__file__).parents[3]
CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path, schema):
    assert resolve(yaml.safe_load(path.read_text()), schema)["models"]


def test_defaults_fill_every_section_and_are_themselves_valid(resolved, schema):
    config = resolved()
    augment = {"crop_padding": 0, "horizontal_flip": False, "rotation_degrees": 0}
    assert config["training"]["augment"] == augment
    assert config["geometry"]["n_gaussians"] == 300
    assert config["models"][0]["label"] == "small_cnn"
    assert config["results"] == "results"
    assert resolve(config, schema) == config


def test_given_values_take_the_place_of_defaults(resolved):
    config = resolved({"geometry.margin": 0.5, "training.augment": {"crop_padding": 2}})
    assert config["geometry"]["margin"] == 0.5
    assert config["training"]["augment"]["crop_padding"] == 2
    assert config["training"]["augment"]["horizontal_flip"] is False


def test_text_that_spells_a_number_is_one(resolved):
    """YAML takes 1e-2 for text, and an override on the command line makes text of everything."""

    def spelled(text):
        return {
            "training.epochs": "3" if text else 3,
            "training.learning_rate": "1e-2" if text else 0.01,
            "training.augment.horizontal_flip": "True" if text else True,
            "seeds": ["4", "5"] if text else [4, 5],
            "checkpoints": ["0", "final"] if text else [0, "final"],
            "geometry": {"n_gaussians": "auto", "margin": "0.5" if text else 0.5},
            "manifolds.classes": "5" if text else 5,
            "activations": {"max_gib": "null", "keep": "false"} if text else {"keep": False},
            "dataset.normalize": {"mean": ["0.5"], "std": ["2"]}
            if text
            else {"mean": [0.5], "std": [2]},
        }

    config = {"dataset": {"name": "digits"}, "models": ["small_cnn"]}
    assert resolved(spelled(True), **config) == resolved(spelled(False), **config)


def test_text_stays_text_where_text_is_allowed(resolved):
    config = resolved({"manifolds.classes": ["3", "7"], "results": "2024"})
    assert config["manifolds"]["classes"] == ["3", "7"]
    assert config["results"] == "2024"


def test_the_order_of_keys_does_not_matter(resolved):
    """Snakemake compares parameters by their text."""
    given = {
        "training": {"epochs": 3, "augment": {"horizontal_flip": True, "crop_padding": 1}},
        "models": [{"name": "small_cnn", "label": "a"}],
        "dataset": {"name": "digits", "normalize": {"mean": [0.5], "std": [0.2]}},
    }

    def reversed_keys(value):
        if isinstance(value, dict):
            return {key: reversed_keys(value[key]) for key in reversed(value)}
        return [reversed_keys(entry) for entry in value] if isinstance(value, list) else value

    assert reversed_keys(given) == given
    assert str(reversed_keys(given)) != str(given)
    assert str(resolved(**reversed_keys(given))) == str(resolved(**given))


def test_final_is_the_last_epoch_and_checkpoints_are_sorted(resolved):
    config = resolved({"training.epochs": 7, "checkpoints": ["final", 3, 0, 7]})
    assert config["checkpoints"] == [0, 3, 7]
    names = ["epoch-000", "epoch-003", "epoch-007"]
    assert model_checkpoints(config, config["models"][0]) == names


@pytest.mark.parametrize(
    ("weights", "label", "checkpoints"),
    [
        ("trained", "vgg16", ["epoch-000", "epoch-020"]),
        ("random", "vgg16-random", ["epoch-000"]),
        ("pretrained", "vgg16-pretrained", ["pretrained"]),
    ],
)
def test_weights_give_label_and_checkpoints(resolved, weights, label, checkpoints):
    config = resolved(models=[{"name": "vgg16", "weights": weights}])
    assert config["models"][0]["label"] == label
    assert model_checkpoints(config, config["models"][0]) == checkpoints


def test_all_types_means_every_layer(resolved):
    layers = resolved({"layers.types": "all"})["layers"]
    assert (layers["types"], layers["names"]) == ([], ["*"])
