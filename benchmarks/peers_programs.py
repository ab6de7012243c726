"""What benchmarks/peers.py runs in each environment, in a process of its own: `peers_programs.py NAME FOLDER`.

Reads FOLDER/settings.json and arrays beside it, writes FOLDER/result.json. Imports of an environment's own
packages stand in the functions.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def timed(function: Any) -> tuple[dict[str, float], Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return {"s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}, result


def mean_field(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The same call of the public code (where a checkout is given) and of this package's `compat`."""
    if settings["checkout"]:
        sys.path.insert(0, settings["checkout"])
        from mftma.manifold_analysis_correlation import manifold_analysis_corr
    else:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings["threads"]])
        from manifold_capacity.compat import manifold_analysis_corr

        small = np.random.default_rng(0).standard_normal((20, 30, 5))
        manifold_analysis_corr(list(small), 0, 10)  # loads the compiled code
    manifolds = list(np.load(folder / "manifolds.npy"))  # each (N, m)
    np.random.seed(settings["seed"])  # noqa: NPY002 (what the public code draws from)
    repeated = {} if settings["n_reps"] is None else {"n_reps": settings["n_reps"]}
    times, result = timed(lambda: manifold_analysis_corr(manifolds, 0, settings["n_t"], **repeated))
    capacity, radius, dimension, correlation, rank = result
    return times | {
        "capacity": float(1 / np.mean(1 / capacity)),
        "radius": float(np.mean(radius)),
        "dimension": float(np.mean(dimension)),
        "center correlation": float(correlation),
        "K": int(rank),
    }


def anchors(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The public code's analysis of single manifolds, from given points and Gaussian vectors."""
    sys.path.insert(0, settings["checkout"])
    from mftma.manifold_analysis_correlation import each_manifold_analysis_D1

    points, gaussians = np.load(folder / "points.npy"), np.load(folder / "gaussians.npy")
    times, found = timed(
        lambda: [
            each_manifold_analysis_D1(s, 0, t.shape[1], t_vec=t)
            for s, t in zip(points, gaussians, strict=True)
        ]
    )
    np.save(folder / "anchors.npy", np.array(found, dtype=float))
    return times


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    settings = json.loads((folder / "settings.json").read_text())
    result = globals()[name](folder, settings)
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
