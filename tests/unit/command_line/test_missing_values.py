"""`measure --drop-nan`: samples with missing values are left out, of all layers alike."""

import warnings

import numpy as np
import pandas as pd
import pytest

from manifold_capacity import command_line
from manifold_capacity.command_line import errors
from manifold_capacity.summary.columns import LAYER_NUMBERS
from manifold_capacity.summary.tables import read_table

LABELS = np.repeat(["cat", "dog", "eel"], 10)
DAY = np.where(np.arange(30) % 2, "b", "a")
LOST = [4, 25]


def measured(name, *options):
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as outside pytest
        arguments = ["measure", f"{name}.npz", "--n-gaussians", "10", *options, "-o", "out.csv"]
        assert command_line.main(arguments) == errors.DONE
    return read_table("out.csv")[["n_manifolds", *LAYER_NUMBERS]]


@pytest.mark.parametrize("options", [[], ["--points-per-class", "3"], ["--group-by", "day"]])
def test_the_numbers_are_those_of_the_other_samples(tmp_path, monkeypatch, capsys, options):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    V1, V4 = rng.standard_normal((2, 30, 20)) + np.repeat(rng.standard_normal((3, 20)), 10, axis=0)
    V4[LOST, [7, 3]] = np.nan, np.inf
    arrays = {"V1": V1, "V4": V4, "counts": rng.poisson(5, (30, 8))}
    arrays |= {"labels": LABELS, "day": DAY}
    np.savez("lost.npz", **arrays)
    np.savez("kept.npz", **{name: np.delete(x, LOST, axis=0) for name, x in arrays.items()})
    options = ["--layers", "V1,V4,counts", *options]
    expected = measured("kept", *options)
    assert "drop" not in capsys.readouterr().err
    pd.testing.assert_frame_equal(measured("lost", "--drop-nan", *options), expected)
    said = "warning: --drop-nan left out 2 of 30 points: 1 of class 'cat', 1 of class 'eel'"
    assert said in capsys.readouterr().err


def test_no_sample_may_be_left(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("none.npz", V1=np.full((30, 3), np.nan), labels=LABELS)
    assert command_line.main(["measure", "none.npz", "--drop-nan"]) == errors.USAGE
    said = "error: --drop-nan leaves no sample of none.npz; leave out features first"
    assert said in capsys.readouterr().err
