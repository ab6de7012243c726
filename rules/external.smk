# External activations: the table of their layers, in place of datasets, training and extraction.
STORES = {}


rule find_layers:
    output:
        "<results>/layers/{model}.csv",
        stamp="<results>/layers/{model}.json",
    log:
        "<logs>/find_layers/{model}.log",
    benchmark:
        "<benchmarks>/find_layers/{model}.tsv"
    conda:
        "../envs/geometry.yaml"
    threads: 1
    resources:
        mem_mb=rising(1000),
        runtime=rising(10),
    params:
        step=lambda wildcards: STEPS.layers(**wildcards),
    script:
        "../scripts/external_layers.py"
