"""Tables gathered from jobs' files, and as text."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manifold_capacity import measure
from manifold_capacity.geometry.draws import combine_draws
from manifold_capacity.models.layers import Layer
from manifold_capacity.summary.collect import (
    collect_centers,
    collect_layers,
    collect_manifolds,
    collect_training,
)
from manifold_capacity.summary.columns import (
    LAYER_IDENTITY,
    LAYER_NUMBERS,
    MANIFOLD_IDENTITY,
    REQUIRED,
)
from manifold_capacity.summary.comparisons import COLUMNS as COMPARED
from manifold_capacity.summary.rows import (
    centers_table,
    layer_columns,
    manifold_table,
)
from manifold_capacity.summary.tables import read_table, write_table
from manifold_capacity.summary.text import TABLE_WIDTH, format_table
from manifold_capacity.training.train import COLUMNS

MANIFOLD_NUMBERS = REQUIRED["manifolds"][len(MANIFOLD_IDENTITY) :]
REPOSITORY = Path(__file__).parents[3]

NUMBERS: dict[str, Any] = {
    "n_manifolds": 10,
    "n_points": 40,
    "margin": 0.0,
    "n_gaussians": 300,
    "n_repeats": 1,
    "solver": "active_set",
    "capacity": 0.123456,
    "capacity_stderr": 0.0012,
    "radius": 1.234567,
    "radius_stderr": 0.011,
    "dimension": 12.34567,
    "dimension_stderr": 0.13,
    "center_correlation": 0.33333,
    "residual_correlation": 0.05,
    "center_rank": 4,
    "worst_gap": 1e-13,
    "n_unconverged": 0,
}


def layer_row(index: int = 1, kind: str = "Conv2d", **changes: Any) -> dict[str, Any]:
    """What a geometry job writes for one layer; a `status` among the changes makes it a dead one."""
    epoch = changes.get("epoch", 15)
    row = {
        "dataset": "digits",
        "model": "small_cnn",
        "weights": "trained",
        "seed": 0,
        "checkpoint": "pretrained" if epoch is None else f"epoch-{epoch:03d}",
        "epoch": epoch,
        "split": "train",
        "labels": "original",
        "layer": f"{index}_{kind}",
        "layer_index": index,
        "layer_name": f"features.{index}",
        "layer_type": kind,
        "output_shape": "64x8x8",
        "n_features": 4096,
        "status": "ok",
    }
    return {**row, **({} if "status" in changes else NUMBERS), **changes}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write rows as the geometry jobs do, a JSON file each; the paths, in the order given."""

    def write_rows(*rows: dict[str, Any]) -> list[Path]:
        paths = []
        for row in rows:
            paths.append(tmp_path / f"{len(list(tmp_path.iterdir()))}.json")
            paths[-1].write_text(json.dumps(row))
        return paths

    return write_rows


@pytest.fixture
def write_manifolds(tmp_path: Path) -> Any:
    """Write one layer's table of manifolds, a row per class; the path."""

    def write_one(row: dict[str, Any], classes: dict[int, str]) -> Path:
        identity = {name: row[name] for name in LAYER_IDENTITY}
        numbers = {name: NUMBERS[name] for name in MANIFOLD_NUMBERS}
        rows = [
            {**identity, "class_index": index, "class_name": name, **numbers}
            for index, name in classes.items()
        ]
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.csv"
        columns = [*MANIFOLD_IDENTITY, *MANIFOLD_NUMBERS]
        pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
        return path

    return write_one


def test_layers_are_sorted_by_what_they_are_and_not_by_their_files(write: Any) -> None:
    rows = [
        layer_row(index, model=model, seed=seed, epoch=epoch, split=split)
        for model in ("alexnet", "vgg16")
        for seed in (0, 10)
        for epoch in (0, 5, 120, None)
        for split in ("train", "test")
        for index in (0, 2, 11)
    ]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    table = collect_layers(write(*shuffled))
    names = ["model", "seed", "checkpoint", "split", "layer_index"]
    assert table[names].to_dict("records") == [{name: row[name] for name in names} for row in rows]
    assert list(table.index) == list(range(len(rows)))


def test_layers_have_all_known_columns_and_then_the_others(write: Any) -> None:
    first = layer_row(1, zulu=1.0, alpha=2.0)
    second = layer_row(0, later=3.0)
    table = collect_layers(write(first, second))
    known = [*LAYER_IDENTITY, "status", *LAYER_NUMBERS]
    assert list(table.columns) == [*known, "zulu", "alpha", "later"]
    only_dead = collect_layers(write(layer_row(2, status="dead")))
    assert list(only_dead.columns) == known


