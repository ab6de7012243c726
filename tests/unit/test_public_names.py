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


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import manifold_capacity", ("torch", "numba", "scipy", "pandas")),
        (
            "import manifold_capacity.geometry.measure, manifold_capacity.compat",
            ("torch", "matplotlib", "sklearn", "zarr", "cvxopt", "requests", "pandas"),
        ),
        (
            "import numpy, manifold_capacity.geometry.moments as m; m.moments_from_arrays(numpy.eye(4)[None])",
            ("torch", "matplotlib", "sklearn", "zarr", "numba"),
        ),
    ],
)
def test_imports_are_cheap(statement, absent):
    code = f"{statement}; import sys; print(*[m for m in {absent!r} if m in sys.modules])"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert loaded == []
