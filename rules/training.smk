# The layers of every model, and the weights of every model and seed: initial, pretrained or trained.


# A network must be built to know its layers; the later jobs, one per layer, depend on them.
checkpoint find_layers:
    output:
        "<results>/layers/{model}.csv",
        stamp="<results>/layers/{model}.json",
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
        step=lambda wildcards: STEPS.layers(**wildcards),
    script:
        "../scripts/find_layers.py"


# Three rules make files of the same names, each for its own models. Constraints do not reach into pathvars, so their
# outputs are written without <network>.
rule initial_weights:
    output:
        "<results>/training/{model}/seed-{seed}/epoch-000.safetensors",
    log:
        "<logs>/initial_weights/<network>.log",
    benchmark:
        "<benchmarks>/initial_weights/<network>.tsv"
    wildcard_constraints:
        model=runs.labels_pattern(config, "trained", "random"),
    cache: SHARED
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=rising(4000),
        runtime=rising(10),
    params:
        step=lambda wildcards: STEPS.initial_weights(**wildcards),
        software=software("weights"),
    script:
        "../scripts/initial_weights.py"


# Published weights, and those of files.
rule pretrained_weights:
    output:
        "<results>/training/{model}/seed-{seed}/{checkpoint}.safetensors",
    log:
        "<logs>/pretrained_weights/<network>/{checkpoint}.log",
    benchmark:
        "<benchmarks>/pretrained_weights/<network>/{checkpoint}.tsv"
    wildcard_constraints:
        model=runs.labels_pattern(config, "pretrained", "files"),
    cache: SHARED
    localrule: True  # downloads: as prepare_dataset
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=rising(4000),
        runtime=rising(30),
    params:
        step=lambda wildcards: STEPS.pretrained_weights(**wildcards),
        software=software("weights"),
    script:
        "../scripts/pretrained_weights.py"


rule train:
    input:
        dataset="<dataset>/dataset.json",
        samples="<dataset>/train_<samples>.npy",
        test_samples="<dataset>/test_<samples>.npy",
        initial="<results>/training/<network>/epoch-000.safetensors",
    output:
        # No pathvars in the prefix: Snakemake's cache uses its length before they are filled in.
        multiext(
            f"{config['results']}/training/{NETWORK}/",
            *[
                f"epoch-{epoch:03d}.safetensors"
                for epoch in trained_epochs(config) or [config["training"]["epochs"]]
            ],
            "metrics.csv",
            "metrics.json",
        ),
    log:
        "<logs>/train/<network>.log",
    benchmark:
        "<benchmarks>/train/<network>.tsv"
    wildcard_constraints:
        model=runs.labels_pattern(config, "trained"),
    cache: SHARED
    conda:
        "../envs/torch.yaml"
    threads: lambda wildcards: STEPS.torch_threads(wildcards.model)
    resources:
        mem_mb=rising(8000),
        runtime=rising(240),
        device=config["device"],
    params:
        step=lambda wildcards: STEPS.trained_weights(**wildcards),
        software=software("weights"),
    script:
        "../scripts/train.py"
