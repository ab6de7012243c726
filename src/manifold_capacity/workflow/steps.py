"""The parameters and keys of the steps of a run, as functions of its configuration.

Everything that a run keeps has a key: a digest of the code that computes it, its parameters, the keys of
what it is computed from, and fingerprints of files from outside. The key is among a job's parameters, so a
change anywhere above makes Snakemake run everything below again, whatever files are there; it is written
into what the job makes, and whoever reads that compares it with the present key.
"""

from __future__ import annotations

import functools
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from manifold_capacity import own_code
from manifold_capacity.config.choices import checkpoint_name
from manifold_capacity.figures.registry import FIGURES
from manifold_capacity.provenance import config_digest, key_of, source_digest
from manifold_capacity.workflow import runs
from manifold_capacity.workflow.fingerprints import Fingerprints
from manifold_capacity.workflow.setup import Setup

Step = dict[str, Any]


def json_for_pages(value: Any) -> str:
    """JSON without `<`: Snakemake's report has the parameters of jobs in a script, which `</script>` would end."""
    return json.dumps(value).replace("<", "\\u003c")


class Steps:
    """A method for each step returns the parameters of its job, for the wildcards of its paths.

    Each has besides its own: ``code``, and ``keys``, which maps the names of the steps that lead to it,
    and last its own, to their keys. Nothing in a step depends on the folder of the results.

    Parameters
    ----------
    setup : Setup
    scripts : Path
        The folder of the rules' scripts; an edit to a script changes its step's key.
    fingerprints : Fingerprints
    """

    def __init__(self, setup: Setup, scripts: Path, fingerprints: Fingerprints) -> None:
        self._setup, self._config = setup, setup.config
        self._scripts, self._fingerprints = scripts, fingerprints
        self._models = {model["label"]: model for model in setup.config["models"]}
        self._draws = runs.draw_suffixes(setup.config)
        # What a network's input and output must fit.
        self._images = {
            "n_classes": len(setup.dataset.class_names),
            "image_shape": list(getattr(setup.dataset, "sample_shape", ())),
            "input_dtype": getattr(setup.dataset, "input_dtype", None),
        }

    @functools.cache  # noqa: B019
    def dataset(self) -> Step:
        own = {key: value for key, value in self._config["dataset"].items() if key != "normalize"}
        files: list[str | os.PathLike[str] | None] = [own["path"]]
        params: Step = {"dataset": own}
        if own["factory"] is not None:
            files += own_code.files(own["factory"], "dataset.factory")
            # What a user's function returns may depend on it, as the texts of the standard library do.
            params["python"] = platform.python_version()
        modules = ["datasets.prepare"]
        return self._step("dataset", "prepare_dataset", modules, files=files, **params)

    @functools.cache  # noqa: B019
    def layers(self, model: str, **_: Any) -> Step:
        if self._setup.external:
            layers = [
                [layer.index, layer.name, layer.type, list(layer.output_shape)]
                for layer in self._setup.layers[model]
            ]
            return self._step("layers", "external_layers", ["models.layers"], layers=layers)
        return self._step(
            "layers",
            "find_layers",
            ["models.find_layers", "models.weights"],
            files=self._own_files(model),
            model=self._model(model),
            images=self._images,
        )

    def initial_weights(self, model: str, seed: str, **_: Any) -> Step:
        return self._weights("initial_weights", model, seed=int(seed))

    def pretrained_weights(self, model: str, checkpoint: str = "pretrained", **_: Any) -> Step:
        epoch = runs.epoch_of(checkpoint)
        return self._weights("pretrained_weights", model, checkpoint, epoch=epoch)

    @functools.cache  # noqa: B019
    def trained_weights(self, model: str, seed: str, **_: Any) -> Step:
        return self._step(
            "weights",
            "train",
            ["training.train"],
            {
                **self.dataset()["keys"],
                "initial_weights": self.initial_weights(model, seed)["keys"]["weights"],
            },
            of_job={"factory": self._models[model]["factory"]},
            seed=int(seed),
            recipe=self._config["training"],
            normalize=self._config["dataset"]["normalize"],
            checkpoints=runs.trained_epochs(self._config),
            torch_threads=self.torch_threads(model),
        )

    def weights(self, model: str, seed: str, checkpoint: str) -> Step:
        if self._models[model]["weights"] in ("pretrained", "files"):
            return self.pretrained_weights(model, checkpoint)
        if checkpoint == "epoch-000":
            return self.initial_weights(model, seed)
        return self.trained_weights(model, seed)

    @functools.cache  # noqa: B019
    def activations(self, model: str, seed: str, checkpoint: str, split: str, **_: Any) -> Step:
        activations, manifolds = self._config["activations"], self._config["manifolds"]
        classes = self._setup.classes
        augment = self._config["training"]["augment"] if manifolds["augment"] else None
        return self._step(
            "activations",
            "extract_activations",
            ["activations.extract"],
            {
                **self.dataset()["keys"],
                **self.layers(model)["keys"],
                **self.weights(model, seed, checkpoint)["keys"],
            },
            model=self._model(model, checkpoint),
            seed=int(seed),
            checkpoint=checkpoint,
            split=split,
            layers=self._config["layers"],
            sample={
                "class_indices": list(classes),
                "points_per_class": manifolds["points_per_class"] * len(self._draws),
            },
            normalize=self._config["dataset"]["normalize"],
            options={
                "classes": list(classes),
                "class_names": list(classes.values()),
                "augment": augment,
                **{
                    key: activations[key]
                    for key in ("dtype", "batch_size", "precision", "projection")
                },
            },
            torch_threads=self.torch_threads(model),
        )

    def moments(
        self, model: str, seed: str, layer: str, labels: str = "", draw: str = "", **run: str
    ) -> Step:
        index = self._draws.index(draw)
        shuffle = runs.shuffle_seed(int(seed), index) if labels else None
        inputs, source = self._source(layer, model=model, seed=seed, **run)
        return self._step(
            "moments",
            "compute_moments",
            ["geometry.moments", self._reader],
            inputs,
            of_job={"layer": layer, "draw": index, "shuffle": shuffle},
            shuffled=bool(labels),
            **source,
        )

    def simulated(self, model: str, seed: str, layer: str, **run: str) -> Step:
        inputs, source = self._source(layer, model=model, seed=seed, **run)
        modules = ["geometry.simulated", self._reader]
        return self._step("simulated", "simulate_capacity", modules, inputs, **source)

    def gram(
        self, model: str, seed: str, layer: str, labels: str = "", draw: str = "", **run: str
    ) -> Step:
        index = self._draws.index(draw)
        inputs, source = self._source(layer, model=model, seed=seed, **run)
        modules = ["geometry.gram", self._reader]
        of_job = {"layer": layer, "draw": index}
        return self._step("gram", "compute_gram", modules, inputs, of_job=of_job, **source)

    def glue(self, **wildcards: str) -> Step:
        seed, shuffled = int(wildcards["seed"]), bool(wildcards["labels"])
        draws = range(len(self._draws))
        return self._step(
            "glue",
            "measure_glue",
            ["geometry.glue", "geometry.glue_table", "geometry.draws"],
            self.gram(**wildcards)["keys"],
            glue=self._config["geometry"]["glue"],
            seed=seed,
            shuffles=[runs.shuffle_seed(seed, draw) for draw in draws] if shuffled else [],
            disjoint=self._disjoint,
        )

    @property
    def _disjoint(self) -> bool:
        """Whether draws have no point in common."""
        return self._config["manifolds"]["points_per_class"] != "equal"

    def geometry(self, **wildcards: str) -> Step:
        simulated = self._config["geometry"]["simulated"] and not wildcards["labels"]
        glue = "glue" in self._config["geometry"]["measures"]
        model = self._models[wildcards["model"]]
        weights, group = model["weights"], model.get("group")
        identity = runs.identity(
            SimpleNamespace(**wildcards), dataset=self._config["dataset"]["name"], weights=weights
        )
        return self._step(
            "geometry",
            "measure_geometry",
            ["geometry.measure", "geometry.draws", "summary.rows", "models.selection"],
            {
                **self.layers(wildcards["model"])["keys"],
                **(self.simulated(**wildcards)["keys"] if simulated else {}),
                **(self.glue(**wildcards)["keys"] if glue else {}),
                **self.moments(**wildcards)["keys"],
            },
            run=identity,
            group={} if group is None else {"group": group},
            classes=runs.class_names(self._setup.classes, bool(wildcards["labels"])),
            layers=self._config["layers"],
            disjoint=self._disjoint,
            geometry={
                key: value
                for key, value in self._config["geometry"].items()
                if key not in ("simulated", "repeats", "measures", "glue")
            },
        )

    @functools.cache  # noqa: B019
    def summary(self) -> Step:
        layers = self._layers_of_runs()
        inputs = {"geometry": key_of(layers)}
        modules = ["summary.collect", "summary.text", "provenance"]
        return self._step(
            "summary",
            "summarize",
            modules,
            inputs,
            of_job={"layers": layers, "config": json_for_pages(self._config)},
            glue="glue" in self._config["geometry"]["measures"],
            config_digest=config_digest(self._config),
        )

    def comparisons(self) -> Step:
        modules = ["summary.comparisons"]
        return self._step("comparisons", "compare", modules, self.summary()["keys"])

    def training(self) -> Step:
        trainings = runs.trained_networks(self._config)
        metrics = [self.trained_weights(**each)["keys"]["weights"] for each in trainings]
        return self._step(
            "training",
            "summarize_training",
            ["summary.collect"],
            {"weights": key_of(metrics)},
            of_job={"metrics": metrics},
            trainings=trainings,
            config_digest=config_digest(self._config),
        )

    def table(self, name: str) -> Step:
        """The step that makes a table."""
        own = {"comparisons": self.comparisons, "training": self.training}
        return own.get(name, self.summary)()

    def figure(self, name: str) -> Step:
        figure = FIGURES[name]
        return self._step(
            "figure",
            "draw_figure",
            ["figures.registry", f"figures.{name}"],
            self.table(figure.table)["keys"],
            figure=name,
            title=figure.title,
        )

    def pages(self, table: str, given: Sequence[str] = ()) -> Step:
        """Pages of a table, and with the configuration as the user gave it."""
        modules = ["pages.results", "pages.origin"]
        if table == "comparisons":
            modules += ["pages.findings", "pages.result"]
        inputs = self.table(table)["keys"]
        if not self._setup.external:
            inputs = {**self.dataset()["keys"], **inputs}
        return self._step("pages", "write_pages", modules, inputs, given=list(given))

    def torch_threads(self, model: str) -> int:
        """Number of PyTorch's threads, whatever the number of cores: the last bits of results depend on it.

        A small network's layers finish before a second thread starts to help.
        """
        entry = self._models[model]
        is_small = entry["name"] == "small_cnn" and entry["factory"] is None
        return int(entry["threads"] or (1 if is_small else 8))

    @property
    def _reader(self) -> str:
        return "activations.external" if self._setup.external else "activations.store"

    def _source(
        self, layer: str, *, seed: str, model: str, checkpoint: str, split: str, **_: str
    ) -> tuple[dict[str, str], Step]:
        """What a layer's points are read from: keys, and parameters."""
        external = self._setup.external
        if not external:
            inputs = self.activations(model, seed, checkpoint, split)["keys"]
            return inputs, {"external": None, "seed": int(seed), "n_draws": len(self._draws)}
        described = runs.external_manifolds(
            self._setup, layer, checkpoint, self._models[model]["group"]
        )
        files = external[checkpoint].files(layer)
        return {}, {"external": described, "seed": int(seed), "files": files}

    def _layers_of_runs(self) -> dict[str, dict[str, str]]:
        """The keys of the geometry of each run, where one network's layers share them, or else of each layer."""
        found = {}
        for path, run in runs.runs_of(self._config).items():
            for labels in runs.label_suffixes(self._config):
                wildcards = {key: str(value) for key, value in vars(run).items()}
                layers = self._setup.layers[run.model] if self._setup.external else []
                for layer in [each.label for each in layers] or [""]:
                    step = self.geometry(**wildcards, labels=labels, layer=layer)
                    found["/".join(filter(None, [path + labels, layer]))] = step["keys"]
        return found

    def _weights(
        self, script: str, model: str, checkpoint: str | None = None, **params: Any
    ) -> Step:
        return self._step(
            "weights",
            script,
            ["models.weights", "models.checkpoints"],
            files=self._own_files(model, checkpoint),
            model=self._model(model, checkpoint),
            images=self._images,
            **params,
        )

    def _model(self, model: str, checkpoint: str | None = None) -> dict[str, Any]:
        """A model's entry, of several files of weights with that of the checkpoint, or else with the first."""
        entry = self._models[model]
        if entry["weights"] != "files":
            return entry
        files = entry["weights_files"]
        named = [key for key in files if checkpoint_name(key) == checkpoint]
        key = next(iter([*named, *files]))
        return {**entry, "weights_files": {key: files[key]}}

    @functools.cache  # noqa: B019
    def _own_files(self, model: str, checkpoint: str | None = None) -> list[str]:
        """The user's files that a network is made from: code, and weights if they come from a file."""
        entry = self._model(model, checkpoint)
        code = own_code.files(entry["factory"], "models.factory") if entry["factory"] else []
        weights = [entry["weights_file"], *(entry["weights_files"] or {}).values()]
        return [*map(str, code), *filter(None, weights)]

    @functools.cache  # noqa: B019  as of the other methods: one object per process
    def _code(self, script: str, *modules: str) -> str:
        return source_digest(*modules, script=self._scripts / f"{script}.py")

    def _step(
        self,
        name: str,
        script: str,
        modules: Iterable[str],
        inputs: Mapping[str, str] | None = None,
        *,
        files: Iterable[str | os.PathLike[str] | None] = (),
        of_job: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> Step:
        """Parameters and keys of a step.

        `inputs` are names and keys of the steps before it; `files` are paths of files from outside.
        `of_job` are parameters that tell apart the jobs of a step that share a key: which of a network's
        layers, for example.
        """
        code = self._code(script, *modules)
        prints = [self._fingerprints.of(path) for path in files if path is not None]
        key = key_of(name, code, params, inputs, prints)
        return {"code": code, "keys": {**(inputs or {}), name: key}, **params, **(of_job or {})}
