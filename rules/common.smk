# The configuration, checked; names that paths are made of; helper functions of the rules.
import copy
import functools
import os
import re
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

STARTED = time.time()
# Jobs run the package of this working copy, whatever is installed in their environment.
SOURCE = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SOURCE)
os.environ.update(
    PYTHONPATH=os.pathsep.join([SOURCE, os.environ.get("PYTHONPATH", "")]).strip(
        os.pathsep
    )
)

from manifold_capacity.config.choices import (
    class_indices,
    model_checkpoints,
    own_activations,
)
from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import given_keys, load_schema
from manifold_capacity.config.select_layers import check_layers
from manifold_capacity.datasets.catalog import addresses, needs_network
from manifold_capacity.datasets.prepare import describe
from manifold_capacity.models.layers import read_layers, select_layers
from manifold_capacity.workflow.plan import (
    groups_of_profile,
    store_bytes,
    stores_at_once,
)
from manifold_capacity.figures.registry import FIGURES
from manifold_capacity.provenance import config_digest, software_versions, source_digest
from manifold_capacity.summary.rows import ORIGINAL, SHUFFLED


def checked_config():
    """The configuration with all defaults, each model's layers, bytes of its store, stores at once.

    A configuration that cannot be run stops with a message, not a traceback.
    """
    try:
        checked = resolve(
            config, load_schema(Path(workflow.basedir, "schemas/config.schema.yaml"))
        )
        tables = check_layers(
            checked,
            known=lambda model: layers_on_disk(checked, model),
            find=lambda model: layers_of_network(checked, model),
        )
        # Activations that exist already are not stored once more.
        own = checked["activations"]["path"] is not None
        sizes = {} if own else store_bytes(checked, tables)
        at_once = stores_at_once(checked["activations"]["max_gib"], sizes)
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    return checked, tables, sizes, at_once


def layers_on_disk(checked, model):
    """The model's layers as an earlier run found them, or None."""
    if checked["activations"]["path"] is not None:
        return own_activations(checked).layers
    table = Path(checked["results"], "layers", f"{model['label']}.csv")
    return read_layers(table) if table.is_file() else None


def layers_of_network(checked, model):
    """The model's layers from the network itself; imports torch, so it is asked only when nothing is known."""
    from manifold_capacity.models.find_layers import list_layers
    from manifold_capacity.models.weights import network_options

    dataset = describe(checked["dataset"])
    return list_layers(
        **network_options(
            model, n_classes=len(dataset.class_names), image_shape=dataset.image_shape
        )
    )


CONFIG_AS_GIVEN = copy.deepcopy(dict(config))
config, LAYERS, STORE_BYTES, STORES_AT_ONCE = checked_config()
# Activations that exist already, or None: the geometry starts from them, and no network is run.
OWN = own_activations(config)
DATASET = OWN or describe(config["dataset"])
MODELS = {model["label"]: model for model in config["models"]}
NETWORK = "{model}/seed-{seed}"
RUN = f"{NETWORK}/{{checkpoint}}/{{split}}"
CLASSES = {
    index: DATASET.class_names[index]
    for index in class_indices(config["manifolds"]["classes"], DATASET)
}
# What comes after a run's split and after a layer in paths: of the control with shuffled labels, of repeated draws.
LABELS = ["", "-shuffled"] if config["manifolds"]["shuffle_labels"] else [""]
N_DRAWS = config["geometry"]["repeats"]
DRAWS = ["", *(f"-draw-{draw}" for draw in range(2, N_DRAWS + 1))]


def what_came_out():
    """The table of the layers and what to open, if this run has made them."""
    results = config["results"]
    table = Path(results, "summary/layers.txt")
    if not table.exists() or table.stat().st_mtime < STARTED:
        return ""
    return (
        f"\n{table.read_text(encoding='utf-8')}\nFigures: {results}/figures/   Tables: {results}/summary/   "
        f"All of it in one page: the same command with --report {results}/report.html"
    )


def sharing():
    """Whether outputs come from and go to a cache that working copies share (Snakemake's `--cache`)."""
    if not workflow.enable_cache:
        return False
    folder = os.environ.get("SNAKEMAKE_OUTPUT_CACHE", "")
    if not os.path.isabs(folder) or not os.path.isdir(folder):
        raise WorkflowError(
            f"--cache: SNAKEMAKE_OUTPUT_CACHE is {folder!r}; set it to the absolute path of an existing "
            "folder, or run without --cache"
        )
    if not OWN and DATASET.name == "imagefolder":
        raise WorkflowError(
            "--cache: dataset.name is 'imagefolder', and Snakemake's cache identifies files by their "
            "contents, which a folder has not; use the images as arrays (dataset.name: arrays), or run "
            "without --cache"
        )
    return True


