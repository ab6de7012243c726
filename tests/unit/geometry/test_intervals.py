"""95 % intervals, and how they are written."""

import numpy as np
import pytest

from manifold_capacity.geometry.intervals import (
    half_width,
    in_brackets,
    interval_of_mean,
    max_t,
    over_classes,
)


def test_of_a_mean():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    reach = 3.182446 * values.std(ddof=1) / 2  # of the t distribution with 3 degrees
    assert interval_of_mean("radius", values) == pytest.approx((0, 3 + reach), rel=1e-6)
    assert interval_of_mean("radius", 10 + values) == pytest.approx((13 - reach, 13 + reach))
    columns = np.column_stack([values, 10 + values])
    low, high = interval_of_mean("radius", columns)
    np.testing.assert_allclose(high - low, [3 + reach, 2 * reach])
    assert np.isnan(half_width([0.0]))


def test_capacity_goes_through_its_inverse():
    inverse = np.array([3.0, 4.0, 5.0])
    low, high = interval_of_mean("radius", inverse)
    assert interval_of_mean("capacity", 1 / inverse) == pytest.approx((1 / high, 1 / low))
    assert interval_of_mean("capacity", [0.1, 9.0, np.inf])[1] == np.inf


def test_a_pair_of_classes_is_in_the_correlation_of_both():
    values = np.array([0.2, 0.3, 0.35, 0.31])
    low, high = over_classes("radius", values)
    wide = over_classes("center_correlation", values)
    assert wide[1] - wide[0] == pytest.approx(2 * (high - low))


def test_simultaneous_intervals_are_wider_the_more_and_the_less_related():
    rng = np.random.default_rng(0)
    alone, five, fifty = (rng.standard_normal((40, k)) for k in (1, 5, 50))
    same = np.tile(alone, 20)
    factors = [max_t(values - values.mean(axis=0)) for values in (alone, same, five, fifty)]
    assert factors[0] == 1
    assert factors[1] == pytest.approx(1, abs=0.02)
    assert 1.2 < factors[2] < factors[3] < 2
    dead = np.column_stack([five, np.full(40, np.nan), np.zeros(40)])
    assert max_t(dead) == max_t(five)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.21684, 0.2031, 0.2325), "0.217 [0.203, 0.233]"),
        ((12.3, 11.9, 20.0), "12.3 [11.9, 20.0]"),
        ((1234.5, 1000.0, 1500.0), "1234 [1000, 1500]"),
        ((0.5, np.nan, np.nan), "0.5"),
        ((0.5, 0.3, np.inf), "0.5"),
        ((2.0, 2.0, 2.0), "2"),
    ],
)
def test_written_to_two_digits_of_half_its_width(numbers, text):
    assert in_brackets(*numbers) == text
