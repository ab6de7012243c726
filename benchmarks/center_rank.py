"""How much one point moves the number K of directions that the centers share, and the results.

K is the one with the least mean |cos| between residual centers, a minimum that is often flat. Each
trial replaces one point of one manifold by another of the same class (with --each, one point of
every manifold), and measures again with the same Gaussian samples. Rules for K, from the same fits:

    least           today's: the K with the least mean |cos|
    fixed           the K of before the replacement, whatever is the least now
    smallest 1 %    the smallest K within 1 % of the least
    quadratic 1 %   the minimum of a parabola through those within 1 %
    mean w          1/capacity, radius and dimension are averaged over all K within w
    softmin w       averaged with weights exp(-excess / w), excess over the least, up to 3 %
    taper w         averaged with weights 1 - excess / w, 0 from w on

The width w is in percent, or, as w/P, falls with the number of manifolds, as the standard error of a
mean over their pairs does.

By default scikit-learn's digits and synthetic classes; --data takes an .npz of images X (n, ...) and
labels y (n,), such as CIFAR-100's training images.

    python benchmarks/center_rank.py [--data FILE.npz] [--sizes 100x50 20x20] [--csv FILE.csv]
    python benchmarks/center_rank.py --golden  # each rule against the layers of tests/data/golden
    python benchmarks/center_rank.py --spread  # deviation between draws that share no point

Changes are in percent and in units of the standard error that `measure` states at 300 samples.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from center_rank_inputs import Classes, inputs
from geometry_inputs import machine

from manifold_capacity.geometry import centers
from manifold_capacity.geometry.measure import gaussian_samples, solve_manifolds
from manifold_capacity.geometry.moments import Moments, moments_from_arrays
from manifold_capacity.geometry.result import PER_MANIFOLD, gather_geometry

GOLDEN = Path(__file__).parents[1] / "tests" / "data" / "golden"
N_GAUSSIANS = 300
# All K whose mean |cos| is within this of the least are fitted and solved; more below 100 manifolds.
WIDEST = 0.03


@dataclass
class Measured:
    """Results at every K within `WIDEST`: 1/capacity, radius and dimension of the layer."""

    ranks: np.ndarray  # (n,)
    correlations: np.ndarray  # (n,)
    values: np.ndarray  # (n, 3)
    stderr: np.ndarray  # (3,) at today's K
    structure: centers.CenterStructure
    ratio: float  # between the centers' variance and what sampling the points gives

    @property
    def excess(self) -> np.ndarray:
        return self.correlations / self.correlations.min() - 1


def measured(moments: Moments, seed: int = 0) -> Measured:
    centers._NEAR_BEST = 1 + WIDEST * max(1, 100 / moments.n_manifolds)
    structure = centers.fit_centers(moments.center_gram, seed=seed)
    draw = gaussian_samples(seed, N_GAUSSIANS)
    values, stderr = [], np.zeros(3)
    for rank in structure.near_tied:
        projected = centers.project(moments, structure, rank)
        results = solve_manifolds(moments, projected, draw, 0.0, "active_set", 1)
        settings = {"n_gaussians": N_GAUSSIANS, "centers": structure, "margin": 0.0, "seed": 0}
        row = gather_geometry(moments, projected, results, solver="", **settings).summary()
        capacity = float(row["capacity"])
        values.append([1 / capacity, float(row["radius"]), float(row["dimension"])])
        if rank == structure.rank:
            stderr = np.array([float(row[f"{name}_stderr"]) for name in PER_MANIFOLD])
            stderr[0] /= capacity**2
    within = moments.deviation_trace / (moments.n_points * (moments.n_points - 1))
    return Measured(
        ranks=np.array(structure.near_tied),
        correlations=structure.correlations[list(structure.near_tied)],
        values=np.array(values),
        stderr=stderr,
        structure=structure,
        ratio=float(moments.center_gram.diagonal().mean() / within.mean()),
    )


# Rules: weights over the K of a `Measured`.


def least(found: Measured) -> np.ndarray:
    return np.eye(len(found.ranks))[found.correlations.argmin()]


def smallest(found: Measured) -> np.ndarray:
    return np.eye(len(found.ranks))[np.flatnonzero(found.excess <= 0.01)[0]]


def quadratic(found: Measured) -> np.ndarray:
    near = np.flatnonzero(found.excess <= 0.01)
    if len(near) < 3:
        return least(found)
    square, slope, _ = np.polyfit(found.ranks[near], found.correlations[near], 2)
    if square <= 0:
        return least(found)
    at = np.clip(-slope / (2 * square), found.ranks[near[0]], found.ranks[near[-1]])
    return np.eye(len(found.ranks))[near[np.abs(found.ranks[near] - at).argmin()]]


def averaging(
    shape: Callable[[np.ndarray], np.ndarray], width: float, scaled: bool
) -> Callable[[Measured], np.ndarray]:
    def weights(found: Measured) -> np.ndarray:
        n_manifolds = len(found.structure.coefficients)
        raw = shape(found.excess / (width / n_manifolds if scaled else width))
        return raw / raw.sum()

    return weights


def inside(excess: np.ndarray) -> np.ndarray:
    return (excess <= 1).astype(float)


def falling(excess: np.ndarray) -> np.ndarray:
    return np.exp(-excess)


def taper(excess: np.ndarray) -> np.ndarray:
    return np.clip(1 - excess, 0, 1)


RULES: dict[str, Callable[[Measured], np.ndarray]] = {
    "least": least,
    "smallest 1 %": smallest,
    "quadratic 1 %": quadratic,
    "mean 1 %": averaging(inside, 0.01, False),
    "softmin 1 %": averaging(falling, 0.01, False),
    "softmin 0.5/P": averaging(falling, 0.5, True),
    "softmin 1/P": averaging(falling, 1, True),
    "taper 2 %": averaging(taper, 0.02, False),
    "taper 2/P": averaging(taper, 2, True),
}
CHOOSING = ("least", "fixed", "smallest 1 %", "quadratic 1 %")


def apply(rule: str, found: Measured) -> tuple[float, np.ndarray]:
    """K (or its mean), and 1/capacity, radius and dimension."""
    weights = RULES[rule](found)
    return float(weights @ found.ranks), weights @ found.values


# Trials.


def trials(
    classes: Classes, size: tuple[int, int], draw: int, n_trials: int, each: bool
) -> Iterator[Measured] | None:
    """The draw's results, then those of each trial; None where there are too few images."""
    n_manifolds, n_points = size
    rng = np.random.default_rng([draw, *size])
    pools = classes.pools(n_manifolds, False, rng)
    if min(map(len, pools)) < n_points + 1:
        return None

    def run() -> Iterator[Measured]:
        points = [classes.points(pool[:n_points]) for pool in pools]
        yield measured(moments_from_arrays(points))
        for _ in range(n_trials):
            changed = list(points)
            for i in range(n_manifolds) if each else rng.integers(n_manifolds, size=1):
                changed[i] = points[i].copy()
                other = classes.points(rng.choice(pools[i][n_points:], 1))
                changed[i][rng.integers(n_points)] = other[0]
            yield measured(moments_from_arrays(changed))

    return run()


