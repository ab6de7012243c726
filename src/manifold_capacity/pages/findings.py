"""What a run found, in sentences that follow from its tables.

The report opens on them. A sentence calls no difference one unless its interval excludes 0, and says where there is none.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from manifold_capacity.figures import curves
from manifold_capacity.geometry.caveats import CAVEATS
from manifold_capacity.geometry.intervals import FEWEST, half_width, in_brackets, max_t
from manifold_capacity.summary.comparisons import over_classes, over_seeds
from manifold_capacity.summary.rows import SHUFFLED, SPLIT, STATUS_OK, select_rows
from manifold_capacity.summary.text import (
    TABLE_WIDTH,
    layer_title,
    points_text,
    range_text,
    split_title,
)

# Networks, and comparisons of one kind, that have sentences of their own; the others are in the tables.
MOST = 6
_MOST_NAMES = 8  # of layers in a list
_AGAINST_CONTROL = "Classes against shuffled labels"
_MEASURES = {"capacity": "mean-field capacity", "glue_capacity": "exact capacity"}
# Caveats of every measure; the others are of the exact capacity (`glue_`) or of the mean-field one.
_OF_POINTS = ("centers", "outlier", "unequal")


@dataclass(frozen=True)
class Finding:
    """A row of the table of findings: a few words, of which network, and sentences."""

    topic: str
    about: str
    text: str


def findings(
    layers: pd.DataFrame, manifolds: pd.DataFrame, comparisons: pd.DataFrame
) -> list[Finding]:
    """What the tables of a run say, the most important first.

    Parameters
    ----------
    layers, manifolds, comparisons : DataFrame
        ``summary/layers.csv``, ``manifolds.csv`` and ``comparisons.csv``.

    Returns
    -------
    list of Finding
        Of each network at its last checkpoint: where capacity rises most and its least certain layer; what differs
        between checkpoints, labels, splits and models; caveats; how it was measured.
    """
    if layers.empty:
        return [Finding("Nothing", "", "No layers were measured.")]
    layers = layers.reset_index(drop=True)
    shown = curves.of_classes(layers)
    # Further views of a module are a network of their own, as in the figures.
    shown = shown.assign(network=shown["model"], model=layers["model"])
    control = select_rows(layers, labels=SHUFFLED)
    known = {m: name for m, name in _MEASURES.items() if m in shown and shown[m].notna().any()}
    # The only measure needs no attribute.
    names = known if len(known) > 1 else dict.fromkeys(known, "capacity")
    networks = [*shown["network"].unique()]
    found: list[Finding] = []
    for network in networks[:MOST]:
        found += _along_layers(
            select_rows(shown, network=network), curves.of_labels(manifolds), control, names
        )
    pairs, n_more = _comparisons(shown, comparisons, names)
    # If classes are like any other groups of points, nothing else says much.
    first = [pair for pair in pairs if pair.topic == _AGAINST_CONTROL]
    rest = [pair for pair in pairs if pair.topic != _AGAINST_CONTROL]
    found = [*first, *found, *rest, *_caveats(shown, not control.empty), _method(shown, names)]
    left = [_count(len(networks) - MOST, "further network"), _count(n_more, "further comparison")]
    if any(left):
        more = f"{' and '.join(filter(None, left))}: see the tables layers.csv and comparisons.csv."
        found.append(Finding("Not shown here", "", more))
    return found


def findings_text(found: Iterable[Finding]) -> str:
    """The findings for a terminal, as wide as the table of layers."""
    lines = ["What was found", "-" * len("What was found")]
    for each in found:
        lines.append(f"{each.topic} ({each.about})" if each.about else each.topic)
        for text in each.text.splitlines():
            lines += textwrap.wrap(text, TABLE_WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def _about(rows: pd.DataFrame, *words: str) -> str:
    """Which network, and how many seeds its numbers are the mean of."""
    n_seeds = rows["seed"].nunique()
    seeds = [f"mean of {n_seeds} seeds"] if n_seeds > 1 else []
    return ", ".join([str(rows["network"].iloc[0]), *words, *seeds])


def _along_layers(
    rows: pd.DataFrame, classes: pd.DataFrame, control: pd.DataFrame, names: Mapping[str, str]
) -> list[Finding]:
    """Of one network at its last checkpoint: where capacity rises most, how far in all, and where it is least certain.

    In one split: the training split, if there is one.
    """
    rows = curves.at_last_checkpoint(rows)
    rows = select_rows(rows, split=curves.splits_of(rows)[0])
    (checkpoint,) = curves.checkpoints_of(rows).values()
    first = rows.to_dict("records")[0]
    of_run = [checkpoint, split_title(first["split"])] if first["split"] != SPLIT else []
    about = _about(rows, *of_run)
    for key in ("model", "checkpoint", "split"):
        classes, control = (select_rows(frame, **{key: first[key]}) for frame in (classes, control))
    classes = classes[classes["seed"].isin(rows["seed"])]
    texts: dict[str, list[str]] = {}
    for measure, name in names.items():
        of_measure = f"{_capital(name)}: " if len(names) > 1 else ""
        for topic, text in _of_measure(rows, classes, control, measure):
            texts.setdefault(topic, []).append(of_measure + text)
    return [Finding(topic, about, "\n".join(said)) for topic, said in texts.items()]


def _of_measure(
    rows: pd.DataFrame, classes: pd.DataFrame, control: pd.DataFrame, measure: str
) -> Iterator[tuple[str, str]]:
    """Topics and sentences of one measure along the layers."""
    (order,) = curves.layers_of_models(rows).values()
    if measure == "glue_capacity":
        rows = rows.assign(interval_over=rows["glue_interval_over"])
    *numbers, over = curves.mean_and_interval(rows, "layer", order, [measure])
    columns = zip(("value", "low", "high"), numbers, strict=True)
    table = pd.DataFrame({name: column[measure] for name, column in columns}, index=order)
    known = table.dropna(subset="value")
    if len(known) < 2:
        only = [
            f"{layer_title(str(layer))}, {in_brackets(*numbers)}"
            for layer, *numbers in known.itertuples(name=None)
        ]
        text = f"Only one layer has a value ({only[0]})" if only else "No layer has a value"
        yield "Where capacity rises most", f"{text}: there are no layers to compare."
    else:
        shuffled = control.groupby("layer")[measure].mean() if measure in control else None
        yield from _rises(rows, classes, measure, known["value"], shuffled)
    left = [*select_rows(rows, status=STATUS_OK)["layer"].unique()]
    if left := [layer for layer in left if layer not in known.index]:
        yield "Left out", f"{_names(left)}: no finite value."
    if len(known) > 1:
        yield "Least certain layer", _least_certain(known, over)


def _rises(
    rows: pd.DataFrame,
    classes: pd.DataFrame,
    measure: str,
    values: pd.Series,
    shuffled: pd.Series | None,
) -> Iterator[tuple[str, str]]:
    """The largest rise from a layer to the next, and from the first layer to the last."""
    pairs = [*zip(values.index[:-1], values.index[1:], strict=True)]
    if len(values) > 2:
        pairs.append((values.index[0], values.index[-1]))
    deviations, unit = _deviations(rows, classes, measure, pairs)
    half = np.full(len(pairs), math.nan)
    if deviations is not None:
        half = half_width(deviations) * max_t(deviations)
    differences = np.array([values[b] - values[a] for a, b in pairs])
    steps, widths = differences[: len(values) - 1], half[: len(values) - 1]

    def flags(pair: tuple[str, str]) -> str:
        codes = _codes(rows[rows["layer"].isin(pair)]["caveats"], measure)
        text = f" Caveats of these layers: {codes}." if codes else ""
        if shuffled is not None and shuffled.reindex(pair).notna().all():
            text += f" With shuffled labels: {shuffled[pair[0]]:#.3g} to {shuffled[pair[1]]:#.3g}."
        return text

    sure = steps > widths
    best = int(np.where(sure, steps, -math.inf if sure.any() else steps).argmax())
    text = ""
    if steps[best] <= 0:
        text = "Nowhere: no layer has a larger value than the one before it."
    else:
        if not sure.any():
            known = "Nowhere that can be told from 0" if np.isfinite(widths).all() else "Not known"
            text = f"{known}. The largest step: "
        text += _difference(pairs[best], values, steps[best], widths[best], unit) + flags(
            pairs[best]
        )
        if steps.max() > steps[best]:
            text += " A larger step cannot be told from 0."
    if len(steps) > 1 and np.isfinite(widths).all():
        up, down = int((steps > widths).sum()), int((steps < -widths).sum())
        text += " Steps from a layer to the next that can be told from 0: "
        text += f"{up or 'none'} up, {down or 'none'} down, of {len(steps)}."
    yield "Where capacity rises most", text
    if len(values) > 2:
        text = _difference(pairs[-1], values, differences[-1], half[-1], unit)
        yield "From the first to the last layer", text + flags(pairs[-1])


def _deviations(
    rows: pd.DataFrame, classes: pd.DataFrame, measure: str, pairs: Sequence[tuple[str, str]]
) -> tuple[Any, str]:
    """How far each seed or class is from the difference of each pair of layers, (n, n_pairs), and what these n are.

    None where the tables do not have them.
    """
    if rows["seed"].nunique() >= FEWEST:
        table = rows.pivot_table(index="seed", columns="layer", values=measure)
        units = [over_seeds(table[b].to_numpy(), table[a].to_numpy())[1] for a, b in pairs]
        return np.array(units).T, f"{len(table)} seeds"
    if measure not in classes or classes.empty:
        return None, ""
    of_layers = {
        layer: part.pivot_table(index="seed", columns="class_index", values=measure).to_numpy(float)
        for layer, part in classes.groupby("layer")
    }
    shapes = {of_layers[layer].shape if layer in of_layers else None for p in pairs for layer in p}
    if len(shapes) > 1 or None in shapes:
        return None, ""
    units = [over_classes(of_layers[b], of_layers[a], measure)[1] for a, b in pairs]
    n = len(units[0])
    return (np.array(units).T, f"{n} classes") if n > 1 else (None, "")


def _difference(
    pair: tuple[str, str], values: pd.Series, difference: float, half: float, unit: str
) -> str:
    """'From A to B: 0.2 to 0.3, a factor of 1.5', and whether the difference can be told from 0."""
    first, second = (values[layer] for layer in pair)
    text = f"From {layer_title(pair[0])} to {layer_title(pair[1])}: {first:#.3g} to {second:#.3g}"
    text += f", a factor of {second / first:#.3g}" if first > 0 else ""
    if not math.isfinite(half):
        return f"{text}; there is no interval, so whether this is more than chance is not known."
    interval = in_brackets(difference, difference - half, difference + half)
    if abs(difference) > half:
        return f"{text}; the difference is {interval} (over {unit})."
    return f"{text}; the difference, {interval} (over {unit}), cannot be told from 0."


def _least_certain(table: pd.DataFrame, over: str) -> str:
    """The layer whose interval is widest for its value; `table` has value, low and high of each."""
    width = ((table["high"] - table["low"]) / table["value"]).replace(math.inf, math.nan)
    if width.isna().all():
        return "Not known: there are no intervals, so that nothing says how far a number varies by chance."
    layer = str(width.idxmax())
    text = f"{layer_title(layer)}: {in_brackets(*table.loc[layer])}, the widest 95 % interval relative to its value (over {over})."
    without = _count(int(width.isna().sum()), "layer")
    return f"{text} {without} without an interval." if without else text


def _comparisons(
    shown: pd.DataFrame, comparisons: pd.DataFrame, names: Mapping[str, str]
) -> tuple[list[Finding], int]:
    """A finding for each comparison in each network's first split, `MOST` of a kind; how many are left out."""
    layers = shown.drop_duplicates(["model", "layer"])[["model", "layer", "network"]]
    rows = comparisons.merge(layers, on=["model", "layer"])  # without single positions
    found: list[Finding] = []
    n_of_kind: dict[str, int] = {}
    keys = ["network", "comparison", "checkpoint", "split", "reference"]
    for _, group in rows[rows["quantity"].isin([*names])].groupby(keys, sort=False):
        one = group.to_dict("records")[0]
        kind, reference = one["comparison"], one["reference"]
        of_network = select_rows(shown, network=one["network"])
        splits = curves.splits_of(of_network)
        if kind != "split" and one["split"] != splits[0]:
            continue
        n_of_kind[kind] = n_of_kind.get(kind, 0) + 1
        if n_of_kind[kind] > MOST:
            continue
        titles = curves.checkpoints_of(of_network)
        last, before = titles[one["checkpoint"]], titles.get(reference, reference)
        trained = before.endswith("(untrained)")
        topic = {
            "checkpoint": f"Trained ({last}) against untrained"
            if trained
            else f"{_capital(last)} against {before}",
            "labels": _AGAINST_CONTROL,
            "split": f"{_capital(one['split'])} against {reference} split",
            "model": f"{one['model']} against {reference}",
        }[kind]
        texts = [
            _what_differs(select_rows(group, quantity=measure), name)
            for measure, name in names.items()
            if (group["quantity"] == measure).any()
        ]
        if group["caveats"].fillna("").str.contains("few_seeds").any():
            texts[-1] += " Fewer than three seeds: another training may differ."
        of_run = [split_title(one["split"])] if len(splits) > 1 and kind != "split" else []
        found.append(Finding(topic, _about(of_network, *of_run), "\n".join(texts)))
    return found, sum(max(n - MOST, 0) for n in n_of_kind.values())


