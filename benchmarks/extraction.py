"""Extraction of activations beside what it cannot do without: the forward pass, and writing as many bytes.

    python benchmarks/extraction.py results/cifar100_vgg16 --model vgg16 --classes 100 --points 50
    python benchmarks/extraction.py results/my-run --model resnet50 --image-size 224 --classes 4

Takes images of the dataset that the run prepared, and random weights. The alternatives take turns;
writing counts until the bytes are on the disk, on both sides. Memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from manifold_capacity.activations.extract import extract
from manifold_capacity.activations.grid import store_size
from manifold_capacity.datasets.sampling import load_split, sample_manifolds
from manifold_capacity.models.find_layers import list_layers
from manifold_capacity.models.selection import select_layers
from manifold_capacity.models.networks import build_model
from manifold_capacity.models.preprocess import Preprocess, to_batch


def timed(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def forward(
    model: nn.Module, images: np.ndarray, indices: np.ndarray, preprocess: Preprocess
) -> None:
    """The network alone, with the batches that extraction has."""
    with torch.no_grad():
        for chosen in indices:
            model(preprocess(to_batch(images[chosen], torch.device("cpu"))))


def write(n_bytes: int, folder: Path) -> None:
    """As many bytes, one file after the other, and nothing else."""
    piece = np.random.default_rng(0).bytes(2**24)
    written = 0
    number = 0
    while written < n_bytes:
        with open(folder / str(number), "wb") as file:
            for _ in range(16):
                part = piece[: min(len(piece), n_bytes - written)]
                file.write(part)
                written += len(part)
            os.fsync(file.fileno())
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    (dataset,) = (arguments.results / "datasets").glob("*/dataset.json")
    images, labels = load_split(dataset.parent, "train")
    size = arguments.image_size or images.shape[1]
    network = {
        "name": arguments.model,
        "n_classes": int(labels.max()) + 1,
        "image_shape": (3, size, size),
    }
    layers = select_layers(
        list_layers(**network), {"input": True, "types": ["Conv2d", "Linear"], "names": []}
    )
    model = build_model(**network).eval()
    preprocess = Preprocess(network["image_shape"])
    indices = sample_manifolds(
        labels,
        class_indices=range(arguments.classes),
        points_per_class=arguments.points,
        split="train",
        seed=0,
    )
    cost = store_size(layers, *indices.shape)
    times: dict[str, list[float]] = {"forward": [], "write": [], "extract": []}
    with tempfile.TemporaryDirectory(dir=arguments.results) as name:
        folder = Path(name)
        forward(model, images, indices[:2], preprocess)  # warm
        for _ in range(arguments.repeats):
            times["forward"].append(timed(lambda: forward(model, images, indices, preprocess)))
            bare = folder / "bare"
            bare.mkdir()
            times["write"].append(timed(lambda: write(cost.total, folder / "bare")))
            shutil.rmtree(bare)
            store = folder / "store"

            def run(store: Path = store) -> None:
                extract(
                    model,
                    layers,
                    images,
                    indices,
                    store,
                    preprocess=preprocess,
                    classes=range(arguments.classes),
                    class_names=list(map(str, range(arguments.classes))),
                    split="train",
                    seed=0,
                    device="cpu",
                )
                for path in store.rglob("*"):
                    if path.is_file():
                        with open(path, "rb") as file:
                            os.fsync(file.fileno())

            times["extract"].append(timed(run))
            shutil.rmtree(store)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "zarr", "numpy"))
    print(
        f"{arguments.model}, {len(layers)} layers, {indices.size} images of {size} x {size}, "
        f"{cost.total / 2**30:.2f} GiB; {platform.machine()}, {arguments.threads} threads, "
        f"Python {platform.python_version()}, {packages}"
    )
    for what, seconds in times.items():
        print(f"{what:>8}  {min(seconds):7.1f} s  (slowest {max(seconds):.1f} s)")
    ratios = [
        e / (f + w)
        for f, w, e in zip(times["forward"], times["write"], times["extract"], strict=True)
    ]
    print(
        f"extract / (forward + write): {', '.join(f'{ratio:.2f}' for ratio in ratios)}; "
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    )


if __name__ == "__main__":
    main()
