"""Jobs' files become one table."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from manifold_capacity.errors import UserError
from manifold_capacity.provenance import write_stamp
from manifold_capacity.summary import collect
from manifold_capacity.summary.columns import LAYER_IDENTITY, REQUIRED

from .helpers import NUMBERS, collected, layer_row, write, write_manifolds


def test_layers_are_sorted_by_what_they_are_and_not_by_their_files(tmp_path: Path) -> None:
    rows = [
        layer_row(index, model=model, seed=seed, epoch=epoch, split=split, labels=labels)
        for model in ("alexnet", "vgg16")
        for seed in (0, 10)
        for epoch in (0, 5, 120, None)
        for split in ("train", "test")
        for labels in ("original", "shuffled")
        for index in (0, 2, 11)
    ]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    table = collected(tmp_path, *shuffled)
    names = ["model", "seed", "checkpoint", "split", "labels", "layer_index"]
    assert table[names].to_dict("records") == [{name: row[name] for name in names} for row in rows]
    assert list(table.index) == list(range(len(rows)))


def test_layers_have_all_required_columns_and_then_the_others(tmp_path: Path) -> None:
    first = layer_row(1, zulu=1.0, alpha=2.0, provenance={})
    table = collected(tmp_path, first, layer_row(0, later=3.0))
    assert list(table.columns) == [*REQUIRED["layers"], "zulu", "alpha", "later"]
    only_dead = collect.collect_layers(
        write(tmp_path, layer_row(2, status="dead")), config_digest="01"
    )
    assert list(only_dead.columns) == [*REQUIRED["layers"], "config_digest"]
    assert list(only_dead["config_digest"]) == ["01"]


def test_whole_numbers_stay_whole_beside_missing_ones(tmp_path: Path) -> None:
    rows = [layer_row(1), layer_row(2, epoch=None), layer_row(3, status="dead")]
    collected(tmp_path, *rows).to_csv(tmp_path / "layers.csv", index=False)
    columns = pd.read_csv(tmp_path / "layers.csv", dtype=str, keep_default_na=False).T.to_numpy()
    columns = dict(zip(REQUIRED["layers"], map(tuple, columns), strict=True))
    assert columns["epoch"] == ("15", "15", "")
    assert columns["n_manifolds"] == ("10", "", "10")
    assert columns["n_unconverged"] == ("0", "", "0")
    assert columns["status"] == ("ok", "dead", "ok")
    assert columns["capacity"] == ("0.123456", "", "0.123456")


def test_mean_of_points_that_is_not_whole_is_kept(tmp_path: Path) -> None:
    assert collected(tmp_path, layer_row(n_points=39.5))["n_points"][0] == 39.5


@pytest.mark.parametrize("text", [b'{"model": ', b"", b"\xff", b"[1, 2]"])
def test_layer_file_that_is_no_row_is_named(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "1_Conv2d.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"1_Conv2d\.json has no checksum.*delete it and run"):
        collect.collect_layers([path])


@pytest.mark.parametrize("missing", ["split", "status", "capacity_gaussian_stderr"])
def test_layer_file_that_lacks_something_is_named(tmp_path: Path, missing: str) -> None:
    row = layer_row()
    del row[missing]
    with pytest.raises(ValueError, match=rf"0\.json lacks {missing}; delete it and run"):
        collected(tmp_path, row)


def test_parts_of_another_configuration_and_damaged_parts_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "vgg16/seed-0/pretrained/train"
    folder.mkdir(parents=True)
    layer, *tables = (folder / f"1_Conv2d{suffix}" for suffix in (".json", ".csv", ".centers.csv"))
    for table in tables:
        table.write_text("capacity\n0.25\n")
    run = "vgg16/seed-0/pretrained/train"
    keys = {"moments": "m", "geometry": "g"}
    write_stamp(layer, tables, keys, **layer_row())
    parts = [[path] for path in (layer, *tables)]
    collect.check_parts(parts[0], parts[1:], {run: keys})
    collect.check_parts(parts[0], parts[1:], {f"{run}/1_Conv2d": keys})
    for changed in ({"geometry": "new"}, {"moments": "new"}):
        with pytest.raises(UserError, match=r"1_Conv2d\.json is not of this configuration"):
            collect.check_parts(parts[0], parts[1:], {run: keys | changed})
    for table in tables:
        table.write_text("capacity\n0.35\n")
        with pytest.raises(UserError, match=rf"{table.name} was damaged or changed"):
            collect.check_parts(parts[0], parts[1:], {run: keys})
        table.write_text("capacity\n0.25\n")


def test_layer_given_twice_names_both_files(tmp_path: Path) -> None:
    rows = layer_row(1), layer_row(2, epoch=None), layer_row(2, epoch=None)
    with pytest.raises(
        ValueError, match=r"1\.json and .*2\.json are both of .*layer_index 2, layer .*;"
    ):
        collected(tmp_path, *rows)


def test_no_files_make_empty_tables_with_their_columns() -> None:
    assert tuple(collect.collect_layers([]).columns) == REQUIRED["layers"]
    assert tuple(collect.collect_manifolds([]).columns) == REQUIRED["manifolds"]
    assert tuple(collect.collect_centers([]).columns) == REQUIRED["centers"]
    assert list(collect.collect_training([], []).columns) == ["model", "seed", "epoch"]


def test_manifolds_are_sorted_and_keep_their_class_names(tmp_path: Path) -> None:
    jobs = [
        (layer_row(2), {7: "007", 3: "null"}),
        (layer_row(1, split="test"), {3: "null"}),
        (layer_row(1, epoch=None), {3: "null", 7: "007"}),
        (layer_row(3), {}),  # a layer without geometry: only a header
    ]
    paths = [write_manifolds(tmp_path / f"{i}.csv", *job) for i, job in enumerate(jobs)]
    table = collect.collect_manifolds(paths)
    assert tuple(table.columns) == REQUIRED["manifolds"]
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
    with pytest.raises(ValueError, match=r"are both of .*layer_index 2, layer .*, class_index 7;"):
        collect.collect_manifolds([paths[0], paths[0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"manifolds\.csv is not a table .*delete it and run again"),
        ("model,seed\nsmall_cnn,0\nsmall_cnn,1,2,3\n", r"manifolds\.csv is not a table"),
        (",".join([*LAYER_IDENTITY, "class_index"]) + "\n", r"manifolds\.csv lacks class_name;"),
    ],
)
def test_manifold_tables_that_cannot_be_used_are_named(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "manifolds.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        collect.collect_manifolds([path])


def test_training_tables_say_whose_they_are(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,seed,train_loss\n0,9,2.5\n1,9,1.25\n")
    identities = [{"dataset": "digits", "model": "b", "seed": seed} for seed in (1, 0)]
    table = collect.collect_training([path, path], identities)
    assert list(table.columns) == ["dataset", "model", "seed", "epoch", "train_loss"]
    numbers = table[["seed", "epoch", "train_loss"]].to_numpy().tolist()
    assert numbers == [[0, 0, 2.5], [0, 1, 1.25], [1, 0, 2.5], [1, 1, 1.25]]


@pytest.mark.parametrize(
    ("header", "identities", "message"),
    [
        ("epoch", [{"model": "a", "seed": 0}] * 3, "2 training tables but 3 identities; give one"),
        ("epoch", [{"model": "a"}] * 2, r"the identity of .*metrics\.csv lacks seed"),
        ("epoch", [{"model": "a", "seed": 0}] * 2, "are both of model a, seed 0, epoch 0"),
        ("step", [{"model": "a", "seed": 0}] * 2, r"metrics\.csv lacks epoch"),
    ],
)
def test_training_tables_that_cannot_be_used_are_named(
    tmp_path: Path, header: str, identities: list[dict[str, object]], message: str
) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f"{header},train_loss\n0,2.5\n")
    with pytest.raises(ValueError, match=message):
        collect.collect_training([path, path], identities)


def test_summary_does_not_import_heavy_modules() -> None:
    code = "import manifold_capacity.summary.collect, manifold_capacity.summary.text, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"torch", "matplotlib", "sklearn", "zarr", "cvxopt", "requests"} & set(loaded)