def _what_differs(rows: pd.DataFrame, name: str) -> str:
    """In how many layers a measure differs between two groups, and where most."""
    n = len(rows)
    low, high = rows["simultaneous_low"].astype(float), rows["simultaneous_high"].astype(float)
    if not np.isfinite(high - low).any():
        return f"There are no intervals: whether {name} differs is not known."
    up, down = low > 0, high < 0
    over = f"over {rows['n'].max()} {rows['interval_over'].iloc[0]}"
    if not (up | down).any():
        least = "the layer" if n == 1 else f"any of {n} layers"
        return f"No difference in {name} can be told from 0 in {least}: all intervals ({over}) include 0."
    said = " and ".join(
        f"{word} in {_layers(rows['layer'][which], n)}"
        for word, which in (("higher", up), ("lower", down))
        if which.any()
    )
    sure = rows[up | down]
    most = sure.iloc[int(sure["difference"].abs().argmax())]
    ends = (most[key] for key in ("difference", "simultaneous_low", "simultaneous_high"))
    codes = _codes(pd.Series([most["caveats"]]), most["quantity"])
    flagged = f"; caveats there: {codes}" if codes else ""
    rest = " In the others no difference can be told from 0." if len(sure) < n else ""
    return (
        f"{_capital(name)} is {said}; most in {layer_title(most['layer'])}, {most['value']:#.3g} against "
        f"{most['reference_value']:#.3g}, a difference of {in_brackets(*ends)} ({over}){flagged}.{rest}"
    )