def test_whole_numbers_stay_whole_beside_missing_ones(write: Any, tmp_path: Path) -> None:
    table = collect_layers(
        write(layer_row(1), layer_row(2, epoch=None), layer_row(3, status="dead"))
    )
    path = tmp_path / "layers.csv"
    table.to_csv(path, index=False)
    columns = dict(zip(table.columns, zip(*_cells(path), strict=True), strict=True))
    assert columns["epoch"] == ("15", "15", "")
    assert columns["n_manifolds"] == ("10", "", "10")
    assert columns["n_unconverged"] == ("0", "", "0")
    assert columns["status"] == ("ok", "dead", "ok")
    assert columns["capacity"] == ("0.123456", "", "0.123456")


def test_tables_come_back_as_they_were_written(write: Any, tmp_path: Path) -> None:
    third = 1 / 3
    table = collect_layers(
        write(layer_row(1, capacity=third), layer_row(2, epoch=None), layer_row(3, status="dead"))
    )
    path = tmp_path / "layers.csv"
    table.to_csv(path, index=False)
    again = read_table(path)
    pd.testing.assert_frame_equal(again, table, check_dtype=False)
    assert again["capacity"][0] == pytest.approx(third, rel=1e-15)
    assert again["epoch"].dtype == table["epoch"].dtype == "Int64"


def test_parquet_and_json_say_what_csv_says(write: Any, tmp_path: Path) -> None:
    table = collect_layers(
        write(
            layer_row(1, capacity=1 / 3, centers_converged=True),
            layer_row(2, epoch=None, capacity=math.inf),
            layer_row(3, status="dead"),
        )
    )
    for ending in ("csv", "parquet", "json"):
        write_table(table, tmp_path / f"layers.{ending}")
    parquet = read_table(tmp_path / "layers.parquet")
    pd.testing.assert_frame_equal(parquet, table, check_dtype=False)
    assert (parquet.dtypes == table.dtypes).all()
    pd.testing.assert_frame_equal(read_table(tmp_path / "layers.csv"), table, check_dtype=False)
    rows = json.loads((tmp_path / "layers.json").read_text(), parse_constant=pytest.fail)
    assert [row["capacity"] for row in rows] == [1 / 3, None, "inf"]
    assert [row["epoch"] for row in rows] == [15, 15, None]
    assert [row["centers_converged"] for row in rows] == [True, None, None]
    assert sorted(path.suffix for path in tmp_path.glob("layers.*")) == [
        ".csv",
        ".json",
        ".parquet",
    ]


def test_table_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("use one of .csv, .parquet, .json")):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "layers.xlsx")
    assert not list(tmp_path.iterdir())


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "layers.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"layers\.parquet is not a table"):
        read_table(path)
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.parquet")


def test_mean_of_points_that_is_not_whole_is_kept(write: Any) -> None:
    assert collect_layers(write(layer_row(n_points=39.5)))["n_points"][0] == 39.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model": ', "is not JSON"),
        ("", "is not JSON"),
        ("[1, 2]", "must be a JSON object, not a list"),
    ],
)
def test_layer_file_that_is_no_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "1_Conv2d.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"1_Conv2d\.json {message}.*delete it and run again"):
        collect_layers([path])


def test_layer_file_that_lacks_something_is_named(write: Any) -> None:
    row = layer_row()
    del row["split"], row["capacity_stderr"]
    with pytest.raises(ValueError, match=r"0\.json lacks split; delete it and run again"):
        collect_layers(write(row))
    row["split"] = "train"
    with pytest.raises(ValueError, match=r"1\.json lacks capacity_stderr; delete it"):
        collect_layers(write(row))


def test_layer_given_twice_names_both_files(write: Any) -> None:
    paths = write(layer_row(1), layer_row(2, epoch=None), layer_row(2, epoch=None))
    with pytest.raises(ValueError, match=r"1\.json and .*2\.json are both of .*layer_index 2;"):
        collect_layers(paths)


def test_no_layers_make_an_empty_table_with_its_columns() -> None:
    assert list(collect_layers([]).columns) == [*LAYER_IDENTITY, "status", *LAYER_NUMBERS]
    assert list(collect_manifolds([]).columns) == [*MANIFOLD_IDENTITY, *MANIFOLD_NUMBERS]
    assert list(collect_training([], []).columns) == ["model", "seed", "epoch"]
    assert format_table(collect_layers([])) == "No layers were measured."


