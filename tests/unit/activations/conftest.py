"""A small network and an extraction of its layers."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from manifold_capacity.activations.extract import extract
from manifold_capacity.activations.store import open_layer
from manifold_capacity.models.find_layers import find_layers
from manifold_capacity.models.networks import SmallCNN
from manifold_capacity.models.preprocess import Preprocess, to_batch


class Extraction:
    """Extracts layers for 4 manifolds of 5 random images into subfolders of a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
        self.indices = np.random.default_rng(1).permutation(60)[:20].reshape(4, 5)
        self.preprocess = Preprocess((1, 8, 8), [0.4], [0.3])

    def __call__(self, model, layers=None, indices=None, *, name=".", **changes):
        """Extract some layers or all; returns a function that opens one for reading."""
        indices = self.indices if indices is None else indices
        options = {
            "images": self.images,
            "preprocess": self.preprocess,
            "classes": range(len(indices)),
            "class_names": [f"class {i}" for i in range(len(indices))],
            "split": "train",
            "seed": 0,
            "device": "cpu",
        } | changes
        layers = leaves(model) if layers is None else layers
        folder = self.folder / name
        extract(model, layers, options.pop("images"), indices, folder, **options)
        return partial(open_layer, folder)

    def pixels(self, index):
        """What the network gets for some images."""
        return self.preprocess(to_batch(self.images[index], torch.device("cpu")))


def leaves(model):
    return [layer for layer in find_layers(model, (1, 8, 8)) if not layer.is_block]


@pytest.fixture
def store(tmp_path):
    return Extraction(tmp_path)


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallCNN(1, 10).eval()


@pytest.fixture
def layers(model):
    """All layers of the model."""
    return leaves(model)


@pytest.fixture
def wide():
    """A network whose layer 2 has three chunks of features."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10001, bias=False)).eval()