def _codes(caveats: pd.Series, measure: str) -> str:
    """The caveats of some layers that concern a measure, once each; that of few seeds is said by itself."""
    codes = dict.fromkeys(" ".join(caveats.fillna("").astype(str)).split())
    of_glue = measure == "glue_capacity"
    mine = [c for c in codes if c in _OF_POINTS or c.startswith("glue_") == of_glue]
    return ", ".join(code for code in mine if code != "few_seeds")


def _layers(which: pd.Series, n: int) -> str:
    if len(which) == n:
        return "all layers" if n > 1 else "the only layer"
    return f"{len(which)} of {n} layers"


def _caveats(shown: pd.DataFrame, with_control: bool) -> Iterator[Finding]:
    """What limits the numbers: caveats of layers, and layers without geometry."""
    measured = shown[shown["status"] == STATUS_OK]
    codes = measured["caveats"].fillna("").astype(str).str.split()
    n_layers = measured["layer"].nunique()
    for code, (title, _) in CAVEATS.items():
        names = measured["layer"][[code in of_layer for of_layer in codes]].unique()
        if len(names):
            which = "all layers" if len(names) == n_layers > 1 else _names(names)
            yield Finding("Caveat", code, f"{_capital(title)} ({which}).")
    gone = shown[shown["status"] != STATUS_OK]
    for status, rows in gone.groupby("status", sort=False):
        yield Finding("No geometry", "", f"{_names(rows['layer'].unique())}: {status}.")
    if not any(codes) and gone.empty:
        own = " with the classes' own labels" if with_control else ""
        yield Finding("Caveats", "", f"None{own}: no layer is flagged.")


