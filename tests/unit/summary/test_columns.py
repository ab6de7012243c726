"""A column is one entry: what is written, documented and shown agrees with it."""

from pathlib import Path

import numpy as np
import pytest

from manifold_capacity import measure
from manifold_capacity.geometry.draws import combine_columns
from manifold_capacity.geometry.result import PER_MANIFOLD
from manifold_capacity.summary import collect
from manifold_capacity.summary.columns import LAYER_IDENTITY, TABLES, TITLES
from manifold_capacity.summary.rows import centers_table, manifold_table, write_columns
from manifold_capacity.training.train import COLUMNS

from .helpers import layer_row, write

DIGEST = "0123456789012345"
# Written with groups, with `activations.projection`, and with `geometry.simulated`.
ON_REQUEST = {"group", "projected_features", "simulated_capacity", "simulated_capacity_stderr"}


def names(table: str) -> list[str]:
    return [column.name for column in TABLES[table]]


def test_every_column_that_is_written_has_an_entry_and_the_reverse(tmp_path: Path) -> None:
    geometry = measure(np.random.default_rng(0).standard_normal((3, 5, 20)), n_gaussians=10)
    numbers, columns = combine_columns([geometry])
    identity = {name: layer_row()[name] for name in LAYER_IDENTITY}
    row = {**identity, "status": "ok", **numbers}
    layers = collect.collect_layers(write(tmp_path, row), config_digest=DIGEST)
    exact = {name for name in names("layers") if name.startswith(("glue_", "layer_"))} - {*identity}
    assert list(layers.columns) == [n for n in names("layers") if n not in exact | ON_REQUEST]

    path = tmp_path / "manifolds.csv"
    write_columns(manifold_table(row, {1: "a", 2: "b", 5: "c"}, columns), path)
    manifolds = collect.collect_manifolds([path], config_digest=DIGEST)
    of_draws = {f"{name}_{end}" for name in PER_MANIFOLD for end in ("low", "high")}
    assert list(manifolds.columns) == [n for n in names("manifolds") if n not in of_draws | exact]

    path = tmp_path / "centers.csv"
    write_columns(centers_table(row, [geometry.centers_spectrum]), path)
    centers = collect.collect_centers([path], config_digest=DIGEST)
    assert list(centers.columns) == names("centers")

    path = tmp_path / "metrics.csv"
    path.write_text(",".join(COLUMNS) + "\n" + ",".join("0" * len(COLUMNS)) + "\n")
    training = collect.collect_training([path], [{"model": "a", "seed": 0}], config_digest=DIGEST)
    assert list(training.columns) == names("training")


@pytest.mark.parametrize("table", TABLES)
def test_entries_are_complete(table: str) -> None:
    assert len(set(names(table))) == len(names(table))
    for column in TABLES[table]:
        assert column.title
        assert column.meaning.endswith(".")
        assert TITLES[column.name][0] == column.title  # one entry, whatever the tables that have it


def test_pages_show_meanings_without_markdown() -> None:
    assert TITLES["weights"][1].startswith(
        "Where the weights come from: trained, random, pretrained or"
    )
    assert TITLES["radius"][1].endswith("[95 % interval]")
    assert not TITLES["margin"][1].endswith("[95 % interval]")
