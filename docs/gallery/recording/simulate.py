"""How many trials, neurons and classes are enough: a recording whose answer is known.

    python docs/gallery/recording/simulate.py docs/gallery/recording

Every class (stimulus) has a mean response, drawn at random, and its trials vary along 6 directions
of its own, plus, in the noisy recording, independently in every neuron. One of the number of
trials, neurons and classes varies, the others stay at 40, 300 and 30. Five recordings each.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from manifold_capacity import measure
from manifold_capacity.errors import CaveatWarning
from manifold_capacity.figures import style

USUAL = {"trials": 40, "neurons": 300, "classes": 30}
VARIED = {
    "trials": (5, 10, 20, 40, 80, 160),
    "neurons": (25, 50, 100, 200, 400, 800),
    "classes": (5, 10, 20, 40, 80),
}
RECORDINGS = {"no noise in single neurons": 0.0, "noise in single neurons": 0.7}
N_RECORDINGS = 5


def record(trials: int, neurons: int, classes: int, noise: float, seed: int) -> NDArray[np.float64]:
    """Responses (classes, trials, neurons)."""
    random = np.random.default_rng(seed)
    centers = random.standard_normal((classes, 1, neurons))
    directions = random.standard_normal((classes, 6, neurons))
    along = 0.35 * random.standard_normal((classes, trials, 6)) @ directions
    return centers + along + noise * random.standard_normal((classes, trials, neurons))


def table(sizes: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """A row for every number of trials, neurons or classes, and recording."""
    rows = []
    for varied, numbers in sizes.items():
        for number in numbers:
            size = USUAL | {varied: number}
            for name, noise in RECORDINGS.items():
                capacities = [
                    measure(record(**size, noise=noise, seed=seed)).summary()["capacity"]
                    for seed in range(N_RECORDINGS)
                ]
                rows.append(
                    {
                        "recording": name,
                        "varied": varied,
                        **size,
                        "capacity": np.mean(capacities),
                        "low": min(capacities),
                        "high": max(capacities),
                        "floor": 2 / size["trials"],
                    }
                )
    return pd.DataFrame(rows)


def draw(frame: pd.DataFrame, path: Path) -> None:
    with style.in_style():
        figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
        for panel, (varied, numbers) in zip(panels, VARIED.items(), strict=True):
            for name, rows in frame[frame["varied"] == varied].groupby("recording", sort=False):
                errors = [rows["capacity"] - rows["low"], rows["high"] - rows["capacity"]]
                panel.errorbar(rows[varied], rows["capacity"], errors, marker="o", label=name)
            panel.plot(rows[varied], rows["floor"], "--", color="gray", label="floor: 2 / trials")
            others = ", ".join(f"{size} {name}" for name, size in USUAL.items() if name != varied)
            panel.set(xscale="log", yscale="log", xlabel=f"{varied}\n({others})")
            panel.set_xticks(numbers, [str(number) for number in numbers])
            panel.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
            panel.minorticks_off()
        panels[0].set_ylabel("Capacity")
        panels[0].legend()
        style.write(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="for capacity.csv and capacity.svg")
    folder = parser.parse_args().folder
    warnings.simplefilter(
        "ignore", CaveatWarning
    )  # sizes that are too small are what this is about
    frame = table(VARIED)
    frame.round(5).to_csv(folder / "capacity.csv", index=False)
    draw(frame, folder / "capacity.svg")


if __name__ == "__main__":
    main()
