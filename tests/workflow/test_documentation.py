"""Every code block of the README and of docs/ is run: here, or by a test that is named here; or a reason says why not.

A new command in the documentation fails until it is listed in one of the tables below or runs as it is.
"""

import ast
import re
import shlex
import subprocess
import sys
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits
from workspaces import ROOT, TARGETS, Workspace

from manifold_capacity import command_line
from manifold_capacity.command_line import errors
from manifold_capacity.config.schema import load_schema, typed_values
from manifold_capacity.datasets.prepare import describe

PAGES = [
    *("README.md", "CONTRIBUTING.md"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
]

# Pages of which one test runs every block.
WALKED = {
    "docs/own_data.md": "tests/workflow/test_external.py::test_every_block_of_the_walk_through_was_run",
    "docs/models.md": "tests/workflow/test_networks.py::test_every_block_of_the_page_was_run",
    "docs/recordings.md": "tests/workflow/test_recordings.py::test_every_block_of_the_walk_through_was_run",
    "docs/command_line.md": "tests/unit/command_line/test_command_line.py::test_every_block_of_the_walk_through_was_run",
}
RUN_BY = {
    "python docs/gallery/recording/simulate.py docs/gallery/recording": (
        "tests/unit/test_pictures.py::test_the_simulated_recording_is_that_of_the_gallery"
    ),
    "snakemake -n": "tests/workflow/test_run.py::test_a_second_run_does_nothing",
    "snakemake geometry": "tests/workflow/test_run.py::test_parts_can_be_asked_for_by_name",
    "snakemake plan": "tests/workflow/test_tools.py::test_the_plan_of_a_changed_run",
    "snakemake doctor": "tests/workflow/test_tools.py::test_the_doctor_says_what_is_wrong_and_checks_again",
    "snakemake --report report.html": "tests/workflow/test_report.py::test_every_figure_is_drawn",
    "snakemake --configfile my.yaml --report my-report.html": WALKED["docs/own_data.md"],
    "snakemake --cache": "tests/workflow/test_cache.py::test_a_second_copy_takes_all_from_the_cache",
    "mkdir -p /shared/manifold-cache": "tests/workflow/test_cache.py::test_a_second_copy_takes_all_from_the_cache",
    "export SNAKEMAKE_OUTPUT_CACHE=/shared/manifold-cache": (
        "tests/workflow/test_cache.py::test_a_second_copy_takes_all_from_the_cache"
    ),
    "make test-cluster": "tests/cluster/test_run.py::test_nothing_is_left_to_be_done",
    "make docs": "tests/unit/test_pictures.py::test_the_pictures_are_those_that_the_program_draws",
}
CANNOT_RUN = {
    "git clone <this repository> manifold-capacity && cd manifold-capacity": "the reader's own clone",
    "git clone <your fork> manifold-capacity && cd manifold-capacity": "the reader's own clone",
    "git switch -c a-word-for-the-change": "the reader's own branch",
    ".venv/bin/pytest tests/unit/geometry": "a part of make test",
    "source .venv/bin/activate": "the reader's own shell",
    "make format": "changes the working tree",
    "make lock": "asks a package index for the newest versions",
    "squeue --me": "SLURM's own command",
    "scancel <ids>": "SLURM's own command",
    "snakemake --configfile configs/gallery/cifar100_last_epoch.yaml --cores 2": "needs the weights of an hour's training",
    "snakemake --configfile configs/gallery/cifar100_three_networks.yaml --cores 2": "hours of training",
    "snakemake --configfile configs/gallery/cifar100_exact.yaml --cores 2": "needs the weights of an hour's training",
    "snakemake --configfile configs/gallery/time_series_shuffled.yaml --cores 2": "needs the weights of time_series.yaml",
    "snakemake --configfile configs/gallery/text_shuffled.yaml --cores 2": "needs the weights of text.yaml",
    "python benchmarks/gpu.py --data results/cifar100_vgg16/datasets/cifar100": "needs a GPU and CIFAR-100",
    "python benchmarks/compare_published.py results/cifar100_vgg16/summary/layers.csv": "needs a GPU's hours first",
}
PYTHON_RUN_BY = {
    "docs/outputs.md": "tests/workflow/test_run.py::test_the_store_opens_in_zarr_and_xarray_as_documented",
}


def blocks(page: str, language: str) -> list[str]:
    """The page's blocks in a language, without the indentation of a list."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL
    )
    return [re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def commands() -> list[str]:
    """Each command once, without its comment, of all pages except those in WALKED."""
    lines = [
        line.partition(" #")[0].strip()
        for page in PAGES
        if page not in WALKED
        for block in blocks(page, "console")
        for line in re.sub(r"\\\n\s*", "", block).splitlines()
    ]
    return list(dict.fromkeys(filter(None, lines)))


HERE = [line for line in commands() if line not in RUN_BY and line not in CANNOT_RUN]


@pytest.fixture(scope="module")
def folder(finished_once, tmp_path_factory) -> Workspace:
    """A finished run, and beside it all files that the commands name."""
    workspace = finished_once.twin(tmp_path_factory.mktemp("documentation") / "run")
    for name in ("configs", "examples"):
        (workspace.folder / name).symlink_to(ROOT / name)
    digits = load_digits()
    np.savez(workspace.folder / "recording.npz", V1=digits.data[:200], labels=digits.target[:200])
    # The images of my.yaml: as many classes and images of each as it needs.
    config = my_configuration()
    images = workspace.folder / "images"
    for split in ("train", "test"):
        for index in range(config["manifolds"]["classes"]):
            of_class = images / split / f"class{index:02}"
            of_class.mkdir(parents=True)
            Image.fromarray((digits.images[index] * 15).astype(np.uint8)).save(of_class / "0.png")
            for copy in range(1, config["manifolds"]["points_per_class"]):
                (of_class / f"{copy}.png").hardlink_to(of_class / "0.png")
    nets = blocks("README.md", "python")[0]
    (workspace.folder / "nets.py").write_text(nets)
    made: dict[str, Any] = {}
    exec(nets, made)
    entry = config["models"][0]
    network = made["make"](config["manifolds"]["classes"], (3, 64, 64), **entry["arguments"])
    for path in entry["weights_files"].values():
        torch.save(network.state_dict(), workspace.folder / path)
    (workspace.folder / "my.yaml").write_text(yaml.safe_dump(config))
    return workspace


def my_configuration() -> dict:
    """The README's first configuration."""
    return yaml.safe_load(blocks("README.md", "yaml")[0])


@pytest.mark.parametrize("line", [line for line in HERE if line.startswith("snakemake ")])
def test_snakemake_takes_the_command(folder, line):
    """As a dry run, or for real if it unlocks."""
    arguments = shlex.split(line)[1:]
    unlocks = "--unlock" in arguments
    # Targets come first, before our own option.
    n_targets = int(arguments[0] in TARGETS | {"plan"})
    dry_run = [] if unlocks else ["--dry-run"]
    printed = folder.snakemake(*arguments[:n_targets], *dry_run, *arguments[n_targets:])
    expected = "Unlocked" if unlocks else r"^total +\d+$|Nothing to be done"
    assert re.search(expected, printed, re.MULTILINE), printed


@pytest.mark.parametrize("line", [line for line in HERE if line.startswith("manifold-capacity ")])
def test_the_command_line_takes_the_command(folder, line, monkeypatch, capsys):
    monkeypatch.chdir(folder.folder)
    assert command_line.main(shlex.split(line)[1:]) == errors.DONE
    assert capsys.readouterr().out


@pytest.mark.parametrize("line", [line for line in HERE if line.startswith("make ")])
def test_make_knows_the_target_and_ci_makes_it(line):
    target = line.split()[1]
    makefile = (ROOT / "Makefile").read_text()
    (about,) = re.findall(rf"^{target}:.* ## (.*)", makefile, re.MULTILINE)
    takes_long = "hour" in about
    assert takes_long != (f"make {target}\n" in (ROOT / ".ci/run").read_text())


def test_every_block_has_a_language_that_is_tested():
    shown = {"console", "python", "yaml", ""}
    for page in PAGES:
        opened = re.findall(r"^ *```(.*)$", (ROOT / page).read_text(), re.MULTILINE)[::2]
        directives = {language for language in opened if language.startswith("{")}
        assert {*opened} - directives <= shown, page


def test_no_command_is_left_over():
    programs = ("snakemake ", "manifold-capacity ", "make ")
    assert [line for line in HERE if not line.startswith(programs)] == []
    known = set(commands())
    assert known >= set(RUN_BY)
    assert known >= set(CANNOT_RUN)
    for line in CANNOT_RUN:
        if line.startswith("python "):
            assert (ROOT / line.split()[1]).is_file()


@pytest.mark.parametrize(
    "test", sorted({*WALKED.values(), *RUN_BY.values(), *PYTHON_RUN_BY.values()})
)
def test_the_test_that_is_named_exists(test):
    path, _, name = test.partition("::")
    functions = ast.walk(ast.parse((ROOT / path).read_text()))
    assert name in {node.name for node in functions if isinstance(node, ast.FunctionDef)}


def test_python_of_the_readme_runs(tmp_path):
    digits = load_digits()
    np.save(tmp_path / "activations.npy", digits.data[:60].reshape(6, 10, 64))
    areas = {"V1": digits.data, "IT": digits.data[:, 10:40]}
    np.savez(tmp_path / "recording.npz", **areas, labels=digits.target)
    given = (
        "import torch\nmodel, inputs = make(10, (1, 8, 8)), torch.rand(300, 1, 8, 8)\n"
        "labels = [*range(10)] * 30\n"
    )
    nets, *others = blocks("README.md", "python")
    code = "".join([nets, given, *others])
    done = subprocess.run([sys.executable, "-"], input=code, cwd=tmp_path, text=True, timeout=60)
    assert done.returncode == 0


def test_python_of_the_datasets_makes_a_file_that_its_configuration_takes(folder):
    """The placeholders are filled with real images."""
    digits = load_digits()
    given = {
        "train_images": (digits.images[:1000] * 15).astype(np.uint8),
        "train_labels": digits.target[:1000],
        "test_images": (digits.images[1000:] * 15).astype(np.uint8),
        "test_labels": digits.target[1000:],
    }
    code, inputs_code, _ = blocks("docs/datasets.md", "python")
    code = re.sub(r"(\w+)=\.\.\.", r"\1=given['\1']", code)
    code = code.replace('["cat", "dog"]', "[str(digit) for digit in range(10)]")
    exec(
        code.replace("stimuli.npz", str(folder.folder / "stimuli.npz")), {"np": np, "given": given}
    )
    # The block on inputs: they are no images, whatever their values.
    waves = {name.replace("images", "inputs"): values for name, values in given.items()}
    waves = {name: v / 2.0 if "inputs" in name else v % 2 for name, v in waves.items()}
    inputs_code = re.sub(r"(\w+)=\.\.\.", r"\1=waves['\1']", inputs_code)
    path = folder.folder / "waves.npz"
    exec(inputs_code.replace("waves.npz", str(path)), {"np": np, "waves": waves})
    assert describe({"name": "arrays", "path": str(path)}).input_dtype == "float32"
    config = {"models": ["small_cnn"], "manifolds": {"points_per_class": 20}}
    config |= yaml.safe_load(blocks("docs/datasets.md", "yaml")[1])
    (folder.folder / "stimuli.yaml").write_text(yaml.safe_dump(config))
    assert "prepare_dataset" in folder.planned("--configfile", "stimuli.yaml")


def test_pages_with_python_are_those_that_are_run():
    run_here = {"README.md", "docs/datasets.md"}
    have = {page for page in PAGES if blocks(page, "python")}
    assert have == run_here | {*PYTHON_RUN_BY} | {*WALKED}


def configurations() -> list[tuple[str, dict]]:
    """Every configuration of the pages; in a block, a repeated key begins another one."""
    found = []
    for page in PAGES:
        for block in blocks(page, "yaml"):
            parts = [{}]
            for text in block.replace("0123...", 64 * "a").split("\n\n"):
                part = yaml.safe_load(text) or {}
                if parts[-1].keys() & part.keys():
                    parts.append({})
                parts[-1] |= part
            found += [(page, config) for config in parts]
    return found


@pytest.mark.parametrize(("page", "config"), configurations())
def test_yaml_is_a_configuration_or_a_profile(page, config):
    if "set-resources" in config:
        rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
        for rule in config["set-resources"]:
            assert re.search(rf"^(rule|checkpoint) {rule}:", rules, re.MULTILINE)
        return
    # No key is unknown to the schema. Required keys and files are not given in every block.
    schema = load_schema(ROOT / "schemas/config.schema.yaml") | {"required": []}
    schema["properties"]["dataset"]["required"] = []
    jsonschema.validate(typed_values(config, schema), schema)
