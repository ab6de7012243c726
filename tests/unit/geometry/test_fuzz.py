"""Whatever is measured, there are numbers, or one line that says why there are none."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from manifold_capacity import measure
from manifold_capacity.compat import manifold_analysis_corr

fuzz = settings(settings.get_profile("fuzz"))

FLOATS = st.sampled_from([np.float16, np.float32, np.float64, np.longdouble])
DTYPES = FLOATS | st.sampled_from([np.int8, np.uint64, bool, np.complex64, "U3", "M8[s]", object])
# Values that numbers are lost to, beside ordinary ones
ODD = [0.0, -0.0, 1e-300, 1e300, -1e300, 1e-160, 1e160, 1.0, 1 + 1e-15, np.nan, np.inf, 5e-324]


@st.composite
def clouds(draw, dtypes=FLOATS):
    """Points of random directions, whose sizes, offsets and coincidences are what may go wrong."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape = (draw(st.integers(0, 6)), draw(st.integers(0, 6)), draw(st.integers(0, 9)))
    points = rng.standard_normal(shape) * 10.0 ** draw(st.integers(-320, 307) | st.just(0))
    points = points + draw(st.sampled_from(ODD[:-3]))
    for _ in range(draw(st.integers(0, 3))):
        if points.size:
            place = tuple(draw(st.integers(0, length - 1)) for length in shape)
            kind = draw(st.sampled_from(["value", "point", "manifold", "feature", "same"]))
            value = draw(st.sampled_from(ODD) | st.floats(-1e9, 1e9))
            if kind == "same":
                points[place[0]] = points[0]
            elif kind == "feature":
                points[..., place[2]] = value
            else:
                points[place[: {"value": 3, "point": 2, "manifold": 1}[kind]]] = value
    with np.errstate(over="ignore", invalid="ignore"):
        return points.astype(draw(dtypes))


def assert_one_line(error):
    assert len(str(error).splitlines()) == 1, error
    assert len(str(error)) < 1000


def check(call):
    """Finite numbers, or a documented error of one line; perhaps caveats."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_gaussians='auto'")
        try:
            geometry = call()
        except (ValueError, TypeError) as error:
            assert_one_line(error)
            return
    numbers = {k: v for k, v in geometry.summary().items() if isinstance(v, float)}
    for name, value in numbers.items():
        # Documented: infinite for a point, and where no constraint was active in any sample.
        if np.isinf(numbers["capacity"]) and name.startswith("capacity"):
            continue
        # An interval of 1 / capacity may reach 0.
        unbounded = name in ("signal_to_noise", "capacity_high")
        assert np.isfinite(value) or (unbounded and value == np.inf), (name, value)


@fuzz
@given(clouds(), st.sampled_from([0, 0.5, 1e6]), st.sampled_from([2, 7, "auto"]))
def test_points_of_any_size_and_place(points, margin, n):
    check(lambda: measure(points, margin=margin, n_gaussians=n, max_gaussians=20, threads=1))


@fuzz
@given(st.data())
def test_arrays_of_any_shape_and_type(data):
    shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
    made = arrays.arrays(data.draw(FLOATS | st.just(np.int8)), shapes)
    given = data.draw(made | clouds() | st.lists(made, max_size=4) | clouds(DTYPES))
    check(lambda: measure(given, n_gaussians=3, threads=1))


@fuzz
@given(
    st.sampled_from(
        ["margin", "n_gaussians", "relative_error", "max_gaussians", "seed", "threads"]
    ),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.lists(st.none()),
)
def test_arguments_of_any_kind(name, value):
    if isinstance(value, int) and value > 10**5 and "gaussians" in name:
        value = 10**5
    points = np.random.default_rng(0).standard_normal((3, 4, 9))
    options = {"n_gaussians": "auto" if name in ("relative_error", "max_gaussians") else 3}
    if name != "max_gaussians":
        options["max_gaussians"] = 50
    check(lambda: measure(points, **(options | {name: value})))


@fuzz
@given(clouds())
def test_the_call_of_the_reference(points):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*quadratic programs did not")
        try:
            numbers = manifold_analysis_corr([cloud.T for cloud in points], 0, 3)
        except (ValueError, TypeError) as error:
            assert_one_line(error)
            return
    assert not any(np.isnan(number).any() for number in numbers)


def test_the_property_would_fail_for_a_number_that_is_not_one():
    class Broken:
        def summary(self):
            return {"capacity": 1.0, "radius": np.nan}

    with pytest.raises(AssertionError):
        check(Broken)
