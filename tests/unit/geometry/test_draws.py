"""Several draws of points put together."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from manifold_capacity import measure
from manifold_capacity.activations.external import ExternalActivations
from manifold_capacity.geometry.draws import combine_draws, draw_seed, measure_draws
from manifold_capacity.geometry.intervals import over_classes
from manifold_capacity.geometry.moments import moments_from_arrays

CENTERS = np.random.default_rng(5).standard_normal((6, 1, 20))


def points(rng: np.random.Generator) -> np.ndarray:
    """A draw of points around the same centers, the farther in the later manifolds."""
    reach = np.linspace(0.3, 1.2, len(CENTERS))[:, None, None]
    return CENTERS + reach * rng.standard_normal((len(CENTERS), 6, 20))


def test_one_draw_is_itself() -> None:
    geometry = measure(points(np.random.default_rng(0)), n_gaussians=20)
    row, frame = combine_draws([geometry])
    assert row == geometry.summary() | {"n_repeats": 1}
    pd.testing.assert_frame_equal(frame, geometry.to_frame())


def test_several_draws_have_a_mean_and_an_error() -> None:
    rng = np.random.default_rng(0)
    draws = [measure(points(rng), n_gaussians=20, seed=draw_seed(3, draw)) for draw in range(4)]
    row, frame = combine_draws(draws)
    capacities = np.array([draw.capacity for draw in draws])
    assert row["n_repeats"] == 4
    assert row["seed"] == 3
    assert row["capacity"] == pytest.approx(1 / (1 / capacities).mean())
    assert row["capacity"] == pytest.approx(1 / (1 / frame["capacity"]).mean())
    radii = np.array([draw.radius for draw in draws])
    assert row["radius"] == pytest.approx(radii.mean())
    assert row["interval_over"] == "draws"
    reach = 3.182446 * radii.mean(axis=1).std(ddof=1) / 2  # of the t distribution with 3 degrees
    ends = [row["radius_low"], row["radius_high"]]
    assert ends == pytest.approx([row["radius"] - reach, row["radius"] + reach], rel=1e-6)
    of_classes = 3.182446 * radii.std(axis=0, ddof=1) / 2
    np.testing.assert_allclose(frame["radius_high"] - frame["radius"], of_classes, rtol=1e-6)
    inverse = [1 / draw.summary()["capacity"] for draw in draws]
    reach = 3.182446 * np.std(inverse, ddof=1) / 2
    ends = [1 / row["capacity_high"], 1 / row["capacity_low"]]
    assert ends == pytest.approx([np.mean(inverse) - reach, np.mean(inverse) + reach], rel=1e-6)
    correlations = [draw.center_correlation for draw in draws]
    reach = 3.182446 * np.std(correlations, ddof=1) / 2
    assert row["center_correlation_high"] - row["center_correlation"] == pytest.approx(reach)
    of_gaussians = [draw.summary()["capacity_gaussian_stderr"] for draw in draws]
    assert row["capacity_gaussian_stderr"] == pytest.approx(np.mean(of_gaussians) / 2, rel=0.1)
    assert row["n_points"] == 36


def test_few_or_overlapping_draws_have_intervals_over_classes() -> None:
    rng = np.random.default_rng(0)
    draws = [measure(points(rng), n_gaussians=20, seed=draw_seed(3, draw)) for draw in range(3)]
    row, frame = combine_draws(draws[:2])
    assert (row["interval_over"], combine_draws(draws, disjoint=False)[0]["interval_over"]) == (
        ("classes",) * 2
    )
    assert (row["radius_low"], row["radius_high"]) == over_classes("radius", frame["radius"])
    assert list(frame.columns) == list(draws[0].to_frame().columns)


def test_equal_draws_as_many_points_as_the_smallest_has() -> None:
    rng = np.random.default_rng(0)
    manifolds = [rng.normal(place, 1, (6 + place, 12)) for place in range(4)]
    draws = measure_draws(manifolds, "equal", 3, n_gaussians=20)
    assert {tuple(draw.n_points) for draw in draws} == {(6, 6, 6, 6)}
    # The smallest is whole in each; of the others the draws differ.
    assert len({draw.spread[0] for draw in draws}) == 1
    assert len({draw.spread[3] for draw in draws}) == 3
    first = measure_draws(manifolds, 6, n_gaussians=20)[0]
    assert first.capacity.tobytes() == draws[0].capacity.tobytes()


def test_certificates_of_several_draws_are_the_worst() -> None:
    rng = np.random.default_rng(0)
    first, second = (measure(points(rng), n_gaussians=20) for _ in range(2))
    fit = replace(second.centers, converged=False, stopped="variance", least_residual_ratio=0.01)
    second = replace(second, centers=fit, n_unconverged=np.arange(6))
    first = replace(first, centers=replace(first.centers, stopped="rank"), n_gaussians=27)
    row, frame = combine_draws([first, second])
    assert row["worst_gap"] == max(first.worst_gap.max(), second.worst_gap.max())
    np.testing.assert_array_equal(frame["worst_gap"], np.maximum(first.worst_gap, second.worst_gap))
    assert row["n_unconverged"] == 15
    assert frame["n_unconverged"].tolist() == list(range(6))
    assert (row["centers_converged"], row["centers_least_residual_ratio"]) == (False, 0.01)
    assert (row["centers_stopped"], row["n_gaussians"]) == ("rank/variance", 24)
    assert {type(value) for value in row.values()} <= {int, float, str, bool}


def test_intervals_cover_the_choice_of_points() -> None:
    """Those of one draw's Gaussian samples hold the mean over all draws far too seldom."""
    rng = np.random.default_rng(1)
    draws = [measure(points(rng), n_gaussians=40, seed=seed, threads=1) for seed in range(300)]
    truth = np.mean([draw.radius.mean() for draw in draws])
    of_points = of_gaussians = 0
    groups = [draws[start : start + 6] for start in range(0, 300, 6)]
    for group in groups:
        row, _ = combine_draws(group)
        of_points += row["radius_low"] < truth < row["radius_high"]
        one = group[0].summary()
        of_gaussians += abs(one["radius"] - truth) < 1.96 * one["radius_gaussian_stderr"]
    n = len(groups)
    assert of_points / n > 0.95 - 3 * math.sqrt(0.95 * 0.05 / n)
    assert of_gaussians < of_points


