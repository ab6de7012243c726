# The layers of every model, and the weights of every model and seed: initial, pretrained or trained.


# What a network's input and output must fit.
IMAGES = {
    "n_classes": len(DATASET.class_names),
    "image_shape": list(DATASET.image_shape),
}


# A network must be built to know its layers; the later jobs, one per layer, depend on them.
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
        images=IMAGES,
        code=source_digest("models.find_layers", "models.weights"),
    script:
        "../scripts/find_layers.py"


rule initial_weights:
    output:
        "<results>/training/<network>/epoch-000.safetensors",
    log:
        "<logs>/initial_weights/<network>.log",
    benchmark:
        "<benchmarks>/initial_weights/<network>.tsv"
    cache: SHARED
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=rising(4000),
        runtime=rising(10),
    params:
        model=model_of,
        images=IMAGES,
        seed=seed_of,
        code=source_digest("models.weights", "models.checkpoints"),
        software=software("weights"),
    script:
        "../scripts/initial_weights.py"


rule pretrained_weights:
    input:
        lambda wildcards: model_of(wildcards)["weights_file"] or [],
    output:
        "<results>/training/<network>/pretrained.safetensors",
    log:
        "<logs>/pretrained_weights/<network>.log",
    benchmark:
        "<benchmarks>/pretrained_weights/<network>.tsv"
    cache: SHARED
    localrule: True  # downloads: as prepare_dataset
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=rising(4000),
        runtime=rising(30),
    params:
        model=model_of,
        images=IMAGES,
        code=source_digest("models.weights", "models.checkpoints"),
        software=software("weights"),
    script:
        "../scripts/pretrained_weights.py"


rule train:
    input:
        dataset="<dataset>/dataset.json",
        images="<dataset>/train_images.npy",
        test_images="<dataset>/test_images.npy",
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
        ),
    log:
        "<logs>/train/<network>.log",
    benchmark:
        "<benchmarks>/train/<network>.tsv"
    cache: SHARED
    conda:
        "../envs/torch.yaml"
    threads: torch_threads
    resources:
        mem_mb=rising(8000),
        runtime=rising(240),
        device=config["device"],
    params:
        seed=seed_of,
        recipe=config["training"],
        normalize=config["dataset"]["normalize"],
        checkpoints=trained_epochs(config),
        torch_threads=torch_threads,
        code=source_digest("training.train"),
        software=software("weights"),
    script:
        "../scripts/train.py"