def shuffled_ratio(classes: Classes, size: tuple[int, int], draw: int) -> float:
    rng = np.random.default_rng([draw, *size])
    pools = classes.pools(size[0], True, rng)
    moments = moments_from_arrays([classes.points(pool[: size[1]]) for pool in pools])
    within = moments.deviation_trace / (moments.n_points * (moments.n_points - 1))
    return float(moments.center_gram.diagonal().mean() / within.mean())


def compare(before: Measured, after: Measured) -> Iterator[dict[str, object]]:
    """One row per rule: what the trial changed, and how far the rule is from today's."""
    today = apply("least", before)[1]
    for rule in [*RULES, "fixed"]:
        if rule == "fixed":
            rank = before.structure.rank
            if rank not in after.ranks:
                continue
            (rank_before, old), rank_after = apply("least", before), float(rank)
            new = after.values[list(after.ranks).index(rank)]
        else:
            (rank_before, old), (rank_after, new) = apply(rule, before), apply(rule, after)
        row: dict[str, object] = {"rule": rule, "K": rank_before, "K_after": rank_after}
        # d(1/alpha) / (1/alpha) is minus the relative change of alpha, to first order.
        for name, a, b, error, reference in zip(
            PER_MANIFOLD, old, new, before.stderr, today, strict=True
        ):
            row[f"{name}_%"] = 100 * abs(b / a - 1)
            row[f"{name}_errors"] = abs(b - a) / error
            row[f"{name}_bias_%"] = 100 * (
                (reference / a if name == "capacity" else a / reference) - 1
            )
        yield row


