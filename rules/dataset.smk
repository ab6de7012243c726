# Prepare the dataset: images and labels, verified and written as arrays.
from manifold_capacity.datasets.catalog import needs_network
from manifold_capacity.workflow.setup import dataset_sources


rule prepare_dataset:
    input:
        dataset_sources(config["dataset"]),
    output:
        train_images="<dataset>/train_images.npy",
        train_labels="<dataset>/train_labels.npy",
        test_images="<dataset>/test_images.npy",
        test_labels="<dataset>/test_labels.npy",
        dataset="<dataset>/dataset.json",
    log:
        "<logs>/prepare_dataset.log",
    benchmark:
        "<benchmarks>/prepare_dataset.tsv"
    cache: SHARED
    # Compute nodes of a cluster often have no network: downloads run where Snakemake runs.
    localrule: needs_network(DATASET.name)
    conda:
        "../envs/dataset.yaml"
    threads: 4
    resources:
        mem_mb=rising(2000),
        runtime=rising(60),
    params:
        dataset={
            key: value
            for key, value in config["dataset"].items()
            if key != "normalize"
        },
        code=source_digest("datasets.prepare"),
        software=software("dataset"),
    script:
        "../scripts/prepare_dataset.py"
