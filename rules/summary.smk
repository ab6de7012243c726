# From the files of all layers to tables, comparisons and the report's pages.
from manifold_capacity.config.schema import given_keys

# The file with the checksums and the key of each table.
STAMPS = {
    "layers": "<results>/provenance.json",
    "manifolds": "<results>/provenance.json",
    "centers": "<results>/provenance.json",
    "separability": "<results>/provenance.json",
    "comparisons": "<results>/summary/comparisons.json",
    "training": "<results>/summary/training.json",
}


rule summarize:
    input:
        layers=lambda wildcards: results_of_layers("json"),
        manifolds=lambda wildcards: results_of_layers("csv"),
        centers=lambda wildcards: results_of_layers("centers.csv"),
        separability=lambda wildcards: (
            results_of_layers("separability.csv") if GLUE else []
        ),
    output:
        layers=report(
            "<results>/summary/layers.csv",
            caption="../report/layers.rst",
            category="Geometry",
            labels={"item": "Values: layers.csv"},
        ),
        manifolds=report(
            "<results>/summary/manifolds.csv",
            caption="../report/manifolds.rst",
            category="Geometry",
            labels={"item": "Values: manifolds.csv"},
        ),
        layers_parquet="<results>/summary/layers.parquet",
        manifolds_parquet="<results>/summary/manifolds.parquet",
        centers="<results>/summary/centers.csv",
        separability="<results>/summary/separability.csv" if GLUE else [],
        table="<results>/summary/layers.txt",
        provenance=report(
            "<results>/provenance.json",
            caption="../report/provenance.rst",
            category="Where it comes from",
            labels={"item": "Values: provenance.json"},
        ),
    log:
        "<logs>/summarize.log",
    benchmark:
        "<benchmarks>/summarize.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=rising(2000),
        runtime=rising(10),
    params:
        step=lambda wildcards: STEPS.summary(),
    script:
        "../scripts/summarize.py"


rule compare:
    input:
        layers="<results>/summary/layers.csv",
        manifolds="<results>/summary/manifolds.csv",
        stamp=STAMPS["layers"],
    output:
        stamp=STAMPS["comparisons"],
        table=report(
            "<results>/summary/comparisons.csv",
            caption="../report/comparisons.rst",
            category="Geometry",
            labels={"item": "Values: comparisons.csv"},
        ),
    log:
        "<logs>/compare.log",
    benchmark:
        "<benchmarks>/compare.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=rising(1000),
        runtime=rising(10),
    params:
        step=lambda wildcards: STEPS.comparisons(),
    script:
        "../scripts/compare.py"


rule summarize_training:
    input:
        metrics=[f"<results>/training/{network}/metrics.csv" for network in TRAINED],
        stamps=[f"<results>/training/{network}/metrics.json" for network in TRAINED],
    output:
        stamp=STAMPS["training"],
        table=report(
            "<results>/summary/training.csv",
            caption="../report/training.rst",
            category="Training",
            labels={"item": "Values: training.csv"},
        ),
    log:
        "<logs>/summarize_training.log",
    benchmark:
        "<benchmarks>/summarize_training.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=rising(1000),
        runtime=rising(10),
    params:
        step=lambda wildcards: STEPS.training(),
    script:
        "../scripts/summarize_training.py"


rule write_pages:
    input:
        layers=["<results>/summary/layers.csv"],
        manifolds=["<results>/summary/manifolds.csv"],
        comparisons=["<results>/summary/comparisons.csv"],
        figure=["<results>/figures/layers.svg"],
        stamp=[STAMPS["comparisons"]],
        provenance=["<results>/provenance.json"],
        dataset=[] if EXTERNAL else ["<dataset>/dataset.json"],
    output:
        result="<results>/pages/result.html",  # the report's first page has it
        findings="<results>/summary/findings.txt",
        layers=report(
            "<results>/pages/layers.html",
            caption="../report/layers_page.rst",
            category="Geometry",
            labels={"item": "Table: layers, classes and logs"},
        ),
        comparisons=report(
            "<results>/pages/comparisons.html",
            caption="../report/comparisons.rst",
            category="Geometry",
            labels={"item": "Table: what differs"},
        ),
        origin=report(
            "<results>/pages/origin.html",
            caption="../report/origin.rst",
            category="Where it comes from",
            labels={"item": "Configuration and provenance"},
        ),
    log:
        "<logs>/write_pages.log",
    benchmark:
        "<benchmarks>/write_pages.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=rising(2000),
        runtime=rising(10),
    params:
        step=lambda wildcards: STEPS.pages("comparisons", given_keys(SETUP.given)),
        logs=f"{config['results']}/logs",
    script:
        "../scripts/write_pages.py"


use rule write_pages as write_training_page with:
    input:
        training=["<results>/summary/training.csv"],
        stamp=[STAMPS["training"]],
    output:
        training=report(
            "<results>/pages/training.html",
            caption="../report/training.rst",
            category="Training",
            labels={"item": "Table: epoch by epoch"},
        ),
    log:
        "<logs>/write_training_page.log",
    benchmark:
        "<benchmarks>/write_training_page.tsv"
    params:
        step=lambda wildcards: STEPS.pages("training"),
        logs=f"{config['results']}/logs",
