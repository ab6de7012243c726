# `snakemake plan` and `snakemake doctor`, for use before a run. Rules without output run whenever they are asked for; a
# benchmark file would count as output.
from manifold_capacity.datasets.catalog import needs_network
from manifold_capacity.workflow.plan import groups_of_profile
from manifold_capacity.workflow.setup import missing_downloads


rule plan:
    input:
        LAYER_TABLES,
    log:
        "<logs>/plan.log",
    localrule: True
    conda:
        "../envs/dataset.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        snakefile=f"{workflow.basedir}/Snakefile",
        python=sys.executable,
        groups=groups_of_profile(
            Path(workflow.basedir, "profiles/slurm/config.yaml"),
            FIGURE_GROUPS,
        ),
        config=SETUP.given,
        results=lambda wildcards: config["results"],
        layers_per_run=lambda wildcards: [
            len(measured_layers(run.model)) for run in RUNS.values()
        ],
        store_bytes=[store.part.n_bytes for store in STORES.values()],
        groups_of_layers={
            model: [*map(str, parts)]
            for model, parts in SETUP.parts.items()
            if len(parts) > 1
        },
        gram_bytes=4 * runs.most_points(SETUP) ** 2,
        keep=config["activations"]["keep"],
        at_once=SETUP.stores_at_once,
        # Not submitted: local rules, and those without a command.
        local_rules=["pretrained_weights", "take_store_slot"]
        + (["prepare_dataset"] if needs_network(DATASET.name) else []),
        code=source_digest("workflow.plan"),
    script:
        "../scripts/plan.py"


# The doctor checks again whenever it is asked for: findings are stored under the current time, and outside the results
# folder, which may be what fails.
DOCTOR = ".snakemake/doctor/{stamp}"
# The kinds of jobs and their resources.
KINDS = {
    "dataset": {"env": "dataset", "threads": 4, "mem_mb": 2000},
    "gpu": {"env": "torch", "threads": 8, "mem_mb": 4000},
    "cpu": {"env": "geometry", "threads": 1, "mem_mb": 2000},
}


rule doctor:
    input:
        expand(
            f"{DOCTOR}/{{kind}}.json",
            kind=KINDS,
            stamp=time.strftime("%Y%m%d-%H%M%S"),
        ),
    log:
        ".snakemake/doctor/doctor.log",
    localrule: True
    conda:
        "../envs/geometry.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=source_digest("workflow.doctor"),
    script:
        "../scripts/doctor.py"


for kind, needs in KINDS.items():

    rule:
        name:
            f"doctor_{kind}"
        output:
            f"{DOCTOR}/{kind}.json",
        log:
            f"{DOCTOR}/{kind}.log",
        benchmark:
            f"{DOCTOR}/{kind}.tsv"
        # Where the download would run.
        localrule: kind == "dataset" and needs_network(DATASET.name)
        conda:
            f"../envs/{needs['env']}.yaml"
        threads: needs["threads"]
        resources:
            mem_mb=needs["mem_mb"],
            runtime=5,
            device=config["device"] if kind == "gpu" else "cpu",
        params:
            kind=kind,
            results=config["results"],
            project=f"{workflow.basedir}/pyproject.toml",
            urls=lambda wildcards, kind=kind: (
                missing_downloads(config) if kind == "dataset" else []
            ),
            code=source_digest("workflow.doctor"),
        script:
            "../scripts/doctor_job.py"
