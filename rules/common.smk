# The checked configuration, the names in paths, and what the rules of several steps share.
import os
import re
import sys
import time
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError

STARTED = time.time()
# Jobs import the package from this working copy, whatever is installed in their environment.
SOURCE = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SOURCE)
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
)

from manifold_capacity.errors import UserError
from manifold_capacity.provenance import software_versions, source_digest
from manifold_capacity.workflow import runs
from manifold_capacity.workflow.fingerprints import Fingerprints
from manifold_capacity.workflow.runs import NETWORK, RUN, trained_epochs
from manifold_capacity.workflow.setup import check_cache, selected_layers, set_up
from manifold_capacity.workflow.steps import Steps

# Whether `--cache` is given. Not documented, but nothing else tells: SNAKEMAKE_OUTPUT_CACHE may be set without it.
SHARED = bool(workflow.enable_cache)
LOCKS = []  # the lock on the results, held until this process ends


def user_errors(function):
    """The function, but an error that users can fix is Snakemake's, which it prints without a traceback."""

    def call(*arguments, **options):
        try:
            return function(*arguments, **options)
        except UserError as error:
            raise WorkflowError(str(error)) from None

    return call


SCHEMA = Path(workflow.basedir, "schemas/config.schema.yaml")
GIVEN = workflow.overwrite_configfiles or workflow.configfiles
FILES = {path: load_configfile(path) for path in GIVEN}
OPTIONS = workflow.config_settings.config  # of --config; not documented
SETUP = user_errors(set_up)(config, SCHEMA, FILES, OPTIONS)
if SHARED:
    user_errors(check_cache)(os.environ.get("SNAKEMAKE_OUTPUT_CACHE", ""))
config, EXTERNAL, DATASET = SETUP.config, SETUP.external, SETUP.dataset
MODELS = {model["label"]: model for model in config["models"]}
RUNS = runs.runs_of(config)
TRAINED = [NETWORK.format(**network) for network in runs.trained_networks(config)]
LABELS, DRAWS = runs.label_suffixes(config), runs.draw_suffixes(config)
# The parameters and keys of every step.
PRINTS = Fingerprints(planning=workflow.is_main_process)
STEPS = Steps(SETUP, Path(workflow.basedir, "scripts"), PRINTS)
# Inputs of targets that depend on the layers of all models: Snakemake then evaluates all checkpoints at once. Not for jobs
# that a profile groups: Snakemake 9.27 then ends with a KeyError after the checkpoint.
LAYER_TABLES = expand(
    "<results>/layers/{model}.{kind}",
    model=[] if EXTERNAL else MODELS,
    kind=["csv", "json"],
)


pathvars:
    results=config["results"],
    logs=f"{config['results']}/logs",
    benchmarks=f"{config['results']}/benchmarks",
    dataset=f"{config['results']}/datasets/{DATASET.name}",
    samples=getattr(DATASET, "kind", "images"),  # or inputs
    network=NETWORK,
    run=RUN,


wildcard_constraints:
    model="|".join(map(re.escape, MODELS)),
    seed=r"\d+",
    checkpoint=r"epoch-\d\d\d+|final|pretrained|external",
    split="train|test|all",
    labels="(-shuffled)?",
    layer=r"\d+_\w+",
    draw=r"(-draw-\d+)?",
    part=r"(-layers-\d+-\d+)?",


def rising(amount):
    """A resource that a retry asks for twice, then three times."""
    return lambda wildcards, attempt: amount * attempt


def software(step):
    """Versions of the packages that compute an output: a parameter that counts in the key of the cache only.

    Snakemake does not repeat a job for a parameter that depends on the input, as this one formally does:
    after an update of a package, results of the old version are still valid, but not to be shared.
    """
    versions = software_versions(step)
    return lambda wildcards, input: versions


def measured_layers(model):
    """The model's selected layers, once the checkpoint rule has found them."""
    if EXTERNAL:
        return DATASET.layers
    table = Path(checkpoints.find_layers.get(model=model).output[0])
    return selected_layers(table, config["layers"], model)


def results_of_layers(suffix):
    """Geometry files of every layer of every run, for its labels and, if asked for, shuffled labels."""
    layers = {model: measured_layers(model) for model in MODELS}
    return [
        f"<results>/geometry/{path}{labels}/{layer.label}.{suffix}"
        for path, run in RUNS.items()
        for labels in LABELS
        for layer in layers[run.model]
    ]
