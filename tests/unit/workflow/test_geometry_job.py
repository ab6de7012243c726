"""The script of the geometry jobs: a run has more of these than of any others, and each is short."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from snakemake.iocontainers import InputFiles, Wildcards

from manifold_capacity import measure, provenance
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.models.layers import Layer, write_layers
from manifold_capacity.summary.tables import read_table

SCRIPT = Path(__file__).parents[3] / "scripts" / "measure_geometry.py"
POINTS = np.random.default_rng(0).normal(size=(5, 12, 40)) + np.arange(5)[:, None, None]
# Their imports take as long as a layer's geometry. numba compiles with the last one, which stored code does not need.
SLOW = ["pandas", "pyarrow", "torch", "matplotlib", "zarr", "sklearn", "numba.np.arraymath"]
JOB = f"""
import pickle, runpy, sys
snakemake = pickle.load(open("job", "rb"))
runpy.run_path({str(SCRIPT)!r}, init_globals={{"snakemake": snakemake}})
print(*[name for name in {SLOW!r} if name in sys.modules])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files of a geometry job and what Snakemake gives it, in the working directory."""
    monkeypatch.chdir(tmp_path)
    keys = {"layers": "l", "moments": "m", "geometry": "g"}
    write_layers([Layer(1, "head", "Linear", (40,), 40)], Path("layers.csv"))
    provenance.write_stamp("layers.json", ["layers.csv"], {"layers": "l"})
    moments = moments_from_arrays(POINTS)
    moments.provenance["moments"] = {"key": "m"}
    moments.save("moments.npz")
    step = {
        "keys": keys,
        "code": "c",
        "layers": {"input": False, "types": ["Linear"], "names": []},
        "run": {"dataset": "d", "seed": 3},
        "group": {},
        "classes": {index: f"class {index}" for index in range(5)},
        "geometry": {"n_gaussians": 50},
        "disjoint": True,
    }
    files = {
        "moments": ["moments.npz"],
        "layers": "layers.csv",
        "stamp": "layers.json",
        "simulated": [],
        "glue": [],
    }
    job = SimpleNamespace(
        input=InputFiles(fromdict=files),
        output=["layer.json", "manifolds.csv", "centers.csv"],
        wildcards=Wildcards(fromdict={"layer": "1_Linear"}),
        params=SimpleNamespace(step=step),
        log=["log"],
        threads=1,
    )
    Path("job").write_bytes(pickle.dumps(job))
    return tmp_path


def test_a_job_writes_what_measure_returns_and_imports_nothing_slow(folder):
    expected = measure(POINTS, n_gaussians=50, seed=3)  # compiles, if nothing is stored yet
    done = subprocess.run([sys.executable, "-c", JOB], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\n"
    row = json.loads(Path("layer.json").read_text())
    assert {name: row[name] for name in expected.summary()} == expected.summary()
    table = read_table("manifolds.csv")
    assert table["class_name"].tolist() == [f"class {index}" for index in range(5)]
    for name, values in expected.columns().items():
        np.testing.assert_array_equal(table[name], values)
    centers = read_table("centers.csv")
    np.testing.assert_array_equal(centers["variance_share"], expected.centers_spectrum)
