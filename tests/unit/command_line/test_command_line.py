"""The command `manifold-capacity`: the blocks of docs/command_line.md, exit codes and messages."""

import contextlib
import importlib
import inspect
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import manifold_capacity
from manifold_capacity import command_line, measure
from manifold_capacity.command_line import errors, parser
from manifold_capacity.models.find_layers import list_layers
from manifold_capacity.summary.columns import LAYER_NUMBERS
from manifold_capacity.summary.tables import read_table

ROOT = Path(__file__).parents[3]
BLOCKS = re.findall(
    r"^```(python|console)\n(.*?)^```", (ROOT / "docs/command_line.md").read_text(), re.M | re.S
)
# What a plain `pip install .` does not bring.
PIPELINE = ("torch", "torchvision", "zarr", "matplotlib", "snakemake", "sklearn", "pyarrow")


def entry_point():
    """Module and function that the installed command runs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["scripts"]["manifold-capacity"].split(":")


def run(*arguments, cwd, without=()):
    """Run the entry point in a process of its own, as the installed command does."""
    module, function = entry_point()
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({without!r})); from {module} import {function}; "
        f"sys.exit({function}())"
    )
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A folder in which everything in docs/command_line.md was done, and what was printed."""
    folder = tmp_path_factory.mktemp("command_line")
    printed = {}
    for language, text in BLOCKS:
        if language == "python":
            subprocess.run([sys.executable, "-"], input=text, cwd=folder, text=True, check=True)
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "manifold-capacity"
            text = io.StringIO()
            with contextlib.chdir(folder), contextlib.redirect_stdout(text):
                assert command_line.main(arguments) == errors.DONE, line
            printed[line] = text.getvalue()
    return folder, printed


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """A working folder with activations of a few digits, one layer of them dead, one with a NaN."""
    data = load_digits()
    some = np.flatnonzero(data.target < 3)[:30]
    V1, labels = data.data[some], data.target[some]
    lost = V1.copy()
    lost[4, 7] = np.nan
    np.savez(tmp_path / "digits.npz", V1=V1, labels=labels)
    np.savez(tmp_path / "broken.npz", V1=V1, dead=np.zeros((30, 5)), lost=lost, labels=labels)
    np.save(tmp_path / "V1.npy", V1)
    np.save(tmp_path / "labels.npy", labels)
    monkeypatch.chdir(tmp_path)
    return V1, labels


