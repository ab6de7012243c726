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
    conda:
        "../envs/dataset.yaml"
    threads: 4
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        dataset={
            key: value
            for key, value in config["dataset"].items()
            if key != "normalize"
        },
        code=source_digest("datasets"),
    script:
        "../scripts/prepare_dataset.py"
