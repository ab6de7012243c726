"""The report's texts, rendered as Snakemake renders them."""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined

from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import load_schema
from manifold_capacity.figures.registry import FIGURES
from manifold_capacity.pages.findings import Finding
from manifold_capacity.pages.result import result_page

ROOT = Path(__file__).parents[2]
SCHEMA = load_schema(ROOT / "schemas" / "config.schema.yaml")
TEXTS = sorted((ROOT / "report").glob("*.rst"))
ENVIRONMENT = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
# Items of every run's report that texts may link to.
TARGETS = (
    *("Geometry", "Where it comes from", "Statistics", "layers.csv", "layers.html"),
    *("manifolds.csv", "comparisons.csv", "comparisons.html", "provenance.json"),
)

SMALL = {"dataset": {"name": "digits"}, "models": ["small_cnn"]}
LARGE = {
    "dataset": {"name": "cifar10"},
    "models": ["vgg16", {"name": "resnet18", "weights": "random"}],
    "seeds": [0, 7],
    "checkpoints": [0, 5, "final"],
    "manifolds": {"classes": ["cat", "dog"], "augment": True, "splits": ["train", "test"]},
    "geometry": {"n_gaussians": "auto", "margin": 0.5},
}
PRETRAINED = {
    "dataset": {"name": "cifar10"},
    "models": [{"name": "vgg16", "weights": "pretrained"}],
    "manifolds": {"classes": 3},
}


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A configuration with external activations."""
    path = tmp_path_factory.mktemp("external") / "recording.npy"
    np.save(path, np.arange(24.0).reshape(3, 2, 4))
    return {"activations": {"path": str(path)}, "manifolds": {"classes": 2}}


def rendered(path: Path, config: dict[str, Any], pages: Sequence[Path] = ()) -> str:
    """The text as a reader sees it; a warning of docutils is an error."""
    # This target is only in the report of a run that trained.
    targets = [*TARGETS, *["training.csv"] * path.stem.endswith("training")]
    links = "".join(f"\n.. _{name}: javascript:show('{quote(name)}')\n" for name in targets)
    snakemake = SimpleNamespace(
        config=resolve(config, SCHEMA),
        params=SimpleNamespace(figure="layers", title="along the layers"),
    )
    text = ENVIRONMENT.from_string(path.read_text(encoding="utf-8") + links).render(
        snakemake=snakemake, files=[SimpleNamespace(name=page.name, path=page) for page in pages]
    )
    settings = {"halt_level": 2, "report_level": 2, "warning_stream": False}
    page = publish_parts(text, writer="html", settings_overrides=settings)["html_body"]
    assert re.findall(r'href="(?!#|javascript:show\()', page) == []
    shown = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(shown).split())


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("config", [SMALL, LARGE, PRETRAINED], ids=["small", "large", "pretrained"])
def test_every_text_renders_for_every_configuration(path: Path, config: dict[str, Any]) -> None:
    assert len(rendered(path, config)) > 70


@pytest.mark.parametrize(
    "name", ["workflow", "figure_layers", "figure_manifolds", "layers", "manifolds"]
)
def test_texts_render_for_external_activations(name: str, external: dict[str, Any]) -> None:
    text = rendered(ROOT / "report" / f"{name}.rst", external)
    assert len(text) > 100
    assert "checkpoint" not in text.lower().replace("model, seed, checkpoint and split", "")
    if name == "workflow":
        assert "recording.npy Seeds: 0 Manifolds: the first 2 classes, all samples each" in text


def test_markup_in_names_is_shown_as_it_is(tmp_path: Path) -> None:
    names = [
        "`a <javascript:alert(1)>`_",
        "*b*",
        "**c",
        "|d|",
        "[1]_",
        ":file:`..`",
        "<i>{{ 7*7 }}",
    ]
    names += ["e_", "f\\", ".. raw:: html", "Statistics_", "`"]
    path = tmp_path / "`x <javascript:alert(1)>`__ & *y.npz"
    np.savez(path, a=np.eye(2 * len(names)), labels=np.repeat(names, 2))
    config = {"activations": {"path": str(path)}, "manifolds": {"classes": names}}
    text = rendered(ROOT / "report" / "workflow.rst", config)
    assert f"Activations: {path}" in text
    assert f"classes {', '.join(names)}, all samples each" in text


def test_every_text_is_used_and_every_text_used_exists() -> None:
    sources = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    used = {
        name
        for source in sources
        for name in re.findall(r"report/(\w+\.rst)", source.read_text(encoding="utf-8"))
    }
    # A figure may have a text of its own; of any other, `figure.rst` is shown.
    used |= {f"figure_{name}.rst" for name in FIGURES} & {path.name for path in TEXTS}
    assert used == {path.name for path in TEXTS}


def test_the_first_page_summarizes_the_run() -> None:
    page = ROOT / "report" / "workflow.rst"
    small, large, pretrained = (rendered(page, config) for config in (SMALL, LARGE, PRETRAINED))
    assert "Models: small_cnn (trained weights) Seeds: 0 Checkpoints: after epoch 0, 20" in small
    assert "(0: untrained) Manifolds: all classes, 50 images each, train split" in small
    assert "margin κ = 0.0, 300 Gaussian samples per manifold, solver active_set" in small
    assert "vgg16 (trained weights), resnet18-random (random weights) Seeds: 0, 7" in large
    assert "after epoch 0, 5, 20 (0: untrained)" in large
    assert "classes cat, dog, 50 augmented images each, train and test split" in large
    assert (
        "margin κ = 0.5, as many Gaussian samples as needed for a relative error of 0.01" in large
    )
    assert (
        "Checkpoints: none, since nothing was trained Manifolds: the first 3 classes" in pretrained
    )


def test_the_first_page_opens_on_the_result(tmp_path: Path) -> None:
    figure = (
        '<svg width="480.5pt" height="20pt">' + "x" * 50_000
    )  # docutils takes no line as long as that
    found = [Finding("Where it rises", "a_ *net* <b>", "From `1`_ to |2|: <i>\nExact: {{ 3 }}")]
    (tmp_path / "result.html").write_text(result_page(found, figure), encoding="utf-8")
    page = ROOT / "report" / "workflow.rst"
    text = rendered(page, SMALL, [tmp_path / "layers.html", tmp_path / "result.html"])
    assert text.startswith(
        "What was found The figure scrolls sideways. Where it rises a_ *net* <b> From `1`_ to |2|: <i> Exact: {{ 3 }} "
        "Where to look. Geometry has the other figures"
    )
    without = rendered(page, SMALL)
    assert without.startswith("Manifold capacity and geometry Where to look.")


def test_captions_say_what_intervals_are_over() -> None:
    caption = ROOT / "report" / "figure_layers.rst"
    small, large = (rendered(caption, config) for config in (SMALL, LARGE))
    assert "Bands are 95 % intervals, over classes: for as many other classes" in small
    assert "Color is the checkpoint, light to dark" in small
    seeds = rendered(caption, SMALL | {"seeds": [0, 1, 2]})
    assert "Bands are 95 % intervals, over the 3 seeds, whose mean the curves are" in seeds
    several = {"manifolds": {"points_per_class": 20}, "geometry": {"repeats": 5}}
    draws = rendered(caption, SMALL | several)
    assert "Bands are 95 % intervals, over 5 draws of points: for other images" in draws
    assert "Color is the model (or the checkpoint, where a panel has one model)" in large
