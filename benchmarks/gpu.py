"""Training and extraction on a GPU: speed, memory, and what the arithmetic does to the geometry.

    python benchmarks/gpu.py --data train.npz test.npz               # CIFAR-100: X (n, 32, 32, 3), y (n,)
    python benchmarks/gpu.py --data results/datasets/cifar100        # as a run of the workflow left it
    python benchmarks/gpu.py --device cpu --small                    # bundled digits, less than a minute

Network and recipe are those of configs/cifar100_vgg16.yaml. Three parts:

training     the whole recipe in each precision, with channels first and last
extraction   all convolutions and linear layers of the trained network, against its bare forward pass
geometry     capacity, radius and dimension of every layer against those in float32, of the same
             weights, and on a GPU also float32 on the CPU: the largest relative difference over the
             layers (each layer's are in the CSV), beside the relative standard error of capacity

Prints tables in Markdown and writes all numbers to --output. Seconds per epoch are the median of the
epochs after the first, evaluation included; seconds of extraction the least of the repetitions.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import multiprocessing
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from threadpoolctl import threadpool_limits

from manifold_capacity.activations.extract import extract
from manifold_capacity.activations.store import open_layer
from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import load_schema
from manifold_capacity.datasets.sampling import load_split, sample_manifolds
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError
from manifold_capacity.geometry.measure import geometry_from_moments
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.models.augment import augment_batch, seeded_generator
from manifold_capacity.models.checkpoints import load_model, save_state
from manifold_capacity.models.device import arithmetic, autocast, resolve_device
from manifold_capacity.models.find_layers import find_layers
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.preprocess import Preprocess, to_batch
from manifold_capacity.models.selection import select_layers
from manifold_capacity.models.weights import initial_state
from manifold_capacity.provenance import package_versions
from manifold_capacity.training.train import train

ROOT = Path(__file__).parents[1]
QUANTITIES = ("capacity", "radius", "dimension")
SEED = 0


class Table:
    """Rows of measurements, for the CSV."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, part: str, setting: str, **values: float | None) -> None:
        """Note numbers by name; None is a number that there is not (a CPU's GPU memory)."""
        self.rows += [
            {"part": part, "setting": setting, "quantity": name, "value": value}
            for name, value in values.items()
        ]

    def print(self, part: str) -> None:
        """All numbers of a part, a row per setting."""
        frame = pd.DataFrame([row for row in self.rows if row["part"] == part])
        settings = list(dict.fromkeys(frame["setting"]))
        names = list(dict.fromkeys(frame["quantity"]))
        values = frame.set_index(["setting", "quantity"])["value"]
        print(f"\n| {part} | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
        for setting in settings:
            row = [values.get((setting, name)) for name in names]
            cells = ["" if v is None or pd.isna(v) else f"{v:.4g}" for v in row]
            print(f"| {setting} | " + " | ".join(cells) + " |", flush=True)


class EpochTimes(logging.Handler):
    """When each epoch ended, from what the training says."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "train loss" in record.getMessage():  # other lines tell how far an epoch is
            self.ends.append(record.created)


class Task:
    """Images, network and recipe."""

    def __init__(self, data: Sequence[Path], small: bool) -> None:
        config = yaml.safe_load((ROOT / "configs/cifar100_vgg16.yaml").read_text())
        config = resolve(config, load_schema(ROOT / "schemas/config.schema.yaml"))
        self.recipe: dict[str, Any] = config["training"]
        self.n_points: int = config["manifolds"]["points_per_class"]
        name = config["models"][0]["name"]
        self.train_data, self.test_data = load(data)
        if small:
            name, self.n_points = "small_cnn", 20
            self.recipe["epochs"] = 3
            self.train_data = tuple(array[:1500] for array in self.train_data)
            self.test_data = tuple(array[:300] for array in self.test_data)
        images, labels = self.train_data
        height, width, channels = images.shape[1:]
        shape = (channels, height, width)
        self.network = {"name": name, "n_classes": int(labels.max()) + 1, "image_shape": shape}
        pixels = images[:5000] / np.float32(255)
        mean, std = pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2))
        self.preprocess = Preprocess(shape, mean.tolist(), std.tolist())
        self.classes = list(range(self.network["n_classes"]))
        self.n_points = min(self.n_points, int(np.bincount(labels).min()))
        self.indices = sample_manifolds(labels, self.classes, self.n_points, SEED, "train")

    def __str__(self) -> str:
        return (
            f"{self.network['name']}, {self.network['n_classes']} classes, images of "
            f"{self.network['image_shape']}, {len(self.train_data[1])} for training, "
            f"{len(self.test_data[1])} for the test; {self.recipe}"
        )


def load(data: Sequence[Path]) -> tuple[Any, Any]:
    """Images uint8 (n, height, width, n_channels) and labels of both splits."""
    if not data:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = np.round(bunch.images * 255 / 16).astype(np.uint8)[..., None]
        return (images[297:], bunch.target[297:]), (images[:297], bunch.target[:297])
    if len(data) == 1:
        return load_split(data[0], "train"), load_split(data[0], "test")
    splits = [np.load(path) for path in data]
    train_data, test_data = ((split["X"], split["y"].astype(np.int64)) for split in splits)
    return train_data, test_data


def hardware(device: torch.device) -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "CPU")
    text = f"{cpu}, {len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f}"
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        text = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB; {text}"
    versions = package_versions("torch", "torchvision", "numpy", "zarr")
    names = ", ".join(f"{package} {number}" for package, number in versions.items())
    cudnn = f", CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"{text}; {names}{cudnn if device.type == 'cuda' else ''}; {platform.system()}; {date}"


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def precisions(device: torch.device) -> list[str]:
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return ["float32", "tf32", "bfloat16"]
    return ["float32"] if device.type == "cuda" else ["float32", "bfloat16"]


def bench_training(table: Table, task: Task, device: torch.device, folder: Path) -> Path:
    """Train in every setting; returns the weights trained in float32, channels first."""
    initial = folder / "initial.safetensors"
    about = {"network": task.network, "seed": SEED, "epoch": 0}
    save_state(initial_state(**task.network, seed=SEED), initial, about)
    epochs = task.recipe["epochs"]
    n_steps = -(-len(task.train_data[1]) // task.recipe["batch_size"])
    for precision in precisions(device):
        for channels_last in (False, True):
            setting = f"{precision}, channels {'last' if channels_last else 'first'}"
            place = folder / setting.replace(", ", "-").replace(" ", "-")
            times = EpochTimes()
            logger = logging.getLogger("manifold_capacity")
            logger.addHandler(times)
            logger.setLevel(logging.INFO)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            started = time.perf_counter()
            train(
                initial,
                task.train_data,
                task.test_data,
                recipe={**task.recipe, "precision": precision},
                seed=SEED,
                preprocess=task.preprocess,
                checkpoints={epochs: place / "final.safetensors"},
                metrics=place / "metrics.csv",
                resume=place / "resume",
                device=device.type,
                channels_last=channels_last,
            )
            seconds = time.perf_counter() - started
            logger.removeHandler(times)
            per_epoch = np.diff(times.ends)
            median = float(np.median(per_epoch[1:] if len(per_epoch) > 1 else per_epoch))
            memory = None
            if device.type == "cuda":
                memory = torch.cuda.max_memory_allocated(device) / 2**30
            metrics = pd.read_csv(place / "metrics.csv").iloc[-1]
            table.add(
                "training",
                setting,
                **{
                    "s per epoch": median,
                    "largest": float(per_epoch.max()),
                    "steps per s": n_steps / median,
                    "whole training, s": seconds,
                    "test accuracy": float(metrics["test_accuracy"]),
                    "peak GPU memory, GiB": memory,
                },
            )
    return folder / "float32-channels-first/final.safetensors"


def store(task: Task, weights: Path, layers: Sequence[Layer], folder: Path, **options: Any) -> None:
    extract(
        load_model(weights)[0],
        layers,
        task.train_data[0],
        task.indices,
        folder,
        preprocess=task.preprocess,
        classes=task.classes,
        class_names=list(map(str, task.classes)),
        split="train",
        seed=SEED,
        augment=task.recipe["augment"],
        **options,
    )


def forward_pass(task: Task, weights: Path, device: torch.device, precision: str) -> float:
    """Seconds of the network alone on the images that are extracted, in the same batches."""
    model = load_model(weights)[0].to(device)
    batches = []
    for indices in task.indices:
        images = to_batch(task.train_data[0][indices], device)
        changed = augment_batch(images, seeded_generator(SEED), **task.recipe["augment"])
        batches.append(task.preprocess(changed))
    with torch.no_grad(), arithmetic(precision), autocast(precision, device):
        model(batches[0])
        synchronize(device)
        started = time.perf_counter()
        for batch in batches:
            model(batch)
        synchronize(device)
    return time.perf_counter() - started


def geometry(folder: Path, label: str) -> dict[str, Any] | None:
    """Capacity, radius and dimension of a layer, if it has a geometry."""
    try:
        moments = moments_from_arrays(open_layer(folder, label))
        return geometry_from_moments(moments, seed=SEED).summary()
    except DegenerateManifoldsError as error:
        print(f"{label} has no geometry: {error}")
        return None


def geometries(folder: Path, layers: Sequence[Layer]) -> dict[str, dict[str, Any]]:
    """The geometry of every layer that has one, a layer to a core."""
    labels = [layer.label for layer in layers]
    context = multiprocessing.get_context("spawn")
    n_cores = len(os.sched_getaffinity(0))
    with context.Pool(
        min(n_cores, len(labels)), initializer=threadpool_limits, initargs=(1,)
    ) as pool:
        found = pool.starmap(geometry, [(folder, label) for label in labels])
    return {label: summary for label, summary in zip(labels, found, strict=True) if summary}


def compared(found: dict[str, Any], reference: dict[str, Any]) -> dict[str, float]:
    """Relative differences, the standard error of capacity beside them, and whether K is another.

    K, the number of directions that the centers share, is a choice: one more or less moves all
    quantities by more than rounding does.
    """
    differences = {name: abs(found[name] / reference[name] - 1) for name in QUANTITIES}
    return differences | {
        "another K": float(found["center_rank"] != reference["center_rank"]),
        "standard error": reference["capacity_gaussian_stderr"] / reference["capacity"],
    }


def bench_extraction(
    table: Table, task: Task, device: torch.device, weights: Path, folder: Path, repeats: int
) -> None:
    model, _ = load_model(weights)
    selection = {"input": True, "types": ["Conv2d", "Linear"], "names": []}
    layers = select_layers(find_layers(model, task.network["image_shape"]), selection)
    settings = [(precision, precision, device) for precision in precisions(device)]
    if device.type == "cuda":
        settings.append(("float32 on the CPU", "float32", torch.device("cpu")))
    reference: dict[str, dict[str, Any]] = {}
    for setting, precision, where in settings:
        place = folder / f"activations-{setting.replace(' ', '-')}"
        seconds, bare = [], []
        for _ in range(repeats if where == device else 1):
            started = time.perf_counter()
            store(task, weights, layers, place, device=where.type, precision=precision)
            seconds.append(time.perf_counter() - started)
            bare.append(forward_pass(task, weights, where, precision))
        files = (f.stat().st_size for f in place.rglob("*") if f.is_file())
        table.add(
            "extraction",
            setting,
            **{
                "s": min(seconds),
                "largest": max(seconds),
                "images per s": task.indices.size / min(seconds),
                "bare forward pass, images per s": task.indices.size / min(bare),
                "stored, GiB": sum(files) / 2**30,
            },
        )
        found = geometries(place, layers)
        shutil.rmtree(place)
        if not reference:
            reference = found
            continue
        both = [label for label in reference if label in found]
        for label in both:
            table.add(f"geometry of {label}", setting, **compared(found[label], reference[label]))
        parts = [compared(found[label], reference[label]) for label in both]
        table.add(
            "geometry",
            f"{setting}, against float32",
            **{name: max(part[name] for part in parts) for name in QUANTITIES},
            **{"layers with another K": sum(part["another K"] for part in parts)},
            **{"layers": len(parts), "standard error": max(p["standard error"] for p in parts)},
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        help="train.npz test.npz, or the folder of a prepared dataset; bundled digits by default",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cuda")
    parser.add_argument("--small", action="store_true", help="small_cnn, 3 epochs, few images")
    parser.add_argument("--epochs", type=int, help="in place of the recipe's 20")
    parser.add_argument(
        "--weights",
        type=Path,
        help="a run's checkpoint: extract and measure this network, not the one trained here",
    )
    parser.add_argument("--repeats", type=int, default=3, help="of the extraction")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/gpu.csv"))
    arguments = parser.parse_args()
    if len(arguments.data) > 2:
        parser.error("--data takes two .npz files or one folder")
    if not arguments.data and not arguments.small:
        parser.error("the digits are too small for VGG16: give --data, or --small")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = resolve_device(arguments.device)
    task = Task(arguments.data, arguments.small)
    if arguments.epochs:
        task.recipe["epochs"] = arguments.epochs
    if arguments.small:
        torch.set_num_threads(1)  # its layers are over before a second thread has woken up
    about = hardware(device)
    print(f"\n{about}\n\n{task}", flush=True)
    table = Table()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.output.parent) as name:
        folder = Path(name)
        weights = bench_training(table, task, device, folder)
        table.print("training")
        weights = arguments.weights or weights
        bench_extraction(table, task, device, weights, folder, arguments.repeats)
    for part in ("extraction", "geometry"):
        table.print(part)
    pd.DataFrame(table.rows).to_csv(arguments.output, index=False)
    arguments.output.with_suffix(".txt").write_text(f"{about}\n{task}\n")


if __name__ == "__main__":
    main()
