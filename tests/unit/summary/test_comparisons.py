"""Differences between groups of a run, with intervals."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manifold_capacity.geometry.intervals import QUANTITIES, half_width, max_t
from manifold_capacity.geometry.measure import measure
from manifold_capacity.summary.comparisons import (
    COLUMNS,
    compare,
    compare_geometries,
    over_classes,
    over_seeds,
)


def rows(**groups: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of layers and manifolds with made-up numbers, for every combination of the groups."""
    rng = np.random.default_rng(0)
    layers, manifolds = [], []
    names = {"model": ["a"], "seed": [0], "epoch": [0], "split": ["train"], "labels": ["original"]}
    names |= groups
    for values in itertools.product(*names.values()):
        run = dict(zip(names, values, strict=True))
        for index in range(2):
            identity = {
                **run,
                "dataset": "digits",
                "checkpoint": f"epoch-{run['epoch']:03d}",
                "layer": f"{index}_Linear",
                "layer_index": index,
                "layer_name": f"features.{index}",
            }
            of_classes = {name: rng.uniform(1, 2, 5) for name in QUANTITIES}
            numbers = {name: values.mean() for name, values in of_classes.items()}
            numbers["capacity"] = 1 / (1 / of_classes["capacity"]).mean()
            layers.append({**identity, "status": "ok", **numbers})
            manifolds.append(pd.DataFrame({**identity, "class_index": range(5), **of_classes}))
    return pd.DataFrame(layers), pd.concat(manifolds, ignore_index=True)


def test_what_is_compared_with_what() -> None:
    layers, manifolds = rows(
        model=["a", "b"], epoch=[0, 5, 15], split=["train", "test"], labels=["original", "shuffled"]
    )
    table = compare(layers.assign(config_digest="0123456789abcdef"), manifolds)
    assert list(table.columns) == list(COLUMNS)
    assert set(table["config_digest"]) == {"0123456789abcdef"}
    groups = table[["comparison", "model", "checkpoint", "split", "labels", "reference"]]
    found = {tuple(row) for row in groups.to_numpy()}
    expected = {
        (comparison, model, "epoch-015", split, "original", reference)
        for comparison, models, splits, reference in (
            ("checkpoint", "ab", ("train", "test"), "epoch-000"),
            ("split", "ab", ("test",), "train"),
            ("labels", "ab", ("train", "test"), "shuffled"),
            ("model", "b", ("train", "test"), "a"),
        )
        for model, split in itertools.product(models, splits)
    }
    assert found == expected
    assert len(table) == len(expected) * 2 * len(QUANTITIES)


def test_differences_are_those_of_the_layers() -> None:
    layers, manifolds = rows(epoch=[0, 15], seed=[0, 1])
    table = compare(layers, manifolds)
    assert (table["interval_over"] == "classes").all()
    assert (table["n"] == 5).all()
    for row in table.to_dict("records"):
        mine = layers[layers["layer"] == row["layer"]]
        means = mine.groupby("checkpoint")[row["quantity"]].mean()
        assert row["value"] == pytest.approx(means["epoch-015"])
        assert row["difference"] == pytest.approx(means["epoch-015"] - means["epoch-000"])
        assert row["simultaneous_low"] < row["difference_low"] < row["difference"]
        assert row["difference"] < row["difference_high"] < row["simultaneous_high"]
    assert (table["caveats"] == "few_seeds").all()


def test_caveats_of_both_layers() -> None:
    layers, manifolds = rows(split=["train", "test"])
    said = np.where(
        layers["split"] == "train", "features centers", np.where(layers["layer_index"], "floor", "")
    )
    table = compare(layers.assign(caveats=said), manifolds)
    # One network: how often it was trained does not matter.
    expected = {"0_Linear": "centers features", "1_Linear": "centers floor features"}
    assert dict(zip(table["layer"], table["caveats"], strict=True)) == expected


def test_two_geometries_of_the_same_classes() -> None:
    rng = np.random.default_rng(0)
    centers, noise = rng.standard_normal((6, 1, 40)), rng.standard_normal((6, 20, 40))
    wide, narrow = (measure(centers + spread * noise, n_gaussians=50) for spread in (1, 0.5))
    table = compare_geometries(wide, narrow)
    assert [*table.index] == [*QUANTITIES]
    for name, row in table.iterrows():
        assert row["value"] == wide.summary()[name]
        assert row["difference"] == pytest.approx(wide.summary()[name] - narrow.summary()[name])
        assert row["simultaneous_low"] < row["difference_low"] < row["difference"]
    assert table.loc["radius", "simultaneous_low"] > 0
    with pytest.raises(ValueError, match="have 6 and 5 manifolds"):
        compare_geometries(wide, measure(noise[:5], n_gaussians=20))


