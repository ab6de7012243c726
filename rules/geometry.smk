# One job per layer of every run, in parallel.


rule compute_moments:
    input:
        own_layer_files if OWN else "<results>/activations/<run>",
    output:
        "<results>/moments/<run>/{layer}.npz",
    log:
        "<logs>/compute_moments/<run>/{layer}.log",
    benchmark:
        "<benchmarks>/compute_moments/<run>/{layer}.tsv"
    # Snakemake can't identify a folder by its contents, which is all that a job on another node sees.
    cache: SHARED and not OWN and not workflow.remote_exec
    conda:
        "../envs/geometry.yaml"
    threads: 1
    resources:
        mem_mb=rising(2000),
        runtime=rising(5),
    params:
        layer="{layer}",
        own=own_layer if OWN else None,
        seed=seed_of if OWN else None,
        code=source_digest("moments", "own_activations" if OWN else "store"),
        software=software("moments"),
    script:
        "../scripts/compute_moments.py"


rule measure_geometry:
    input:
        moments="<results>/moments/<run>/{layer}.npz",
        layers="<results>/layers/{model}.csv",
        simulated=(
            ["<results>/simulated/<run>/{layer}.json"]
            if config["geometry"]["simulated"]
            else []
        ),
    output:
        layer="<results>/geometry/<run>/{layer}.json",
        manifolds="<results>/geometry/<run>/{layer}.csv",
    log:
        "<logs>/measure_geometry/<run>/{layer}.log",
    benchmark:
        "<benchmarks>/measure_geometry/<run>/{layer}.tsv"
    conda:
        "../envs/geometry.yaml"
    threads: 1
    resources:
        mem_mb=rising(1000),
        runtime=rising(5),
    params:
        run=identity_of,
        classes=CLASSES,
        geometry={
            key: value
            for key, value in config["geometry"].items()
            if key != "simulated"
        },
        code=source_digest("geometry", "rows"),
    script:
        "../scripts/measure_geometry.py"


rule simulate_capacity:
    input:
        own_layer_files if OWN else "<results>/activations/<run>",
    output:
        "<results>/simulated/<run>/{layer}.json",
    log:
        "<logs>/simulate_capacity/<run>/{layer}.log",
    benchmark:
        "<benchmarks>/simulate_capacity/<run>/{layer}.tsv"
    conda:
        "../envs/geometry.yaml"
    threads: 1
    resources:
        mem_mb=rising(4000),
        runtime=rising(600),
    params:
        own=own_layer if OWN else None,
        seed=seed_of,
        code=source_digest("simulated", "own_activations" if OWN else "store"),
    script:
        "../scripts/simulate_capacity.py"