def test_manifolds_are_sorted_and_keep_their_class_names(write_manifolds: Any) -> None:
    paths = [
        write_manifolds(layer_row(2), {7: "007", 3: "null"}),
        write_manifolds(layer_row(1, split="test"), {3: "null"}),
        write_manifolds(layer_row(1, epoch=None), {3: "null", 7: "007"}),
        write_manifolds(layer_row(3), {}),  # a layer without geometry: a header alone
    ]
    table = collect_manifolds(paths)
    assert list(table.columns) == [*MANIFOLD_IDENTITY, *MANIFOLD_NUMBERS]
    found = table[["checkpoint", "split", "layer_index", "class_index", "class_name"]]
    assert found.to_numpy().tolist() == [
        ["epoch-015", "train", 2, 3, "null"],
        ["epoch-015", "train", 2, 7, "007"],
        ["epoch-015", "test", 1, 3, "null"],
        ["pretrained", "train", 1, 3, "null"],
        ["pretrained", "train", 1, 7, "007"],
    ]
    assert table["epoch"].dtype == "Int64"
    assert (table["radius"] == NUMBERS["radius"]).all()


def test_manifold_tables_that_cannot_be_used_are_named(
    tmp_path: Path, write_manifolds: Any
) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    with pytest.raises(ValueError, match=r"empty\.csv is not a table .*delete it and run again"):
        collect_manifolds([empty])
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("model,seed\nsmall_cnn,0\nsmall_cnn,1,2,3\n")
    with pytest.raises(ValueError, match=r"ragged\.csv is not a table"):
        collect_manifolds([ragged])
    poor = tmp_path / "poor.csv"
    poor.write_text(",".join([*LAYER_IDENTITY, "class_index"]) + "\n")
    with pytest.raises(ValueError, match=r"poor\.csv lacks class_name;"):
        collect_manifolds([poor])
    path = write_manifolds(layer_row(), {1: "one"})
    with pytest.raises(ValueError, match=r"are both of .*layer_index 1, class_index 1;"):
        collect_manifolds([path, path])


def test_training_tables_say_whose_they_are(tmp_path: Path) -> None:
    paths = []
    for name in ("late", "early"):
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text("epoch,train_loss\n0,2.5\n1,1.25\n")
    table = collect_training(
        paths,
        [
            {"dataset": "digits", "model": "b", "seed": 1},
            {"dataset": "digits", "model": "b", "seed": 0},
        ],
    )
    assert list(table.columns) == ["dataset", "model", "seed", "epoch", "train_loss"]
    assert table["seed"].tolist() == [0, 0, 1, 1]
    assert table["epoch"].tolist() == [0, 1, 0, 1]
    assert table["train_loss"].tolist() == [2.5, 1.25, 2.5, 1.25]


def test_training_tables_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,train_loss\n0,2.5\n")
    identity = {"model": "a", "seed": 0}
    with pytest.raises(ValueError, match="1 training tables but 2 identities; give one for each"):
        collect_training([path], [identity, identity])
    with pytest.raises(ValueError, match=r"the identity of .*metrics\.csv lacks seed"):
        collect_training([path], [{"model": "a"}])
    with pytest.raises(ValueError, match=r"are both of model a, seed 0, epoch 0"):
        collect_training([path, path], [identity, identity])
    path.write_text("step,train_loss\n0,2.5\n")
    with pytest.raises(ValueError, match=r"metrics\.csv lacks epoch"):
        collect_training([path], [identity])


