"""A configuration that cannot work stops before any job and says what to do; a layer without geometry stops nothing else."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from manifold_capacity.models.weights import initial_state


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"geometry.margn": 1}, "geometry.margn: unknown key; nearest: margin"),
        (
            {"manifolds.points_per_class": 600},
            "manifolds.points_per_class: 600, but digits has only",
        ),
        ({"layers.names": ["conv6_1"]}, "layers.names: 'conv6_1' is not in small_cnn"),
        ({"models": ["vgg_16"]}, "'vgg_16' is not a model; nearest: vgg16"),
    ],
)
def test_a_configuration_that_cannot_run_stops_before_any_job(workspace, changes, message):
    workspace.configure(changes)
    printed = workspace.snakemake(check=False)
    assert message in printed
    assert "Traceback" not in printed
    assert not workspace.results.exists()


def test_a_gpu_that_is_not_there_is_an_error(finished):
    finished.configure({"device": "cuda", "training.learning_rate": 0.02})
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    printed = finished.snakemake("training", check=False, environment=hidden)
    assert "device: cuda" in printed
    assert not (finished.results / "training/small_cnn/seed-0/metrics.csv").exists()


def test_a_dead_layer_says_so_and_the_others_have_their_numbers(workspace):
    digits = load_digits()
    images = (digits.images / 16 * 255).astype(np.uint8)
    data = workspace.folder / "digits.npz"
    np.savez(data, images=images, labels=digits.target)
    state = initial_state("small_cnn", n_classes=10, image_shape=(1, 8, 8), seed=3)
    for key in ("features.3.weight", "features.3.bias"):
        state[key] = torch.zeros_like(state[key])
    weights = workspace.folder / "dead.pth"
    torch.save(state, weights)
    model = {"name": "small_cnn", "weights": "pretrained", "weights_file": str(weights)}
    workspace.configure(
        {
            "dataset": {"name": "arrays", "path": str(data)},
            "models": [model],
            "layers": {"input": False, "types": [], "names": ["features.0", "features.3"]},
        }
    )
    workspace.snakemake("results/summary/layers.txt")
    layers = pd.read_csv(workspace.results / "summary" / "layers.csv").set_index("layer")
    assert list(layers.index) == ["1_Conv2d", "4_Conv2d"]
    alive, dead = layers.loc["1_Conv2d"], layers.loc["4_Conv2d"]
    assert alive["status"] == "ok"
    assert alive["capacity"] > 0
    assert dead["status"] != "ok"
    assert np.isnan(dead["capacity"])
    assert "4 Conv2d" in (workspace.results / "summary" / "layers.txt").read_text()


class _Touches:
    """Pickles to a program that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_program_in_a_file_of_weights_is_not_run(workspace):
    trace, weights = workspace.folder / "owned", workspace.folder / "weights.pt"
    torch.save({"features.0.weight": _Touches(trace)}, weights)
    torch.load(weights, weights_only=False)
    trace.unlink()  # it does work
    model = {"name": "small_cnn", "weights": "pretrained", "weights_file": "weights.pt"}
    workspace.configure({"models": [model]})
    printed = workspace.snakemake(check=False)
    assert "models.weights_file: weights.pt cannot be read as weights (Unsupported" in printed
    assert "Traceback" not in printed
    assert not trace.exists()
