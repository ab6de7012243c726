"""One layer's columns of the tables from the `Glue` of each draw, and its curve of separability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.find_caveats import merged
from manifold_capacity.geometry.glue_result import GLUE_QUANTITIES, Glue
from manifold_capacity.geometry.intervals import FEWEST, interval_of_mean, over_classes
from manifold_capacity.geometry.result import GAUSSIAN_STDERR

_FRACTIONS = ("separable_fraction", "unique_fraction", "active_fraction", "capacity_floor")
_CURVE_POINTS = 61


def combine_glue(
    draws: Sequence[Glue], *, disjoint: bool = True
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """A layer's row and columns of manifolds, all beginning with ``glue_``, and the caveats.

    For several draws, numbers are means (the harmonic mean for capacities). Intervals are over draws if there are
    three or more that are `disjoint`; else over classes, of capacity and dimension, which classes have of their own.
    """
    over_draws = disjoint and len(draws) >= FEWEST
    row: dict[str, Any] = {}
    frame: dict[str, Any] = {}
    for name in ("capacity", "dimension"):
        values = np.array([getattr(draw, f"manifold_{name}") for draw in draws])
        frame[f"glue_{name}"] = _mean(name, values)
    # Those of classes are from the samples with unique anchors: to the scale of the layer's, which is from all.
    capacities = np.array([draw.capacity for draw in draws])
    with np.errstate(divide="ignore"):
        frame["glue_capacity"] *= _mean("capacity", capacities) * np.mean(
            1 / frame["glue_capacity"]
        )
    for name in GLUE_QUANTITIES:
        values = np.array([getattr(draw, name) for draw in draws])
        errors = np.array([getattr(draw, f"{name}_stderr") for draw in draws])
        row[f"glue_{name}"] = float(_mean(name, values))
        scale = values**2 if _is_capacity(name) else np.ones_like(values)
        error = float(np.sqrt(np.sum((errors / scale) ** 2)) / len(draws))
        error *= row[f"glue_{name}"] ** 2 if _is_capacity(name) else 1.0
        row[f"glue_{name}{GAUSSIAN_STDERR}"] = error
        if over_draws:
            ends = interval_of_mean("capacity" if _is_capacity(name) else name, values)
        elif name in ("capacity", "dimension"):
            ends = over_classes(name, frame[f"glue_{name}"], error)
        else:
            continue
        row[f"glue_{name}_low"], row[f"glue_{name}_high"] = map(float, ends)
    row["glue_interval_over"] = "draws" if over_draws else "classes"
    for name in _FRACTIONS:
        row[f"glue_{name}"] = float(np.mean([getattr(draw, name) for draw in draws]))
    row["glue_n_samples"] = round(np.mean([draw.n_samples for draw in draws]))
    row["glue_worst_gap"] = max(draw.worst_gap for draw in draws)
    if any(draw.separable_fraction == 0 for draw in draws):
        # P / rank, an upper limit whatever the geometry: no number to draw beside others.
        row |= {
            key: np.nan for key in row if key.startswith("glue_capacity") and "floor" not in key
        }
        frame["glue_capacity"] = np.full(len(frame["glue_capacity"]), np.nan)
    texts = merged([draw.caveat_texts for draw in draws])
    texts.pop("unequal", None)  # as the mean field's row says beside it
    row |= {"caveats": " ".join(texts), "caveats_text": " ".join(texts.values())}
    return row, {name: values.tolist() for name, values in frame.items()}


def separability_curve(draws: Sequence[Glue]) -> dict[str, list[float]]:
    """Numbers ``n`` of random directions around the middle, and the ``share`` of labels that they separate."""
    supports = np.concatenate([draw.samples.support for draw in draws])
    low, high = supports.min(), supports.max()
    reach = max(0.25 * (high - low), 3.0)
    n = np.unique(np.linspace(max(low - reach, 0), high + reach, _CURVE_POINTS).round().astype(int))
    share = np.mean([draw.separability(n) for draw in draws], axis=0)
    return {"n": n.tolist(), "share": share.tolist()}


def _is_capacity(name: str) -> bool:
    return name.startswith("capacity")


def _mean(name: str, values: FloatArray) -> Any:
    if not _is_capacity(name):
        return values.mean(axis=0)
    with np.errstate(divide="ignore"):  # infinite values
        return 1.0 / (1.0 / values).mean(axis=0)
