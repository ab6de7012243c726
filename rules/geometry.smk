# One job per layer of every run, in parallel.


rule compute_moments:
    input:
        own_layer_files if OWN else "<results>/activations/<run>",
    output:
        "<results>/moments/<network>/{checkpoint}/{split}{labels}/{layer}{draw}.npz",
    log:
        "<logs>/compute_moments/<network>/{checkpoint}/{split}{labels}/{layer}{draw}.log",
    benchmark:
        "<benchmarks>/compute_moments/<network>/{checkpoint}/{split}{labels}/{layer}{draw}.tsv"
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
        draw=draw_of,
        n_draws=None if OWN else N_DRAWS,
        shuffle=shuffle_of,
        code=source_digest(
            "geometry.moments", "activations.external" if OWN else "activations.store"
        ),
        software=software("moments"),
    script:
        "../scripts/compute_moments.py"


rule measure_geometry:
    input:
        moments=expand(
            "<results>/moments/<network>/{checkpoint}/{split}{labels}/{layer}{draw}.npz",
            draw=DRAWS,
            allow_missing=True,
        ),
        layers="<results>/layers/{model}.csv",
        simulated=simulated_of,
    output:
        layer="<results>/geometry/<network>/{checkpoint}/{split}{labels}/{layer}.json",
        manifolds="<results>/geometry/<network>/{checkpoint}/{split}{labels}/{layer}.csv",
        centers="<results>/geometry/<network>/{checkpoint}/{split}{labels}/{layer}.centers.csv",
    log:
        "<logs>/measure_geometry/<network>/{checkpoint}/{split}{labels}/{layer}.log",
    benchmark:
        "<benchmarks>/measure_geometry/<network>/{checkpoint}/{split}{labels}/{layer}.tsv"
    conda:
        "../envs/geometry.yaml"
    threads: 1
    resources:
        mem_mb=rising(1000),
        runtime=rising(5),
    params:
        run=identity_of,
        classes=classes_of,
        geometry={
            key: value
            for key, value in config["geometry"].items()
            if key not in ("simulated", "repeats")
        },
        code=source_digest("geometry.measure", "geometry.draws", "summary.rows"),
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
        n_draws=None if OWN else N_DRAWS,
        code=source_digest(
            "geometry.simulated",
            "activations.external" if OWN else "activations.store",
        ),
    script:
        "../scripts/simulate_capacity.py"
