# A turn is the leave to write one more temporary store: its run starts once an earlier run's store is gone. A resource can't
# say so: it is held while a job runs, not while its output stands.


rule take_turn:
    input:
        run_before,
    output:
        touch("<results>/turns/{run}"),
    wildcard_constraints:
        run="|".join(map(re.escape, RUNS_THAT_TAKE_TURNS)) or "(?!)",


rule extract_activations:
    input:
        dataset="<dataset>/dataset.json",
        images="<dataset>/{split}_images.npy",
        labels="<dataset>/{split}_labels.npy",
        weights="<results>/training/<network>/{checkpoint}.safetensors",
        layers="<results>/layers/{model}.csv",
        turn=turn_of,
    output:
        store_of_activations("<results>/activations/<run>"),
    log:
        "<logs>/extract_activations/<run>.log",
    benchmark:
        "<benchmarks>/extract_activations/<run>.tsv"
    # What is thrown away is not kept in a cache either.
    cache: SHARED and config["activations"]["keep"]
    conda:
        "../envs/torch.yaml"
    threads: torch_threads
    resources:
        mem_mb=rising(4000),
        runtime=rising(60),
        device=config["device"],
    params:
        model=model_of,
        seed=seed_of,
        checkpoint="{checkpoint}",
        split="{split}",
        layers=config["layers"],
        sample={
            "class_indices": list(CLASSES),
            "points_per_class": config["manifolds"]["points_per_class"] * N_DRAWS,
        },
        normalize=config["dataset"]["normalize"],
        options={
            "classes": list(CLASSES),
            "class_names": list(CLASSES.values()),
            "dtype": config["activations"]["dtype"],
            "batch_size": config["activations"]["batch_size"],
            "precision": config["activations"]["precision"],
            "augment": (
                config["training"]["augment"]
                if config["manifolds"]["augment"]
                else None
            ),
        },
        torch_threads=torch_threads,
        code=source_digest("activations.extract"),
        software=software("activations"),
    script:
        "../scripts/extract_activations.py"
