"""The runs of a configuration (each model, seed, checkpoint and split that is measured) and their files."""

from __future__ import annotations

import _thread
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from manifold_capacity.config.choices import external_paths, model_checkpoints
from manifold_capacity.errors import UserError
from manifold_capacity.files import lock, read_json
from manifold_capacity.models.layers import Layer, is_readable
from manifold_capacity.models.views import layers_of
from manifold_capacity.summary.rows import ORIGINAL, SHUFFLED
from manifold_capacity.workflow import stores
from manifold_capacity.workflow.setup import Setup, selected_layers

# Parts of paths, with Snakemake's wildcards.
NETWORK = "{model}/seed-{seed}"
RUN = f"{NETWORK}/{{checkpoint}}/{{split}}"
# Tables of layers that end a run; more would hide what was found.
MOST_TABLES = 6


@dataclass(frozen=True)
class Run:
    """One checkpoint of one network on one split, with one store of activations."""

    model: str
    seed: int
    checkpoint: str
    split: str

    @property
    def path(self) -> str:
        """The part that the paths of its files share."""
        return RUN.format(**vars(self))


def runs_of(config: Mapping[str, Any]) -> dict[str, Run]:
    """Path -> run, of all runs of a resolved configuration in their order."""
    runs = [
        Run(model["label"], seed, checkpoint, split)
        for model in config["models"]
        for seed in config["seeds"]
        for checkpoint in model_checkpoints(config, model)
        for split in config["manifolds"]["splits"]
    ]
    return {run.path: run for run in runs}


def trained_epochs(config: Mapping[str, Any]) -> list[int]:
    """Epochs after which training saves a checkpoint."""
    return [epoch for epoch in config["checkpoints"] if epoch > 0]