def _names(layers: Iterable[str]) -> str:
    names = [layer_title(layer) for layer in layers]
    more = [f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return ", ".join(names[:_MOST_NAMES] + more)


def _method(shown: pd.DataFrame, names: Mapping[str, str]) -> Finding:
    """The measures, how many points they are of, and what the intervals are over."""
    measured = shown[shown["status"] == STATUS_OK]
    if measured.empty:
        return Finding("How it was measured", "", "No layer has a geometry.")
    with_glue = "glue_capacity" in names
    text = "Mean-field theory" + (", and exact capacity (GLUE) beside it" if with_glue else "")
    text += f": {points_text(measured)}, margin {range_text(measured['margin'])}. "
    n_draws, over = measured["n_repeats"].max(), [*measured["interval_over"].dropna().unique()]
    draws = "one draw of points" if n_draws == 1 else f"{n_draws:g} draws of points"
    text += (
        f"[ ] of a layer is its 95 % interval over {' or '.join(over)} ({draws})"
        if over
        else f"Layers have no intervals ({draws})"
    )
    text += "; of a difference, a simultaneous one, for all layers together. The more points a class has, the lower its capacity: compare only at the same number."
    if not (measured["weights"] == "external").all() and shown["seed"].nunique() == 1:
        text += " One seed: nothing here is about other trainings."
    return Finding("How it was measured", "", text)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' if n != 1 else ''}" if n > 0 else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
