"""Working copies share datasets, weights, activations and moments through Snakemake's cache."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from workspaces import Workspace, new_workspace

# Pairs that differ in their wildcards only, which Snakemake's key leaves out.
RUNS = [
    ("epoch-000/train", "1_Conv2d"),
    ("epoch-000/train", "12_Linear"),
    ("epoch-000/test", "1_Conv2d"),
    ("epoch-001/train", "1_Conv2d"),
]
STORES = sorted({run for run, _ in RUNS})
CONFIG = {
    "manifolds.splits": ["train", "test"],
    "layers": {"input": False, "types": [], "names": ["features.0", "classifier.2"]},
}


def moments(seed: int = 0) -> list[str]:
    return [f"results/moments/small_cnn/seed-{seed}/{run}/{layer}.npz" for run, layer in RUNS]


@dataclass
class Sharing:
    """A cache, and the copy that filled it."""

    cache: Path
    first: Workspace

    def run(self, workspace: Workspace, *arguments: str, **environment: str) -> str:
        variables = {"SNAKEMAKE_OUTPUT_CACHE": str(self.cache), **environment}
        return workspace.snakemake(*arguments, "--cache", environment=variables)

    def missed(self, workspace: Workspace, seed: int = 0, **environment: str) -> set[str]:
        """Outputs that the cache does not have, named without the results folder and the seed."""
        arguments = [*moments(seed), "--dry-run", "--quiet", "progress"]
        printed = self.run(workspace, *arguments, **environment)
        found = re.findall(r"^Output file (\S+) will be (written to|obtained from)", printed, re.M)
        assert len(found) == 3 + len(STORES) + len(RUNS), printed  # the first output of each job
        return {
            path.removeprefix("results/").replace(f"/small_cnn/seed-{seed}", "")
            for path, how in found
            if how == "written to"
        }


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Sharing:
    folder = tmp_path_factory.mktemp("sharing")
    shared = Sharing(folder / "cache", new_workspace(folder / "first", CONFIG))
    shared.cache.mkdir()
    shared.run(shared.first, *moments())
    return shared


@pytest.fixture
def second(tmp_path: Path) -> Workspace:
    """Another copy of the working tree, without results."""
    return new_workspace(tmp_path / "second", CONFIG)


def test_a_second_copy_takes_all_from_the_cache(sharing, second):
    sharing.run(second, *moments())
    # Training and extraction write a log; they did not run here.
    said = {path for path in (second.results / "logs").rglob("*.log") if path.stat().st_size}
    assert said == {second.results / "logs/find_layers/small_cnn.log"}
    for name in moments():
        assert (second.folder / name).resolve().parent == sharing.cache
        assert (second.folder / name).read_bytes() == (sharing.first.folder / name).read_bytes()
    assert "Nothing to be done" in sharing.run(second, *moments())
    assert "Nothing to be done" in sharing.run(sharing.first, *moments())
    # A finished run stays finished without the cache.
    assert "Nothing to be done" in second.snakemake(*moments())


def test_the_key_tells_apart_checkpoints_splits_and_layers(sharing):
    for run in STORES:
        checkpoint, split = run.split("/")
        weights = sharing.first.results / f"training/small_cnn/seed-0/{checkpoint}.safetensors"
        store = sharing.first.results / f"activations/small_cnn/seed-0/{run}"
        group = json.loads((store / "activations.zarr/zarr.json").read_text())["attributes"]
        assert group["split"] == split
        assert group["checkpoint"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    grams = [np.load(sharing.first.folder / name)["center_gram"] for name in moments()]
    assert len({gram.tobytes() for gram in grams}) == len(grams)


MOMENTS = {f"moments/{run}/{layer}.npz" for run, layer in RUNS}
TRAINED = {
    "training/epoch-001.safetensors",
    "activations/epoch-001/train",
    "moments/epoch-001/train/1_Conv2d.npz",
}
ALL_BUT_THE_DATASET = {
    "training/epoch-000.safetensors",
    *TRAINED,
    *(f"activations/{run}" for run in STORES),
    *MOMENTS,
}


def test_a_comment_is_a_hit(sharing, second):
    for module in ("training/train", "geometry/moments"):
        second.append(module, "# One more comment.")
    assert sharing.missed(second) == set()


@pytest.mark.parametrize(
    ("module", "missed"), [("training/train", TRAINED), ("geometry/moments", MOMENTS)]
)
def test_code_is_a_miss_of_what_it_makes_and_of_what_follows(sharing, second, module, missed):
    second.append(module, "_ONE_MORE = 1")
    assert sharing.missed(second) == missed


def test_the_recipe_is_a_miss_of_what_is_trained(sharing, second):
    second.configure(CONFIG | {"training.learning_rate": 0.02})
    assert sharing.missed(second) == TRAINED


def test_the_seed_is_a_miss_of_all_but_the_dataset(sharing, second):
    second.configure(CONFIG | {"seeds": [1]})
    assert sharing.missed(second, seed=1) == ALL_BUT_THE_DATASET


def test_a_changed_environment_is_a_miss_but_reruns_nothing(sharing, second, tmp_path):
    newer = tmp_path / "newer" / "torch-99.0.dist-info"
    newer.mkdir(parents=True)
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 99.0\n")
    environment = {"PYTHONPATH": str(newer.parent)}
    assert sharing.missed(second, **environment) == ALL_BUT_THE_DATASET
    assert "Nothing to be done" in sharing.run(sharing.first, *moments(), **environment)


def test_a_cache_that_is_not_there_is_an_error(second):
    variables = {"SNAKEMAKE_OUTPUT_CACHE": "cache"}
    printed = second.snakemake("--dry-run", "--cache", check=False, environment=variables)
    assert "SNAKEMAKE_OUTPUT_CACHE is 'cache'" in printed
    assert "Traceback" not in printed