def trained_networks(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Model and seed of every network that is trained."""
    return [
        {"model": model["label"], "seed": seed}
        for model in config["models"]
        if model["weights"] == "trained" and trained_epochs(config)
        for seed in config["seeds"]
    ]


def labels_pattern(config: Mapping[str, Any], *weights: str) -> str:
    """A pattern of the models whose weights come from there. Rules that make the same paths have each its own models."""
    labels = [m["label"] for m in config["models"] if m["weights"] in weights]
    return "|".join(map(re.escape, labels)) or "(?!)"


def label_suffixes(config: Mapping[str, Any]) -> list[str]:
    """What follows a run in the paths of its results: nothing, or a suffix for the control with shuffled labels."""
    return ["", "-shuffled"] if config["manifolds"]["shuffle_labels"] else [""]


def draw_suffixes(config: Mapping[str, Any]) -> list[str]:
    """What follows a layer in the paths of its moments, for each draw of points."""
    n_draws = config["geometry"]["repeats"]
    return ["", *(f"-draw-{draw}" for draw in range(2, n_draws + 1))]


def epoch_of(checkpoint: str) -> int | None:
    """The number in the name of a checkpoint, if it has one."""
    epoch = checkpoint.removeprefix("epoch-")
    return int(epoch) if epoch.isdigit() else None


def identity(wildcards: Any, *, dataset: str, weights: str) -> dict[str, Any]:
    """The columns of the tables that identify a run.

    Parameters
    ----------
    wildcards
        Snakemake's, of a rule whose paths contain ``{model}/seed-{seed}/{checkpoint}/{split}{labels}``.
    dataset, weights : str
        Name of the dataset, and origin of the model's weights.
    """
    return {
        "dataset": dataset,
        "model": wildcards.model,
        "weights": weights,
        "seed": int(wildcards.seed),
        "checkpoint": wildcards.checkpoint,
        "epoch": epoch_of(wildcards.checkpoint),
        "split": wildcards.split,
        "labels": SHUFFLED if wildcards.labels else ORIGINAL,
    }


def class_names(classes: Mapping[int, str], shuffled: bool) -> dict[int, str]:
    """Index -> name of each manifold's class; with shuffled labels, manifolds are numbered."""
    if shuffled:
        return {index: f"shuffled {index}" for index in range(len(classes))}
    return dict(classes)


def shuffle_seed(seed: int, draw: int) -> list[int]:
    """Seed of the permutation of labels: the same in every layer and checkpoint."""
    return [seed, draw, *b"labels"]


def simulated_capacity_files(config: Mapping[str, Any], wildcards: Any) -> list[str]:
    """The file with a layer's simulated capacity, if it is asked for; the control has none."""
    if not config["geometry"]["simulated"] or wildcards.labels:
        return []
    run = RUN.format(**dict(wildcards.items()))
    return [f"{config['results']}/simulated/{run}/{wildcards.layer}.json"]


def gram_files(config: Mapping[str, Any], wildcards: Any) -> list[str]:
    """The files with the inner products of a layer's points, one for each draw. Shuffled labels are of the same points."""
    run = RUN.format(**dict(wildcards.items()))
    draws = draw_suffixes(config)
    return [f"{config['results']}/gram/{run}/{wildcards.layer}{draw}.npz" for draw in draws]


def glue_files(config: Mapping[str, Any], wildcards: Any) -> list[str]:
    """The file with a layer's exact capacity, if it is asked for."""
    if "glue" not in config["geometry"]["measures"]:
        return []
    run = RUN.format(**dict(wildcards.items()))
    return [f"{config['results']}/glue/{run}{wildcards.labels}/{wildcards.layer}.json"]


def most_points(setup: Setup) -> int:
    """Points of one draw of all classes together."""
    each = setup.config["manifolds"]["points_per_class"]
    if isinstance(each, int):
        return each * len(setup.classes)
    counts = (
        setup.dataset.counts
    )  # of one split: only external activations have all points measured
    return max(sum(of_each[index] for index in setup.classes) for of_each in counts.values())


def external_manifolds(
    setup: Setup, layer: str, checkpoint: str, group: str | None
) -> dict[str, Any]:
    """How a layer's manifolds are read from external activations."""
    config, path = setup.config, external_paths(setup.config)[checkpoint]
    of_all = {key: config["activations"][key] for key in ("labels", "groups")}
    return {
        "source": {"path": path, **of_all},
        "array": setup.external[checkpoint].describe(layer),
        "names": config["layers"]["names"],
        "sample": {
            "classes": list(setup.classes),
            "points_per_class": config["manifolds"]["points_per_class"],
            "group": group,
        },
    }


def store_of_layer(setup: Setup, wildcards: Any) -> list[str]:
    """The store that a layer is read from; none for external activations.

    Not by way of the checkpoint, for jobs that a profile groups: its table is there when such jobs are planned. Only
    of a file that is asked for by name, it may be missing.
    """
    if setup.external:
        return []
    config, model = setup.config, wildcards.model
    table = Path(config["results"], "layers", f"{model}.csv")
    parts = setup.parts[model]
    if is_readable(table):
        chosen = selected_layers(table, config["layers"], model)
        parts = stores.parts(config, chosen, len(setup.classes))
    run = RUN.format(**dict(wildcards.items())) + stores.suffix_of(parts, wildcards.layer)
    return [f"{config['results']}/activations/{run}"]


def outputs_of_run(config: Mapping[str, Any], run: str, layers: Sequence[Layer]) -> list[str]:
    """Files computed from a run's store of activations. Once all exist, Snakemake deletes a temporary store.

    `layers` are the arrays in the store, see `manifold_capacity.models.views.arrays_of`.
    """
    layers = layers_of(layers)
    files = [
        f"moments/{run}{labels}/{layer.label}{draw}.npz"
        for labels in label_suffixes(config)
        for layer in layers
        for draw in draw_suffixes(config)
    ]
    if config["geometry"]["simulated"]:
        files += [f"simulated/{run}/{layer.label}.json" for layer in layers]
    if "glue" in config["geometry"]["measures"]:
        files += [
            f"gram/{run}/{layer.label}{draw}.npz"
            for layer in layers
            for draw in draw_suffixes(config)
        ]
    return [f"{config['results']}/{file}" for file in files]


def lock_results(results: str) -> FileIO | None:
    """An open file that keeps other runs from writing to the same folder of results; UserError if one does.

    Snakemake's own lock is of the folder that it is started in. None if nothing can be written there: then
    jobs fail, and say so.
    """
    try:
        Path(results).mkdir(parents=True, exist_ok=True)
        file = FileIO(Path(results, ".lock"), "a")
    except OSError:
        return None
    if not lock(file):
        file.close()
        raise UserError(
            f"results: another run writes to {os.path.abspath(results)}; wait until it has finished, or "
            "choose another folder"
        )
    return file


def handle_sigterm(*, submits: bool) -> None:
    """Set what SIGTERM does to Snakemake: nothing starts any more, and running jobs end or are cancelled.

    If it `submits` jobs to a cluster, they are cancelled, as after Ctrl-C: they may run for hours, and whoever
    sends SIGTERM soon kills Snakemake, which would leave them behind. Otherwise Snakemake's own handler waits
    for the running jobs, in a thread of its own. It waits for a lock: in the main thread, where handlers run,
    it could interrupt what holds that lock, and would wait for itself for ever.
    """
    if submits:
        # Not by sending SIGINT, which is ignored where a script has started Snakemake in the background.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return
    handler: Any = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *signaled: _thread.start_new_thread(handler, signaled))