def describe(found: Measured) -> dict[str, object]:
    """The search over K in one draw."""
    near = found.excess <= max(0.01, 1 / len(found.structure.coefficients))
    values = found.values[near]
    structure = found.structure
    return {
        "K": structure.rank,
        "tried": len(structure.correlations) - 1,
        "stopped": structure.stopped,
        "at_bound": structure.rank == len(structure.correlations) - 1,
        "center_correlation": structure.center_correlation,
        "residual_correlation": structure.residual_correlation,
        "least_ratio": structure.least_residual_ratio,
        "near_tied": int(near.sum()),
        "range_capacity_%": 100 * (values[:, 0].max() / values[:, 0].min() - 1),
        "range_radius_%": 100 * (values[:, 1].max() / values[:, 1].min() - 1),
        "range_dimension_%": 100 * (values[:, 2].max() / values[:, 2].min() - 1),
        "stderr_%": 100 * found.stderr[0] / apply("least", found)[1][0],
        "F": found.ratio,
    }


def selected(arguments: argparse.Namespace) -> Iterator[tuple[str, Classes, tuple[int, int]]]:
    for name, classes in inputs(arguments.data).items():
        for size in arguments.sizes if name in (arguments.inputs or [name]) else []:
            n_manifolds, n_points = map(int, size.split("x"))
            yield name, classes, (n_manifolds, n_points)


def study(arguments: argparse.Namespace) -> None:
    changes, draws = [], []
    for name, classes, size in selected(arguments):
        label = {"input": name, "size": f"{size[0]} x {size[1]}"}
        for draw in range(arguments.draws):
            runs = trials(classes, size, draw, arguments.trials, arguments.each)
            if runs is None:
                continue
            before = next(runs)
            shuffled = shuffled_ratio(classes, size, draw)
            draws.append({**label, **describe(before), "F_shuffled": shuffled})
            for trial, after in enumerate(runs):
                rows = compare(before, after)
                changes += [{**label, "draw": draw, "trial": trial, **row} for row in rows]
    print(
        f"{'one point of every manifold' if arguments.each else 'one point'} replaced; {machine()}"
    )
    table = pd.DataFrame(changes)
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)
        pd.DataFrame(draws).to_csv(arguments.csv.with_suffix(".draws.csv"), index=False)
    pd.set_option("display.width", 250)
    for label, group in table.groupby(["input", "size"], sort=False):
        n_trials = int((group["rule"] == "least").sum())
        print(f"\n{', '.join(label)}: {n_trials} trials of {arguments.draws} draws")
        print(summarize(group).to_string(float_format="%.2f"))
    frame = pd.DataFrame(draws)
    numbers = frame.drop(columns="stopped").groupby(["input", "size"], sort=False)
    print(numbers.mean().T.to_string(float_format="%.3f"))
    print(frame.groupby(["input", "size"], sort=False)["stopped"].value_counts().to_string())


