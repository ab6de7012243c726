# Moments, geometry and (if asked for) simulated capacity: one job per layer of every run.


READER = "activations.external" if EXTERNAL else "activations.store"
# On another node, Snakemake identifies inputs by their contents, which it cannot do for a folder. That a job runs there is
# not documented otherwise than by this attribute.
MOMENTS_SHARED = SHARED and not EXTERNAL and not workflow.remote_exec


rule compute_moments:
    input:
        (
            (lambda wildcards: EXTERNAL.files(wildcards.layer))
            if EXTERNAL
            else "<results>/activations/<run>"
        ),
    output:
        "<results>/moments/<network>/{checkpoint}/{split}{labels}/{layer}{draw}.npz",
    log:
        "<logs>/compute_moments/<network>/{checkpoint}/{split}{labels}/{layer}{draw}.log",
    benchmark:
        "<benchmarks>/compute_moments/<network>/{checkpoint}/{split}{labels}/{layer}{draw}.tsv"
    cache: MOMENTS_SHARED
    conda:
        "../envs/geometry.yaml"
    threads: 1
    resources:
        mem_mb=rising(2000),
        runtime=rising(5),
    params:
        layer="{layer}",
        external=lambda wildcards: runs.external_manifolds(SETUP, wildcards.layer),
        seed=seed_of if EXTERNAL else None,
        draw=lambda wildcards: DRAWS.index(wildcards.draw),
        n_draws=None if EXTERNAL else len(DRAWS),
        shuffle=lambda wildcards: (
            runs.shuffle_seed(seed_of(wildcards), DRAWS.index(wildcards.draw))
            if wildcards.labels
            else None
        ),
        code=source_digest("geometry.moments", READER),
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
        simulated=lambda wildcards: runs.simulated_capacity_files(config, wildcards),
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
        run=lambda wildcards: runs.identity(
            wildcards, dataset=DATASET.name, weights=model_of(wildcards)["weights"]
        ),
        classes=lambda wildcards: runs.class_names(CLASSES, bool(wildcards.labels)),
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
        (
            (lambda wildcards: EXTERNAL.files(wildcards.layer))
            if EXTERNAL
            else "<results>/activations/<run>"
        ),
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
        external=lambda wildcards: runs.external_manifolds(SETUP, wildcards.layer),
        seed=seed_of,
        n_draws=None if EXTERNAL else len(DRAWS),
        code=source_digest("geometry.simulated", READER),
    script:
        "../scripts/simulate_capacity.py"