def test_the_declared_entry_point_is_the_command():
    module, function = entry_point()
    assert getattr(importlib.import_module(module), function) is command_line.main
    command = [sys.executable, "-m", "manifold_capacity", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"manifold-capacity {manifold_capacity.__version__}\n"


def test_every_block_of_the_walk_through_was_run(walked):
    folder, printed = walked
    assert (ROOT / "docs/command_line.md").read_text().count("```") == 2 * len(BLOCKS)
    assert "V1" in printed["manifold-capacity measure recording.npz"]
    assert ElementTree.parse(folder / "layers.svg").getroot().tag.endswith("svg")
    assert (folder / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_the_numbers_are_those_of_the_library(walked):
    folder, _ = walked
    V4, labels = np.load(folder / "V4.npy"), np.load(folder / "conditions.npy")
    names = np.unique(labels)
    geometry = measure([V4[labels == name] for name in names])
    layers = pd.read_parquet(folder / "layers.parquet")
    for name, value in geometry.summary().items():
        assert layers[name][0] == value, name
    rows = json.loads((folder / "manifolds.json").read_text())
    assert [row["class_name"] for row in rows] == [str(name) for name in names]
    np.testing.assert_array_equal([row["capacity"] for row in rows], geometry.capacity)
    assert {row["epoch"] for row in rows} == {None}


def test_the_seed_draws_the_points(walked):
    folder, printed = walked
    layers = read_table(folder / "layers.csv")
    assert list(layers["layer"]) == ["1_V1", "2_V4"]
    assert (layers["n_points"] == 4 * 40).all()
    other = next(text for line, text in printed.items() if "--seed 1" in line)
    assert other.index("1 V4") < other.index("2 V1")
    shown = f"{layers['center_correlation'][1]:.4f}"
    assert shown in printed[next(line for line in printed if "layers.csv" in line)]
    assert shown not in other


def test_the_layers_are_those_of_the_network(walked):
    _, printed = walked
    (text,) = (text for line, text in printed.items() if " layers vgg16" in line)
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["Index", "Name", "Type", "Shape", "Features"]
    layers = list_layers("vgg16", n_classes=100, image_shape=(3, 32, 32))
    for layer, line in zip(layers, lines[1:], strict=True):
        shape = "x".join(map(str, layer.output_shape))
        assert line == [str(layer.index), layer.name, layer.type, shape, str(layer.n_features)]


def test_measure_needs_only_the_plain_install(digits, tmp_path):
    arguments = "measure digits.npz --n-gaussians 10 -o layers.csv"
    done = run(*arguments.split(), cwd=tmp_path, without=PIPELINE)
    assert done.returncode == 0, done.stderr
    assert list(read_table(tmp_path / "layers.csv")["n_gaussians"]) == [10]


@pytest.mark.parametrize(
    ("arguments", "library"),
    [
        (["measure", "store"], "zarr"),
        (["measure", "digits.npz", "-o", "layers.parquet"], "pyarrow"),
        (["plot", "layers.csv"], "matplotlib"),
        (["layers", "vgg16"], "torch"),
        (["run", "layers.csv"], "snakemake"),
    ],
)
def test_a_missing_library_is_named_with_its_remedy(digits, tmp_path, arguments, library):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "zarr.json").touch()
    (tmp_path / "layers.csv").touch()
    done = run(*arguments, cwd=tmp_path, without=(library,))
    assert done.returncode == 1
    assert f"this needs {library}" in done.stderr
    assert "pip install 'manifold-capacity[pipeline]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_pipeline_needs_a_clone(tmp_path):
    shutil.copytree(Path(manifold_capacity.__file__).parent, tmp_path / "manifold_capacity")
    (tmp_path / "my.yaml").touch()
    done = run("run", "my.yaml", cwd=tmp_path)  # what is here is imported first
    assert done.returncode == 1
    assert done.stderr.startswith(
        "manifold-capacity: error: the pipeline is not part of the installed"
    )
    assert "pip install -e '.[pipeline]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_layers_without_geometry_are_reported_and_the_others_measured(digits, capsys):
    arguments = ["measure", "broken.npz", "--n-gaussians", "10", "-o", "all.json"]
    assert command_line.main(arguments) == errors.FAILED
    printed = capsys.readouterr()
    assert "2 of 3 layers could not be measured" in printed.err
    rows = {row["layer_name"]: row for row in json.loads(Path("all.json").read_text())}
    assert rows["V1"]["status"] == "ok"
    assert rows["V1"]["capacity"] > 0
    assert rows["dead"]["capacity"] is None
    assert "coincide" in rows["dead"]["status"]
    assert "sample 4, feature 7 is nan" in rows["lost"]["status"]
    assert set(LAYER_NUMBERS) < set(rows["dead"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("measure equal.npy --drop-nan", 2, "--drop-nan: equal.npy has no labels, only manifolds"),
        ("", 2, "required: COMMAND"),
        ("mesure digits.npz", 2, "invalid choice: 'mesure'"),
        ("measure digits.npz --nan", 2, "arguments: --nan; see manifold-capacity measure --help"),
        ("measure --seed 1", 2, "required: FILE; see manifold-capacity measure --help"),
        ("run", 2, "required: CONFIG"),
        ("run gone.yaml -n", 2, "there is no file or folder gone.yaml"),
        ("run folder.csv", 2, "folder.csv is a folder; name a configuration file"),
        ("measure nothing.npz", 2, "there is no file or folder nothing.npz"),
        (
            "measure digits.npz --margin -1",
            2,
            "--margin: must be a number from 0 to 1,000,000, not '-1'",
        ),
        ("measure digits.npz --n-gaussians 1", 2, "an integer, 2 or more, or auto, not '1'"),
        ("measure digits.npz --margin inf", 2, "must be a number from 0 to 1,000,000, not 'inf'"),
        (
            "measure digits.npz --margin 1e200",
            2,
            "must be a number from 0 to 1,000,000, not '1e200'",
        ),
        (
            "measure digits.npz --seed 99999999999999999999",
            2,
            "--seed: must be an integer, 0 to 9223",
        ),
        (f"measure digits.npz --seed {'9' * 5000}", 2, "not '99999999999999999999...'"),
        ("measure digits.npz --n-gaussians 1000000000000", 2, "2 to 1000000000, or auto"),
        (
            "layers small_cnn --classes 99999999999999999999",
            2,
            "--classes: must be an integer, 1 to",
        ),
        ("measure digits.npz --layers ,", 2, "--layers: names no array: ','; leave it out"),
        (f"measure {'a' * 5000}", 2, "File name too long"),
        ("measure digits.npz -o a.csv --manifolds ./a.csv", 2, "a.csv is --output too; give each"),
        ("measure digits.npz -o folder.csv", 2, "folder.csv is a folder; name a file"),
        ("measure digits.npz --relative-error 0", 2, "must be a number above 0, not '0'"),
        ("measure digits.npz --threads two", 2, "must be an integer, 1 or more, not 'two'"),
        (
            "measure digits.npz -o a.xlsx",
            2,
            "a.xlsx is not supported; use one of .csv, .parquet, .json",
        ),
        ("measure digits.npz -o no/table.csv", 2, "there is no folder no; make it first"),
        ("measure digits.npz --layers V2", 2, "--layers: 'V2' is not in digits.npz; there are V1"),
        ("measure digits.npz --points-per-class 20", 2, "only 9 points of class '1'"),
        ("measure V1.npy", 2, "--labels: not given, but 'V1' of V1.npy has shape (30, 64)"),
        ("measure digits.npz --labels labels.npy", 2, "an array `labels` too"),
        ("measure text.npy", 1, "text.npy is not an .npy file"),
        ("layers vgg61", 2, "'vgg61' is not a model; nearest: vgg"),
        ("layers inception_v3 --image-size 8", 2, "set --image-size to a supported size"),
        ("plot V1.npy", 2, "V1.npy is not supported; use one of .csv, .parquet"),
        (
            "plot other.csv",
            1,
            "other.csv is not a table of layers, manifolds, centers, separability or training",
        ),
        ("plot other.csv -o a.gif", 2, "a.gif is not supported; use one of .svg, .png, .pdf"),
        ("plot other.parquet", 1, "other.parquet is not a table"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(digits, capsys, arguments, code, message):
    Path("text.npy").write_text("no array")
    np.save("equal.npy", digits[0][:27].reshape(3, 9, -1))
    Path("folder.csv").mkdir()
    Path("other.csv").write_text("time,place\n1,2\n")
    Path("other.parquet").write_text("no Parquet")
    try:
        found = command_line.main(arguments.split())
    except SystemExit as stop:  # argparse's own
        found = stop.code
    printed = capsys.readouterr()
    assert found == code, printed.err
    assert printed.out == ""
    assert printed.err.startswith("manifold-capacity: error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert "activations." not in printed.err


def test_unequal_numbers_of_points_are_reported(digits, capsys):
    assert command_line.main(["measure", "digits.npz", "--n-gaussians", "10"]) == errors.DONE
    said = capsys.readouterr().err
    assert re.search(
        r"^digits\.npz: 9 to \d+ points per manifold\. .*`--points-per-class equal`", said
    )
    np.save("equal.npy", digits[0][:27].reshape(3, 9, -1))
    nine, equal = (["digits.npz", "--points-per-class", n] for n in ("9", "equal"))
    for same in (nine, equal, ["equal.npy"]):
        assert command_line.main(["measure", *same, "--n-gaussians", "10"]) == errors.DONE
        assert "points per manifold" not in capsys.readouterr().err


def test_each_group_is_measured_by_itself_with_its_classes(tmp_path, monkeypatch, capsys):
    """The numbers are those of its samples alone."""
    monkeypatch.chdir(tmp_path)
    data, labels = load_digits(return_X_y=True)
    data, labels = data[labels < 3], labels[labels < 3]
    days = np.where(np.arange(len(labels)) % 2 == 0, "b", "a c")
    kept = (labels < 2) | (days == "b")  # one day lacks a class
    data, labels, days = data[kept], labels[kept], days[kept]
    np.savez("rec.npz", X=data, labels=labels, day=days, animal=np.full(len(labels), "tom"))
    np.save("days.npy", days)
    for group_by in ("day", "days.npy"):
        arguments = ["measure", "rec.npz", "--group-by", group_by, "-o", "all.csv"]
        arguments += [] if group_by == "day" else ["--layers", "X"]
        assert command_line.main([*arguments, "--manifolds", "classes.csv"]) == errors.DONE
        table = read_table("all.csv")
        assert table["model"].tolist() == table["group"].tolist() == ["b", "a c"]
        classes = read_table("classes.csv").groupby("model")["class_name"].apply(list).to_dict()
        assert classes == {"b": ["0", "1", "2"], "a c": ["0", "1"]}
    for row in table.to_dict("records"):
        of_group = days == row["group"]
        np.savez("one.npz", X=data[of_group], labels=labels[of_group])
        assert command_line.main(["measure", "one.npz", "-o", "one.csv"]) == errors.DONE
        (alone,) = read_table("one.csv").to_dict("records")
        assert row["capacity"] == alone["capacity"]
    capsys.readouterr()
    arguments = ["measure", "rec.npz", "one.npz", "--group-by", "labels", "--layers", "X"]
    assert command_line.main([*arguments, "--points-per-class", "999"]) == errors.USAGE
    assert "points of class '0' in group '0'; draw at most" in capsys.readouterr().err


def test_what_axes_without_labels_were_taken_for_is_said(digits, capsys):
    np.save("equal.npy", digits[0][:27].reshape(3, 9, -1))
    assert command_line.main(["measure", "equal.npy", "--n-gaussians", "10"]) == errors.DONE
    said = capsys.readouterr().err
    assert said == "equal.npy: no labels, so the first axes are 3 manifolds of 9 points\n"


def test_a_warning_is_one_line(digits, capsys):
    some = "measure digits.npz --points-per-class 2 --n-gaussians auto --relative-error 1e-6"
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as outside pytest
        assert command_line.main(some.split()) == errors.DONE
    printed = capsys.readouterr().err
    assert printed.startswith("manifold-capacity: warning: n_gaussians='auto' stopped")
    assert printed.count("\n") == 1


def test_files_of_the_same_name_get_their_paths_as_names(digits, capsys):
    for day in ("monday", "tuesday"):
        Path(day).mkdir()
        np.savez(f"{day}/unit.npz", V1=digits[0], labels=digits[1])
    files = "measure monday/unit.npz tuesday/unit.npz --n-gaussians 10 -o layers.csv"
    assert command_line.main(files.split()) == errors.DONE
    layers = read_table("layers.csv")
    assert list(layers["model"]) == ["monday/unit.npz", "tuesday/unit.npz"]
    assert layers["capacity"].nunique() == 1


def test_each_table_has_its_figures(digits, capsys):
    measured = "measure digits.npz --n-gaussians 10 -o layers.csv --manifolds classes.parquet"
    for line in (measured, "plot classes.parquet -o classes.pdf", "plot layers.csv"):
        assert command_line.main(line.split()) == errors.DONE, line
    assert Path("classes.pdf").read_bytes().startswith(b"%PDF")
    first = Path("layers.svg").read_bytes()
    assert b"Capacity" in first
    assert command_line.main(["plot", "layers.csv"]) == errors.DONE
    assert Path("layers.svg").read_bytes() == first
    dynamics = "plot layers.csv --figure dynamics -o dynamics.svg"
    assert command_line.main(dynamics.split()) == errors.DONE
    assert Path("dynamics.svg").read_bytes() != first
    capsys.readouterr()
    training = "plot classes.parquet --figure training"
    assert command_line.main(training.split()) == errors.USAGE
    assert "cannot be drawn from classes.parquet; use one of manifolds" in capsys.readouterr().err


def test_an_interruption_is_one_line_and_an_exit_code(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(parser, "build_parser", interrupted)
    assert command_line.main(["measure", "digits.npz"]) == 130
    assert capsys.readouterr().err == "manifold-capacity: error: interrupted\n"


def test_an_unexpected_error_is_one_line_with_its_place(digits, monkeypatch, capsys):
    monkeypatch.setattr(parser, "build_parser", lambda: 1 / 0)
    assert command_line.main([]) == errors.FAILED
    said = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: division by zero (" in said
    assert said.count("\n") == 1


def test_defaults_are_those_of_the_library(digits):
    chosen = vars(parser.build_parser().parse_args(["measure", "digits.npz"]))
    defaults = inspect.signature(measure).parameters
    for name in ("margin", "n_gaussians", "relative_error", "seed", "threads"):
        assert chosen[name] == defaults[name].default, name
