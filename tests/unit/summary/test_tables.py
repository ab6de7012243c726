"""Tables come back from files as they were written."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from manifold_capacity.summary.tables import read_table, write_table

from .helpers import collected, layer_row


def test_csv_parquet_and_json_say_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table = collected(
        tmp_path,
        layer_row(1, capacity=1 / 3, centers_converged=True),
        layer_row(2, epoch=None, capacity=math.inf),
        layer_row(3, status="dead"),
    )
    folder = tmp_path / "tables"
    folder.mkdir()
    for ending in ("csv", "parquet", "json"):
        write_table(table, folder / f"layers.{ending}")
    parquet, csv = (read_table(folder / f"layers.{ending}") for ending in ("parquet", "csv"))
    for again in (parquet, csv):
        pd.testing.assert_frame_equal(again, table, check_dtype=False, check_exact=True)
    assert (parquet.dtypes == table.dtypes).all()
    assert csv["epoch"].dtype == table["epoch"].dtype == "Int64"
    rows = json.loads((folder / "layers.json").read_text(), parse_constant=pytest.fail)
    assert [row["capacity"] for row in rows] == [1 / 3, None, "inf"]
    assert [row["epoch"] for row in rows] == [15, 15, None]
    assert [row["centers_converged"] for row in rows] == [True, None, None]
    assert len(list(folder.iterdir())) == 3  # no temporary files


def test_words_that_look_like_numbers_or_like_nothing_stay_words(tmp_path: Path) -> None:
    names = {"reference": ["1", "07"], "class_name": ["7", "007"], "layer_name": ["null", "NA"]}
    table = pd.DataFrame(names | {"n": [5, 5]})
    write_table(table, tmp_path / "comparisons.csv")
    again = read_table(tmp_path / "comparisons.csv")
    assert again.to_numpy().tolist() == table.to_numpy().tolist()


def test_table_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    message = r"xlsx is not supported; use one of \.csv, \.parquet, \.json"
    with pytest.raises(ValueError, match=message):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "layers.xlsx")
    assert not list(tmp_path.iterdir())


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "layers.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"layers\.parquet is not a table"):
        read_table(path)
    for missing in ("none.parquet", "none.csv"):
        with pytest.raises(FileNotFoundError):
            read_table(tmp_path / missing)
    with pytest.raises(IsADirectoryError):
        read_table(tmp_path)
