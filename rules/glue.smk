# Exact capacity (GLUE), if asked for: the inner products of a layer's points, and what follows from them.


# The matrix, its factor and inverse, and samples in work: 6 arrays of float64 for all pairs of points.
GLUE_MB = 1500 + int(48e-6 * runs.most_points(SETUP) ** 2)


rule compute_gram:
    input:
        lambda wildcards: runs.store_of_layer(SETUP, wildcards),
    output:
        "<results>/gram/<run>/{layer}{draw}.npz",
    log:
        "<logs>/compute_gram/<run>/{layer}{draw}.log",
    benchmark:
        "<benchmarks>/compute_gram/<run>/{layer}{draw}.tsv"
    conda:
        "../envs/geometry.yaml"
    threads: 1
    resources:
        mem_mb=rising(GLUE_MB),
        runtime=rising(10),
    params:
        step=lambda wildcards: STEPS.gram(**wildcards),
    script:
        "../scripts/compute_gram.py"


rule measure_glue:
    input:
        lambda wildcards: runs.gram_files(config, wildcards),
    output:
        "<results>/glue/<network>/{checkpoint}/{split}{labels}/{layer}.json",
    log:
        "<logs>/measure_glue/<network>/{checkpoint}/{split}{labels}/{layer}.log",
    benchmark:
        "<benchmarks>/measure_glue/<network>/{checkpoint}/{split}{labels}/{layer}.tsv"
    conda:
        "../envs/geometry.yaml"
    threads: 2
    resources:
        mem_mb=rising(GLUE_MB),
        runtime=rising(60),
    params:
        step=lambda wildcards: STEPS.glue(**wildcards),
    script:
        "../scripts/measure_glue.py"
