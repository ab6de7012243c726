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


def _network(folder: Path, settings: dict[str, Any]) -> Any:
    import torch
    from torchvision.models import get_model

    torch.set_num_threads(settings["threads"])
    model = get_model(settings["model"], weights=None, num_classes=settings["n_classes"])
    model.load_state_dict(torch.load(folder / "weights.pt"))
    model.eval()
    with torch.no_grad():  # the first pass of a process takes longer
        model(torch.zeros(settings["batch_size"], 3, 32, 32))
    return model


def _on_disk(extraction: Any, folder: Path) -> dict[str, Any]:
    """Time until the files are on the disk, and their bytes."""

    def all_of_it() -> int:
        extraction()
        files = [path for path in folder.rglob("*") if path.is_file()]
        for path in files:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        return sum(path.stat().st_size for path in files)

    times, n_bytes = timed(all_of_it)
    return times | {"mib": n_bytes / 2**20}


def forward(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The network alone."""
    import torch

    model = _network(folder, settings)
    images = torch.from_numpy(np.load(folder / "normalized.npy"))

    def passes() -> None:
        with torch.no_grad():
            for batch in images.split(settings["batch_size"]):
                model(batch)

    return timed(passes)[0]


def thingsvision(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """All modules in one pass, or each in one of its own, into files as its documentation has it."""
    from thingsvision import get_extractor_from_model
    from torch.utils.data import DataLoader

    extractor = get_extractor_from_model(_network(folder, settings), device="cpu", backend="pt")
    batches = DataLoader(np.load(folder / "normalized.npy"), batch_size=settings["batch_size"])
    modules = settings["modules"]
    calls = (
        [{"module_names": modules}] if settings["joint"] else [{"module_name": m} for m in modules]
    )

    def extraction() -> None:
        for call in calls:
            extractor.extract_features(
                batches=batches,
                flatten_acts=True,
                output_type="ndarray",
                output_dir=str(folder / "theirs"),
                **call,
            )

    return _on_disk(extraction, folder / "theirs")


def extraction(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    from manifold_capacity.activations.extract import extract
    from manifold_capacity.models.layers import read_layers
    from manifold_capacity.models.preprocess import Preprocess

    model = _network(folder, settings)
    images = np.load(folder / "images.npy")
    indices = np.arange(len(images)).reshape(-1, settings["n_points"])
    classes = range(len(indices))
    return _on_disk(
        lambda: extract(
            model,
            read_layers(folder / "layers.csv"),
            images,
            indices,
            folder / "ours",
            preprocess=Preprocess((3, 32, 32), **settings["normalization"]),
            classes=classes,
            class_names=list(map(str, classes)),
            split="train",
            seed=0,
            batch_size=settings["batch_size"],
            device="cpu",
        ),
        folder / "ours",
    )


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    settings = json.loads((folder / "settings.json").read_text())
    result = globals()[name](folder, settings)
    status = Path("/proc/self/status").read_text().splitlines()
    most = next(line for line in status if line.startswith("VmHWM"))
    result["own_peak_mib"] = int(most.split()[1]) / 2**10
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
