"""What a run found, in sentences that follow from its tables."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manifold_capacity.geometry.intervals import QUANTITIES, over_classes
from manifold_capacity.pages import findings as module
from manifold_capacity.pages.findings import Finding, findings, findings_text
from manifold_capacity.summary.comparisons import compare

RISES, ENDS = "Where capacity rises most", "From the first to the last layer"
CERTAIN = "Least certain layer"
N = 12  # classes
MODEL = {"model": "net", "weights": "trained", "seed": 0, "epoch": 15, "split": "train"}


def spread(capacity: float, of: float = 0.1, seed: int = 0) -> Any:
    """Capacities of the classes, with this harmonic mean and about this relative spread."""
    inverse = 1 + of * np.random.default_rng(seed).standard_normal(N)
    return capacity * inverse.mean() / inverse


def run(
    values: Mapping[str, Any], glue: float = 0.0, **changes: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of one network's layers and their classes, from the capacities of the classes (None: no geometry).

    With `glue`, exact capacities are so many times as large.
    """
    about = {**MODEL, "dataset": "digits", "labels": "original", "view": "flatten"} | changes
    epoch = about["epoch"]
    about.setdefault("checkpoint", f"epoch-{epoch:03d}" if epoch is not None else "external")
    rows, parts = [], []
    for place, (layer, numbers) in enumerate(values.items()):
        row = {**about, "layer": layer, "layer_index": place, "layer_name": layer, "position": ""}
        row |= {"n_manifolds": N, "caveats": about.get("caveats", "")}
        if numbers is None:
            rows.append(row | {"status": "all its activations are zero"})
            continue
        row |= {"status": "ok", "n_points": 30 * N, "margin": 0.0, "n_repeats": 1}
        row["interval_over"] = "classes"
        part = {"class_index": range(len(numbers)), **dict.fromkeys(QUANTITIES[1:], 1.0)}
        for name, times in {"capacity": 1.0, **({"glue_capacity": glue} if glue else {})}.items():
            low, high = over_classes("capacity", times * numbers)
            row |= {name: times / (1 / numbers).mean(), f"{name}_low": low, f"{name}_high": high}
            part[name] = times * numbers
        row |= dict.fromkeys(QUANTITIES[1:], 1.0) | {"glue_interval_over": "classes"}
        rows.append(row)
        parts.append(pd.DataFrame({**row, **part}))
    return pd.DataFrame(rows), pd.concat(parts)


def found_in(*runs: tuple[pd.DataFrame, pd.DataFrame]) -> list[Finding]:
    layers, manifolds = (pd.concat(tables, ignore_index=True) for tables in zip(*runs, strict=True))
    return findings(layers, manifolds, compare(layers, manifolds))


def text_of(found: list[Finding], topic: str, about: str = "") -> str:
    (text,) = (each.text for each in found if each.topic == topic and about in each.about)
    return text


RISING = {
    "0_Input": spread(0.2),
    "1_Conv2d": spread(0.21, seed=1),
    "4_Linear": spread(0.5, seed=2),
    "6_Linear": spread(0.45, seed=3),
}
FLAT = {name: spread(0.2, 0.3, seed) for seed, name in enumerate(RISING)}


def test_of_one_network_the_largest_rise_and_the_least_certain_layer() -> None:
    found = found_in(run({**RISING, "6_Linear": spread(0.45, 0.4, 3)}))
    text = text_of(found, RISES)
    assert text.startswith(
        "From 1 Conv2d to 4 Linear: 0.210 to 0.500, a factor of 2.38; the difference is 0.290 ["
    )
    assert "(over 12 classes)" in text
    assert text.endswith(
        "Steps from a layer to the next that can be told from 0: 1 up, none down, of 3."
    )
    assert text_of(found, ENDS).startswith(
        "From 0 Input to 6 Linear: 0.200 to 0.450, a factor of 2.25"
    )
    assert text_of(found, CERTAIN).startswith("6 Linear: 0.45 [")
    assert {each.about for each in found if each.topic in (RISES, ENDS, CERTAIN)} == {
        "net, epoch 15, train split"
    }
    assert text_of(found, "Caveats") == "None: no layer is flagged."
    assert text_of(found, "How it was measured") == (
        "Mean-field theory: 12 classes of 30 points, margin 0. [ ] of a layer is its 95 % interval over classes "
        "(one draw of points); of a difference, a simultaneous one, for all layers together. The more points a class has, the lower its capacity: compare only at the same "
        "number. One seed: nothing here is about other trainings."
    )


def test_a_rise_whose_interval_has_0_is_not_called_one() -> None:
    text = text_of(found_in(run(FLAT)), RISES)
    assert text.startswith("Nowhere that can be told from 0. The largest step: From ")
    assert "the difference, " in text
    assert "(over 12 classes), cannot be told from 0." in text
    assert text.endswith("that can be told from 0: none up, none down, of 3.")