def test_three_seeds_make_an_interval_over_seeds() -> None:
    layers, manifolds = rows(epoch=[0, 15], seed=[0, 1, 2])
    table = compare(layers, manifolds)
    assert (table["interval_over"] == "seeds").all()
    assert (table["n"] == 3).all()
    assert table["caveats"].isna().all()
    first = table.iloc[0]
    mine = layers[layers["layer"] == first["layer"]].pivot(
        index="seed", columns="checkpoint", values="capacity"
    )
    differences = mine["epoch-015"] - mine["epoch-000"]
    reach = 4.302653 * differences.std() / math.sqrt(3)  # of the t distribution with 2 degrees
    assert first["difference_high"] - first["difference"] == pytest.approx(reach, rel=1e-6)


def test_layer_without_geometry_and_networks_with_other_layers_have_no_rows() -> None:
    layers, manifolds = rows(epoch=[0, 15])
    dead = (layers["epoch"] == 15) & (layers["layer_index"] == 1)
    layers.loc[dead, "status"] = "dead"
    layers.loc[dead, [*QUANTITIES]] = math.nan
    gone = (manifolds["epoch"] == 15) & (manifolds["layer_index"] == 1)
    assert set(compare(layers, manifolds[~gone])["layer"]) == {"0_Linear"}
    layers, manifolds = rows(model=["a", "b"])
    for table in (layers, manifolds):
        table.loc[table["model"] == "b", "layer_name"] += ".other"
    assert len(compare(layers, manifolds)) == 0
    assert list(compare(layers, manifolds).columns) == list(COLUMNS)


def test_pairing_cancels_what_both_have() -> None:
    rng = np.random.default_rng(0)
    easy, noise = rng.uniform(1, 9, 30), rng.normal(0, 0.01, 30)
    difference, deviations = over_classes([easy + 1 + noise], [easy], "radius")
    assert difference == pytest.approx(1, abs=0.01)
    assert 2 * half_width(deviations) < min(0.02, 0.01 * easy.std())


def _lognormal(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Capacities of classes in two groups, correlated."""
    shared = rng.normal(0, 0.4, n)
    first, second = (rng.normal(mean, width, n) for mean, width in ((0, 0.2), (-0.3, 0.3)))
    return np.exp(shared + first), np.exp(shared + second)


def _correlations(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean |cos| of each center with the others, in two groups of correlated centers."""
    shared = rng.standard_normal((n, 6))
    found = []
    for strength in (0.5, 1.5):
        centers = shared + strength * rng.standard_normal((n, 6))
        centers[:, 0] *= strength
        centers /= np.linalg.norm(centers, axis=1, keepdims=True)
        found.append((np.abs(centers @ centers.T).sum(axis=0) - 1) / (n - 1))
    return found[0], found[1]


@pytest.mark.parametrize(
    ("draw", "quantity"),
    [(_lognormal, "capacity"), (_lognormal, "dimension"), (_correlations, "center_correlation")],
)
def test_intervals_over_classes_hold_the_truth_as_often_as_they_say(
    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]], quantity: str
) -> None:
    rng = np.random.default_rng(1)
    truth = np.mean([over_classes(*([v] for v in draw(rng, 3000)), quantity)[0] for _ in range(20)])
    trials = 800
    held = 0
    for _ in range(trials):
        difference, deviations = over_classes(*([values] for values in draw(rng, 40)), quantity)
        held += abs(difference - truth) <= half_width(deviations)
    # Three standard deviations of the count, and what linearization costs with 40 classes.
    tolerance = 3 * math.sqrt(0.95 * 0.05 / trials) + 0.01
    assert held / trials > 0.95 - tolerance
    if quantity != "center_correlation":  # whose intervals are known to be wide
        assert held / trials < 0.95 + tolerance


def test_intervals_over_seeds_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    shared, trials = rng.normal(0, 3, (2000, 4)), 2000
    held = 0
    for seeds in shared:
        mine, other = seeds + 0.7 + rng.normal(0, 0.2, 4), seeds + rng.normal(0, 0.5, 4)
        difference, deviations = over_seeds(mine, other)
        held += abs(difference - 0.7) <= half_width(deviations)
    assert held / trials == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / trials))


@pytest.mark.parametrize("shared", [0.0, 0.9, 1.0])
def test_simultaneous_intervals_hold_all_truths_together(shared: float) -> None:
    """Of 20 correlated differences without any truth in them, for which single intervals fail together."""
    rng = np.random.default_rng(3)
    trials, held, alone = 400, 0, 0
    for _ in range(trials):
        common, own = rng.standard_normal((12, 1)), rng.standard_normal((12, 20))
        values = math.sqrt(shared) * common + math.sqrt(1 - shared) * own
        mean = values.mean(axis=0)
        reach = half_width(values - mean)
        alone += bool((abs(mean) <= reach).all())
        held += bool((abs(mean) <= max_t(values - mean, 2000) * reach).all())
    tolerance = 3 * math.sqrt(0.95 * 0.05 / trials)
    assert held / trials == pytest.approx(0.95, abs=tolerance)
    assert (alone / trials > 0.95 - tolerance) == (shared == 1)
