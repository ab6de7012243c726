"""Inputs that are no images: what is only for images is refused, and the name of a factory's data."""

import numpy as np
import pytest

from manifold_capacity.config.schema import ConfigError


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Writes a function that returns data of a number format."""
    monkeypatch.chdir(tmp_path)

    def write(dtype, file="waves.py"):
        both = f"(np.ones((8, 5, 5), dtype='{dtype}'), [0, 1] * 4)"
        text = f"import numpy as np\ndef load():\n    return {{'train': {both}, 'test': {both}}}\n"
        (tmp_path / file).write_text(text)
        return {"factory": f"{file}:load"}

    return write


def test_what_is_only_for_images(problems, data):
    found = problems(
        {
            "dataset.normalize": {"mean": [0.5], "std": [1]},
            "training.augment": {"horizontal_flip": True, "crop_padding": 0},
            "manifolds.augment": True,
            "manifolds.points_per_class": 4,
        },
        dataset=data("float32"),
        models=[{"name": "resnet18", "image_size": 8}],
    )
    holds = "but waves holds inputs that are no images"
    assert found == [
        'dataset.normalize: {"mean": [0.5], "std": [1]}, '
        + f"{holds}, which are given to the network "
        "as they are; set it to auto or none",
        f"training.augment.horizontal_flip: True, {holds}; remove it",
        f"manifolds.augment: true, {holds}; set it to false",
        f"models: resnet18: image_size: 8, {holds}; remove it",
        f"models: resnet18: resnet18 is for images, {holds}; give a network of your own with `factory`",
    ]


def test_too_few_inputs(problems, data, tmp_path):
    np.savez(tmp_path / "a.npz", inputs=np.ones((8, 3)), labels=[0, 1] * 4)
    found = problems(dataset={"name": "arrays", "path": str(tmp_path / "a.npz")})
    assert "points_per_class: 50, but arrays has only 3 train inputs of class '0'" in found[-1]


@pytest.mark.parametrize(
    ("file", "name", "expected"),
    [
        ("my waves.py", None, "my_waves"),
        ("waves.py", "loud", "loud"),
        ("mnist.py", None, "dataset.name: 'mnist' has a meaning of its own; give the data of"),
        ("waves.py", "a/b", 'dataset.name: "a/b" is not allowed; allowed: text or null matching'),
    ],
)
def test_name_of_the_data_of_a_function(resolved, data, file, name, expected):
    dataset = data("uint8", file) | ({"name": name} if name else {})
    try:
        found = resolved({"manifolds.points_per_class": 4}, dataset=dataset)["dataset"]["name"]
    except ConfigError as error:
        (found,) = error.problems
    assert found.startswith(expected)
