rule prepare_dataset:
    input:
        own_data_files(),
    output:
        multiext(
            "<dataset>/",
            "train_images.npy",
            "train_labels.npy",
            "test_images.npy",
            "test_labels.npy",
            "dataset.json",
        ),
    log:
        "<logs>/prepare_dataset.log",
    benchmark:
        "<benchmarks>/prepare_dataset.tsv"
    # A cluster's compute nodes may have no way to the network: a download runs where Snakemake runs.
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
        code=source_digest("datasets"),
    script:
        "../scripts/prepare_dataset.py"
