"""The capacity of balls, against formulas and against measured balls."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi, norm

from manifold_capacity.geometry.balls import ball_capacity


def test_a_ball_in_one_dimension_is_a_segment() -> None:
    radius = np.geomspace(0.01, 100, 9)
    expected = 1 / (0.5 + 2 * np.arctan(radius) / np.pi)
    np.testing.assert_allclose(ball_capacity(radius, 1), expected, rtol=1e-9)


def test_balls_of_radius_one_and_of_any_radius() -> None:
    dimension = np.array([1, 2, 7.5, 40, 300])
    np.testing.assert_allclose(ball_capacity(1, dimension), 2 / (dimension + 1), rtol=1e-9)
    np.testing.assert_allclose(ball_capacity(1e-6, dimension), 2, rtol=1e-4)
    np.testing.assert_allclose(ball_capacity(1e6, dimension), 1 / (dimension + 0.5), rtol=1e-4)


def test_a_margin_costs_capacity() -> None:
    """The smallest balls are points, for which Gardner's integral holds."""
    assert ball_capacity(1e-6, 3, margin=0.5) == pytest.approx(0.961, abs=1e-3)
    assert ball_capacity(1e-6, 3, margin=1.0) == pytest.approx(0.520, abs=1e-3)
    assert ball_capacity(0.7, 3, margin=0.5) < ball_capacity(0.7, 3)


@pytest.mark.parametrize(
    ("radius", "dimension", "margin"), [(0.5, 1, 0.0), (2.0, 2, 0.5), (0.3, 7, 1.0)]
)
def test_the_integrals_of_the_theory(radius: float, dimension: int, margin: float) -> None:
    """Phys. Rev. X 8, 031003 (2018), Eqs. 26 and 27."""

    def touching(t: float) -> float:
        return quad(
            lambda u: norm.pdf(u) * (margin + radius * t - u) ** 2 / (1 + radius**2),
            margin - t / radius,
            margin + t * radius,
        )[0]

    def embedded(t: float) -> float:
        return quad(
            lambda u: norm.pdf(u) * (t**2 + (u - margin) ** 2), -np.inf, margin - t / radius
        )[0]

    inverse = quad(lambda t: chi(dimension).pdf(t) * (touching(t) + embedded(t)), 0, 12)[0]
    assert ball_capacity(radius, dimension, margin) == pytest.approx(1 / inverse, rel=1e-7)


@pytest.mark.parametrize(("radius", "dimension"), [(0, 3), (1, 0.5)])
def test_what_is_no_ball_is_an_error(radius: float, dimension: float) -> None:
    with pytest.raises(ValueError, match="radius must be above 0 and dimension 1 or more"):
        ball_capacity(radius, dimension)
