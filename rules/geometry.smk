# Moments, geometry and (if asked for) simulated capacity: one job per layer of every run.

GLUE = "glue" in config["geometry"]["measures"]
# On another node, Snakemake identifies inputs by their contents, which it cannot do for a folder. That a job runs there is
# not documented otherwise than by this attribute.
MOMENTS_SHARED = SHARED and not EXTERNAL and not workflow.remote_exec


rule compute_moments:
    input:
        lambda wildcards: runs.store_of_layer(SETUP, wildcards),
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
        step=lambda wildcards: STEPS.moments(**wildcards),
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
        stamp="<results>/layers/{model}.json",
        simulated=lambda wildcards: runs.simulated_capacity_files(config, wildcards),
        glue=lambda wildcards: runs.glue_files(config, wildcards),
    output:
        layer="<results>/geometry/<network>/{checkpoint}/{split}{labels}/{layer}.json",
        manifolds="<results>/geometry/<network>/{checkpoint}/{split}{labels}/{layer}.csv",
        centers="<results>/geometry/<network>/{checkpoint}/{split}{labels}/{layer}.centers.csv",
        separability=(
            "<results>/geometry/<network>/{checkpoint}/{split}{labels}/{layer}.separability.csv"
            if GLUE
            else []
        ),
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
        step=lambda wildcards: STEPS.geometry(**wildcards),
    script:
        "../scripts/measure_geometry.py"


rule simulate_capacity:
    input:
        lambda wildcards: runs.store_of_layer(SETUP, wildcards),
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
        step=lambda wildcards: STEPS.simulated(**wildcards),
    script:
        "../scripts/simulate_capacity.py"


include: "glue.smk"