SHARED = sharing()


pathvars:
    results=config["results"],
    logs=f"{config['results']}/logs",
    benchmarks=f"{config['results']}/benchmarks",
    dataset=f"{config['results']}/datasets/{DATASET.name}",
    network=NETWORK,
    run=RUN,


wildcard_constraints:
    model="|".join(map(re.escape, MODELS)),
    seed=r"\d+",
    checkpoint=r"epoch-\d\d\d+|pretrained|external",
    split="train|test|all",
    labels="(-shuffled)?",
    layer=r"\d+_\w+",
    draw=r"(-draw-\d+)?",


def model_of(wildcards):
    """The model's entry in the configuration."""
    return MODELS[wildcards.model]


def torch_threads(wildcards):
    """Threads of the network's arithmetic, whatever the number of cores: the last bits depend on it.

    A small network's layers are over before a second thread has woken up.
    """
    return 1 if model_of(wildcards)["name"] == "small_cnn" else 8


def rising(amount):
    """What a job asks for: this much, and twice and three times as much when it is tried again."""
    return lambda wildcards, attempt: amount * attempt


def software(step):
    """Versions of the packages that compute an output: a parameter that counts in the cache's key only.

    Snakemake runs no job again for a parameter that depends on the input, as this one says it does: an
    update of a package makes results of the old one wrong to share, not wrong to keep.
    """
    versions = software_versions(step)
    return lambda wildcards, input: versions


def images_of(wildcards):
    """What the dataset says about a network's input and output."""
    return {
        "n_classes": len(DATASET.class_names),
        "image_shape": list(DATASET.image_shape),
    }


def seed_of(wildcards):
    return int(wildcards.seed)


def identity_of(wildcards):
    """What the tables say about a run."""
    epoch = wildcards.checkpoint.removeprefix("epoch-")
    return {
        "dataset": DATASET.name,
        "model": wildcards.model,
        "weights": MODELS[wildcards.model]["weights"],
        "seed": int(wildcards.seed),
        "checkpoint": wildcards.checkpoint,
        "epoch": int(epoch) if epoch.isdigit() else None,
        "split": wildcards.split,
        "labels": SHUFFLED if wildcards.labels else ORIGINAL,
    }


def trained_epochs():
    """Epochs after which a training job leaves a checkpoint."""
    return [epoch for epoch in config["checkpoints"] if epoch > 0]


def runs():
    """Every combination of model, seed, checkpoint and split that is measured."""
    return [
        {"model": label, "seed": seed, "checkpoint": checkpoint, "split": split}
        for label, model in MODELS.items()
        for seed in config["seeds"]
        for checkpoint in model_checkpoints(config, model)
        for split in config["manifolds"]["splits"]
    ]


def trainings():
    """Every combination of model and seed that is trained."""
    return [
        {"model": label, "seed": seed}
        for label, model in MODELS.items()
        if model["weights"] == "trained" and trained_epochs()
        for seed in config["seeds"]
    ]


def measured_layers(model):
    """The model's selected layers, once the checkpoint rule has found them."""
    if OWN:
        return OWN.layers
    table = Path(checkpoints.find_layers.get(model=model).output[0])
    return selected_layers(model, table, table.stat().st_mtime_ns)


@functools.cache
def selected_layers(model, table, changed_ns):
    """Read once as long as the table does not change: a sweep asks thousands of times."""
    return select_layers(read_layers(table), config["layers"], model=model)


def tables_of_layers():
    """Inputs of what depends on all models' layers, so that one look at the checkpoints finds all of them.

    Not for jobs that a profile groups: Snakemake 9.27 then ends with a KeyError once the checkpoint is done.
    """
    return [] if OWN else [f"<results>/layers/{model}.csv" for model in MODELS]


def for_each_layer(step, suffix):
    """Files of one step for every run, with its labels and shuffled, and each of its layers."""
    layers = {model: measured_layers(model) for model in MODELS}
    return [
        f"<results>/{step}/{RUN.format(**run)}{labels}/{layer.label}.{suffix}"
        for run in runs()
        for labels in LABELS
        for layer in layers[run["model"]]
    ]