def summarize(group: pd.DataFrame) -> pd.DataFrame:
    """A row per rule, over trials: changes in standard errors; `bias` from today's in percent."""
    rows = {}
    for rule, part in group.groupby("rule", sort=False):
        moved = 100 * float((part["K"] != part["K_after"]).mean())
        row = {"K moved %": moved if rule in CHOOSING else np.nan}
        row["> 3 errors %"] = 100 * float((part["capacity_errors"] > 3).mean())
        for quantity in PER_MANIFOLD:
            errors = part[f"{quantity}_errors"]
            row[f"{quantity[:3]} med"] = errors.median()
            row[f"90% {quantity[0]}"] = errors.quantile(0.9)
            row[f"most {quantity[0]}"] = errors.max()
        row["cap % 90%"] = part["capacity_%"].quantile(0.9)
        for quantity in PER_MANIFOLD:
            bias = part.groupby("draw")[f"{quantity}_bias_%"].first()
            row[f"bias {quantity[0]}"] = bias.mean()
            row[f"±{quantity[0]}"] = bias.std()
        rows[rule] = row
    return pd.DataFrame(rows).T


def spread(arguments: argparse.Namespace) -> None:
    """Relative standard deviation in percent between draws of the same classes, without overlap."""
    rows = []
    for name, classes, size in selected(arguments):
        n_manifolds, n_points = size
        pools = classes.pools(n_manifolds, False, np.random.default_rng([0, *size]))
        n_draws = min(20, min(map(len, pools)) // n_points)
        if n_draws < 3:
            continue
        draws = [slice(i * n_points, (i + 1) * n_points) for i in range(n_draws)]
        found = [
            measured(moments_from_arrays([classes.points(pool[draw]) for pool in pools]))
            for draw in draws
        ]
        for rule in RULES:
            values = np.array([apply(rule, one)[1] for one in found])
            sizes = 100 * values.std(axis=0, ddof=1) / values.mean(axis=0)
            label = {"input": name, "size": f"{n_manifolds} x {n_points}", "draws": n_draws}
            rows.append({**label, "rule": rule, **dict(zip(PER_MANIFOLD, sizes, strict=True))})
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.2f"))


def golden() -> None:
    """Each rule against the reference implementation's results, mean over its seeds."""
    rows = []
    for name in ("pixels", "clouds"):
        with np.load(GOLDEN / f"{name}.npz") as archive:
            data = dict(archive)
        if "images" in data:
            manifolds = data["images"].reshape(*data["images"].shape[:2], -1) / 255
        else:
            manifolds = [data[key] for key in sorted(data) if key.startswith("cloud")]
        reference = data["reference"][:, :3].mean(axis=0)
        moments = moments_from_arrays(manifolds)
        seeds = [measured(moments, seed) for seed in range(3)]
        for rule in RULES:
            found = [apply(rule, one) for one in seeds]
            values = np.mean([one[1] for one in found], axis=0)
            values[0] = 1 / values[0]
            excess = dict(zip(PER_MANIFOLD, 100 * (values / reference - 1), strict=True))
            rows.append({"layer": name, "rule": rule, "K": found[0][0], **excess})
        rows.append(
            {"layer": name, "rule": f"(near-tied {seeds[0].ranks[seeds[0].excess <= 0.01]})"}
        )
    print("percent from the reference")
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.2f"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data")
    parser.add_argument("--inputs", nargs="+", help="only these of the inputs")
    sizes = ["100x50", "100x20", "20x20", "10x50", "10x10"]
    parser.add_argument("--sizes", nargs="+", default=sizes, metavar="PxM")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--trials", type=int, default=10, help="of each draw")
    parser.add_argument("--each", action="store_true")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--golden", action="store_true")
    parser.add_argument("--spread", action="store_true")
    arguments = parser.parse_args()
    if arguments.golden:
        golden()
    elif arguments.spread:
        spread(arguments)
    else:
        study(arguments)


if __name__ == "__main__":
    main()
