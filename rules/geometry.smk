# Moments, geometry and (if asked for) simulated capacity: one job per layer of every run.
from manifold_capacity.models.layers import is_readable
from manifold_capacity.workflow import stores

GLUE = "glue" in config["geometry"]["measures"]
# On another node, Snakemake identifies inputs by their contents, which it cannot do for a folder. That a job runs there is
# not documented otherwise than by this attribute.
MOMENTS_SHARED = SHARED and not EXTERNAL and not workflow.remote_exec


def store_of_layer(wildcards):
    """The store that a layer is read from; none for external activations."""
    if EXTERNAL:
        return []
    # Not by way of the checkpoint, for jobs that a profile groups (see LAYER_TABLES); its table is there when such jobs are
    # planned. Only of a file that is asked for by name, it may be missing.
    table = Path(config["results"], "layers", f"{wildcards.model}.csv")
    parts = SETUP.parts[wildcards.model]
    if is_readable(table):
        chosen = selected_layers(table, config["layers"], wildcards.model)
        parts = stores.parts(config, chosen, len(SETUP.classes))
    run = RUN.format(**wildcards) + stores.suffix_of(parts, wildcards.layer)
    return f"<results>/activations/{run}"


rule compute_moments:
    input:
        store_of_layer,
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
        store_of_layer,
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