def test_table_on_the_terminal(write: Any) -> None:
    rows = [
        layer_row(0, "Input", epoch=0, split="test"),
        layer_row(11, epoch=0, split="test", capacity=0.5, capacity_stderr=0.01, dimension=9.5),
        layer_row(0, "Input", epoch=None),
    ]
    assert format_table(collect_layers(write(*rows))) == (
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


def test_table_says_that_activations_come_from_elsewhere(write: Any) -> None:
    row = layer_row(dataset="v4.npz", model="v4", checkpoint="external", epoch=None, split="all")
    text = format_table(collect_layers(write(row)))
    assert text.startswith("v4.npz: v4, seed 0, external activations, no split\n")


def test_table_shows_why_a_layer_has_no_numbers_and_what_did_not_converge(write: Any) -> None:
    status = "every activation is zero, so the manifolds coincide. " * 4
    rows = [layer_row(1, n_unconverged=3), layer_row(2, status=status)]
    lines = format_table(collect_layers(write(*rows))).splitlines()
    assert lines[5].strip() == "! 3 quadratic programs did not converge"
    assert lines[6].startswith("2 Conv2d   no geometry: every activation is zero")
    assert " ".join(" ".join(lines[6:9]).split()) == f"2 Conv2d no geometry: {status.strip()}"
    assert max(map(len, lines)) <= TABLE_WIDTH


def test_table_keeps_its_width_whatever_stands_in_it(write: Any) -> None:
    kind = "NonDynamicallyQuantizableLinear" * 3
    huge = {"radius": 1.5e9, "radius_stderr": 2e7, "dimension_stderr": float("nan")}
    table = collect_layers(write(layer_row(1, kind, **huge), layer_row(2)))
    lines = format_table(table).splitlines()
    assert max(map(len, lines)) <= TABLE_WIDTH
    assert lines[4].startswith("1 NonDynamically")
    assert "~" in lines[4]
    assert "1.500e+09 ± 2.000e+07" in lines[4]
    assert "± nan" in " ".join(lines[4].split())


def test_table_tells_an_infinite_number_from_a_missing_one(write: Any) -> None:
    infinite = {"capacity": float("inf"), "capacity_stderr": float("inf")}
    table = collect_layers(write(layer_row(1, **infinite), layer_row(2, status="dead")))
    lines = format_table(table).splitlines()
    assert lines[4].split()[2:5] == ["inf", "±", "inf"]


def test_table_does_not_state_settings_that_differ(write: Any) -> None:
    note = format_table(collect_layers(write(layer_row(1), layer_row(2, margin=0.5))))
    assert "Gaussian samples" not in note
    assert "harmonic mean" in note


def test_what_the_tables_say_about_a_layer() -> None:
    assert layer_columns(Layer(3, "features.2", "Conv2d", (64, 32, 32), 65536)) == {
        "layer": "3_Conv2d",
        "layer_index": 3,
        "layer_name": "features.2",
        "layer_type": "Conv2d",
        "output_shape": "64x32x32",
        "n_features": 65536,
    }


def test_table_of_a_layers_manifolds() -> None:
    numbers = pd.DataFrame({"n_points": [5, 6], "capacity": [0.1, 0.2]})
    table = manifold_table(layer_row(4), {7: "seven", 2: "two"}, numbers)
    assert list(table.columns) == [*MANIFOLD_IDENTITY, "n_points", "capacity"]
    rows = table[["layer_index", "class_index", "class_name", "n_points", "capacity"]]
    assert rows.to_numpy().tolist() == [[4, 7, "seven", 5, 0.1], [4, 2, "two", 6, 0.2]]
    dead = manifold_table(layer_row(4, status="dead"), {}, pd.DataFrame())
    assert list(dead.columns) == [*MANIFOLD_IDENTITY]
    assert dead.empty


def test_every_column_is_documented_and_every_documented_column_is_written(
    tmp_path: Path, write: Any
) -> None:
    geometry = measure(np.random.default_rng(0).standard_normal((3, 5, 20)), n_gaussians=10)
    identity = {name: layer_row()[name] for name in LAYER_IDENTITY}
    row, frame = combine_draws([geometry])
    row = {**identity, "status": "ok", **row, "provenance": {"geometry": {}}}
    layers = collect_layers(write(row), config_digest="0123456789012345")
    assert list(layers.columns)[: len(LAYER_IDENTITY)] == [*LAYER_IDENTITY]
    assert list(layers["config_digest"]) == ["0123456789012345"]
    assert set(layers.columns) == documented_columns("layers.csv")

    path = tmp_path / "manifolds.csv"
    manifold_table(identity, {1: "a", 2: "b", 5: "c"}, frame).to_csv(path, index=False)
    manifolds = collect_manifolds([path], config_digest="0123456789012345")
    assert set(manifolds.columns) == documented_columns("manifolds.csv") | {*LAYER_IDENTITY}

    path = tmp_path / "centers.csv"
    centers_table(row, [geometry.centers_spectrum]).to_csv(path, index=False)
    centers = collect_centers([path], config_digest="0123456789012345")
    assert set(centers.columns) == documented_columns("centers.csv") | {*LAYER_IDENTITY}
    assert list(centers["component"]) == [1, 2]
    assert centers["variance_share"].sum() == pytest.approx(1)
    assert set(COMPARED) == documented_columns("comparisons.csv")

    path = tmp_path / "metrics.csv"
    path.write_text(",".join(COLUMNS) + "\n" + ",".join("0" * len(COLUMNS)) + "\n")
    identity = {"model": "a", "seed": 0}
    training = collect_training([path], [identity], config_digest="0123456789012345")
    assert set(training.columns) == documented_columns("training.csv")


def documented_columns(table: str) -> set[str]:
    """The names in the first columns of the tables below a heading of docs/outputs.md."""
    text = (REPOSITORY / "docs" / "outputs.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    (mine,) = (part for part in section if part.startswith(f"{table}\n"))
    cells = [line.split("|")[1] for line in mine.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_summary_does_not_import_heavy_modules() -> None:
    code = "import manifold_capacity.summary.collect, manifold_capacity.summary.text, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "matplotlib", "sklearn", "zarr", "cvxopt", "requests"} & set(loaded)


def _cells(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().splitlines()[1:]]
