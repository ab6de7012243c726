"""A small training: noisy images of ten kinds, for a few epochs."""

import csv
import os
import signal
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch

from manifold_capacity.models.checkpoints import save_state
from manifold_capacity.models.preprocess import Preprocess
from manifold_capacity.models.weights import initial_state
from manifold_capacity.training import train as train_module
from manifold_capacity.training.train import InterruptedTrainingError, train

RECIPE = {
    "epochs": 3,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "cosine",
    "batch_size": 16,
    "precision": "float32",
    "augment": {"crop_padding": 1, "horizontal_flip": True, "rotation_degrees": 10.0},
}
NETWORK = {"name": "small_cnn", "n_classes": 10, "image_shape": (1, 8, 8)}


def pictures():
    """150 noisy images of ten kinds, 8 x 8, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 10
    kinds = rng.integers(0, 200, (10, 8, 8, 1))
    images = kinds[labels] + rng.integers(0, 56, (150, 8, 8, 1))
    return images.astype(np.uint8), labels


class Trainer:
    """Trains on 70 pictures from a fixed start, in subfolders of a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.recipe = RECIPE
        self.images, self.labels = pictures()

    def __call__(self, name=".", *, recipe=None, network=NETWORK, **changes):
        """Train in a subfolder; returns the final checkpoint."""
        folder = self.folder / name
        recipe = RECIPE | (recipe or {})
        initial = folder / "epoch-000.safetensors"
        about = {"network": network, "seed": 0, "epoch": 0}
        save_state(initial_state(**network, seed=0), initial, about)
        final = folder / f"epoch-{recipe['epochs']:03d}.safetensors"
        options = {
            "train_data": (self.images[:70], self.labels[:70]),
            "test_data": (self.images[100:], self.labels[100:]),
            "seed": 1,
            "preprocess": Preprocess(network["image_shape"], [0.3], [0.4]),
            "checkpoints": {recipe["epochs"]: final},
            "metrics": folder / "metrics.csv",
            "resume": folder / "resume",
            "device": "cpu",
            "factory": network.get("factory"),
        }
        train(initial, recipe=recipe, **options | changes)
        return final

    def rows(self, name="."):
        with open(self.folder / name / "metrics.csv", newline="") as file:
            return list(csv.DictReader(file))

    @contextmanager
    def interrupted(
        self, call, name="draw_augmentation", *, of=train_module, match="SIGTERM: stop"
    ):
        """Send this process SIGTERM in the n-th call of a function of the training, which must raise."""
        function, calls = getattr(of, name), []

        def counting(*args, **options):
            calls.append(name)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGTERM)
            return function(*args, **options)

        with (
            mock.patch.object(of, name, counting),
            pytest.raises(InterruptedTrainingError, match=match),
        ):
            yield


@pytest.fixture
def run(tmp_path):
    return Trainer(tmp_path)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
