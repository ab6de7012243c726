"""Caveats: inputs that trigger each, and inputs that just do not."""

from dataclasses import replace

import numpy as np
import pytest

from manifold_capacity import measure
from manifold_capacity.errors import CaveatWarning
from manifold_capacity.geometry import certificates
from manifold_capacity.geometry.caveats import CAVEATS
from manifold_capacity.geometry.find_caveats import (
    center_variance_ratio,
    find_caveats,
    merged,
    rank_choice,
)
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError
from manifold_capacity.geometry.measure import geometry_from_moments
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.geometry.result import PER_MANIFOLD


def clouds(n_manifolds=20, n_points=30, n_features=1000, spread=0.5, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((n_manifolds, 1, n_features))
    return centers + spread * rng.standard_normal((n_manifolds, n_points, n_features))


def caveats(manifolds, **options):
    return measure(manifolds, **{"n_gaussians": 20, **options}).caveats


def test_nothing_is_said_when_all_is_well(recwarn):
    result = measure(clouds(), n_gaussians=20)
    assert result.caveats == ()
    assert result.summary()["caveats"] == result.summary()["caveats_text"] == ""
    assert not recwarn.list


def test_each_caveat_is_a_warning_of_its_own_at_the_callers_line():
    with pytest.warns(CaveatWarning) as said:
        result = measure(clouds(spread=20), n_gaussians=20)
    assert result.caveats == ("centers", "floor")
    assert [str(w.message) for w in said] == [*result.caveat_texts.values()]
    assert {w.filename for w in said} == {__file__}
    assert result.summary()["caveats"] == "centers floor"
    assert result.summary()["caveats_text"] == " ".join(result.caveat_texts.values())


@pytest.mark.parametrize(("ratio", "said"), [(1.5, True), (2.6, False)])
def test_centers_that_differ_by_little_against_their_sampling_error(ratio, said):
    """The ratio is 1 + m |C|^2 / s^2 in expectation."""
    spread = np.sqrt(30 / (ratio - 1))
    manifolds = clouds(spread=spread)
    assert center_variance_ratio(moments_from_arrays(manifolds)) == pytest.approx(ratio, rel=0.05)
    assert ("centers" in caveats(manifolds)) == said


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_centers_that_coincide_but_for_rounding_are_refused(dtype):
    manifolds = clouds().astype(dtype)
    without = manifolds - manifolds.mean(axis=1, keepdims=True)
    with pytest.raises(DegenerateManifoldsError, match="coincide up to rounding") as error:
        measure(without)
    assert error.value.manifolds == tuple(range(20))
    # A thousandth of the distances is enough to be measured, and said.
    assert "centers" in caveats(without + 1e-3 * manifolds.mean(axis=1, keepdims=True))


def test_correlation_that_the_projection_could_not_lower():
    """Centers of few classes span too few dimensions; those of many can be made orthogonal."""
    assert "correlation" in caveats(clouds(3))
    assert "correlation" not in caveats(clouds(12))


def test_a_sample_that_holds_nearly_all_variance():
    manifolds = clouds()
    norm = np.linalg.norm(manifolds[3, 7] - manifolds[3].mean(axis=0))
    for factor, said in ((12, False), (25, True)):
        far = manifolds.copy()
        far[3, 7, 5] += factor * norm
        texts = measure(far, n_gaussians=20).caveat_texts
        assert ("outlier" in texts) == said
    assert "Point 7 of manifold 3 alone has" in texts["outlier"]


@pytest.mark.parametrize("point", [0, 7])
def test_a_value_that_float64_cannot_hold_beside_the_others(point):
    """From a loss of the certificate's digits on it is said, with its place, and then refused."""
    typical = np.sqrt(2 * 1000) * 0.5  # distance between two points
    for lost, said in ((1e-10, False), (1e-8, True), (1e-4, True)):
        far = clouds()
        far[3, point, 5] = value = typical * np.sqrt(lost / np.finfo(float).eps)
        outlier = moments_from_arrays(far).outlier
        assert (
            f"Point {point} of manifold 3 has the value {value:g} in feature 5" in outlier
        ) == said
    for value in (1e20, 9.96921e36, -1e300):
        far[3, point, 5] = value
        with pytest.raises(ValueError, match=f"point {point} of manifold 3, feature 5 is"):
            measure(far)


def test_a_class_that_float64_cannot_hold_beside_the_others():
    far = clouds()
    far[3, :, 5] += 1e12
    with pytest.raises(ValueError, match=r"point \d+ of manifold 3, feature 5 is 1e\+12"):
        measure(far)
    # All classes there are no outlier: only differences matter.
    far[:, :, 5] = 1e12
    assert moments_from_arrays(far).outlier == ""


def test_capacity_near_that_of_points_in_general_position():
    everywhere, in_few_directions = np.full(1000, 20.0), np.arange(1000) < 3
    assert "floor" in caveats(clouds(spread=everywhere))
    assert "floor" not in caveats(clouds(spread=everywhere), margin=1.0)
    assert "floor" not in caveats(clouds(spread=20.0 * in_few_directions))


def test_floor_is_a_fifth_above_two_over_m():
    moments = moments_from_arrays(clouds(spread=20))
    result = geometry_from_moments(moments, n_gaussians=20)
    for factor, said in ((1.19, True), (1.21, False)):
        other = replace(result, capacity=np.full(20, factor * 2 / 30))
        assert ("floor" in find_caveats(moments, other)) == said


@pytest.mark.parametrize(("n_features", "said"), [(60, True), (200, False)])
def test_too_few_features_for_labels_to_be_separable(n_features, said):
    assert ("features" in caveats(clouds(n_features=n_features))) == said


def test_unequal_numbers_of_points_say_the_smallest_and_the_largest():
    manifolds = [points[: 20 + i % 5] for i, points in enumerate(clouds())]
    texts = measure(manifolds, n_gaussians=20).caveat_texts
    assert "The classes have 20 to 24 points" in texts["unequal"]
    assert "unequal" not in caveats([points[:20] for points in manifolds])


def test_rank_at_its_bound():
    moments = moments_from_arrays(clouds())
    result = geometry_from_moments(moments, n_gaussians=20)
    fit = result.centers
    for stopped, last, said in (
        ("variance", fit.rank, True),
        ("rank", fit.rank, True),
        ("rises", fit.rank, False),
        ("variance", fit.rank + 1, False),
    ):
        other = replace(fit, stopped=stopped, correlations=np.zeros(last + 1))
        assert ("rank_bound" in find_caveats(moments, replace(result, centers=other))) == said
    unfinished = replace(result, centers=replace(fit, converged=False))
    assert "fit" in find_caveats(moments, unfinished)
    assert "fit" not in find_caveats(moments, result)


def test_other_ranks_that_give_numbers_outside_the_interval():
    """Ten classes with several nearly as good K; a hundred with one."""
    points = np.random.default_rng(4).standard_normal((40, 10, 200)) * np.arange(1, 201) ** -0.8
    result = measure(points, n_gaussians=100)
    row = result.summary()
    assert (row["center_rank_low"], row["center_rank_high"]) == (9, 12)
    assert row["capacity_rank_low"] < row["capacity"] < row["capacity_rank_high"]
    for reach, said in ((0.9, True), (1.1, False)):
        ends = {
            f"{name}_{end}": row[name] + reach * (row[f"{name}_rank_{end}"] - row[name])
            for name in PER_MANIFOLD
            for end in ("low", "high")
        }
        texts = rank_choice(row | ends)
        assert bool(texts) == said
        if said:
            assert (
                "With K from 9 to 12, nearly as good, the layer has capacity"
                in texts["rank_choice"]
            )


def test_programs_that_did_not_converge_name_their_manifolds(monkeypatch):
    monkeypatch.setattr(certificates, "GAP_TOLERANCE", 0.0)
    text = measure(clouds(), n_gaussians=20).caveat_texts["programs"]
    assert "programs did not converge, of manifold 0, 1" in text


def test_several_geometries_have_the_caveats_of_each():
    found = merged([{"floor": "a"}, {"centers": "b", "floor": "c"}, {}])
    assert found == {"centers": "b", "floor": "a"}
    assert [*found] == [code for code in CAVEATS if code in found]
