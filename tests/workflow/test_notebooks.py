"""The example notebooks: they run from start to end without a warning, and are stored as they were written."""

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from workspaces import ROOT, Workspace

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
# Deprecations are left out: IPython's own would be errors as well.
STRICT = """
import warnings
for category in (UserWarning, RuntimeWarning, FutureWarning):
    warnings.simplefilter("error", category)
"""


def read(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    return notebook


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a notebook of docs/notebooks in a copy of that folder beside a run's results, if any."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))

    def run(name: str, results: Path | None = None) -> Any:
        folder = tmp_path / "docs" / "notebooks"
        folder.mkdir(parents=True)
        if results:
            (tmp_path / "results").symlink_to(results)
        notebook = read(Path(shutil.copy(ROOT / "docs" / "notebooks" / name, folder)))
        notebook.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=120, resources=resources).execute()
        assert [path.name for path in folder.iterdir()] == [name]  # it leaves nothing behind
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        warnings = [output["text"] for output in outputs if output.get("name") == "stderr"]
        # The first use on a machine says that it compiles; whether this is the first, others decide.
        assert not [text for text in warnings if "compiling the solver, once" not in text]
        return outputs

    return run


def pictures(outputs: Any) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_reading_the_results_of_a_run(executed: Any, finished_once: Workspace) -> None:
    outputs = executed("demo_results.ipynb", finished_once.results)
    assert pictures(outputs) == 6


def test_without_results_it_says_what_to_do(executed: Any) -> None:
    with pytest.raises(Exception, match=r"FileNotFoundError.*run `make demo` first"):
        executed("demo_results.ipynb")


def test_a_neural_recording(executed: Any) -> None:
    outputs = executed("neural_recording.ipynb")
    assert pictures(outputs) == 7


def test_a_network_in_memory(executed: Any) -> None:
    outputs = executed("network_in_memory.ipynb")
    assert pictures(outputs) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_stored_without_outputs(path: Path) -> None:
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
