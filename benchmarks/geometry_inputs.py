"""Images, timing and tables of benchmarks/geometry.py."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# One layer of VGG16 on 32 x 32 images, the largest of the usual runs: 64 channels.
WIDE_FEATURES = 65_536


class Table:
    """Rows of measurements, printed as they come."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, what: str, setting: str, values: list[float], unit: str, note: str = "") -> float:
        least = min(values)
        row = {
            "what": what,
            "setting": setting,
            "value": least,
            "largest": max(values),
            "repetitions": len(values),
            "unit": unit,
            "note": note,
        }
        self.rows.append(row)
        print(
            f"{what:44s} {setting:34s} {least:10.4g} {unit:10s} ({max(values):.4g}) {note}",
            flush=True,
        )
        return least

    def write(self, path: Path) -> None:
        pd.DataFrame(self.rows).to_csv(path, index=False)


def machine() -> str:
    """What the numbers depend on."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "scipy", "numba", "cvxopt"))
    return (
        f"{model}, {len(os.sched_getaffinity(0))} CPUs; Python {platform.python_version()}, "
        f"{packages}; load {os.getloadavg()[0]:.1f}"
    )


def load_images(path: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, ...) in [0, 1] as float32, and labels (n,)."""
    if path is None:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        return (images / 16).astype(np.float32).reshape(-1, 8, 8), labels
    if Path(path).is_dir():
        from PIL import Image

        files = sorted(f for f in Path(path).glob("*/*") if f.is_file())
        images = np.stack([np.asarray(Image.open(f)) for f in files])
        _, labels = np.unique([f.parent.name for f in files], return_inverse=True)
    else:
        data = np.load(path)
        images, labels = data["X"], data["y"]
    return (images / np.float32(255)).astype(np.float32), labels


class Images:
    """Manifolds of any number and size from the images: classes, or parts of classes."""

    def __init__(self, path: str | None) -> None:
        images, labels = load_images(path)
        self.name = "digits" if path is None else Path(path).name
        self.classes = [images[labels == c] for c in np.unique(labels)]
        self.shape = images.shape[1:]

    @property
    def most_points(self) -> int:
        return min(map(len, self.classes))

    def manifolds(self, n_manifolds: int, n_points: int) -> np.ndarray | None:
        """(n_manifolds, n_points, n_features), or None where the images do not suffice."""
        parts = [
            images[start : start + n_points]
            for start in range(0, self.most_points - n_points + 1, n_points)
            for images in self.classes
        ]
        if len(parts) < n_manifolds:
            return None
        return np.stack(parts[:n_manifolds]).reshape(n_manifolds, n_points, -1)

    def wide(self, n_manifolds: int, n_points: int) -> np.ndarray:
        """The manifolds behind a convolution with random 3 x 3 kernels and a ReLU, cut to size."""
        points = self.manifolds(n_manifolds, n_points)
        assert points is not None
        channels = self.shape[2] if len(self.shape) == 3 else 1
        flat = points.reshape(-1, *self.shape[:2], channels)
        padded = np.pad(flat, ((0, 0), (1, 1), (1, 1), (0, 0)))
        n_kernels = -(-WIDE_FEATURES // (self.shape[0] * self.shape[1]))
        kernels = np.random.default_rng(0).standard_normal((9 * channels, n_kernels))
        kernels = kernels.astype(np.float32) / 3
        result = np.empty((len(flat), WIDE_FEATURES), dtype=np.float32)
        height, width = self.shape[:2]
        for i in range(len(flat)):
            patches = np.concatenate(
                [padded[i, a : a + height, b : b + width] for a in range(3) for b in range(3)],
                axis=2,
            )
            out = np.maximum(patches @ kernels, 0).transpose(2, 0, 1)
            result[i] = out.reshape(-1)[:WIDE_FEATURES]
        return result.reshape(n_manifolds, n_points, WIDE_FEATURES)


def timed(function: Callable[[], Any], repeats: int) -> tuple[list[float], list[float], Any]:
    """Wall and CPU seconds of each repetition, and the last result."""
    wall, cpu = [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        result = function()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
    return wall, cpu, result


def process(
    code: str, *arguments: str, environment: dict[str, str] | None = None
) -> dict[str, float]:
    """Run code in a process of its own: what it prints as JSON, and its wall time."""
    start = time.perf_counter()
    output = subprocess.check_output(
        [sys.executable, "-c", code, *arguments], text=True, env=os.environ | (environment or {})
    )
    wall = time.perf_counter() - start
    return {"wall": wall} | (json.loads(output) if output.strip() else {})
