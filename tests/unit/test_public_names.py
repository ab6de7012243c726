"""The package's public names, and what importing it loads."""

import subprocess
import sys

import pytest

import manifold_capacity
from manifold_capacity.geometry.measure import measure


def test_public_names():
    pytest.importorskip("torch")
    assert set(manifold_capacity.__all__) <= set(dir(manifold_capacity))
    for name in manifold_capacity.__all__:
        assert getattr(manifold_capacity, name) is not None
    assert manifold_capacity.measure is measure
    with pytest.raises(AttributeError, match="no attribute 'measured'"):
        manifold_capacity.measured  # noqa: B018


SLOW = {"torch", "torchvision", "matplotlib", "zarr", "sklearn", "cvxopt", "requests"}
MOMENTS = "from manifold_capacity.geometry.moments import moments_from_arrays"
READERS = "import manifold_capacity.activations.store, manifold_capacity.activations.external"
# What torch loads to compile a network, or for shapes without numbers.
COMPILER = {"torch._dynamo", "sympy", "torchvision"}
LAYERS = """
from manifold_capacity.models.find_layers import list_layers
list_layers("small_cnn", n_classes=10, image_shape=(1, 8, 8))
"""
DESCENT = """
import torch
from manifold_capacity.training import train
network = torch.nn.Linear(2, 1)
descent = train.Descent(network, {"momentum": 0.9, "weight_decay": 0.1}, fused=False)
network(torch.ones(2)).backward()
descent.step(0.1)
"""


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import manifold_capacity", SLOW | {"numba", "scipy", "pandas"}),
        ("import manifold_capacity.geometry.measure, manifold_capacity.compat", SLOW | {"pandas"}),
        (f"{MOMENTS}; import numpy; moments_from_arrays(numpy.eye(4)[None])", SLOW | {"numba"}),
        ("from manifold_capacity import measure_layers", SLOW),
        (READERS, SLOW | {"pandas"}),
        (LAYERS, COMPILER),
        (DESCENT, COMPILER),
    ],
)
def test_imports_are_cheap(statement, absent):
    if statement in (LAYERS, DESCENT):
        pytest.importorskip("torch")
    code = f"{statement}\nimport sys; print(*[m for m in {absent!r} if m in sys.modules])"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert loaded == []