def test_of_rises_those_that_can_be_told_from_0_come_first() -> None:
    values = {"0_Input": spread(0.2, 0.02), "1_Conv2d": spread(0.25, 0.02, 1)}
    text = text_of(found_in(run({**values, "4_Linear": spread(0.5, 0.9, 2)})), RISES)
    assert text.startswith("From 0 Input to 1 Conv2d: 0.200 to 0.250")
    assert "A larger step cannot be told from 0. Steps" in text


def test_a_fall_is_not_a_rise() -> None:
    falling = dict(zip(RISING, (spread(0.5), spread(0.4), spread(0.3), spread(0.2)), strict=True))
    found = found_in(run(falling))
    assert text_of(found, RISES) == (
        "Nowhere: no layer has a larger value than the one before it. Steps from a layer to the next that "
        "can be told from 0: none up, 3 down, of 3."
    )
    assert "a factor of 0.400; the difference is -0.3" in text_of(found, ENDS)


def test_trained_against_untrained() -> None:
    found = found_in(run(FLAT, epoch=0), run({**FLAT, "6_Linear": spread(0.9)}))
    text = text_of(found, "Trained (epoch 15) against untrained")
    assert text.startswith(
        "Capacity is higher in 1 of 4 layers; most in 6 Linear, 0.900 against 0.200, a difference of"
    )
    assert "In the others no difference can be told from 0. Fewer than three seeds" in text
    same = found_in(run(FLAT, epoch=0), run(FLAT))
    assert text_of(same, "Trained (epoch 15) against untrained").startswith(
        "No difference in capacity can be told from 0 in any of 4 layers: all intervals (over 12 classes) include 0."
    )
    later = found_in(run(RISING, epoch=5), run(FLAT))
    assert "lower in 2 of 4 layers" in text_of(later, "Epoch 15 against epoch 5")


def test_three_seeds_or_more_are_what_intervals_are_over() -> None:
    rng = np.random.default_rng(0)
    runs = [
        run({n: v * rng.normal(1, 0.02) for n, v in RISING.items()}, seed=seed, epoch=epoch)
        for seed in range(4)
        for epoch in (0, 15)
    ]
    found = found_in(*runs)
    assert "(over 4 seeds)" in text_of(found, RISES)
    assert text_of(found, CERTAIN).endswith("(over 4 seeds).")
    assert found[0].about == "net, epoch 15, train split, mean of 4 seeds"
    assert "Fewer than three seeds" not in text_of(found, "Trained (epoch 15) against untrained")
    assert "One seed" not in text_of(found, "How it was measured")


def test_networks_have_sentences_of_their_own_and_are_compared() -> None:
    random = run(FLAT, model="net-random", weights="random", epoch=0)
    other = run({"0_Input": spread(0.2), "1_Linear": spread(0.4)}, model="other")
    found = found_in(run(RISING), random, other)
    rises = {each.about: each.text for each in found if each.topic == RISES}
    assert [*rises] == [
        "net, epoch 15, train split",
        "net-random, epoch 0 (untrained), train split",
        "other, epoch 15, train split",
    ]
    assert "4 Linear" in rises["net, epoch 15, train split"]
    assert "From 0 Input to 1 Linear" in rises["other, epoch 15, train split"]
    text = text_of(found, "net-random against net")
    assert text.startswith("Capacity is lower in 2 of 4 layers; most in 4 Linear")
    assert not [each.topic for each in found if each.topic.startswith("other against")]


def test_classes_against_shuffled_labels_and_test_against_train() -> None:
    found = found_in(
        run(RISING), run(RISING, split="test"), run(FLAT, labels="shuffled", caveats="centers")
    )
    text = text_of(found, "Classes against shuffled labels", "train split")
    assert text.startswith("Capacity is higher in 2 of 4 layers; most in 4 Linear")
    assert "all intervals (over 12 classes) include 0" in text_of(found, "Test against train split")
    assert found[0].topic == "Classes against shuffled labels"
    rise = text_of(found, "Where capacity rises most")
    assert " With shuffled labels: 0.2" in rise
    # Caveats are those of the classes, not of the control.
    assert text_of(found, "Caveats") == "None with the classes' own labels: no layer is flagged."


def test_exact_capacity_stands_beside_mean_field_capacity() -> None:
    found = found_in(run(RISING, glue=1.1, epoch=0), run(RISING, glue=1.2))
    for topic in (RISES, ENDS, CERTAIN):
        first, second = text_of(found, topic).splitlines()
        assert first.startswith("Mean-field capacity: ")
        assert second.startswith("Exact capacity: ")
    assert "Exact capacity: From 1 Conv2d to 4 Linear: 0.252 to 0.600" in text_of(found, RISES)
    flagged = found_in(run(RISING, glue=1.2, caveats="floor centers glue_floor"))
    first, second = text_of(flagged, RISES).splitlines()
    assert "Caveats of these layers: floor, centers. " in first
    assert "Caveats of these layers: centers, glue_floor. " in second
    first, second = text_of(found, "Trained (epoch 15) against untrained").splitlines()
    assert first.startswith("No difference in mean-field capacity can be told from 0")
    assert second.startswith("Exact capacity is higher in all layers")
    assert text_of(found, "How it was measured").startswith(
        "Mean-field theory, and exact capacity (GLUE) beside it: "
    )


