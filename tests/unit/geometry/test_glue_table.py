"""The columns of exact capacity: one draw, several draws, and what is said of them."""

import numpy as np
import pytest

from manifold_capacity.errors import CaveatWarning
from manifold_capacity.geometry.caveats import CAVEATS
from manifold_capacity.geometry.find_caveats import glue_caveats
from manifold_capacity.geometry.glue import glue_from_gram, measure_glue
from manifold_capacity.geometry.glue_result import GLUE_QUANTITIES
from manifold_capacity.geometry.glue_table import combine_glue, separability_curve
from manifold_capacity.geometry.gram import gram_from_arrays
from manifold_capacity.geometry.variance import layer_variance, variance_of_gram
from manifold_capacity.summary.columns import TABLES


def clouds(n_features=80, m=12, seed=0):
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(7).standard_normal((6, 1, n_features))
    return centers + 0.7 * rng.standard_normal((6, m, n_features))


@pytest.fixture(scope="module")
def draws():
    return [measure_glue(clouds(seed=seed), n_samples=60, seed=seed) for seed in range(3)]


def test_one_draw_has_intervals_over_classes(draws):
    row, manifolds = combine_glue(draws[:1])
    for name in GLUE_QUANTITIES:
        assert row[f"glue_{name}"] == pytest.approx(getattr(draws[0], name))
        error = getattr(draws[0], f"{name}_stderr")
        assert row[f"glue_{name}_gaussian_stderr"] == pytest.approx(error)
    assert row["glue_interval_over"] == "classes"
    assert row["glue_capacity_low"] < row["glue_capacity"] < row["glue_capacity_high"]
    assert "glue_radius_low" not in row
    assert 1 / np.mean(1 / np.array(manifolds["glue_capacity"])) == pytest.approx(
        row["glue_capacity"]
    )
    assert np.mean(manifolds["glue_dimension"]) == pytest.approx(row["glue_dimension"])
    assert row["caveats"] == ""


def test_three_draws_have_intervals_over_draws_of_all_quantities(draws):
    row, _ = combine_glue(draws)
    inverse = [1 / draw.capacity for draw in draws]
    assert 1 / row["glue_capacity"] == pytest.approx(np.mean(inverse))
    reach = 4.302653 * np.std(inverse, ddof=1) / np.sqrt(3)
    ends = [1 / row["glue_capacity_high"], 1 / row["glue_capacity_low"]]
    assert ends == pytest.approx([np.mean(inverse) - reach, np.mean(inverse) + reach], rel=1e-6)
    radii = [draw.radius for draw in draws]
    assert row["glue_radius"] == pytest.approx(np.mean(radii))
    reach = 4.302653 * np.std(radii, ddof=1) / np.sqrt(3)
    assert row["glue_radius_high"] - row["glue_radius"] == pytest.approx(reach, rel=1e-6)
    assert row["glue_interval_over"] == "draws"
    assert combine_glue(draws, disjoint=False)[0]["glue_interval_over"] == "classes"


@pytest.mark.parametrize("n_draws", [1, 3])
def test_every_column_has_an_entry_and_the_reverse(draws, n_draws):
    row, manifolds = combine_glue(draws[:n_draws])
    row |= variance_of_gram(gram_from_arrays(clouds()))
    entries = {c.name for c in TABLES["layers"] if c.section == "Exact capacity"}
    ends = {name for name in entries if name.endswith(("_low", "_high"))} - row.keys()
    assert row.keys() - {"caveats", "caveats_text"} == entries - (ends if n_draws == 1 else set())
    assert manifolds.keys() <= {c.name for c in TABLES["manifolds"]}


def test_a_caveat_is_said_at_the_callers_line():
    with pytest.warns(CaveatWarning) as said:
        measure_glue(clouds(n_features=5, m=30), n_samples=10)
    assert {warning.filename for warning in said} == {__file__}


def test_curve_of_separability(draws):
    curve = separability_curve(draws)
    assert curve["share"][0] < 0.05
    assert curve["share"][-1] == 1
    middle = np.interp(0.5, curve["share"], curve["n"])
    assert middle == pytest.approx(6 / combine_glue(draws)[0]["glue_capacity"], rel=0.1)


def test_a_layer_whose_labels_cannot_be_separated_has_no_exact_capacity():
    with pytest.warns(RuntimeWarning):
        glue = measure_glue(clouds(n_features=5, m=30), n_samples=30)
    row, manifolds = combine_glue([glue])
    assert np.isnan([row["glue_capacity"], *manifolds["glue_capacity"]]).all()
    assert row["glue_separable_fraction"] == 0
    texts = glue_caveats(glue)
    assert "its exact capacity is below 1.2" in texts["glue_labels"]
    assert {*texts} <= {*CAVEATS}


@pytest.mark.parametrize("point", [0, 7])
def test_a_value_that_float64_cannot_hold_is_said_and_then_refused(point):
    far = clouds()
    far[3, point, 5] = 1e6
    with pytest.warns(CaveatWarning, match=f"Point {point} of manifold 3 has the value 1e"):
        assert "outlier" in measure_glue(far, n_samples=10).caveats
    far[3, point, 5] = 9.96921e36
    with pytest.raises(ValueError, match=f"point {point} of manifold 3, feature 5 is 9.96921e"):
        measure_glue(far)


def test_shuffled_and_whole_layers_come_from_the_same_gram():
    gram = gram_from_arrays(clouds())
    shuffled = gram_from_arrays(clouds(), shuffle=[1, 2])
    np.testing.assert_allclose(gram.shuffled([1, 2]).matrix, shuffled.matrix, atol=1e-10)
    one, other = (glue_from_gram(g, n_samples=10) for g in (gram.shuffled([1, 2]), shuffled))
    assert one.capacity_published == pytest.approx(other.capacity_published)
    expected = layer_variance(clouds(), max_points=72)
    found = variance_of_gram(gram)
    assert found["layer_participation_ratio"] == pytest.approx(expected.participation_ratio)
    assert found["layer_dimension_90"] == expected.dimension_90
