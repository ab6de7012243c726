# Which layers a network has is known once it is built; the jobs downstream, one per layer, follow from it.


checkpoint find_layers:
    output:
        "<results>/layers/{model}.csv",
    log:
        "<logs>/find_layers/{model}.log",
    benchmark:
        "<benchmarks>/find_layers/{model}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=rising(4000),
        runtime=rising(10),
    params:
        model=model_of,
        images=images_of,
        code=source_digest("models.find_layers", "models.weights"),
    script:
        "../scripts/find_layers.py"