def test_without_intervals_nothing_is_called_a_difference() -> None:
    runs = [
        run({name: values[:1] for name, values in of_run.items()}, epoch=epoch)
        for epoch, of_run in ((0, FLAT), (15, RISING))
    ]
    for layers, _ in runs:
        layers[["capacity_low", "capacity_high", "interval_over"]] = math.nan
    found = found_in(*runs)
    text = text_of(found, RISES)
    assert text.startswith("Not known. The largest step: From ")
    assert text.endswith("there is no interval, so whether this is more than chance is not known.")
    assert text_of(found, CERTAIN).startswith("Not known: there are no intervals")
    assert text_of(found, "Trained (epoch 15) against untrained").startswith(
        "There are no intervals: whether capacity differs is not known."
    )
    assert "Layers have no intervals (one draw of points)" in text_of(found, "How it was measured")
    said = findings_text(found)
    assert "higher" not in said
    assert "the difference" not in said
    assert "can be told" not in said


def test_layers_without_geometry_are_named_and_passed_over() -> None:
    found = found_in(run({**RISING, "1_Conv2d": None}))
    assert text_of(found, RISES).startswith("From 0 Input to 4 Linear")
    assert text_of(found, "No geometry") == "1 Conv2d: all its activations are zero."
    assert not [each for each in found if each.topic == "Caveats"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"0_Input": spread(0.2)}, "Only one layer has a value (0 Input, 0.20"),
        ({"0_Input": None, "1_Conv2d": spread(0.2)}, "Only one layer has a value (1 Conv2d, 0.20"),
    ],
)
def test_one_layer_is_compared_with_nothing(values: dict[str, Any], said: str) -> None:
    found = found_in(run(values))
    assert text_of(found, RISES).startswith(said)
    assert text_of(found, RISES).endswith("there are no layers to compare.")
    assert not [each for each in found if each.topic in (ENDS, CERTAIN)]


def test_no_layer_has_a_geometry() -> None:
    layers = run({**RISING})[0].assign(status="all its activations are zero", capacity=math.nan)
    empty = pd.DataFrame(columns=["model", "checkpoint", "split", "labels", "layer", "seed"])
    found = findings(layers, empty, compare(layers.iloc[:0], empty.assign(class_index=0)))
    assert [each.topic for each in found] == ["No geometry", "How it was measured"]
    assert found[-1].text == "No layer has a geometry."
    assert findings(layers.iloc[:0], empty, empty)[0].text == "No layers were measured."


def test_further_views_are_a_network_of_their_own_and_positions_are_left_out() -> None:
    layers, manifolds = run(RISING)
    views = layers.assign(
        layer=layers["layer"] + "_channel-means", view="channel-means", capacity=0.1
    )
    position = layers.iloc[[1]].assign(layer="1_Conv2d_position_0", position="0", capacity=99.0)
    layers = pd.concat([layers, views, position], ignore_index=True)
    found = findings(layers, manifolds, compare(layers, manifolds))
    assert [each.about for each in found if each.topic == RISES] == [
        "net, epoch 15, train split",
        "net, channel means, epoch 15, train split",
    ]
    assert "1 Conv2d to 4 Linear" in found[0].text
    assert "99" not in findings_text(found)


def test_external_activations_have_neither_epoch_nor_split() -> None:
    external = {"weights": "external", "checkpoint": "external", "split": "all", "epoch": None}
    found = found_in(run(RISING, **external))
    assert found[0].about == "net"
    assert "trainings" not in text_of(found, "How it was measured")


def test_caveats_are_said_with_their_layers() -> None:
    layers, manifolds = run(RISING)
    layers.loc[layers["layer"] == "4_Linear", "caveats"] = "floor features"
    found = findings(layers, manifolds, compare(layers, manifolds))
    assert "Caveats of these layers: floor, features." in text_of(found, RISES)
    assert "Caveats" not in text_of(found, ENDS)
    assert text_of(found, "Caveat", "floor").endswith("use more points per class (4 Linear).")
    before = run(FLAT, epoch=0)
    text = text_of(found_in(before, (layers, manifolds)), "Trained (epoch 15) against untrained")
    assert "(over 12 classes); caveats there: floor, features." in text
    flagged = layers.assign(caveats="unequal")
    found = findings(flagged, manifolds, compare(flagged, manifolds))
    assert text_of(found, "Caveat", "unequal").endswith("(all layers).")


def test_many_networks_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    found = found_in(*(run(RISING, model=name) for name in "abc"))
    assert len([each for each in found if each.topic == RISES]) == 2
    assert text_of(found, "Not shown here") == (
        "1 further network and 1 further comparison: see the tables layers.csv and comparisons.csv."
    )


def test_text_fits_a_terminal() -> None:
    lines = findings_text(
        found_in(run(RISING, glue=1.1, epoch=0), run(RISING, glue=1.1))
    ).splitlines()
    assert lines[0] == "What was found"
    assert max(map(len, lines)) <= 100
    assert "  Exact capacity: From 1 Conv2d" in "\n".join(lines)
