"""The package's public names, and what importing it loads."""

import subprocess
import sys

import pytest

import manifold_capacity
from manifold_capacity.geometry.measure import measure


def test_public_names():
    assert set(manifold_capacity.__all__) <= set(dir(manifold_capacity))
    for name in manifold_capacity.__all__:
        assert getattr(manifold_capacity, name) is not None
    assert manifold_capacity.measure is measure
    with pytest.raises(AttributeError, match="no attribute 'measured'"):
        manifold_capacity.measured  # noqa: B018


SLOW = {"torch", "torchvision", "matplotlib", "zarr", "sklearn", "cvxopt", "requests"}
MOMENTS = "from manifold_capacity.geometry.moments import moments_from_arrays"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import manifold_capacity", SLOW | {"numba", "scipy", "pandas"}),
        ("import manifold_capacity.geometry.measure, manifold_capacity.compat", SLOW | {"pandas"}),
        (f"{MOMENTS}; import numpy; moments_from_arrays(numpy.eye(4)[None])", SLOW | {"numba"}),
    ],
)
def test_imports_are_cheap(statement, absent):
    code = f"{statement}; import sys; print(*[m for m in {absent!r} if m in sys.modules])"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert loaded == []