def test_shuffled_manifolds_are_the_same_cloud() -> None:
    cloud = points(np.random.default_rng(0))
    classes = moments_from_arrays(cloud)
    shuffled, again, other = (moments_from_arrays(cloud, shuffle=s) for s in ([7, 0], [7, 0], 8))
    assert shuffled.total_trace == pytest.approx(classes.total_trace)
    assert shuffled.center_norm_squared.sum() < classes.center_norm_squared.sum() / 2
    np.testing.assert_array_equal(shuffled.center_gram, again.center_gram)
    assert not np.allclose(shuffled.center_gram, other.center_gram)


def test_shuffled_manifolds_keep_their_sizes_and_all_features() -> None:
    rng = np.random.default_rng(0)
    unequal = [rng.standard_normal((size, 30)) + size for size in (3, 5, 9)]
    order = np.random.default_rng(4).permutation(17)
    permuted = np.split(np.concatenate(unequal)[order], [3, 8])
    expected = moments_from_arrays(permuted)
    # In blocks of features: all are permuted alike.
    found = moments_from_arrays(unequal, shuffle=4, block_features=8)
    assert list(found.n_points) == [3, 5, 9]
    np.testing.assert_allclose(found.center_gram, expected.center_gram)
    for one, two in zip(found.deviation_gram, expected.deviation_gram, strict=True):
        np.testing.assert_allclose(one, two)


def test_the_first_draw_has_the_seed_itself() -> None:
    assert draw_seed(11, 0) == 11
    assert len({draw_seed(seed, draw) for seed in range(20) for draw in range(20)}) == 400


def test_draws_have_no_point_in_common_and_are_those_of_the_workflow(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    manifolds = [rng.normal(place, 1, (6 + place, 12)) for place in range(4)]
    labels = np.repeat(np.arange(4), [len(points) for points in manifolds])
    np.savez(tmp_path / "recording.npz", V4=np.concatenate(manifolds), labels=labels)
    own = ExternalActivations(tmp_path / "recording.npz")
    draws = measure_draws(manifolds, 2, 3, seed=5, n_gaussians=20)
    assert len({draw.summary()["capacity"] for draw in draws}) == 3
    for place, draw in enumerate(draws):
        drawn = own.open("1_V4", points_per_class=2, seed=5, draw=place)
        same = measure(drawn, n_gaussians=20, seed=draw_seed(5, place))
        assert draw.summary() == same.summary()
    with pytest.raises(
        ValueError,
        match=r"n_points is 2 and n_draws 4, which needs 8 points .* manifold 0 has only 6",
    ):
        measure_draws(manifolds, 2, 4)
    with pytest.raises(ValueError, match="n_draws is 0; it must be a whole number, 1 or more"):
        measure_draws(manifolds, 2, 0)
