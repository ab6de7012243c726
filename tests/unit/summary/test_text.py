"""The table of layers as text for a terminal."""

from pathlib import Path

import pytest

from manifold_capacity.geometry.caveats import CAVEATS
from manifold_capacity.summary.collect import collect_layers
from manifold_capacity.summary.text import TABLE_WIDTH, format_table

from .helpers import collected, layer_row


def test_no_layers() -> None:
    assert format_table(collect_layers([])) == "No layers were measured."


def test_table_on_the_terminal(tmp_path: Path) -> None:
    larger = {"capacity": 0.5, "capacity_high": 0.5123, "dimension": 9.5, "dimension_low": 9.4}
    rows = [
        layer_row(0, "Input", epoch=0, split="test"),
        layer_row(11, epoch=0, split="test", **larger),
        layer_row(0, "Input", epoch=None),
    ]
    rule = "-" * 95
    head = "Layer       Capacity                  Radius                 Dimension              Correlation"
    first = (
        "0 Input     0.1235 [0.1221, 0.1246]   1.235 [1.210, 1.250]   12.35 [12.11, 12.52]   0.3333"
    )
    last = (
        "11 Conv2d   0.5000 [0.1221, 0.5123]   1.235 [1.210, 1.250]    9.50 [ 9.40, 12.52]   0.3333"
    )
    title = "digits: small_cnn, seed 0, epoch 0 (untrained), test split"
    assert format_table(collected(tmp_path, *rows)).splitlines() == [
        *(title, rule, head, rule, first, last),
        *("", "digits: small_cnn, seed 0, pretrained, train split", rule, head, rule, first, ""),
        "Capacity is the harmonic mean over the manifolds, radius and dimension are the mean; [ ] is the 95 %",
        "interval over classes; 10 classes of 4 points; 300 Gaussian samples, margin 0.",
    ]


def test_external_activations_have_no_checkpoint_and_no_split(tmp_path: Path) -> None:
    row = layer_row(dataset="v4.npz", model="v4", checkpoint="external", epoch=None, split="all")
    text = format_table(collected(tmp_path, row))
    assert text.startswith("v4.npz: v4, seed 0, external activations, no split\n")
    shuffled = format_table(collected(tmp_path, layer_row(labels="shuffled")))
    assert "epoch 15, train split, shuffled labels\n" in shuffled


def test_table_shows_why_a_layer_has_no_numbers(tmp_path: Path) -> None:
    status = "every activation is zero, so the manifolds coincide. " * 4
    lines = format_table(
        collected(tmp_path, layer_row(1), layer_row(2, status=status))
    ).splitlines()
    assert lines[5].startswith("2 Conv2d   no geometry: every activation is zero")
    assert " ".join(" ".join(lines[5:8]).split()) == f"2 Conv2d no geometry: {status.strip()}"
    assert max(map(len, lines)) <= TABLE_WIDTH


def test_caveats_stand_below_their_block_with_the_layers_that_have_them(tmp_path: Path) -> None:
    rows = [layer_row(1, caveats="floor programs"), layer_row(2, caveats="floor")]
    rows += [layer_row(3, caveats="floor"), layer_row(1, epoch=0, caveats="fit")]
    lines = format_table(collected(tmp_path, *rows)).splitlines()
    before, after = (part.split("\n") for part in "\n".join(lines).split("\n\n")[:2])
    assert before[-1] == f"! fit: {CAVEATS['fit'][0]} (1 Conv2d)"
    said = " ".join(" ".join(after[7:]).split())
    assert said == (
        f"! floor: {CAVEATS['floor'][0]} (all layers) ! programs: {CAVEATS['programs'][0]} (1 Conv2d)"
    )
    assert max(map(len, lines)) <= TABLE_WIDTH


def test_table_keeps_its_width_whatever_stands_in_it(tmp_path: Path) -> None:
    kind = "NonDynamicallyQuantizableLinear" * 3
    huge = {"radius": 1.5e9, "radius_high": 1.7e9, "dimension_low": float("nan")}
    table = collected(tmp_path, layer_row(1, kind, **huge), layer_row(2))
    lines = format_table(table).splitlines()
    assert max(map(len, lines)) <= TABLE_WIDTH
    assert lines[4].startswith("1 NonDyn")
    assert "~" in lines[4]
    assert "1.500e+09 [1, 1.700e+09]" in lines[4]
    assert "12.35                  0.3333" in lines[4]  # without an interval


def test_table_tells_an_infinite_number_from_a_missing_one(tmp_path: Path) -> None:
    infinite = {"capacity": float("inf"), "capacity_low": 0.3, "capacity_high": float("inf")}
    table = collected(tmp_path, layer_row(1, **infinite), layer_row(2, status="dead"))
    lines = format_table(table).splitlines()
    assert lines[4].split()[2:5] == ["inf", "[0.3000,", "inf]"]


def test_settings_in_the_note(tmp_path: Path) -> None:
    draws = format_table(collected(tmp_path, layer_row(n_repeats=5, interval_over="draws")))
    said = "over draws; 10 classes of 4 points; 300 Gaussian samples, 5 draws of points, margin 0."
    assert said in " ".join(draws.split())
    note = format_table(collected(tmp_path, layer_row(1), layer_row(2, margin=0.5)))
    assert "Gaussian samples" not in note
    assert "harmonic mean" in note


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"n_points": 12340}], "10 classes of 1,234 points; 300"),
        (
            [{"n_points": 45, "caveats": "floor unequal"}],
            "10 classes of 4.5 points on average; 300",
        ),
        ([{}, {"n_manifolds": 8, "n_points": 24}], "8 to 10 classes of 3 to 4 points; 300"),
        ([{}, {"status": "dead"}], "10 classes of 4 points; 300"),
    ],
)
def test_the_note_says_how_many_points_were_used(
    tmp_path: Path, rows: list[dict], said: str
) -> None:
    layers = [layer_row(index, **row) for index, row in enumerate(rows)]
    assert said in " ".join(format_table(collected(tmp_path, *layers)).split())