def made_of_activations(run, layers):
    """What is computed from a run's store of activations: once it is there, a temporary store is gone."""
    moments = [
        f"moments/{run}{labels}/{layer.label}{draw}.npz"
        for labels in LABELS
        for layer in layers
        for draw in DRAWS
    ]
    simulated = [f"simulated/{run}/{layer.label}.json" for layer in layers]
    files = moments + (simulated if config["geometry"]["simulated"] else [])
    return [f"{config['results']}/{file}" for file in files]


def waiting_runs():
    """Runs to be extracted, in their order if stores are bounded; first those whose store stands already: they wait for no one.

    A run that is finished has no place in the order. It would be made again with the run before it.
    """
    if STORES_AT_ONCE is None:
        return {}
    waiting = {}
    for run in runs():
        name = RUN.format(**run)
        layers = select_layers(LAYERS[run["model"]], config["layers"])
        if not all(map(os.path.exists, made_of_activations(name, layers))):
            waiting[name] = run["model"]
    return dict(sorted(waiting.items(), key=lambda item: not store_stands(item[0])))


def store_stands(run):
    return Path(config["results"], "activations", run).is_dir()


def run_before(wildcards):
    """What has to be there before the run may extract: as many runs ahead as there may be stores at once."""
    names = list(WAITING_RUNS)
    name = names[names.index(wildcards.run) - STORES_AT_ONCE]
    return made_of_activations(name, measured_layers(WAITING_RUNS[name]))


def turn_of(wildcards):
    """The go-ahead of an extraction, if stores are bounded.

    One that was given stays an input, whatever the bound is now, and a run that was finished without one gets none: another
    set of inputs would be a reason to extract again.
    """
    run = RUN.format(**wildcards)
    turn = f"{config['results']}/turns/{run}"
    return [turn] if run in RUNS_THAT_TAKE_TURNS or os.path.exists(turn) else []


def shuffle_of(wildcards):
    """Seed of the control's deal of points: of the seed and the draw, so the same in every layer and checkpoint."""
    if not wildcards.labels:
        return None
    return [seed_of(wildcards), draw_of(wildcards), *b"labels"]


def draw_of(wildcards):
    """Which draw of points, from 0."""
    return DRAWS.index(wildcards.draw)


def classes_of(wildcards):
    """Index and name of each manifold's class."""
    if not wildcards.labels:
        return CLASSES
    return {index: f"shuffled {index}" for index in range(len(CLASSES))}


def simulated_of(wildcards):
    """The simulated capacity, if it is asked for; not of the control."""
    if not config["geometry"]["simulated"] or wildcards.labels:
        return []
    run = RUN.format(**dict(wildcards.items()))
    return [f"<results>/simulated/{run}/{wildcards.layer}.json"]


def figure_caption(name):
    """What the report says of a figure, written for it or else of any."""
    caption = f"../report/figure_{name}.rst"
    written = Path(workflow.basedir, "rules", caption).exists()
    return caption if written else "../report/figure.rst"


def store_of_activations(path):
    """The folder that holds the store; temporary if the configuration says so."""
    folder = directory(path)
    return folder if config["activations"]["keep"] else temp(folder)


def missing_downloads():
    """Addresses of the dataset's files, unless it has been prepared."""
    prepared = Path(config["results"], "datasets", DATASET.name, "dataset.json")
    return [] if prepared.exists() else addresses(config["dataset"])


def own_layer(wildcards):
    """What makes a layer's manifolds out of activations that exist already."""
    return {
        "source": {key: config["activations"][key] for key in ("path", "labels")},
        "array": OWN.describe(wildcards.layer),
        "names": config["layers"]["names"],
        "sample": {
            "classes": list(CLASSES),
            "points_per_class": config["manifolds"]["points_per_class"],
        },
    }


def own_layer_files(wildcards):
    """Files that a layer of activations that exist already is read from."""
    return OWN.files(wildcards.layer)


def own_data_files():
    """What a dataset of the user's own is read from: newer files are read again."""
    path = config["dataset"]["path"]
    if DATASET.name == "arrays":
        return [path]
    if DATASET.name == "imagefolder":
        # A class folder's time changes when a file comes or goes.
        return sorted(
            str(folder) for folder in Path(path).glob("*/*/") if folder.is_dir()
        )
    return []


# Decided once, where jobs are started: while they run, files come.
WAITING_RUNS = waiting_runs() if workflow.is_main_process else {}
RUNS_THAT_TAKE_TURNS = [
    run for run in list(WAITING_RUNS)[STORES_AT_ONCE:] if not store_stands(run)
]
