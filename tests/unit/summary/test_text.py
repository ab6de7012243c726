"""The table of layers as text for a terminal."""

from pathlib import Path

from manifold_capacity.summary.collect import collect_layers
from manifold_capacity.summary.text import TABLE_WIDTH, format_table

from .helpers import collected, layer_row


def test_no_layers() -> None:
    assert format_table(collect_layers([])) == "No layers were measured."


def test_table_on_the_terminal(tmp_path: Path) -> None:
    rows = [
        layer_row(0, "Input", epoch=0, split="test"),
        layer_row(11, epoch=0, split="test", capacity=0.5, capacity_stderr=0.01, dimension=9.5),
        layer_row(0, "Input", epoch=None),
    ]
    assert format_table(collected(tmp_path, *rows)) == (
        "digits: small_cnn, seed 0, epoch 0 (untrained), test split\n"
        "------------------------------------------------------------------------\n"
        "Layer       Capacity          Radius          Dimension      Correlation\n"
        "------------------------------------------------------------------------\n"
        "0 Input     0.1235 ± 0.0012   1.235 ± 0.011   12.35 ± 0.13   0.3333\n"
        "11 Conv2d   0.5000 ± 0.0100   1.235 ± 0.011    9.50 ± 0.13   0.3333\n"
        "\n"
        "digits: small_cnn, seed 0, pretrained, train split\n"
        "------------------------------------------------------------------------\n"
        "Layer       Capacity          Radius          Dimension      Correlation\n"
        "------------------------------------------------------------------------\n"
        "0 Input     0.1235 ± 0.0012   1.235 ± 0.011   12.35 ± 0.13   0.3333\n"
        "\n"
        "Capacity is the harmonic mean over the manifolds, radius and dimension are the mean; ± is the\n"
        "standard error from 300 Gaussian samples, margin 0."
    )


def test_external_activations_have_no_checkpoint_and_no_split(tmp_path: Path) -> None:
    row = layer_row(dataset="v4.npz", model="v4", checkpoint="external", epoch=None, split="all")
    text = format_table(collected(tmp_path, row))
    assert text.startswith("v4.npz: v4, seed 0, external activations, no split\n")
    shuffled = format_table(collected(tmp_path, layer_row(labels="shuffled")))
    assert "epoch 15, train split, shuffled labels\n" in shuffled


def test_table_shows_why_a_layer_has_no_numbers_and_what_did_not_converge(tmp_path: Path) -> None:
    status = "every activation is zero, so the manifolds coincide. " * 4
    rows = [layer_row(1, n_unconverged=3), layer_row(2, status=status)]
    lines = format_table(collected(tmp_path, *rows)).splitlines()
    assert lines[5].strip() == "! 3 quadratic programs did not converge"
    assert lines[6].startswith("2 Conv2d   no geometry: every activation is zero")
    assert " ".join(" ".join(lines[6:9]).split()) == f"2 Conv2d no geometry: {status.strip()}"
    assert max(map(len, lines)) <= TABLE_WIDTH


def test_table_keeps_its_width_whatever_stands_in_it(tmp_path: Path) -> None:
    kind = "NonDynamicallyQuantizableLinear" * 3
    huge = {"radius": 1.5e9, "radius_stderr": 2e7, "dimension_stderr": float("nan")}
    table = collected(tmp_path, layer_row(1, kind, **huge), layer_row(2))
    lines = format_table(table).splitlines()
    assert max(map(len, lines)) <= TABLE_WIDTH
    assert lines[4].startswith("1 NonDynamically")
    assert "~" in lines[4]
    assert "1.500e+09 ± 2.000e+07" in lines[4]
    assert "± nan" in " ".join(lines[4].split())


def test_table_tells_an_infinite_number_from_a_missing_one(tmp_path: Path) -> None:
    infinite = {"capacity": float("inf"), "capacity_stderr": float("inf")}
    table = collected(tmp_path, layer_row(1, **infinite), layer_row(2, status="dead"))
    lines = format_table(table).splitlines()
    assert lines[4].split()[2:5] == ["inf", "±", "inf"]


def test_settings_in_the_note(tmp_path: Path) -> None:
    draws = format_table(collected(tmp_path, layer_row(n_repeats=5)))
    assert "over 5 draws of points and of 300 Gaussian samples" in " ".join(draws.split())
    note = format_table(collected(tmp_path, layer_row(1), layer_row(2, margin=0.5)))
    assert "Gaussian samples" not in note
    assert "harmonic mean" in note