def check_tables(workflow: Any, rule: Any, results: str, keys: Mapping[str, str]) -> list[str]:
    """Raise UserError if the tables would pass for those of the present configuration, whose `keys` they lack.

    Snakemake compares parameters with its records only: without these, it would take the tables for finished.
    A report takes them as they are.

    Parameters
    ----------
    workflow, rule
        Snakemake's, and its rule of the tables.

    Returns
    -------
    list of str
        Empty: a target has no further input.
    """
    # Nothing documented tells whether there are records, and whether everything is to be made anew.
    recorded = workflow.persistence.has_metadata(rule)
    is_report = any(word.partition("=")[0] == "--report" for word in sys.argv)
    if (recorded or workflow.dag_settings.forceall) and not is_report:
        return []
    try:
        found = read_json(Path(results, "provenance.json")).get("keys", {})
    except FileNotFoundError:
        return []
    except UserError:
        found = {}
    if found.get("summary") == keys["summary"]:
        return []
    problem = f"the tables in {results} are of another configuration or an earlier version"
    remedy = "run the same command without --report first"
    if not recorded:
        problem += ", and Snakemake's records of how they were made (.snakemake/metadata) are gone"
        remedy = "make everything anew with --forceall, or choose another folder"
    raise UserError(f"results: {problem}; {remedy}")


def opening_text(results: str) -> str:
    """What a run says first: whether results of an earlier version are there, which had no keys."""
    try:
        with Path(results, "provenance.json").open("rb") as file:
            has_keys = b'"keys": {' in file.read(200)
    except FileNotFoundError:
        return ""
    if has_keys:
        return ""
    return f"The results in {results} have no keys: they are of an earlier version, and made again."


def closing_text(results: str, since: float) -> str:
    """The table of the layers, what was found and where results are, if made after the time `since`; else nothing."""
    paths = [Path(results, "summary", name) for name in ("layers.txt", "findings.txt")]
    new = [path for path in paths if path.exists() and path.stat().st_mtime >= since]
    if paths[0] not in new:
        return ""
    said = [path.read_text(encoding="utf-8") for path in new]
    parts = said[0].split("\n\n")
    n_tables = sum("\n---" in part for part in parts)  # the notes have no rule
    if n_tables > MOST_TABLES:
        first = f"The last {MOST_TABLES} of {n_tables} tables; all of them: {paths[0]}"
        said[0] = "\n\n".join([first, *parts[n_tables - MOST_TABLES :]])
    return (
        "\n" + "\n".join(said) + f"\nFigures: {results}/figures/   Tables: {results}/summary/   "
        f"All of it in one page: the same command with --report {results}/report.html"
    )
