# Prepare the dataset: images and labels, verified and written as arrays.
from manifold_capacity.datasets.catalog import needs_network


rule prepare_dataset:
    output:
        train_images="<dataset>/train_images.npy",
        train_labels="<dataset>/train_labels.npy",
        train_checksums="<dataset>/train_images.crc32",
        test_images="<dataset>/test_images.npy",
        test_labels="<dataset>/test_labels.npy",
        test_checksums="<dataset>/test_images.crc32",
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
        step=STEPS.dataset(),
        software=software("dataset"),
    script:
        "../scripts/prepare_dataset.py"
